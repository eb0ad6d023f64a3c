#!/usr/bin/python3
"""CPU seconds of the source's walsenders and of the role for three splits of one database that follow the same
transactions: with a slot each, and with one that they share.

    bench/shared_slot.py BANYAN [--rounds N] [--transactions N]

A round measures both, in turning order; each transaction writes a row of each split's table and one of a table that
stays.
"""
import argparse
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests" / "lib"))
from cluster import Banyan, Postgres, eventually  # noqa: E402

SPLITS = ("a", "b", "c")
TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(binary, share, transactions):
    with Postgres() as old, Postgres() as new, Banyan(binary, "replicate") as role:
        old.create_database("shop")
        for table in (*SPLITS, "rest"):
            old.run(f"create table {table}(id serial primary key, v text)", "shop")
        for name in SPLITS:
            new.create_database(name)
            role.call("start", name=name, config={
                "source": old.url("shop"), "target": new.url(name), "tables": [name], **({"share": "all"} if share else {})})
            eventually(lambda: role.call("status", name=name)["state"] == "following", "following")
        slots = 1 if share else len(SPLITS)
        senders = eventually(lambda: (pids := [pid for (pid,) in old.run(
            "select pid from pg_stat_replication where application_name = 'banyan_stream'")]) and len(pids) == slots and pids,
            "the walsenders")
        before = sum(cpu(pid) for pid in senders), cpu(role.process.pid)
        inserts = "; ".join(f"insert into {table}(v) values (repeat('x', 100))" for table in (*SPLITS, "rest"))
        old.run(f"do $$ begin for i in 1..{transactions} loop {inserts}; commit; end loop; end $$", "shop")
        for name in SPLITS:
            eventually(lambda: new.value(f"select count(*) from {name}", name) == transactions, "the rows")
        return sum(cpu(pid) for pid in senders) - before[0], cpu(role.process.pid) - before[1], slots


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("banyan")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--transactions", type=int, default=30000)
    options = parser.parse_args()
    print("| round | slots | CPU s walsenders | CPU s role |\n| --- | ---: | ---: | ---: |")
    for number in range(options.rounds):
        for share in (False, True) if number % 2 == 0 else (True, False):
            senders, role, slots = measure(options.banyan, share, options.transactions)
            print(f"| {number + 1} | {slots} | {senders:.2f} | {role:.2f} |", flush=True)


if __name__ == "__main__":
    main()
