#pragma once
// The bytes of a received log's segments (received_log.h). Sans-IO: bytes in, records out; anything
// malformed is kCorruption, never a crash.
//
//   record:  length u32 | CRC-32C of what follows u32 | kind u8 | lsn u64 | payload
//
// Little-endian; `length` counts from the kind on. A segment begins with a head, then a description
// of each relation known so far, so that what follows can be decoded without the segments before.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "wire/pg/pgoutput.h"

namespace banyan::replication {

enum class RecordKind : char {
  kHead = 'h',      // payload: a SegmentHead
  kData = 'w',      // payload: a message of pgoutput
  kPosition = 'k',  // everything before `lsn` was sent
};

struct Record {
  RecordKind kind = RecordKind::kData;
  pg::Lsn lsn;
  std::string_view payload;
};

void append_record(std::string& out, const Record& record);
// Takes the first record away from `bytes`, into which its payload points; nothing while it is not
// whole.
Result<std::optional<Record>> take_record(std::string_view& bytes);

// Which slot of which server was read. A slot's name holds a nonce; a promoted server is on another
// timeline.
struct LogIdentity {
  std::string slot;
  std::string system_id;
  std::string timeline;
  friend bool operator==(const LogIdentity&, const LogIdentity&) = default;
};

struct SegmentHead {
  LogIdentity identity;
  std::uint64_t number = 0;
  pg::Lsn begins;        // every commit before it is in the segments before, or applied
  pg::Lsn restart_lsn;   // of the slot when the connection was made; it never goes back
  bool is_join = false;  // a new connection begins: what was in progress is sent again
};

std::string encode_head(const SegmentHead& head);
Result<SegmentHead> decode_head(const Record& record);

// What has to be known of a stream to cut it into segments: where nothing is half said, and how the
// relations look.
class StreamOutline {
 public:
  explicit StreamOutline(pg::Lsn complete = {}) : complete_(complete) {}
  Result<void> note(const Record& record);
  // Outside of transactions and of blocks of streamed ones.
  bool is_between() const { return !in_transaction_ && block_ == 0; }
  // Every commit before it was noted.
  pg::Lsn complete() const { return complete_; }
  // By id, as protocol version 1 describes them.
  const std::map<std::uint32_t, std::string>& relations() const { return relations_; }

 private:
  Result<void> note_control(std::string_view payload);

  pg::PgOutputDecoder decoder_;
  std::string scratch_;
  pg::Lsn complete_;
  bool in_transaction_ = false;
  std::uint32_t block_ = 0;  // the transaction of the streamed block
  std::map<std::uint32_t, std::string> relations_;
  // A streamed transaction's descriptions hold for others once it is committed.
  std::map<std::uint32_t, std::map<std::uint32_t, std::string>> in_progress_;
};

}  // namespace banyan::replication
