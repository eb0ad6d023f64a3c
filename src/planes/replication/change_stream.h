#pragma once
// ChangeStream: reads one slot and gives its transactions as fragments, in commit order.
//
// TransactionAssembler is the sans-IO half: decoded messages in, fragments out. It leaves out what
// this migration itself applied to that side (such transactions begin with an update of
// banyan.progress for the opposite stream) and keeps banyan's own tables out of the changes.
// ChangeStream is the socket half: one thread; answers keepalives while the queue is full; tells
// the server only what is durable on the applying side. Transactions that the server sends before
// they have ended (streaming, PostgreSQL 14 and newer) wait in a TransactionSpool for their commit
// and take their place in commit order then; an aborted one leaves nothing.

#include <atomic>
#include <functional>
#include <stop_token>
#include <string>
#include <unordered_map>

#include "base/bounded_queue.h"
#include "planes/replication/transaction.h"
#include "planes/replication/transaction_spool.h"
#include "wire/pg/replication.h"

namespace banyan::replication {

using DeliveryQueue = BoundedQueue<Delivery, WeighDelivery>;
using FragmentSink = std::function<void(Fragment)>;

class TransactionAssembler {
 public:
  TransactionAssembler(std::string migration, std::string opposite_stream)
      : migration_(std::move(migration)), opposite_stream_(std::move(opposite_stream)) {}
  // Takes the message's rows; their bytes are copied.
  Result<void> feed(pg::PgOutputMessage message, const FragmentSink& sink);
  bool is_in_transaction() const { return in_transaction_; }

 private:
  void begin(const pg::message::Begin& begin);
  void commit(const pg::message::Commit& commit, const FragmentSink& sink);
  void describe(const pg::message::Relation& relation);
  Result<void> row_change(std::uint32_t relation, Change change, const FragmentSink& sink);
  Result<void> truncate(const pg::message::Truncate& truncate);
  void own_change(const Relation& relation, Operation operation, const pg::Tuple& row);
  Result<RelationPtr> relation(std::uint32_t id) const;
  void keep(pg::Tuple& tuple);
  Fragment next_fragment(bool is_first);

  const std::string migration_;
  const std::string opposite_stream_;
  std::unordered_map<std::uint32_t, RelationPtr> relations_;
  bool in_transaction_ = false;
  bool is_first_change_ = false;
  bool is_ours_ = false;
  std::shared_ptr<Arena> arena_;
  Fragment current_;
};

struct ChangeStreamConfig {
  std::string url;
  std::string slot;
  std::string publication;
  std::string system_id;
  std::string migration;
  std::string opposite_stream;
  std::filesystem::path spool;  // directory of this stream's own
  pg::Lsn from;                 // everything that ends here or before is applied
};

class ChangeStream {
 public:
  // Checks that the slot is the one that was made for this stream and lost nothing.
  static Result<ChangeStream> open(const ChangeStreamConfig& config);
  // Reads until `stop`, or the connection fails. `durable` is the feedback; `received` is set to
  // how far the server says it has sent.
  Result<void> run(const std::stop_token& stop, DeliveryQueue& queue,
                   const std::atomic<std::uint64_t>& durable, std::atomic<std::uint64_t>& received);

 private:
  struct Sink {
    const std::stop_token& stop;
    DeliveryQueue& queue;
    const std::atomic<std::uint64_t>& durable;
  };
  ChangeStream(pg::ReplicationConnection connection, TransactionSpool spool,
               const ChangeStreamConfig& config)
      : connection_(std::move(connection)),
        assembler_(config.migration, config.opposite_stream),
        spool_(std::move(spool)),
        from_(config.from),
        position_(config.from) {}
  Result<void> feedback(const std::atomic<std::uint64_t>& durable);
  Result<void> handle(const pg::StreamMessage& message, const Sink& sink);
  Result<void> handle_data(std::string_view payload, const Sink& sink);
  Result<void> commit_streamed(const pg::message::StreamCommit& commit, const Sink& sink);
  Result<void> assemble(pg::PgOutputMessage message);
  void keep(Fragment fragment);
  Result<void> deliver(const Sink& sink);

  pg::ReplicationConnection connection_;
  pg::PgOutputDecoder decoder_;
  TransactionAssembler assembler_;
  TransactionSpool spool_;
  std::string scratch_;
  std::uint32_t streamed_ = 0;  // the transaction of the streamed block; 0 outside of one
  const pg::Lsn from_;
  pg::Lsn position_;
  Delivery ready_;
  std::size_t ready_bytes_ = 0;
  int unattended_ = 0;
  bool reply_now_ = false;
  Mono last_feedback_{};
};

}  // namespace banyan::replication
