"""Every case of cases/*.test in one migration between two real servers whose databases have hostile
settings. A case is `# name`, `[before]` (SQL on the source before the migration), `[during]` (while
following) and `[expect]` (a query asked on both sides); each lives in a schema of its own. Every table of
both sides is compared, and the role's own `verify` must agree.

    run_cases.py BANYAN [words that a case's name must contain]
"""
import glob
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cluster import Banyan, Postgres, eventually  # noqa: E402

HOSTILE = ["datestyle = 'SQL, DMY'", "intervalstyle = 'sql_standard'", "extra_float_digits = 0",
           "bytea_output = 'escape'", "timezone = 'America/New_York'", "statement_timeout = '60s'",
           "standard_conforming_strings = on", "search_path = 'pg_catalog'", "lc_monetary = 'C'"]
PINNED = ("set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres'; set extra_float_digits = 3; "
          "set bytea_output = 'hex'; set timezone = 'UTC'; set row_security = off;")


class Case:
    def __init__(self, text, number):
        self.name, *rest = text.split("\n", 1)
        self.schema = f"case_{number}"
        parts = re.split(r"^\[(before|during|expect)\]\n?", rest[0] if rest else "", flags=re.M)
        self.parts = {key: body.strip() for key, body in zip(parts[1::2], parts[2::2])}

    def script(self, part):
        # Values are written with the server's usual settings; what they become is the databases' affair.
        return (f"set search_path = {self.schema}, public; set datestyle = 'ISO, MDY'; "
                f"set intervalstyle = 'postgres';\n{self.parts.get(part, '')}\n")


def matrix_of(type_name, values, cannot):
    """A type in every place a column can be, under every operation."""
    a, b, c = values
    fresh = f"values (11, {a}), (12, {b}), (13, {c}), (14, null)"
    yield (f"{type_name} as a value\n[before]\ncreate table t(id int primary key, v {type_name}, w {type_name} default {a});\n"
           f"insert into t(id, v) values (1, {a}), (2, {b}), (3, {c}), (4, null), (5, {a});\n"
           f"[during]\ninsert into t(id, v) {fresh};\nupdate t set v = {b} where id = 1;\nupdate t set v = null where id = 2;\n"
           f"update t set v = {c}, w = null where id = 4;\nupdate t set v = v where id = 3;\nupdate t set id = 50 where id = 5;\n"
           f"delete from t where id = 12;\n[expect]\nselect id, v::text, w::text from t order by id")
    if "key" not in cannot and "null" not in values:
        yield (f"{type_name} as a key\n[before]\ncreate table t(k {type_name} primary key, n int);\n"
               f"insert into t values ({a}, 1), ({b}, 2);\n[during]\nupdate t set n = 10 where n = 1;\n"
               f"update t set k = {c} where n = 10;\ndelete from t where n = 2;\ninsert into t values ({b}, 3), ({a}, 4);\n"
               f"update t set k = k, n = 30 where n = 3;\n[expect]\nselect k::text, n from t order by n")
    yield (f"{type_name} without a key\n[before]\ncreate table t(v {type_name}, n int);\n"
           f"insert into t values ({a}, 1), ({a}, 1), ({b}, 2), ({c}, 3), (null, 4), (null, 4);\n[during]\n"
           f"update t set n = 10 where ctid = (select min(ctid) from t where n = 1);\ndelete from t where n = 2;\n"
           f"update t set v = {b} where ctid = (select min(ctid) from t where n = 4);\ninsert into t values ({c}, 3);\n"
           f"delete from t where ctid = (select min(ctid) from t where n = 3);\n[expect]\nselect v::text, n from t order by n, 1")
    if "array" not in cannot:
        yield (f"{type_name} in arrays\n[before]\ncreate table t(id int primary key, a {type_name}[], b {type_name}[][]);\n"
               f"insert into t values (1, array[{a}, {b}, null]::{type_name}[], array[[{a}, {b}], [{c}, null]]::{type_name}[]), "
               f"(2, '{{}}', null);\n[during]\nupdate t set a[2] = {c} where id = 1;\n"
               f"update t set a = array_append(a, {a}), b = array[[{b}]]::{type_name}[] where id = 2;\n"
               f"insert into t values (3, array_fill({c}::{type_name}, array[3], array[-1]), null);\n"
               f"[expect]\nselect id, a::text, b::text from t order by id")


def read_matrix(folder):
    with open(os.path.join(folder, "matrix.types")) as file:
        for line in file:
            if line.startswith("#") or not line.strip():
                continue
            type_name, *values = [field.strip() for field in line.split(" | ")]
            yield from matrix_of(type_name, values[:3], " ".join(values[3:]))


def read_cases(words):
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases")
    texts = list(read_matrix(folder))
    for path in sorted(glob.glob(os.path.join(folder, "*.test"))):
        with open(path) as file:
            texts += re.split(r"^# ", file.read(), flags=re.M)[1:]
    cases = [Case(text, number) for number, text in enumerate(texts)]
    return [case for case in cases if all(word in case.name for word in words)]


def create_database(server, hostile):
    server.create_database("shop")
    for setting in hostile:
        server.run(f"alter database shop set {setting}")


SESSIONS = {}  # one for each server


def ask(server, sql):
    if server not in SESSIONS:
        SESSIONS[server] = server.connect("shop")
    with SESSIONS[server].cursor() as cursor:
        cursor.execute(PINNED + sql)
        return cursor.fetchall()


def tables_of(server, schema):
    return [row[0] for row in ask(
        server, f"select quote_ident(relname) from pg_class where relkind = 'r' and relpersistence = 'p' "
                f"and relnamespace = '{schema}'::regnamespace order by 1")]


