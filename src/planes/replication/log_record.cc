#include "planes/replication/log_record.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/crc32c.h"

namespace banyan::replication {
namespace {

constexpr std::size_t kFrame = 8;      // length and checksum
constexpr std::size_t kBodyLeast = 9;  // kind and lsn
constexpr std::size_t kBodyMost = (std::size_t{1} << 30) + kBodyLeast;
constexpr std::size_t kRelationLeast = 5;

template <class T>
T get(std::string_view bytes) {
  T value = 0;
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// Of a message R of protocol version 1: its kind, then the id in network order.
std::uint32_t relation_id(std::string_view payload) {
  return __builtin_bswap32(get<std::uint32_t>(payload.substr(1)));
}

bool is_relation(std::string_view payload) {
  return payload.size() >= kRelationLeast && payload[0] == 'R';
}

std::unexpected<Error> damaged(const std::string& what) {
  return failure(Code::kCorruption, "the received log is damaged: " + what);
}

}  // namespace

void append_record(std::string& out, const Record& record) {
  const auto at = out.size();
  put(out, static_cast<std::uint32_t>(kBodyLeast + record.payload.size()));
  put(out, std::uint32_t{0});
  out += static_cast<char>(record.kind);
  put(out, record.lsn.value());
  out += record.payload;
  const auto crc = crc32c(std::string_view(out).substr(at + kFrame));
  std::memcpy(out.data() + at + sizeof(std::uint32_t), &crc, sizeof(crc));
}

Result<std::optional<Record>> take_record(std::string_view& bytes) {
  if (bytes.size() < kFrame) return std::optional<Record>();
  const std::size_t length = get<std::uint32_t>(bytes);
  if (length < kBodyLeast || length > kBodyMost) return damaged("an impossible length");
  if (bytes.size() < kFrame + length) return std::optional<Record>();
  const auto body = bytes.substr(kFrame, length);
  if (crc32c(body) != get<std::uint32_t>(bytes.substr(4))) return damaged("a wrong checksum");
  const char kind = body[0];
  if (kind != 'h' && kind != 'w' && kind != 'k') return damaged("an unknown record");
  bytes.remove_prefix(kFrame + length);
  return Record{.kind = static_cast<RecordKind>(kind),
                .lsn = pg::Lsn(get<std::uint64_t>(body.substr(1))),
                .payload = body.substr(kBodyLeast)};
}

std::string encode_head(const SegmentHead& head) {
  return nlohmann::json({{"slot", head.identity.slot},
                         {"system_id", head.identity.system_id},
                         {"timeline", head.identity.timeline},
                         {"number", head.number},
                         {"begins", head.begins.value()},
                         {"restart_lsn", head.restart_lsn.value()},
                         {"join", head.is_join}})
      .dump();
}

Result<SegmentHead> decode_head(const Record& record) {
  const auto json = nlohmann::json::parse(record.payload, nullptr, false);
  const auto is = [&](const char* field, auto holds) {
    return json.contains(field) && (json[field].*holds)();
  };
  using Json = nlohmann::json;
  bool is_whole =
      record.kind == RecordKind::kHead && json.is_object() && is("join", &Json::is_boolean);
  for (const auto* field : {"slot", "system_id", "timeline"}) {
    is_whole = is_whole && is(field, &Json::is_string);
  }
  for (const auto* field : {"number", "begins", "restart_lsn"}) {
    is_whole = is_whole && is(field, &Json::is_number_unsigned);
  }
  if (!is_whole) return damaged("a segment without a head");
  return SegmentHead{.identity = {.slot = json["slot"],
                                  .system_id = json["system_id"],
                                  .timeline = json["timeline"]},
                     .number = json["number"],
                     .begins = pg::Lsn(json["begins"].get<std::uint64_t>()),
                     .restart_lsn = pg::Lsn(json["restart_lsn"].get<std::uint64_t>()),
                     .is_join = json["join"]};
}

Result<void> StreamOutline::note(const Record& record) {
  if (record.kind == RecordKind::kHead) return {};
  if (record.kind == RecordKind::kPosition) {
    complete_ = std::max(complete_, record.lsn);
    return {};
  }
  if (const auto change = decoder_.streamed_change(record.payload, scratch_)) {
    if (is_relation(scratch_)) in_progress_[block_][relation_id(scratch_)] = scratch_;
    return {};
  }
  if (is_relation(record.payload)) {
    relations_[relation_id(record.payload)] = record.payload;
    return {};
  }
  return note_control(record.payload);
}

Result<void> StreamOutline::note_control(std::string_view payload) {
  namespace m = pg::message;
  if (payload.empty() || !std::string_view("BCSEcA").contains(payload[0])) return {};
  TRY(const auto decoded, decoder_.decode(payload));
  if (std::holds_alternative<m::Begin>(decoded)) in_transaction_ = true;
  if (const auto* commit = std::get_if<m::Commit>(&decoded)) {
    in_transaction_ = false;
    complete_ = std::max(complete_, commit->end_lsn);
  }
  if (const auto* start = std::get_if<m::StreamStart>(&decoded)) block_ = start->xid;
  if (std::holds_alternative<m::StreamStop>(decoded)) block_ = 0;
  if (const auto* commit = std::get_if<m::StreamCommit>(&decoded)) {
    for (auto& [id, text] : in_progress_[commit->xid]) relations_[id] = std::move(text);
    in_progress_.erase(commit->xid);
    complete_ = std::max(complete_, commit->end_lsn);
  }
  const auto* abort = std::get_if<m::StreamAbort>(&decoded);
  if (abort != nullptr && abort->xid == abort->subxid) in_progress_.erase(abort->xid);
  return {};
}

}  // namespace banyan::replication
