#pragma once
// SharedSlot: what splits of one source that share a slot keep there together, in schema `banyan`:
//
//   shared_slot    the slot of each `share`, and on which server it was made
//   shared_table   who has which table published: a split joins with its first row and leaves with
//                  its last one; whoever is listed holds what the slot may forget
//
// and a publication of all these tables. A split that joins begins at a point of its own, from the
// snapshot of a temporary slot that is gone when it has begun. All that was open while its tables
// were published has ended before that point.
//
// Joining and leaving are one at a time (Feed::membership). A value.

#include <optional>
#include <string>
#include <vector>

#include "planes/replication/catalog.h"
#include "planes/replication/slots.h"
#include "wire/pg/connection.h"

namespace banyan::replication {

class SharedSlot {
 public:
  SharedSlot(std::string share, std::string migration)
      : share_(std::move(share)), migration_(std::move(migration)) {}
  std::string publication() const { return "banyan_shared." + share_; }
  std::string stem(const std::string& prefix) const { return slot_stem(prefix, share_, "shared"); }

  // Publishes exactly these tables for the migration. kConflict when another one has the same table
  // published in part, kUnsupported for partitions drawn anew.
  Result<void> publish(pg::Connection& source, const Direction& direction) const;
  // A new beginning for the migration; makes the slot when there is none that can be read.
  Result<SlotStart> begin(const std::string& source_url, const std::string& prefix) const;
  // The slot that is shared now; nothing when nobody has made one.
  Result<std::optional<LogIdentity>> slot(pg::Connection& source) const;
  Result<std::vector<std::string>> members(pg::Connection& source) const;
  // Nothing is published for the migration any more. Whether anybody is left.
  Result<bool> unlist(pg::Connection& source) const;
  // After the last one: the slot and the publication.
  Result<void> remove(const std::string& source_url, const std::string& prefix) const;

 private:
  Result<void> list(pg::Connection& source, const std::vector<PublishedTable>& tables) const;
  Result<void> refuse_parts(pg::Connection& source,
                            const std::vector<PublishedTable>& tables) const;
  Result<void> add_missing(pg::Connection& source) const;
  Result<void> drop_unlisted(pg::Connection& source) const;
  Result<bool> is_sound(pg::ReplicationConnection& connection, const LogIdentity& known) const;

  const std::string share_;
  const std::string migration_;
};

}  // namespace banyan::replication
