#!/usr/bin/python3
"""Every relative link of every Markdown page leads to a file."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
pages = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
pages = [ROOT / page for page in pages] or list(ROOT.glob("*.md")) + list((ROOT / "docs").rglob("*.md"))
broken = []
for page in pages:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists():
            broken.append(f"{page.relative_to(ROOT)}: {target}")
print("\n".join(broken) or f"{len(pages)} pages")
sys.exit(bool(broken))
