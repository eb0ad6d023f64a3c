#!/usr/bin/python3
"""./dev demo --auto at reduced size: ends well, leaves nothing behind, and its report says what it measured."""
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tools")]
import demo_world  # noqa: E402

FIGURES = ["requests", "failed_requests", "held_requests", "longest_hold_ms", "acknowledged_writes", "lost_writes",
           "duplicated_writes", "logged_out_users", "rows_compared", "files_compared", "steps"]


def main(binary):
    with tempfile.TemporaryDirectory(prefix="banyan-demo-test-") as base:
        directory, report = pathlib.Path(base, "demo"), pathlib.Path(base, "report")
        demo = subprocess.run([sys.executable, ROOT / "tools" / "demo.py", "--auto", "--size", "small", "--banyan", binary,
                               "--dir", directory, "--report", report], check=False)
        figures = json.loads((report / "report.json").read_text())
        assert demo.returncode == 0, (figures["problems"], figures["failures"])
        missing = [name for name in FIGURES if name not in figures]
        assert not missing, missing
        assert len(figures["steps"]) == 9
        assert "<html" in (report / "report.html").read_text()
        assert not directory.exists()
        assert not demo_world.marked_processes(directory), "processes were left behind"


if __name__ == "__main__":
    main(sys.argv[1])
