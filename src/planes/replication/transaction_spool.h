#pragma once
// TransactionSpool: transactions that the server sends before they have ended, on disk until they
// do. One file a transaction, one record a change:
//
//   length u32 | CRC-32C u32 | subtransaction u32 | payload (native byte order, this machine's own)
//
// Memory is bounded by one small buffer a transaction. Nothing here needs to survive: the server
// is told of none of it and sends it again, so files of a dead predecessor are removed by open().
// A record that is not what was written is kCorruption and the stream begins anew. One thread.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "base/error.h"

namespace banyan::replication {

class TransactionSpool {
 public:
  static Result<TransactionSpool> open(std::filesystem::path directory);
  explicit TransactionSpool(std::filesystem::path directory) : directory_(std::move(directory)) {}
  TransactionSpool(TransactionSpool&&) = default;
  ~TransactionSpool();

  Result<void> append(std::uint32_t xid, std::uint32_t subxid, std::string_view payload);
  // Undoes a subtransaction, or with xid == subxid all of it.
  void abort(std::uint32_t xid, std::uint32_t subxid);
  // Gives every payload in order, with whether its subtransaction was undone; then forgets it. A
  // transaction without changes may be unknown.
  using Visit = std::function<Result<void>(std::string_view payload, bool is_undone)>;
  Result<void> replay(std::uint32_t xid, const Visit& visit);
  std::size_t bytes() const { return bytes_; }
  std::size_t transactions() const { return files_.size(); }

 private:
  struct File {
    int handle = -1;
    std::string buffer;  // not written yet
    std::size_t bytes = 0;
    std::set<std::uint32_t> undone;
  };
  std::filesystem::path path(std::uint32_t xid) const;
  Result<File*> file(std::uint32_t xid);
  Result<void> flush(File& file);
  void forget(std::uint32_t xid);

  std::filesystem::path directory_;
  std::map<std::uint32_t, File> files_;
  std::size_t bytes_ = 0;
};

}  // namespace banyan::replication
