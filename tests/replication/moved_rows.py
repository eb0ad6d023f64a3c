"""Rows move between pieces of a table that are copied under different snapshots, and the stream does not tell their large
values: they are read again, each under a snapshot of its own, and killing the role at any moment loses and doubles nothing."""
import random
import sys
import time

from steps import Pair, eventually

ROWS = 600
SETUP = f"""
create table big(id int primary key, v int, large text); alter table big alter large set storage external;
create table pairs(a int, b text, v int, large text, primary key (a, b)); alter table pairs alter large set storage external;
insert into big select g, 0, repeat(md5(g::text), 100) from generate_series(1, {ROWS}) g;
insert into pairs select g, 'b', 0, large from big, lateral (select id as g) x;
"""
QUESTIONS = ("select id, v, md5(large) from big order by 1", "select a, b, v, md5(large) from pairs order by 1, 2")


def start_in_the_middle(pair):
    """Some pieces are copied, the upper keys are not."""
    pair.old.psql(SETUP, "shop")
    pair.start(copy_mode="chunk", chunk_bytes=300_000, jobs=1, throttle={"bytes_per_s": 400_000})
    for table in ("big", "pairs"):
        eventually(lambda: pair.new.value("select to_regclass('banyan.applied_chunks')", "shop") and
                   pair.new.value(f"select count(*) from banyan.applied_chunks where table_name = 'public.{table}'", "shop"), table)
        # Uncopied rows go to keys that are copied: once, on to another, back, into a hole, away.
        key = "id" if table == "big" else "a"
        pair.old.run(f"update {table} set {key} = -{key} where {key} > {ROWS} - 60", "shop")
        pair.old.run(f"update {table} set {key} = {key} - 10000 where {key} < -{ROWS} + 20", "shop")
        pair.old.run(f"update {table} set v = v + 1 where {key} < 0", "shop")
        pair.old.run(f"update {table} set {key} = -{key} where {key} between -{ROWS} + 25 and -{ROWS} + 30", "shop")
        pair.old.run(f"delete from {table} where {key} between -{ROWS} + 35 and -{ROWS} + 40", "shop")
        pair.old.run(f"delete from {table} where {key} = 3; update {table} set {key} = 3 where {key} = {ROWS} - 100", "shop")
        pair.old.run(f"update {table} set large = large || 'x' where {key} < -{ROWS} + 45", "shop")
    pair.old.run("update pairs set b = 'c' where a < 0", "shop")


def equal(pair):
    return all(pair.old.run(question, "shop") == pair.new.run(question, "shop") for question in QUESTIONS)


def main():
    seed = random.randrange(10**6)
    print(f"seed {seed}", flush=True)
    choice = random.Random(seed)
    with Pair(sys.argv[1]) as pair:
        start_in_the_middle(pair)
        pair.call("throttle", bytes_per_s=0)
        for _ in range(4):
            time.sleep(choice.uniform(0.05, 0.6))
            pair.role.kill9()
            pair.role.start()
            pair.call("throttle", bytes_per_s=0)
        pair.wait_following()
        pair.old.run("update big set v = v + 1; update pairs set v = v + 1 where a % 2 = 0", "shop")
        eventually(lambda: equal(pair), "both sides equal")
        assert pair.new.value("select count(*) from banyan.refetched_rows where table_name = 'public.big'", "shop") >= 20, "nothing was read again"
        assert pair.verify()["state"] == "equal"
        pair.switch()
        assert pair.verify()["state"] == "equal"
        print("ok")


if __name__ == "__main__":
    main()
