-- Roles of the cluster: attributes, memberships, settings, comments, rights on parameters.
create role reader nologin;
create role boss login createdb;
create role clerk login connection limit 7 valid until '2099-01-01' in role reader;
create role "Odd ""role" noinherit bypassrls;
comment on role clerk is 'it''s the clerk';
alter role clerk set work_mem = '5MB';
alter role clerk set search_path = 'sink', "$user", public;
grant reader to boss with admin option;
grant set on parameter log_min_duration_statement to clerk;
grant alter system on parameter work_mem to clerk with grant option;
