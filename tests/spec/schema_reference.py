#!/usr/bin/python3
"""docs/spec.md lists every setting of docs/banyan.schema.json. With --publish it is written anew; without, compared."""
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/spec.md"
HEAD = """# The spec: every setting

Written from [banyan.schema.json](banyan.schema.json), which is written from the code; a test keeps all three equal. To have an
editor check and complete the file, begin it with `# yaml-language-server: $schema=<path to banyan.schema.json>`.

- Only `true` and `false` are booleans; `on`, `off`, `yes`, `no` are texts. Unknown and duplicate keys are errors; `x-...` is ignored.
- Durations: `500ms`, `2s`, `10m`, `1h30m`. Sizes: `512KB`, `10MB`, `1GiB`. Relative paths start at the file's folder.
- A *secret* is `{env: NAME}`, `{file: PATH}` or `{secret: NAME}` (environment, else the file named by `secrets.file`).
- Complete examples: [examples/specs](../examples/specs).

| setting | type | default | meaning |
| --- | --- | --- | --- |
"""


def is_secret(schema):
    return set(schema.get("properties", {})) == {"env", "file", "secret"}


def kind(schema):
    if "enum" in schema:
        return " or ".join(f"`{choice}`" for choice in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema:
        return " or ".join(kind(choice) for choice in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {kind(schema['items'])}s" if "properties" not in schema["items"] else "list"
    if schema.get("type") == "object":
        return "secret" if is_secret(schema) else "mapping"
    if "minimum" in schema:
        low, high = schema["minimum"], schema["maximum"]
        return str(low) if low == high else f"{low} to {high}"
    pattern = schema.get("pattern", "")
    return "duration" if "ms" in pattern else "size" if "KMGT" in pattern else \
        {"string": "text", "integer": "number", "boolean": "true or false"}[schema["type"]]


def children(schema):
    """(suffix, schema) of every place where named settings continue below this one."""
    for choice in [schema, *schema.get("anyOf", [])]:
        if is_secret(choice):
            continue
        if choice.get("properties"):
            yield "", choice
        extra = choice.get("additionalProperties")
        if isinstance(extra, dict) and extra.get("properties"):
            yield ".NAME", extra
        if "properties" in choice.get("items", {}):
            yield "[]", choice["items"]


def rows(schema, path):
    for key, setting in schema["properties"].items():
        name = f"{path}.{key}".lstrip(".")
        default = f"`{setting['default']}`" if "default" in setting else \
            "required" if key in schema.get("required", []) else ""
        meaning = setting.get("description", "").replace("|", "\\|")
        yield f"| `{name}` | {kind(setting)} | {default} | {meaning} |"
        for suffix, below in children(setting):
            yield from rows(below, name + suffix)


page = HEAD + "\n".join(rows(json.loads((ROOT / "docs/banyan.schema.json").read_text()), "")) + "\n"
if "--publish" in sys.argv:
    PAGE.write_text(page)
if not PAGE.exists() or PAGE.read_text() != page:
    sys.exit("docs/spec.md is old; publish it: tests/spec/schema_reference.py --publish")
