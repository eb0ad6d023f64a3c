"""Settings of the role and of the database change how the server writes dates and numbers; the copy does not care.

The walsender inherits them: a stream once carried 04/11/2026 and 0.3 for the sum of 0.1 and 0.2.
"""
from world import mark

HOSTILE = {"datestyle": "SQL, DMY", "extra_float_digits": "0", "intervalstyle": "sql_standard", "bytea_output": "escape",
           "timezone": "Asia/Kathmandu", "search_path": "nowhere", "lc_monetary": "C", "xmloption": "document",
           "row_security": "on", "client_encoding": "LATIN1", "statement_timeout": "1min", "escape_string_warning": "off"}
SETUP = """
create table mark(id int primary key);
create table v(id int primary key, d date, t timestamptz, f float8, r float4, i interval, b bytea, x text);
insert into v values (1, '2026-11-04', '2026-11-04 01:02:03.000004+00', 0.1::float8 + 0.2, 0.1,
                      '1 mon -2 days 03:04:05.6', '\\x00ff5c27', 'caf\u00e9 \u20ac');
"""
CHANGE = """set search_path = public; set datestyle = 'ISO, MDY'; set client_encoding = 'UTF8'; set timezone = 'UTC';
insert into v select id + 1, d, t, f * 3, r * 3, i * 2, b || '\\x80', x from v where id = (select max(id) from v);
update v set f = f / 3 where id = 1"""
EXACT = """set datestyle = 'ISO, YMD'; set extra_float_digits = 3; set intervalstyle = 'postgres'; set bytea_output = 'hex';
set timezone = 'UTC'; set client_encoding = 'UTF8'; set search_path = public;
select id, d::text, t::text, float8send(f)::text, float4send(r)::text, i::text, b::text, x from v order by 1"""


def make_hostile(move):
    for server in (move.old, move.new):
        for name, value in HOSTILE.items():
            for owner in (f"database {move.name}", "role hostile", f"role hostile in database {move.name}"):
                server.run(f"alter {owner} set {name} = {value}" if name == "datestyle" else
                           f"alter {owner} set {name} = '{value}'")


def same(move):
    old, new = move.old.run(EXACT, move.name), move.new.run(EXACT, move.name)
    assert old == new, (old, new)


def run(world):
    for server in (world.old, world.new):
        server.run("create role hostile superuser login replication")
    with world.migration(SETUP, begin=False) as move:
        make_hostile(move)
        move.start("hostile")
        move.wait_following()
        for side in ("old", "new"):
            move.side(side).run(CHANGE, move.name)
            mark(move, side)
            same(move)
            move.switch()
        assert move.verify()["state"] == "equal"
    for server in (world.old, world.new):
        server.run("drop role hostile")
