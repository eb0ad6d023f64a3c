"""A split whose border is crossed: every crossing wants a decision; a parent that stays is kept as a read-only copy, before
and after the switch and after the completion; what is left out is left out; the service's role sees its own tables only."""
import sys

import psycopg2

from steps import Pair, RpcError, eventually

SETUP = """
create schema sales; create role clerk login; create role auditor login;
create table country(id int primary key, name text); insert into country values (1, 'here'), (2, 'there');
create table users(id serial primary key, name text, country int references country);
insert into users(name, country) select 'u' || g, 1 + g % 2 from generate_series(1, 200) g;
create function touched() returns trigger language plpgsql as $$ begin new.name := new.name || '.'; return new; end $$;
create trigger touched before update on users for each row execute function touched();
create table sales.orders(id serial primary key, buyer int references users, total numeric);
create table sales.item(id int primary key, o int references sales.orders, n int);
insert into sales.orders(buyer, total) select 1 + g % 150, g from generate_series(1, 600) g;
insert into sales.item select g, g, 1 from generate_series(1, 600) g;
create table review(id serial primary key, o int references sales.orders, u int references users);
insert into review(o, u) select g, g from generate_series(1, 50) g;
create table audit(id int primary key); insert into audit values (1);
alter table sales.item add column a int default 1 references audit;
grant select, insert, update on all tables in schema public, sales to clerk; grant usage on schema sales to clerk;
grant usage on all sequences in schema public, sales to clerk;
"""
TABLES = ["sales.orders", "sales.item"]
DECISIONS = {"foreign_key orders_buyer_fkey of sales.orders": "read_only_copy",
             "foreign_key item_a_fkey of sales.item": "application_check",
             "foreign_key review_o_fkey of public.review": "application_check"}


def refused(server, user, sql, *errors):
    try:
        server.run(sql, "shop", user=user)
    except errors or psycopg2.errors.InsufficientPrivilege as error:
        return error
    raise AssertionError(f"{user} may: {sql}")


def start(pair, decisions):
    pair.start(tables=TABLES, decisions=decisions, ddl_every_ms=300,
               service_role={"name": "sales_service", "password": "not in any log"})


def test_create_wants_every_decision(pair):
    for decisions in ({}, {"foreign_key orders_buyer_fkey of sales.orders": "read_only_copy"}):
        try:
            start(pair, decisions)
            raise AssertionError("started without a decision")
        except RpcError as error:
            assert error.code == "conflict" and "review_o_fkey of public.review" in str(error), error
            assert "plan-split" in error.remedy and "application_check" in error.remedy, error.remedy
    try:
        start(pair, {**DECISIONS, "foreign_key review_o_fkey of public.review": "read_only_copy"})
        raise AssertionError("a way that is not offered")
    except RpcError as error:
        assert error.code == "invalid_argument" and "move_too | application_check" in error.remedy, (error.code, error.remedy)
    also = pair.call("plan_split", config=pair.config(tables=TABLES, decisions={"foreign_key *": "move_too"}))
    assert set(also["tables"]) == {*TABLES, "public.users", "public.review", "public.audit", "public.country"}, also["tables"]
    assert not pair.new.value("select to_regclass('sales.orders')", "shop")
    print("ok   create wants every decision")


def test_what_the_new_side_gets(pair):
    keys = {row[0] for row in pair.new.run("select conname from pg_constraint where contype = 'f'", "shop")}
    assert keys == {"orders_buyer_fkey", "item_o_fkey"}, keys
    assert not pair.new.value("select to_regclass('public.country')", "shop")
    status = pair.call("status")
    assert "FK CONSTRAINT sales.item item_a_fkey" in status["left_out"], status["left_out"]
    assert status["copies"]["tables"] == ["public.users"], status["copies"]
    for user in ("clerk", "postgres"):
        refused(pair.new, user, "insert into users(name) values ('no')", psycopg2.errors.ReadOnlySqlTransaction)
    print("ok   what the new side gets")


def change_parents(pair):
    pair.old.run("update users set country = 3 - country where id % 7 = 0; insert into users(name) values ('late'), ('soon gone'); "
                 "delete from users where id = (select max(id) from users u where not exists (select 1 from sales.orders where buyer = u.id))", "shop")


