#include "planes/replication/change_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

namespace banyan::replication {
namespace {

constexpr std::size_t kArenaLeast = 1024;  // a fragment begins with so much room
constexpr std::size_t kFragmentBytes = 1 << 20;
constexpr int kUnattended = 4096;  // records without handing anything over
constexpr std::size_t kDeliveryBytes = 256 << 10;
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

DdlEntry ddl_entry(const Relation& relation, const pg::Tuple& row) {
  const auto text = [&](std::string_view column) {
    return std::string(value_of(relation, row, column));
  };
  return {.at = text("at"),
          .who = text("who"),
          .application = text("application"),
          .tag = text("tag"),
          .object = text("object"),
          .statement = text("statement"),
          .relation = text("relation"),
          .shape = text("shape")};
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
  const bool is_empty = current_.is_first && current_.changes.empty() && !current_.barrier_epoch &&
                        current_.ddl.empty();
  if (is_empty || is_ours_) current_ = Fragment();
  current_.end = commit.end_lsn;
  current_.is_last = true;
  sink(std::move(current_));
  current_ = Fragment();
}

void TransactionAssembler::begin_anew() {
  for (auto& [id, known] : relations_) known.is_described = false;
  in_transaction_ = false;
  arena_.reset();
  current_ = Fragment();
}

// The stream describes a relation again whenever its cache forgot it: one that has not changed
// stays the same object, so that what is known of it stays valid.
Result<void> TransactionAssembler::describe(const pg::message::Relation& described) {
  auto relation = std::make_shared<Relation>();
  relation->id = described.id;
  relation->schema = described.schema;
  relation->name = described.name;
  relation->replica_identity = described.replica_identity;
  for (const auto& column : described.columns) {
    relation->columns.push_back({.name = std::string(column.name), .is_key = column.is_key});
  }
  auto& known = relations_[described.id];
  known.is_described = true;
  if (known.relation && *known.relation == *relation) return {};
  bool is_carried = true;
  if (is_carried_ && !relation->is_ours()) {
    TRY(is_carried, is_carried_(*relation));
  }
  known = {std::move(relation), is_carried, true};
  return {};
}

Result<TransactionAssembler::Known> TransactionAssembler::relation(std::uint32_t id) const {
  const auto found = relations_.find(id);
  if (found != relations_.end() && found->second.is_described) return found->second;
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
  if (relation.name == "ddl_log" && operation == Operation::kInsert && !is_ours_) {
    current_.ddl.push_back(ddl_entry(relation, row));
    current_.bytes += sizeof(DdlEntry) + current_.ddl.back().shape.size();
  }
}

Result<void> TransactionAssembler::row_change(std::uint32_t id, Change change,
                                              const FragmentSink& sink) {
  TRY(auto known, relation(id));
  change.relation = std::move(known.relation);
  if (change.relation->is_ours()) {
    own_change(*change.relation, change.operation, change.row);
  } else if (!is_ours_ && known.is_carried) {
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
    TRY(auto known, relation(id));
    if (known.relation->is_ours() || !known.is_carried) continue;
    change.truncated.push_back(std::move(known.relation));
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
          [&](m::Relation& in) { return describe(in); },
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

void ChangeStream::keep(Fragment fragment) {
  ready_bytes_ += fragment.bytes + sizeof(Fragment);
  ready_.push_back(std::move(fragment));
}

Result<void> ChangeStream::assemble(pg::PgOutputMessage message) {
  return assembler_->feed(std::move(message),
                          [this](Fragment fragment) { keep(std::move(fragment)); });
}

Result<void> ChangeStream::handle(const LogEntry& entry, DeliveryQueue& queue) {
  segment_ = entry.place.segment;
  if (entry.record.kind == RecordKind::kHead) {
    TRY(const auto head, decode_head(entry.record));
    if (assembler_ && !head.is_join) return {};
    decoder_ = {};
    if (!assembler_) {
      assembler_.emplace(config_.migration, config_.opposite_stream, config_.is_carried);
    }
    assembler_->begin_anew();
    in_progress_.clear();
    return {};
  }
  if (entry.record.kind == RecordKind::kData) return handle_data(entry, queue);
  Fragment gap;
  gap.end = entry.record.lsn;
  keep(std::move(gap));
  return {};
}

Result<void> ChangeStream::handle_data(const LogEntry& entry, DeliveryQueue& queue) {
  namespace m = pg::message;
  const auto payload = entry.record.payload;
  if (decoder_.streamed_change(payload, scratch_)) {
    in_progress_[block_].blocks.back().end = entry.end;
    return {};
  }
  TRY(auto decoded, decoder_.decode(payload));
  if (const auto* start = std::get_if<m::StreamStart>(&decoded)) {
    block_ = start->xid;
    in_progress_[block_].blocks.push_back({.place = entry.place, .end = entry.end});
  } else if (std::holds_alternative<m::StreamStop>(decoded)) {
    block_ = 0;
  } else if (const auto* abort = std::get_if<m::StreamAbort>(&decoded)) {
    if (abort->xid == abort->subxid) {
      in_progress_.erase(abort->xid);
    } else {
      in_progress_[abort->xid].undone.insert(abort->subxid);
    }
  } else if (const auto* commit = std::get_if<m::StreamCommit>(&decoded)) {
    return commit_streamed(*commit, entry, queue);
  } else {
    return assemble(std::move(decoded));
  }
  return {};
}

// As if the server had sent the transaction now, whole.
Result<void> ChangeStream::commit_streamed(const pg::message::StreamCommit& commit,
                                           const LogEntry& entry, DeliveryQueue& queue) {
  namespace m = pg::message;
  const m::StreamCommit end = commit;
  const auto transaction = in_progress_.extract(commit.xid);
  TRY_VOID(assemble(m::Begin{
      .commit_lsn = end.commit_lsn, .commit_time_us = end.commit_time_us, .xid = end.xid}));
  auto first = entry.place.segment;
  if (!transaction.empty() && !transaction.mapped().blocks.empty()) {
    first = transaction.mapped().blocks.front().place.segment;
    TRY_VOID(replay(transaction.mapped(), end.commit_lsn < config_.from, queue));
  }
  replayed_.emplace_back(end.end_lsn, first);
  return assemble(m::Commit{
      .commit_lsn = end.commit_lsn, .end_lsn = end.end_lsn, .commit_time_us = end.commit_time_us});
}

Result<void> ChangeStream::replay(const Streamed& transaction, bool only_relations,
                                  DeliveryQueue& queue) {
  namespace m = pg::message;
  pg::PgOutputDecoder blocks;
  pg::PgOutputDecoder changes;
  return reader_.read_again(transaction.blocks, [&](const Record& record) -> Result<void> {
    const auto change = blocks.streamed_change(record.payload, scratch_);
    if (!change) {
      TRY_VOID(blocks.decode(record.payload));
      return {};
    }
    TRY(auto decoded, changes.decode(change->payload));
    // What a relation looks like stays true for what follows, whoever was the first to say so.
    const bool describes = std::holds_alternative<m::Relation>(decoded);
    const bool is_undone = transaction.undone.contains(change->xid);
    if ((is_undone || only_relations) && !describes) return {};
    TRY_VOID(assemble(std::move(decoded)));
    return ready_bytes_ < kDeliveryBytes ? Result<void>() : deliver(queue);
  });
}

Result<void> ChangeStream::deliver(DeliveryQueue& queue) {
  if (ready_.empty()) return {};
  ready_bytes_ = 0;
  if (queue.push(std::exchange(ready_, {}))) return {};
  return failure(Code::kCancelled, "stopped", Retry::kSafe);
}

// Nothing of a transaction that is still in progress, or not durable yet.
Result<void> ChangeStream::trim(pg::Lsn durable) {
  while (!replayed_.empty() && replayed_.front().first <= durable) replayed_.pop_front();
  auto keep = segment_;
  for (const auto& [end, first] : replayed_) keep = std::min(keep, first);
  for (const auto& [xid, transaction] : in_progress_) {
    if (!transaction.blocks.empty())
      keep = std::min(keep, transaction.blocks.front().place.segment);
  }
  return log_.trim(config_.migration, durable, keep);
}

Result<void> ChangeStream::run(const std::stop_token& stop, DeliveryQueue& queue,
                               ApplySignals& signals) {
  int unattended = 0;
  while (!stop.stop_requested() && !queue.is_closed()) {
    // What is there is read at once; only the log's head or a large delivery ends it.
    TRY(const auto entry, reader_.next(ready_.empty() ? kReadWait : 0ms));
    if (entry) TRY_VOID(handle(*entry, queue));
    if (entry && ready_bytes_ < kDeliveryBytes && ++unattended < kUnattended) continue;
    unattended = 0;
    TRY_VOID(deliver(queue));
    TRY_VOID(trim(pg::Lsn(signals.durable.load())));
    signals.in_progress = in_progress_.size();
  }
  return {};
}

}  // namespace banyan::replication
