#pragma once
// Census: who else writes to the moved tables, by looking often at the locks that writers hold
// until their transaction ends. A look costs the server one query of its lock table; a transaction
// shorter than the pause between looks may be missed once, a job that comes again is found.
// Each is told apart by the program behind its connection (writer_origin.h).
//
// Our own sessions (application_name banyan...) are not counted. Without pg_read_all_stats the
// server does not tell the address of other roles' sessions: "?". One thread looks, any may ask.

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "base/clock.h"
#include "base/guarded.h"
#include "planes/replication/control_schema.h"
#include "planes/replication/writer_origin.h"

namespace banyan::replication {

struct Writer {
  std::string application;
  std::string address;  // "local" for a Unix socket
  std::string role;
  Provenance provenance;
  std::int64_t seen = 0;           // sessions met, summed over the looks
  std::int64_t first_seen_ms = 0;  // since 1970
  std::int64_t last_seen_ms = 0;
  std::string table;  // one that it wrote last
};

class Census {
 public:
  // `app_listen` as in WriterOrigins.
  explicit Census(std::string app_listen) : origins_(std::move(app_listen)) {}

  // Makes a session one to look with: the query is planned once, or planning would be most of it.
  static Result<void> begin(pg::Connection& db);
  // One look. `tables` as in the migration; their relations are read anew now and then.
  Result<void> look(pg::Connection& db, const TableNames& tables);
  // Most often seen first; those not seen for a day are left out.
  std::vector<Writer> writers() const;
  // Another side is written from here on.
  void forget();

 private:
  using Key = std::tuple<std::string, std::string, std::string, Origin, std::string>;
  Result<void> read_relations(pg::Connection& db, const TableNames& tables);
  void count(Writer met);

  std::string relations_;  // oids, as an array's text
  Mono read_at_{};
  WriterOrigins origins_;
  Guarded<std::map<Key, Writer>> writers_;
};

}  // namespace banyan::replication
