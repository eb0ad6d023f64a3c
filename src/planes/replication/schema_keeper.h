#pragma once
// SchemaKeeper: keeps the passive side's schema in step with the one that is followed, `from`: the
// new side's with the old one's while a migration follows, the other way round after the switch.
// A look compares both catalogs (SchemaWatch) and acts as the policy says: new tables and
// partitions are always joined (created, published, copied under a fresh snapshot, whose text keeps
// the stream from applying twice); other changes are repeated with apply_safe, where that is safe;
// what is left stops the stream with an error that names it. While the stream itself brings the
// changes (DdlGate) a look only acts on what the stream has passed and left: indexes, and changes
// that were kept from the log. It lets a stream that stopped at a change go on once it may.
//
// Every step can be killed and looked at again: what is missing is found anew. look() and the
// checks may run on two threads, each on one.

#include <filesystem>
#include <optional>
#include <string>

#include "planes/replication/engine.h"
#include "planes/replication/schema.h"
#include "planes/replication/schema_watch.h"

namespace banyan::replication {

class SchemaKeeper {
 public:
  SchemaKeeper(const EngineConfig& config, Engine& engine, std::filesystem::path directory,
               SideName from)
      : config_(config), engine_(engine), directory_(std::move(directory)), from_(from) {}

  // At the tables (the old side's names) that the stream writes now. Fails when the databases
  // cannot be asked; what a person must decide becomes the engine's error.
  Result<void> look(const TableNames& tables);

  // Before a fence: kConflict when rows could not be carried rightly. Remembers what it saw.
  Result<void> check(pg::Connection& active, pg::Connection& passive, const Direction& direction);
  // Behind the fence, quickly: kConflict when the active side's columns changed since check().
  Result<void> check_again(pg::Connection& active, const Direction& direction);

 private:
  Result<void> create_tables(pg::Connection& target,
                             const std::vector<SchemaDifference>& found) const;
  Result<void> take_back_unfinished(pg::Connection& target) const;
  Result<void> join(const TableNames& names, const std::string& mark) const;
  Result<void> copy_new_tables(pg::Connection& source, pg::Connection& target,
                               const TableNames& names);
  Result<void> carry_back(pg::Connection& source, pg::Connection& target,
                          const std::vector<Table>& copied) const;
  Result<void> copy_left(pg::Connection& source, pg::Connection& target,
                         const std::vector<const Table*>& left, const TableNames& names);
  Result<void> refuse_unjoined(pg::Connection& active, pg::Connection& passive,
                               const Direction& direction) const;
  Result<void> publish_and_copy(pg::Connection& source, pg::Connection& target,
                                const std::vector<Table>& tables) const;
  using Found = std::vector<SchemaDifference>;
  struct Seen {
    pg::Lsn at;  // where the source stood behind it
    Found found;
  };
  struct Look {
    pg::Connection source;
    pg::Connection target;
    Direction direction;
    bool is_streamed = false;  // the stream brings the changes
    pg::Lsn passed{};          // by the stream, before this look
    Seen before{};             // at the look before
  };
  Result<Look> begin_look(const TableNames& tables) const;
  static Result<Found> left_by_stream(Look& look);
  Result<Found> repeat(Look& look) const;
  Result<void> go_on(const Direction& direction) const;
  std::string stream() const { return stream_name(config_.name, from_); }
  Error stopped(pg::Connection& source, const std::vector<SchemaDifference>& found) const;

  const EngineConfig& config_;
  Engine& engine_;
  const std::filesystem::path directory_;
  const SideName from_;
  Seen last_;                  // of look()
  bool has_differed_ = false;  // at the last look or before it; of look()
  std::string fingerprint_;    // of check()
};

}  // namespace banyan::replication