def rows_of(server, schema, table):
    # By name: an inheritance child may have its columns in another order after a dump.
    columns = ask(server, f"select string_agg(quote_ident(attname), ', ' order by attname) from pg_attribute "
                          f"where attrelid = $name${schema}.{table}$name$::regclass and attnum > 0 and not attisdropped")
    return sorted(row[0] for row in ask(
        server, f"select coalesce(row({columns[0][0] or ''})::text, '') from only {schema}.{table}"))


def shape_of(server, schema):
    """Indexes, constraints, triggers and columns: what a schema consists of, as text."""
    return ask(server, f"""
        select 'index', indexdef from pg_indexes where schemaname = '{schema}' union all
        select 'constraint', conrelid::regclass || ' ' || pg_get_constraintdef(c.oid) || convalidated::text from
          pg_constraint c where connamespace = '{schema}'::regnamespace union all
        select 'trigger', pg_get_triggerdef(t.oid) || tgenabled::text from pg_trigger t join pg_class c on
          c.oid = tgrelid where relnamespace = '{schema}'::regnamespace and not tgisinternal
          and tgname <> 'banyan_fence' union all
        select 'column', attrelid::regclass || ' ' || attname || ' ' || format_type(atttypid, atttypmod) ||
          attnotnull || attidentity::text || attgenerated::text || coalesce(pg_get_expr(adbin, adrelid), '')
          from pg_attribute a join pg_class c on c.oid = attrelid left join pg_attrdef on adrelid = attrelid
          and adnum = attnum where relnamespace = '{schema}'::regnamespace and relkind in ('r', 'p', 'v', 'm')
          and attnum > 0 and not attisdropped order by 1, 2""")


def differences(source, target, case):
    found = []
    query = f"set search_path = {case.schema}, public; select q::text from ({case.parts['expect']}) q"
    for what, read in (
            ("expect", lambda server: ask(server, query)),
            ("tables", lambda server: tables_of(server, case.schema)),
            ("schema", lambda server: shape_of(server, case.schema))):
        try:
            here, there = read(source), read(target)
        except Exception as error:  # a missing table is a difference like any other
            found.append(f"{what}: {error}")
            continue
        if here != there:
            found.append(f"{what}: source {[r for r in here if r not in there][:5]} "
                         f"target {[r for r in there if r not in here][:5]}")
    if found:
        return found
    for table in tables_of(source, case.schema):
        here, there = rows_of(source, case.schema, table), rows_of(target, case.schema, table)
        if here != there:
            found.append(f"{table}: source {here[:5]} target {there[:5]}")
    return found


def wait_for_state(role, wanted, **name):
    def reached():
        status = role.call("status", **name)
        if status["state"] == "failed":
            raise AssertionError(f"the migration failed: {status}")
        return status if status["state"] == wanted else None
    try:
        return eventually(reached, f"state {wanted}")
    except TimeoutError:
        raise AssertionError(f"{role.call('status', **name)}\n{role.log_tail()}") from None


def wait_until_caught_up(role, source, target, name):
    """Everything committed on the source before now is on the target: a mark row travels behind it."""
    mark = source.value("select coalesce(max(id), 0) + 1 from public.mark", "shop")
    source.run(f"insert into public.mark values ({mark})", "shop")

    def arrived():
        status = role.call("status", name=name)
        if status["state"] == "failed":
            raise AssertionError(f"the migration failed: {status}")
        return target.value(f"select 1 from public.mark where id = {mark}", "shop")
    try:
        eventually(arrived, "the stream")
    except TimeoutError:
        raise AssertionError(f"{role.call('status', name=name)}\n{role.log_tail()}") from None


def verify(role, name):
    def finished():
        verdict = role.call("verify", name=name, wait_ms=5000)
        return verdict if verdict["state"] != "running" else None
    return eventually(finished, "verification")


def run_scripts(source, cases, part):
    """A psql for many cases: starting one for each would take most of the time."""
    for at in range(0, len(cases), 40):
        some = cases[at:at + 40]
        if part == "before":
            source.run("".join(f"create schema {case.schema};" for case in some), "shop")
        source.psql("".join(f"\\echo {case.name}\n{case.script(part)}reset all;\n" for case in some), "shop")


def run_all(role, source, target, cases):
    run_scripts(source, cases, "before")
    role.call("start", name="shop", config={
        "source": source.url("shop"), "target": target.url("shop"), "tables": "all", "jobs": 2})
    wait_for_state(role, "following", name="shop")
    run_scripts(source, cases, "during")
    wait_until_caught_up(role, source, target, "shop")


def main():
    binary, words = sys.argv[1], sys.argv[2:]
    cases = read_cases(words)
    with Postgres() as source, Postgres() as target, Banyan(binary, "replicate") as role:
        create_database(source, HOSTILE)
        create_database(target, HOSTILE[:3])
        source.run("create table public.mark(id int primary key)", "shop")
        run_all(role, source, target, cases)
        failed = 0
        for case in cases:
            found = differences(source, target, case)
            failed += bool(found)
            print("FAIL" if found else "ok  ", case.name, *found, sep="\n      " if found else " ")
        verdict = verify(role, "shop")
        print("verify:", verdict["state"], verdict["rows"], "rows",
              verdict.get("error", ""), [t for t in verdict["tables"] if not t["equal"]])
        if verdict["state"] != "equal":
            failed += 1
        role.call("cancel", name="shop")
        assert not source.value("select 1 from pg_replication_slots"), "a slot is left behind"
        assert not target.value("select 1 from pg_replication_slots"), "a slot is left behind"
        print(f"{len(cases) - failed} of {len(cases)} cases passed")
        return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
