"""Random scripts of operations, applied in compacted batches and row by row, give the same tables as the source:
secondary unique keys whose values change hands, keys that change and rotate, TOAST values that stay, tables without a
key, hostile types. A backlog is made while the role is away, so that batches are large.

    batches.py BANYAN [seed]
"""
import os
import random
import sys

from steps import Banyan, Postgres, eventually

ROUNDS, TRANSACTIONS = 3, 400
SETUP = """
create type mood as enum ('sad', 'ok', 'happy'); create type pair as (a int, b text);
create domain small as int check (value < 100000);
create table plain(id int primary key, v int, note text);
create table hot(id int primary key, n bigint not null);
insert into hot values (1, 0);
create table swap(id int primary key, u int unique, w text);
insert into swap values (31, 31, 'l'), (32, 32, 'r');
create table two(a int, b text, v numeric(10,2), primary key (a, b));
create table toast(id bigint primary key, big text, small int);
alter table toast alter big set storage external;
create table bag(a int, b text, c jsonb);
create table fullpk(id int primary key, big text, v int);
alter table fullpk replica identity full; alter table fullpk alter big set storage external;
create table odd(id uuid primary key, at timestamptz, day date, flag bool, j jsonb, arr int[], c char(5), m mood,
  p pair, s small, r int4range, b bytea, f float8, x "char", n name, i interval, ts tsvector, "Odd ""name" text);
create table ident(id bigint generated always as identity primary key, v int,
  twice int generated always as (v * 2) stored);
create table c_key(id text collate "C" primary key, v text);
create table numkey(id numeric primary key, v text);
create table marker(id int primary key);
"""
# Two rows exchange their unique values: no order of single updates to the final values can do that.
EXCHANGE = """begin; update swap set u = -u where id in (31, 32);
update swap set u = (select -s.u from swap s where s.id = 63 - swap.id) where id = 31;
update swap set u = 63 - (select s.u from swap s where s.id = 31) where id = 32; commit;
"""
TABLES = ["plain", "hot", "swap", "two", "toast", "bag", "fullpk", "odd", "ident", "c_key", "numkey"]