def test_copies_go_on_behind_the_switch(pair):
    change_parents(pair)
    pair.assert_equal(["users", *TABLES])
    pair.switch()
    assert pair.active() == "new"
    change_parents(pair)
    for i in range(40):  # parents from one side, children from the other, interleaved
        pair.old.run(f"insert into users(id, name) values ({5000 + i}, 'p')", "shop")
        eventually(lambda: pair.new.value(f"select 1 from users where id = {5000 + i}", "shop"), "the parent")
        pair.new.run(f"insert into sales.orders(buyer, total) values ({5000 + i}, 1)", "shop")
    refused(pair.new, "sales_service", "insert into sales.orders(buyer) values (99999)", psycopg2.errors.ForeignKeyViolation)
    refused(pair.new, "postgres", "update users set name = 'no'", psycopg2.errors.ReadOnlySqlTransaction)
    refused(pair.old, "postgres", "update sales.orders set total = 0", psycopg2.errors.ReadOnlySqlTransaction)
    pair.assert_equal(["users", *TABLES])
    assert pair.verify()["state"] == "equal", pair.verify()
    # A write forced past the fence is an alarm; the copy's part of the same transaction is carried on.
    pair.old.run("begin; alter table sales.orders disable trigger banyan_fence; update sales.orders set total = -1 where id = 1; "
                 "update users set name = 'with it' where id = 1; alter table sales.orders enable always trigger banyan_fence; commit", "shop")
    eventually(lambda: pair.call("status")["tripwire"], "the alarm")
    pair.assert_equal(["users"])
    assert pair.new.value("select total from sales.orders where id = 1", "shop") != -1
    assert pair.verify()["state"] == "different"
    assert pair.call("repair", wait_ms=60000)["state"] == "repaired"
    assert pair.verify()["state"] == "equal"
    print("ok   copies go on behind the switch")


def test_repair_of_a_copy(pair):
    pair.new.run("set session_replication_role = replica; alter table users disable trigger banyan_fence; "
                 "update users set name = 'wrong' where id = 3; alter table users enable always trigger banyan_fence", "shop")
    assert pair.verify()["state"] == "different"
    assert pair.call("repair", wait_ms=60000)["state"] == "repaired"
    assert pair.verify()["state"] == "equal"
    print("ok   a copy is repaired")


def test_back_and_forth_with_a_kill(pair):
    pair.switch()
    change_parents(pair)
    pair.role.kill9()
    pair.role.start()
    pair.wait_following()
    pair.old.run("update sales.orders set total = total + 1 where id % 3 = 0", "shop")
    pair.assert_equal(["users", *TABLES])
    pair.switch()
    pair.role.kill9()
    change_parents(pair)
    pair.role.start()
    pair.assert_equal(["users", *TABLES])
    assert pair.verify()["state"] == "equal"
    print("ok   back and forth")


def test_the_services_role(pair):
    service = "sales_service"
    pair.new.run("create table public.other(id int)", "shop")
    pair.new.run("insert into sales.orders(buyer, total) values (1, 7); select name from users limit 1", "shop", user=service)
    refused(pair.new, service, "select * from public.other")
    refused(pair.new, service, "update users set name = 'x'")
    assert pair.new.value("select rolpassword like 'SCRAM-SHA-256$%' from pg_authid where rolname = 'sales_service'")
    for log in (pair.new.log_tail(10**6), pair.old.log_tail(10**6), pair.role.log_tail(10**6)):
        assert "not in any log" not in log
    pair.new.run("drop table public.other", "shop")
    print("ok   the service's role")


def test_completion_closes_what_was_left(pair):
    pair.assert_equal(TABLES)
    pair.old.run("select * from sales.orders limit 1", "shop", user="clerk")
    assert pair.call("complete")["copies"] == ["public.users"]
    refused(pair.old, "clerk", "select * from sales.orders")
    assert pair.old.value("select count(*) from pg_constraint where conname in ('orders_buyer_fkey', 'review_o_fkey')", "shop") == 0
    pair.old.run("insert into review(o, u) values (1, 1); delete from users where id = 140", "shop", user="postgres")
    slots = [row[0] for row in pair.old.run("select slot_name from pg_replication_slots where database = 'shop'")]
    assert len(slots) == 1 and not pair.new.run("select 1 from pg_replication_slots"), slots
    pair.role.kill9()
    pair.role.start()
    change_parents(pair)
    pair.assert_equal(["users"])
    assert pair.verify()["state"] == "equal"
    refused(pair.new, "postgres", "update users set name = 'no'", psycopg2.errors.ReadOnlySqlTransaction)
    pair.new.run("update sales.orders set total = 3", "shop", user="sales_service")
    try:
        pair.call("act.prepare")
        raise AssertionError("a way back")
    except RpcError as error:
        assert error.code == "conflict", error
    pair.call("complete", copies="end")
    assert not pair.old.run("select 1 from pg_replication_slots") and not pair.new.value("select to_regclass('banyan.migration')", "shop")
    print("ok   completion closes what was left")


def main():
    with Pair(sys.argv[1]) as pair:
        pair.old.psql(SETUP, "shop")
        test_create_wants_every_decision(pair)
        start(pair, DECISIONS)
        pair.wait_following()
        test_what_the_new_side_gets(pair)
        test_copies_go_on_behind_the_switch(pair)
        test_repair_of_a_copy(pair)
        test_back_and_forth_with_a_kill(pair)
        test_the_services_role(pair)
        test_completion_closes_what_was_left(pair)
        print("ok")


if __name__ == "__main__":
    main()
