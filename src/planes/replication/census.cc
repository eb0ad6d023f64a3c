#include "planes/replication/census.h"

#include <fmt/format.h>

#include <algorithm>

namespace banyan::replication {
namespace {

constexpr auto kRelationsEvery = 10s;
constexpr std::int64_t kForgottenAfterMs = 24L * 3600 * 1000;
constexpr std::size_t kWritersKept = 200;

constexpr std::string_view kPrepare = R"sql(
prepare banyan_writers(oid[]) as
select coalesce(a.application_name, ''), coalesce(pg_catalog.host(a.client_addr),
         case when a.client_port = -1 then 'local' else '?' end), coalesce(a.usename::text, '?'),
       min(l.relation::pg_catalog.regclass::text), l.pid, coalesce(a.client_port, -1)
from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'relation' and l.mode = 'RowExclusiveLock' and l.granted
  and l.database = (select oid from pg_catalog.pg_database
                    where datname = pg_catalog.current_database())
  and l.relation = any ($1) and coalesce(a.application_name, '') !~ '^banyan'
group by 1, 2, 3, l.pid, a.client_port)sql";

std::int64_t now_ms() {
  return to_ms(SystemClock().wall().time_since_epoch());
}

struct Met {
  Writer writer;
  Client client;
};

std::vector<Met> read_met(const pg::Rows& rows) {
  std::vector<Met> all;
  for (std::size_t row = 0; row < rows.size(); row++) {
    Met met;
    met.writer.application = rows.str(row, 0);
    met.writer.address = rows.str(row, 1);
    met.writer.role = rows.str(row, 2);
    met.writer.table = rows.str(row, 3);
    met.client.backend = static_cast<int>(rows.integer(row, 4));
    const bool is_v6 = met.writer.address.contains(':');
    met.client.endpoint = fmt::format(fmt::runtime(is_v6 ? "[{}]:{}" : "{}:{}"), met.writer.address,
                                      rows.integer(row, 5));
    all.push_back(std::move(met));
  }
  return all;
}

}  // namespace

Result<void> Census::read_relations(pg::Connection& db, const TableNames& tables) {
  const auto now = SystemClock().now();
  if (!relations_.empty() && now - read_at_ < kRelationsEvery) return {};
  TRY(const auto moved, fenced_tables(db, tables));
  relations_.clear();
  for (const auto& table : moved) {
    relations_ += fmt::format("{}{}", relations_.empty() ? "" : ",", table.oid);
  }
  read_at_ = now;
  return {};
}

Result<void> Census::begin(pg::Connection& db) {
  return db.exec(std::string(kPrepare));
}

Result<void> Census::look(pg::Connection& db, const TableNames& tables) {
  TRY_VOID(read_relations(db, tables));
  TRY(const auto rows, db.query(fmt::format("execute banyan_writers('{{{}}}')", relations_)));
  auto all = read_met(rows);
  std::vector<Client> clients;
  for (const auto& met : all) clients.push_back(met.client);
  origins_.look(clients);
  for (auto& [writer, client] : all) {
    const auto provenance = origins_.of(client);
    if (!provenance) continue;
    writer.provenance = *provenance;
    count(std::move(writer));
  }
  return {};
}

void Census::count(Writer met) {
  Key key{met.application, met.address, met.role, met.provenance.origin, met.provenance.program};
  const auto now = now_ms();
  writers_.with([&](auto& writers) {
    if (!writers.contains(key) && writers.size() >= kWritersKept) return;
    auto& writer = writers[key];
    met.seen = writer.seen + 1;
    met.first_seen_ms = writer.seen == 0 ? now : writer.first_seen_ms;
    met.last_seen_ms = now;
    writer = std::move(met);
  });
}

std::vector<Writer> Census::writers() const {
  std::vector<Writer> found;
  const auto oldest = now_ms() - kForgottenAfterMs;
  writers_.with([&](const auto& writers) {
    for (const auto& [key, writer] : writers) {
      if (writer.last_seen_ms >= oldest) found.push_back(writer);
    }
  });
  std::ranges::sort(found, std::greater<>(), &Writer::seen);
  return found;
}

void Census::forget() {
  relations_.clear();
  writers_.with([](auto& writers) { writers.clear(); });
}

}  // namespace banyan::replication
