#include "planes/replication/sequence_rights.h"

#include <fmt/format.h>

#include "planes/replication/sequences.h"

namespace banyan::replication {
namespace {

// USAGE and UPDATE of everybody but those who must go on. A right that somebody granted on is
// given back by its owner.
constexpr std::string_view kTake = R"sql(
with taken as (insert into banyan.sequence_rights(name, sequence, grantee, privilege, is_grantable)
select distinct {0}, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       coalesce(pg_catalog.quote_ident(r.rolname), 'public'), a.privilege_type, a.is_grantable
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
cross join lateral pg_catalog.aclexplode(
  coalesce(c.relacl, pg_catalog.acldefault('s', c.relowner))) a
left join pg_catalog.pg_roles r on r.oid = a.grantee
join pg_catalog.pg_roles me on me.rolname = current_user
where c.relkind = 'S' and c.relpersistence <> 't' and n.nspname !~ '^pg_' and n.nspname <> 'banyan'
  and a.privilege_type in ('USAGE', 'UPDATE') and {1}
  and (me.rolsuper or a.grantee not in (c.relowner, me.oid))
returning sequence, grantee)
select pg_catalog.format('revoke usage, update on sequence %s from %s cascade;',
                         string_agg(distinct sequence, ', '), grantee)
from taken group by grantee)sql";

// One statement for all that were granted alike: a thousand sequences are one round trip.
constexpr std::string_view kGiveBack = R"sql(
with given as (delete from banyan.sequence_rights r where name = {0}
  and pg_catalog.to_regclass(sequence) is not null
  and (grantee = 'public' or exists (select 1 from pg_catalog.pg_roles p
                                     where pg_catalog.quote_ident(p.rolname) = r.grantee))
  returning sequence, grantee, privilege, is_grantable),
alike as (select sequence, grantee, is_grantable,
                 string_agg(privilege, ', ' order by privilege) as privileges
          from given group by 1, 2, 3)
select pg_catalog.format('grant %s on sequence %s to %s%s;', privileges, string_agg(sequence, ', '),
                         grantee, case when is_grantable then ' with grant option' else '' end)
from alike group by privileges, grantee, is_grantable)sql";

// Runs the statements that a query gives.
Result<void> run_each(pg::Connection& db, const std::string& query) {
  TRY(const auto rows, db.query(query));
  std::string sql;
  for (std::size_t row = 0; row < rows.size(); row++) sql += rows.str(row, 0);
  return sql.empty() ? Result<void>() : db.exec(sql);
}

}  // namespace

Result<void> close_sequences(pg::Connection& db, const std::string& migration,
                             const Direction& out) {
  auto closed = sequence_condition(out.from);
  const auto slices = out.slices();
  if (!slices.empty()) closed += " and not " + sequence_condition(slices);
  return run_each(db, fmt::format(kTake, pg::quote_literal(migration), closed));
}

Result<void> give_back_sequences(pg::Connection& db, const std::string& migration) {
  return run_each(db, fmt::format(kGiveBack, pg::quote_literal(migration)));
}

}  // namespace banyan::replication
