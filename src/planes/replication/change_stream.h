#pragma once
// ChangeStream: gives the transactions of a received log as fragments, in commit order.
//
// TransactionAssembler is the sans-IO half: decoded messages in, fragments out. It leaves out what
// this migration itself applied to that side (such transactions begin with an update of
// banyan.progress for the opposite stream), what other migrations carry that share the log, and
// banyan's own tables: of those only a barrier and changes of the schema are told.
// ChangeStream is the other half: one thread that reads the received log. Transactions that the
// server sends before they have ended (streaming, PostgreSQL 14 and newer) wait in the log for
// their commit and take their place in commit order then; an aborted one leaves nothing.

#include <atomic>
#include <deque>
#include <functional>
#include <set>
#include <stop_token>
#include <string>
#include <unordered_map>

#include "base/bounded_queue.h"
#include "planes/replication/log_reader.h"
#include "planes/replication/transaction.h"

namespace banyan::replication {

using DeliveryQueue = BoundedQueue<Delivery, WeighDelivery>;
using FragmentSink = std::function<void(Fragment)>;
// Whether a relation's changes are this migration's; empty: all that a log holds are.
using IsCarried = std::function<Result<bool>(const Relation&)>;

class TransactionAssembler {
 public:
  TransactionAssembler(std::string migration, std::string opposite_stream,
                       IsCarried is_carried = {})
      : migration_(std::move(migration)),
        opposite_stream_(std::move(opposite_stream)),
        is_carried_(std::move(is_carried)) {}
  // Takes the message's rows; their bytes are copied.
  Result<void> feed(pg::PgOutputMessage message, const FragmentSink& sink);
  bool is_in_transaction() const { return in_transaction_; }
  // A new connection: what was not whole is sent again, and every relation described again. One
  // that has not changed stays the same object.
  void begin_anew();

 private:
  void begin(const pg::message::Begin& begin);
  void commit(const pg::message::Commit& commit, const FragmentSink& sink);
  Result<void> describe(const pg::message::Relation& relation);
  Result<void> row_change(std::uint32_t relation, Change change, const FragmentSink& sink);
  Result<void> truncate(const pg::message::Truncate& truncate);
  void own_change(const Relation& relation, Operation operation, const pg::Tuple& row);
  struct Known {
    RelationPtr relation;
    bool is_carried = true;
    bool is_described = false;  // in this connection
  };
  Result<Known> relation(std::uint32_t id) const;
  void keep(pg::Tuple& tuple);
  Fragment next_fragment(bool is_first);

  const std::string migration_;
  const std::string opposite_stream_;
  const IsCarried is_carried_;
  std::unordered_map<std::uint32_t, Known> relations_;
  bool in_transaction_ = false;
  bool is_first_change_ = false;
  bool is_ours_ = false;
  std::shared_ptr<Arena> arena_;
  Fragment current_;
};

struct ChangeStreamConfig {
  std::string migration;
  std::string opposite_stream;
  pg::Lsn from;  // everything that ends here or before is applied
  IsCarried is_carried;
};

// What applying and reading tell one another. Any thread.
struct ApplySignals {
  std::atomic<std::uint64_t> durable{0};      // in the target; a position of the source
  std::atomic<std::uint64_t> in_progress{0};  // transactions that wait for their commit
};

class ChangeStream {
 public:
  ChangeStream(const ChangeStreamConfig& config, ReceivedLog& log)
      : config_(config), log_(log), reader_(log, config.migration) {}
  // Reads until `stop`, or the queue is closed. Removes from the log what is durable.
  Result<void> run(const std::stop_token& stop, DeliveryQueue& queue, ApplySignals& signals);

 private:
  struct Streamed {
    std::vector<Extent> blocks;
    std::set<std::uint32_t> undone;  // subtransactions
  };
  Result<void> handle(const LogEntry& entry, DeliveryQueue& queue);
  Result<void> handle_data(const LogEntry& entry, DeliveryQueue& queue);
  Result<void> commit_streamed(const pg::message::StreamCommit& commit, const LogEntry& entry,
                               DeliveryQueue& queue);
  Result<void> replay(const Streamed& transaction, bool only_relations, DeliveryQueue& queue);
  Result<void> assemble(pg::PgOutputMessage message);
  void keep(Fragment fragment);
  Result<void> deliver(DeliveryQueue& queue);
  Result<void> trim(pg::Lsn durable);

  const ChangeStreamConfig config_;
  ReceivedLog& log_;
  LogReader reader_;
  pg::PgOutputDecoder decoder_;
  std::optional<TransactionAssembler> assembler_;  // anew with each connection
  std::string scratch_;
  std::uint32_t block_ = 0;  // the transaction of the streamed block; 0 outside of one
  std::map<std::uint32_t, Streamed> in_progress_;
  std::deque<std::pair<pg::Lsn, std::uint64_t>> replayed_;  // end of the commit, first segment
  std::uint64_t segment_ = 0;                               // that is being read
  Delivery ready_;
  std::size_t ready_bytes_ = 0;
};

}  // namespace banyan::replication
