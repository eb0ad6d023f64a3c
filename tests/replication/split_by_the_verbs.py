"""A split as a person does it: create refuses and names the lines for the spec, these are pasted, the service moves out, its
read-only copy stays, the monolith goes on; every step by the program's verbs."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import psycopg2

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Postgres, eventually  # noqa: E402

SETUP = """
create table users(id serial primary key, name text); insert into users(name) select 'u' || g from generate_series(1, 50) g;
create table orders(id serial primary key, buyer int references users, total int); insert into orders(buyer, total) select 1 + g % 50, g from generate_series(1, 500) g;
create table review(id serial primary key, o int references orders); insert into review(o) values (1), (2);
create function total_of(i int) returns int language sql as $$ select total from orders where id = i $$;
"""
SPEC = """banyan: 1
name: shop
secrets: { file: .env }
gateway: { listen: 127.0.0.1:0 }
source:
  database: { url: { secret: OLD_DATABASE_URL } }
databases:
  new: { url: { secret: NEW_DATABASE_URL } }
migrations:
  sales:
    move:
      database:
        to: new
        tables: [public.orders]
"""
ROLE = """        service_role: { name: sales_service, password: { secret: SALES_PASSWORD } }
"""
WAYS = {"orders_buyer_fkey": "read_only_copy", "review_o_fkey": "application_check", "total_of": "recreate"}


class Verbs:
    def __init__(self, place, programs):
        self.place = place
        self.environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}

    def __call__(self, words, code=0):
        done = subprocess.run(["banyan", *words.split()], cwd=self.place, env=self.environment, capture_output=True,
                              text=True, timeout=120, check=False)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr


def decided(plan):
    """What plan-split prints for the spec, each with one of the ways it offers."""
    lines = []
    for name, ways in re.findall(r'^ +("[^"]+"): ([a-z_ |]+)$', plan, re.M):
        way = next(way for key, way in WAYS.items() if key in name)
        assert way in ways.split(" | "), (name, ways)
        lines.append(f"          {name}: {way}\n")
    assert len(lines) == 3, plan
    return "        decisions:\n" + "".join(lines)


def split(banyan, old, new):
    spec = banyan.place / "banyan.yaml"
    banyan("up --detach")
    banyan("apply")
    refused = banyan("migrate create sales", code=3)
    assert "3 crossings" in refused and "plan-split" in refused and "read_only_copy" in refused, refused
    spec.write_text(SPEC + decided(banyan("migrate plan-split sales")) + ROLE)
    plan = banyan("migrate plan-split sales")
    assert "Not decided" not in plan and "public.users" in plan, plan
    banyan("apply")
    banyan("migrate create sales")
    assert "public.users" in banyan("migrate status sales")
    banyan("migrate verify sales")
    banyan("migrate switch sales")
    old.run("insert into users(name) values ('after'); update users set name = 'changed' where id = 7", "shop")
    eventually(lambda: new.run("select * from users order by id", "shop") == old.run("select * from users order by id", "shop"), "the copy")
    new.run("insert into orders(buyer, total) select max(id), 1 from users", "shop", user="sales_service")
    eventually(lambda: old.value("select count(*) from orders", "shop") == 501, "the way back")
    banyan("migrate verify sales")
    completed = banyan("migrate complete sales --confirm sales")
    assert "public.users" in completed, completed
    try:
        old.run("select * from orders", "shop", user="reader")
        raise AssertionError("an old reader reads on")
    except psycopg2.errors.InsufficientPrivilege:
        pass
    old.run("insert into users(name) values ('later'); delete from review", "shop")
    eventually(lambda: new.value("select 1 from users where name = 'later'", "shop"), "the copy after the completion")
    banyan("migrate complete sales --confirm sales --end-copies")


def main():
    with Postgres() as old, Postgres() as new, tempfile.TemporaryDirectory(prefix="banyan-split-") as folder:
        for server in (old, new):
            server.create_database("shop")
        old.psql(SETUP, "shop")
        old.psql("create role reader login; grant select on orders to reader", "shop")
        programs = pathlib.Path(folder, "bin")
        programs.mkdir()
        (programs / "banyan").symlink_to(os.path.abspath(sys.argv[1]))
        place = pathlib.Path(folder, "shop")
        place.mkdir()
        (place / "banyan.yaml").write_text(SPEC)
        (place / ".env").write_text(f"OLD_DATABASE_URL={old.url('shop')}\nNEW_DATABASE_URL={new.url('shop')}\nSALES_PASSWORD=sesame-7\n")
        (place / ".env").chmod(0o600)
        banyan = Verbs(place, programs)
        try:
            split(banyan, old, new)
            for server in (old, new):
                assert not server.run("select 1 from pg_replication_slots")
                assert "sesame-7" not in server.log_tail(10**6)
            logs = "".join(path.read_text(errors="replace") for path in place.rglob("*.log"))
            assert logs and "sesame-7" not in logs
        finally:
            subprocess.run([programs / "banyan", "down"], cwd=place, capture_output=True, check=False)
    print("ok")


if __name__ == "__main__":
    main()
