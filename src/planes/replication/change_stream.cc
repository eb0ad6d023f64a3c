#include "planes/replication/change_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/fail_point.h"

namespace banyan::replication {
namespace {

constexpr std::size_t kArenaLeast = 1024;  // a fragment begins with so much room
constexpr std::size_t kFragmentBytes = 1 << 20;
constexpr int kUnattended = 4096;  // messages without looking at the clock
constexpr std::size_t kDeliveryBytes = 256 << 10;
constexpr std::size_t kQueueBytes = 32 << 20;
constexpr auto kFeedbackEvery = 1s;
constexpr auto kReadWait = 100ms;

template <class... Fns>
struct Overloaded : Fns... {
  using Fns::operator()...;
};

std::string_view value_of(const Relation& relation, const pg::Tuple& row, std::string_view column) {
  for (std::size_t i = 0; i < relation.columns.size() && i < row.size(); ++i) {
    if (relation.columns[i].name == column) return row[i].bytes;
  }
  return {};
}

Error lost_slot(const std::string& what) {
  return Error(Code::kConflict, what)
      .with_remedy("Changes may be missing. Cancel this migration and start it anew.");
}

Result<void> check_slot(pg::ReplicationConnection& connection, const ChangeStreamConfig& config) {
  TRY(const auto identity, connection.identify());
  if (identity.system_id != config.system_id) {
    return std::unexpected(
        lost_slot("the address leads to another server than the slot was made on"));
  }
  TRY(const auto rows,
      connection.query(fmt::format(
          "select plugin, database = pg_catalog.current_database(), confirmed_flush_lsn, "
          "restart_lsn is null from pg_catalog.pg_replication_slots where slot_name = {}",
          pg::quote_literal(config.slot))));
  if (rows.size() != 1) return std::unexpected(lost_slot("the slot " + config.slot + " is gone"));
  if (rows.boolean(0, 3)) {
    return std::unexpected(
        lost_slot("the server has dropped log that the slot " + config.slot + " needs"));
  }
  if (rows.text(0, 0) != "pgoutput" || !rows.boolean(0, 1)) {
    return std::unexpected(
        lost_slot("the slot " + config.slot + " is not ours any more, or invalid"));
  }
  TRY(const auto confirmed, pg::parse_lsn(rows.text(0, 2)));
  if (confirmed <= config.from) return {};
  return std::unexpected(
      lost_slot(fmt::format("the slot {} is at {}, beyond what is applied, {}", config.slot,
                            pg::format_lsn(confirmed), pg::format_lsn(config.from))));
}

}  // namespace

Fragment TransactionAssembler::next_fragment(bool is_first) {
  if (!arena_ || !arena_->has_room(kArenaLeast)) arena_ = std::make_shared<Arena>();
  Fragment fragment;
  fragment.arena = arena_;
  fragment.changes.reserve(4);
  fragment.is_transaction = true;
  fragment.is_first = is_first;
  fragment.xid = current_.xid;
  fragment.commit = current_.commit;
  fragment.commit_time_us = current_.commit_time_us;
  fragment.barrier_epoch = current_.barrier_epoch;
  return fragment;
}

void TransactionAssembler::begin(const pg::message::Begin& begin) {
  current_ = Fragment();
  current_.xid = begin.xid;
  current_.commit = begin.commit_lsn;
  current_.commit_time_us = begin.commit_time_us;
  current_ = next_fragment(true);
  in_transaction_ = true;
  is_first_change_ = true;
  is_ours_ = false;
}

void TransactionAssembler::commit(const pg::message::Commit& commit, const FragmentSink& sink) {
  in_transaction_ = false;
  const bool is_empty = current_.is_first && current_.changes.empty() && !current_.barrier_epoch;
  if (is_empty || is_ours_) current_ = Fragment();
  current_.end = commit.end_lsn;
  current_.is_last = true;
  sink(std::move(current_));
  current_ = Fragment();
}

// The stream describes a relation again after each reconnection of its cache: one that has not
// changed stays the same object, so that what is known of it stays valid.
void TransactionAssembler::describe(const pg::message::Relation& described) {
  auto relation = std::make_shared<Relation>();
  relation->id = described.id;
  relation->schema = described.schema;
  relation->name = described.name;
  relation->replica_identity = described.replica_identity;
  for (const auto& column : described.columns) {
    relation->columns.push_back({.name = std::string(column.name), .is_key = column.is_key});
  }
  auto& known = relations_[described.id];
  if (known && *known == *relation) return;
  known = std::move(relation);
}

Result<RelationPtr> TransactionAssembler::relation(std::uint32_t id) const {
  const auto found = relations_.find(id);
  if (found != relations_.end()) return found->second;
  return failure(Code::kCorruption, "a change of a relation that was not described");
}

void TransactionAssembler::keep(pg::Tuple& tuple) {
  for (auto& cell : tuple) {
    if (cell.kind == pg::CellKind::kText) {
      cell.bytes = {current_.arena->copy(cell.bytes), cell.bytes.size()};
    }
    current_.bytes += cell.bytes.size() + sizeof(pg::Cell);
  }
}

void TransactionAssembler::own_change(const Relation& relation, Operation operation,
                                      const pg::Tuple& row) {
  if (relation.name == "progress" && operation == Operation::kUpdate && is_first_change_ &&
      value_of(relation, row, "stream") == opposite_stream_) {
    is_ours_ = true;
  }
  if (relation.name == "barrier" && operation == Operation::kInsert && !is_ours_ &&
      value_of(relation, row, "name") == migration_) {
    current_.barrier_epoch = std::atoll(std::string(value_of(relation, row, "epoch")).c_str());
  }
}

Result<void> TransactionAssembler::row_change(std::uint32_t id, Change change,
                                              const FragmentSink& sink) {
  TRY(change.relation, relation(id));
  if (change.relation->is_ours()) {
    own_change(*change.relation, change.operation, change.row);
  } else if (!is_ours_) {
    keep(change.old_row);
    keep(change.row);
    current_.bytes += sizeof(Change);
    current_.changes.push_back(std::move(change));
  }
  is_first_change_ = false;
  if (current_.bytes < kFragmentBytes) return {};
  auto next = next_fragment(false);
  sink(std::exchange(current_, std::move(next)));
  return {};
}

Result<void> TransactionAssembler::truncate(const pg::message::Truncate& truncate) {
  Change change;
  change.operation = Operation::kTruncate;
  change.restart_identity = truncate.restart_identity;
  for (const auto id : truncate.relations) {
    TRY(auto described, relation(id));
    if (!described->is_ours()) change.truncated.push_back(std::move(described));
  }
  is_first_change_ = false;
  if (!change.truncated.empty() && !is_ours_) current_.changes.push_back(std::move(change));
  return {};
}

Result<void> TransactionAssembler::feed(pg::PgOutputMessage message, const FragmentSink& sink) {
  namespace m = pg::message;
  return std::visit(
      Overloaded{
          [&](m::Begin& in) -> Result<void> { return begin(in), Result<void>(); },
          [&](m::Commit& in) -> Result<void> { return commit(in, sink), Result<void>(); },
          [&](m::Relation& in) -> Result<void> { return describe(in), Result<void>(); },
          [&](m::Insert& in) {
            Change change{.operation = Operation::kInsert};
            change.row = std::move(in.row);
            return row_change(in.relation, std::move(change), sink);
          },
          [&](m::Update& in) {
            Change change{.operation = Operation::kUpdate, .old_kind = in.old_kind};
            change.old_row = std::move(in.old_row);
            change.row = std::move(in.row);
            return row_change(in.relation, std::move(change), sink);
          },
          [&](m::Delete& in) {
            Change change{.operation = Operation::kDelete, .old_kind = in.old_kind};
            change.old_row = std::move(in.old_row);
            return row_change(in.relation, std::move(change), sink);
          },
          [&](m::Truncate& in) { return truncate(in); },
          [](auto&) -> Result<void> { return {}; },  // types, origins, messages
      },
      message);
}

Result<ChangeStream> ChangeStream::open(const ChangeStreamConfig& config) {
  TRY(auto connection, pg::ReplicationConnection::open(config.url, "banyan_stream"));
  TRY_VOID(check_slot(connection, config));
  TRY_VOID(fail_point("stream.slot_checked"));
  TRY(auto spool, TransactionSpool::open(config.spool));
  TRY_VOID(connection.start(
      {.slot = config.slot, .publication = config.publication, .from = config.from}));
  return ChangeStream(std::move(connection), std::move(spool), config);
}

Result<void> ChangeStream::feedback(const std::atomic<std::uint64_t>& durable) {
  const auto now = SystemClock().now();
  if (!reply_now_ && now - last_feedback_ < kFeedbackEvery) return {};
  reply_now_ = false;
  last_feedback_ = now;
  TRY_VOID(fail_point("stream.feedback"));
  const pg::Lsn safe(durable.load());
  return connection_.send_feedback({.written = position_, .flushed = safe, .applied = safe});
}

void ChangeStream::keep(Fragment fragment) {
  ready_bytes_ += fragment.bytes + sizeof(Fragment);
  ready_.push_back(std::move(fragment));
}

Result<void> ChangeStream::assemble(pg::PgOutputMessage message) {
  return assembler_.feed(std::move(message),
                         [this](Fragment fragment) { keep(std::move(fragment)); });
}

Result<void> ChangeStream::handle(const pg::StreamMessage& message, const Sink& sink) {
  if (const auto* data = std::get_if<pg::XLogData>(&message)) {
    TRY_VOID(handle_data(data->payload, sink));
    position_ = std::max(position_, data->start);
    return {};
  }
  const auto* keepalive = std::get_if<pg::Keepalive>(&message);
  if (keepalive == nullptr) return {};
  reply_now_ = reply_now_ || keepalive->reply_requested;
  // Inside a transaction the position says nothing about its changes. One in progress that is
  // spooled is behind no position: the server sends all of it again until its commit is confirmed.
  if (assembler_.is_in_transaction() || streamed_ != 0 || keepalive->wal_end <= position_)
    return {};
  position_ = keepalive->wal_end;
  Fragment gap;
  gap.end = keepalive->wal_end;
  keep(std::move(gap));
  return {};
}

Result<void> ChangeStream::handle_data(std::string_view payload, const Sink& sink) {
  namespace m = pg::message;
  if (const auto change = decoder_.streamed_change(payload, scratch_)) {
    return spool_.append(streamed_, change->xid, change->payload);
  }
  TRY(auto decoded, decoder_.decode(payload));
  if (const auto* start = std::get_if<m::StreamStart>(&decoded)) {
    streamed_ = start->xid;
  } else if (std::holds_alternative<m::StreamStop>(decoded)) {
    streamed_ = 0;
  } else if (const auto* abort = std::get_if<m::StreamAbort>(&decoded)) {
    spool_.abort(abort->xid, abort->subxid);
  } else if (const auto* commit = std::get_if<m::StreamCommit>(&decoded)) {
    return commit_streamed(*commit, sink);
  } else {
    return assemble(std::move(decoded));
  }
  return {};
}

// As if the server had sent the transaction now, whole.
Result<void> ChangeStream::commit_streamed(const pg::message::StreamCommit& commit,
                                           const Sink& sink) {
  namespace m = pg::message;
  const bool is_applied = commit.commit_lsn < from_;
  TRY_VOID(assemble(m::Begin{.commit_lsn = commit.commit_lsn,
                             .commit_time_us = commit.commit_time_us,
                             .xid = commit.xid}));
  pg::PgOutputDecoder decoder;
  TRY_VOID(spool_.replay(commit.xid, [&](std::string_view payload, bool is_undone) -> Result<void> {
    TRY(auto decoded, decoder.decode(payload));
    // What a relation looks like stays true for what follows, whoever was the first to say so.
    const bool describes = std::holds_alternative<m::Relation>(decoded);
    if ((is_undone || is_applied) && !describes) return {};
    TRY_VOID(assemble(std::move(decoded)));
    return ready_bytes_ < kDeliveryBytes ? Result<void>() : deliver(sink);
  }));
  return assemble(m::Commit{.commit_lsn = commit.commit_lsn,
                            .end_lsn = commit.end_lsn,
                            .commit_time_us = commit.commit_time_us});
}

Result<void> ChangeStream::deliver(const Sink& sink) {
  TRY_VOID(feedback(sink.durable));
  if (ready_.empty()) return {};
  while (sink.queue.weight() > kQueueBytes && !sink.stop.stop_requested() &&
         !sink.queue.is_closed()) {
    TRY_VOID(feedback(sink.durable));
    std::this_thread::sleep_for(2ms);
  }
  if (sink.stop.stop_requested() || sink.queue.is_closed()) {
    return failure(Code::kCancelled, "stopped", Retry::kSafe);
  }
  sink.queue.push(std::exchange(ready_, {}));
  ready_bytes_ = 0;
  return {};
}

Result<void> ChangeStream::run(const std::stop_token& stop, DeliveryQueue& queue,
                               const std::atomic<std::uint64_t>& durable,
                               std::atomic<std::uint64_t>& received) {
  const Sink sink{.stop = stop, .queue = queue, .durable = durable};
  while (!stop.stop_requested() && !queue.is_closed()) {
    // What is there is read at once; only an empty socket or a large delivery ends it.
    TRY(const auto message, connection_.read(ready_.empty() ? kReadWait : 0ms));
    TRY_VOID(fail_point("stream.message"));
    TRY_VOID(handle(message, sink));
    const bool is_silent = std::holds_alternative<std::monostate>(message);
    if (!is_silent && ready_bytes_ < kDeliveryBytes && ++unattended_ < kUnattended) continue;
    unattended_ = 0;
    received = position_.value();
    TRY_VOID(deliver(sink));
  }
  return {};
}

}  // namespace banyan::replication