class Script:
    """Transactions for whatever the tables hold; one that fails is rolled back, as applications do."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def key(self):
        return self.random.randint(1, 30)

    def big(self):
        return f"repeat('{self.random.choice('abcdef')}', {self.random.choice([10, 5000])})"

    def statement(self):
        r, k, l = self.random, self.key(), self.key()
        return r.choice([
            f"insert into plain values ({k}, {l}, {self.big()}) on conflict (id) do update set v = plain.v + 1",
            f"delete from plain where id = {k}",
            f"update plain set v = v + 1 where id between {k} and {k + 5}",
            f"update plain set id = {k} where id = {l} and not exists (select 1 from plain where id = {k})",
            f"insert into swap values ({k}, {k + 1000}, 'x') on conflict do nothing",
            f"delete from swap where id = {k}",
            f"update swap set u = -1 where id = {k}; update swap set u = {k} + 5000 where id = {l} and {l} <> {k} and "
            f"not exists (select 1 from swap where u = {k} + 5000); update swap set u = id + {r.choice([1000, 2000])} "
            f"where u = -1 and not exists (select 1 from swap s where s.u in (swap.id + 1000, swap.id + 2000))",
            f"update swap set u = null where u = -1",
            self.swap(k, l),
            f"insert into two values ({k}, 'b{l % 3}', {k}.5) on conflict (a, b) do update set v = two.v + 0.25",
            f"delete from two where a = {k}",
            f"update two set b = b || 'x' where a = {k} and length(b) < 5 and b = (select max(b) from two where a = {k})",
            f"insert into toast values ({k}, {self.big()}, 0) on conflict (id) do update set small = toast.small + 1",
            f"update toast set small = small + 1 where id = {k}",
            f"update toast set id = {l} where id = {k} and not exists (select 1 from toast where id = {l})",
            f"update toast set big = {self.big()} where id = {k}",
            f"delete from toast where id = {k}",
            f"insert into bag values ({k}, 'x', '[1]'), ({k}, 'x', null)",
            f"update bag set b = b || 'y' where ctid = (select min(ctid) from bag where a = {k})",
            f"delete from bag where ctid = (select max(ctid) from bag where a = {k})",
            f"insert into fullpk values ({k}, {self.big()}, {l}) on conflict (id) do update set v = {l}",
            f"update fullpk set id = {l} where id = {k} and not exists (select 1 from fullpk where id = {l})",
            f"delete from fullpk where id = {k}",
            self.odd(k),
            f"update odd set flag = not flag, \"Odd \"\"name\" = 'n' where s = {k}",
            f"delete from odd where s = {k}",
            f"insert into ident(v) values ({k})",
            f"update ident set v = v + 1 where id % 7 = {k % 7}",
            f"delete from ident where id % 11 = {k % 11}",
            f"insert into c_key values ('K{k}', 'v') on conflict (id) do update set v = c_key.v || '.'",
            f"update c_key set id = 'k' || id where id = 'K{k}' and not exists (select 1 from c_key where id = 'kK{k}')",
            f"delete from c_key where id like '%K{k}'",
            f"insert into numkey values ({k}.0, 'a') on conflict (id) do update set id = {k}.00, v = 'b'",
            f"delete from numkey where id = {k}",
        ] + ([f"truncate {r.choice(['plain', 'c_key', 'two, bag'])}"] if r.random() < 0.02 else []))

    def swap(self, k, l):
        return (f"with s as (select min(u) filter (where id = {k}) a, min(u) filter (where id = {l}) b from swap) "
                f"select set_config('t.a', coalesce(a::text, ''), true), set_config('t.b', coalesce(b::text, ''), true) "
                f"from s; update swap set u = null where id in ({k}, {l}); "
                f"update swap set u = nullif(current_setting('t.b'), '')::int where id = {k}; "
                f"update swap set u = nullif(current_setting('t.a'), '')::int where id = {l} and {k} <> {l}")

    def odd(self, k):
        return (f"insert into odd values (md5('{k}')::uuid, '2026-01-0{k % 9 + 1} 10:00+05:30', "
                f"{self.random.choice(['$$infinity$$', '$$0044-03-15 BC$$', '$$2026-02-28$$'])}, "
                f"{k % 2} = 1, '{{\"a\": [1, \"\\\\\"]}}', "
                f"'{{1,NULL,3}}', 'ab', 'happy', row({k}, E'q\"\\\\,'), {k}, '[1,{k + 1})', E'\\\\x00ff', 'NaN', 'x', "
                f"'name', '1 mon -3 days', 'a:1 b:2', E'tab\\tline\\nend\\\\.') "
                f"on conflict (id) do update set f = 0.1 + 0.2, at = null")

    def transaction(self):
        body = "; ".join(self.statement() for _ in range(self.random.randint(1, 4)))
        end = "rollback" if self.random.random() < 0.05 else "commit"
        return f"begin; update hot set n = n + 1 where id = 1; {body}; {end};\n"


def rows(server, database, table):
    return server.run(f"select t::text from {table} t order by 1", database)


def start(role, source, target, way):
    role.call("start", name=way, config={"source": source.url("shop"), "target": target.url(way), "tables": "all",
                                         "apply": way, "slot_prefix": f"banyan_{way}_"})


def wait_for(role, target, way, mark):
    def arrived():
        status = role.call("status", name=way)
        assert status["state"] != "failed", (way, status)
        return status["state"] == "following" and target.value(f"select 1 from marker where id = {mark}", way)
    eventually(arrived, f"{way} to arrive")


def main():
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1_000_000)
    print("seed", seed)
    script = Script(seed)
    with Postgres() as source, Postgres() as target, Banyan(sys.argv[1], "replicate") as role:
        source.create_database("shop")
        source.psql(SETUP, "shop")
        for way in ("sets", "rows"):
            target.create_database(way)
            start(role, source, target, way)
            eventually(lambda: role.call("status", name=way)["state"] == "following", way)
        counts, beside = {}, {}
        for turn in range(ROUNDS):
            role.stop()
            source.psql("\\set ON_ERROR_STOP 0\n" + "".join(script.transaction() for _ in range(TRANSACTIONS)) + EXCHANGE, "shop")
            assert source.value("select count(*) from swap where id in (31, 32) and u > 0", "shop") == 2
            source.run(f"insert into marker values ({turn})", "shop")
            role.start()
            for way in ("sets", "rows"):
                wait_for(role, target, way, turn)
                stream = role.call("status", name=way)["stream"]
                counts[way] = [a + b for a, b in zip(counts.get(way, [0, 0]),
                                                     [stream["batches"], stream["batches_row_by_row"]])]
                beside[way] = [a + b for a, b in zip(beside.get(way, [0, 0]),
                                                     [stream["batches_beside"], stream["batches_again"]])]
                for table in TABLES:
                    here, there = rows(source, "shop", table), rows(target, way, table)
                    assert here == there, (way, turn, table, [r for r in here if r not in there][:3],
                                           [r for r in there if r not in here][:3])
        print("batches, of them row by row:", counts, "beside others, of them written again alone:", beside)
        assert "BANYAN_START_CONFIG" not in os.environ or beside["sets"][0] > 0, "nothing was applied beside others"
        assert counts["sets"][0] < ROUNDS * TRANSACTIONS / 4, "transactions were not joined into batches"
        assert counts["sets"][1] > 0, "no unique value changed hands: the fall-back was not tried"
        written = target.value("select n_tup_upd from pg_stat_user_tables where relname = 'hot'", "sets")
        hot = source.value("select n from hot", "shop")
        print(f"the hot row: {hot} updates, written {written} times")
        for way in ("sets", "rows"):
            role.call("cancel", name=way)


if __name__ == "__main__":
    main()
