#!/usr/bin/python3
"""docs/banyan.schema.json is a valid JSON Schema, accepts every example spec and refuses mistakes."""
import copy
import pathlib
import sys
import json

import jsonschema
import yaml

root = pathlib.Path(__file__).resolve().parents[2]
schema = json.loads((root / "docs/banyan.schema.json").read_text())
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
failures = []


def expect(document, correct, name):
    errors = [f"{'/'.join(map(str, e.path))}: {e.message}" for e in validator.iter_errors(document)]
    if correct != (not errors):
        failures.append(f"{name}: {errors or 'a mistake was accepted'}")


examples = {path: yaml.safe_load(path.read_text()) for path in root.glob("examples/**/*.yaml")}
examples = {path: document for path, document in examples.items() if "banyan" in document}
for path, document in examples.items():
    expect(document, True, path.relative_to(root))

lift = examples[root / "examples/specs/lift.yaml"]
for change in (
    lambda d: d.pop("name"),
    lambda d: d.update(servces={}),
    lambda d: d["services"]["web"].update(comand=d["services"]["web"].pop("command")),
    lambda d: d["services"]["web"]["health"].update(rise=0),
    lambda d: d["gateway"]["hold"].update(max_bytes="ten"),
    lambda d: d["databases"]["main"].update(url={"vault": "x"}),
    lambda d: d["buckets"]["documents"].update(secret_key="plain"),
    lambda d: d["migrations"]["lift"]["move"].update(database="some"),
):
    mistaken = copy.deepcopy(lift)
    change(mistaken)
    expect(mistaken, False, f"mistake {change.__code__.co_firstlineno}")

print("\n".join(map(str, failures)) or f"{len(examples)} examples validated")
sys.exit(bool(failures))
