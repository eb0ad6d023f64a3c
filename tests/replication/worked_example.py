"""Runs docs/moving-a-database.md literally: its banyan.yaml, and every command of its sh blocks, in order, against two
real servers. What it promises must be so in the end."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Postgres  # noqa: E402

PAGE = pathlib.Path(__file__).resolve().parent.parent.parent / "docs" / "moving-a-database.md"
SETUP = """
create table orders(id serial primary key, total int); insert into orders(total) select g from generate_series(1, 5000) g;
create table item(id int primary key, o int references orders); insert into item select g, g from generate_series(1, 5000) g;
"""


def run(command, folder, environment):
    done = subprocess.run(["bash", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True,
                          timeout=120, check=False)
    print(f"$ {command}\n{done.stdout[-700:]}", flush=True)
    assert done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
    return done.stdout


def main():
    page = PAGE.read_text()
    spec = re.search(r"```yaml\n(.*?)```", page, re.S)[1]
    commands = [line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines() if line]
    assert len(commands) >= 15, commands
    with Postgres() as old, Postgres() as new, tempfile.TemporaryDirectory(prefix="banyan-example-") as folder:
        for server in (old, new):
            server.create_database("shop")
        old.psql(SETUP, "shop")
        programs = pathlib.Path(folder, "bin")
        programs.mkdir()
        (programs / "banyan").symlink_to(os.path.abspath(sys.argv[1]))
        place = pathlib.Path(folder, "shop")
        place.mkdir()
        (place / "banyan.yaml").write_text(spec)
        environment = {**os.environ, "PATH": f"{programs}:{old.binaries}:{os.environ['PATH']}",
                       "OLD_DATABASE_URL": old.url("shop"), "NEW_DATABASE_URL": new.url("shop")}
        said = {}
        try:
            for command in commands:
                said[command] = said.get(command, "") + run(command, place, environment)
        finally:
            subprocess.run([programs / "banyan", "down"], cwd=place, capture_output=True, check=False)
        assert "EQUAL" in said["banyan migrate verify shop"]
        assert "of what was not proven" in said["banyan migrate verify shop --incremental"]
        assert "0 of 10000 rows proven equal; compared after the act: public.item 5000" in said["banyan migrate status shop"]
        assert "fence" in said["banyan migrate switch shop --dry-run"]
        for table in ("orders", "item"):
            rows = [server.run(f"select * from {table} order by id", "shop") for server in (old, new)]
            assert rows[0] == rows[1] and len(rows[0]) >= 5000, table
        assert new.value("select 1 from orders where total = 99", "shop") == 1
        for server in (old, new):
            assert not server.run("select 1 from pg_replication_slots")
    print(f"ok   {len(commands)} commands of {PAGE.name}")


if __name__ == "__main__":
    main()
