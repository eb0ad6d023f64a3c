#!/usr/bin/env python3
"""Checks the rules a compiler cannot: who may include whom, function length, banned words, READMEs."""
import pathlib
import re
import subprocess
import sys

# folder -> folders it may include besides itself. This table is the architecture.
ALLOWED = {
    "base": "",
    "spec": "base",
    "store": "base",
    "io": "base",
    "wire/http": "base io",
    "wire/h2": "base",
    "wire/pg": "base",
    "wire/redis": "base",
    "wire/s3": "base store",
    "wire/rpc": "base",
    "planes/gateway": "base spec io wire/http wire/h2 wire/redis",
    "planes/replication": "base spec store wire/pg",
    "planes/files": "base spec store wire/s3",
    "planes/sessions": "base spec store wire/redis wire/pg",
    "planes/fleet": "base spec store io wire/http",
    "migration": "base spec",
    "control": "base spec store migration wire/rpc wire/pg",
    "app": "*",  # main(): the only place that knows every folder
}
# third-party header -> the only folders that may include it
CONFINED = {
    "sys/epoll.h": "io", "openssl/ssl.h": "io", "libpq-fe.h": "wire/pg", "nghttp2": "wire/h2",
    "sqlite3.h": "store", "hiredis": "wire/redis", "yaml.h": "spec", "curl/curl.h": "wire/s3",
    "CLI/CLI.hpp": "app", "httplib.h": "wire/rpc wire/s3 planes/gateway control",
}
BANNED = {
    r"\bthrow\b": "return an Error",
    r"(?<!operator )\bnew\s+[A-Za-z_(]": "make_unique",
    r"\bstd::cout\b": "fmt::print in app/, the logger elsewhere",
    r"\[=\]": "name the captures",
    r"TODO\(now\)": "finish it",
    r"\bTODO\b(?!\((now|soon|someday|perf|security|test)\): )": "TODO(kind): text",
}
FUNCTION_LINES = 70
errors = []


def folder_of(path):
    parts = path.parts[1:-1]
    return "/".join(parts[:2]) if parts and parts[0] in ("wire", "planes") else parts[0]


def check_include(path, number, line, folder):
    if m := re.match(r'#include "([a-z0-9_/]+)/[a-z0-9_.]+"', line):
        allowed = ALLOWED[folder]
        if allowed != "*" and m[1] not in [folder, *allowed.split()]:
            errors.append(f"{path}:{number}: {folder}/ may not include {m[1]}/")
    if m := re.match(r"#include <([^>]+)>", line):
        for header, homes in CONFINED.items():
            if m[1].startswith(header) and folder not in homes.split() and not path.name.endswith("_test.cc"):
                errors.append(f"{path}:{number}: <{m[1]}> belongs to {homes}/ only")


def check_line(path, number, line, folder):
    if len(line) > 100:
        errors.append(f"{path}:{number}: line exceeds 100 columns")
    check_include(path, number, line, folder)
    if "NOLINT" in line:
        return
    code = re.sub(r'"(\\.|[^"\\])*"', '""', line).split("//")[0]
    for pattern, instead in BANNED.items():
        if re.search(pattern, code if "TODO" not in pattern else line):
            errors.append(f"{path}:{number}: {pattern} is banned: {instead}")


def check_sources():
    for path in sorted(pathlib.Path("src").rglob("*.[hc]*")):
        folder = folder_of(path)
        if folder not in ALLOWED:
            errors.append(f"{path}: folder {folder}/ is not in the table of tools/tidy.py")
            continue
        lines = path.read_text().splitlines()
        if path.suffix == ".h" and "#pragma once" not in lines[:1]:
            errors.append(f"{path}:1: a header starts with #pragma once")
        for number, line in enumerate(lines, 1):
            check_line(path, number, line, folder)


def functions():
    """(file, line, name, length) of every function, by Universal Ctags."""
    command = ["ctags", "--languages=C++", "--fields=+ne", "--kinds-C++=f", "-R", "-f", "-", "src"]
    for tag in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        start, end = re.search(r"\tline:(\d+)", tag), re.search(r"\tend:(\d+)", tag)
        if start and end:
            name, file = tag.split("\t")[:2]
            yield file, int(start[1]), name, int(end[1]) - int(start[1]) + 1


def check_functions():
    found = [f for f in functions() if not f[0].endswith(("_test.cc", "_fuzz.cc"))]
    for file, line, name, length in found:
        if length > FUNCTION_LINES:
            errors.append(f"{file}:{line}: {name} has {length} lines, over {FUNCTION_LINES}")
    lengths = sorted(f[3] for f in found)
    if lengths:
        print(f"{len(lengths)} functions, median {lengths[len(lengths) // 2]} lines, "
              f"90th percentile {lengths[len(lengths) * 9 // 10]}")


def check_readmes():
    for folder in ALLOWED:
        if any(pathlib.Path("src", folder).glob("*.cc")) and not pathlib.Path("src", folder, "README.md").exists():
            errors.append(f"src/{folder}: no README.md")


check_sources()
check_functions()
check_readmes()
print("\n".join(errors))
sys.exit(bool(errors))
