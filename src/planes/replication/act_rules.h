#pragma once
// The hand-over protocol as pure rules over the arbiter rows, one row per side (table
// banyan.migration). act.cc performs them as guarded updates; act_model_test.cc explores them
// exhaustively with two coordinators, crashes and lost messages.
//
//          fence(e), epoch < e          handover(e)
//   running ------------------> fenced -------------> handed_over
//     ^  ^                        |                        |
//     |  +------- abort(e) -------+                        |
//     +------- open(e), when the other side is handed_over(e) and epoch < e --- passive,
//     handed_over
//
// Every state is a committed row: it survives everything but the loss of its database. At most one
// side is `running`; the moment of truth is handover, one update of the row of the fenced side.
// An epoch is used once: fence and open need a larger one than the row has seen, so a late message
// of a dead coordinator finds its epoch spent. abort(e) of a side not yet fenced spends e as well.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/strong.h"
#include "planes/replication/control_schema.h"

namespace banyan::replication {

using Epoch = Strong<std::int64_t, struct EpochTag>;

enum class RowState : std::uint8_t { kRunning, kFenced, kHandedOver, kPassive };

struct ArbiterRow {
  RowState state = RowState::kPassive;
  Epoch epoch;
  friend bool operator==(const ArbiterRow&, const ArbiterRow&) = default;
};

struct ArbiterRows {
  ArbiterRow old_side{RowState::kRunning, Epoch(0)};
  ArbiterRow new_side{RowState::kPassive, Epoch(0)};
  ArbiterRow& of(SideName side) { return side == SideName::kOld ? old_side : new_side; }
  const ArbiterRow& of(SideName side) const { return side == SideName::kOld ? old_side : new_side; }
  friend bool operator==(const ArbiterRows&, const ArbiterRows&) = default;
};

// How far the act is, seen from both rows.
enum class ActState : std::uint8_t { kRunning, kFenced, kHandedOver, kOpen };
struct Standing {
  SideName active = SideName::kOld;  // from the handover on the side that will be opened
  ActState act = ActState::kRunning;
  Epoch epoch;
  // Nobody may write: a fence was closed, and no side opened since.
  bool is_closed() const { return act == ActState::kFenced || act == ActState::kHandedOver; }
  friend bool operator==(const Standing&, const Standing&) = default;
};

std::optional<RowState> parse_row_state(std::string_view text);
std::string_view row_state_name(RowState state);
std::string_view act_state_name(ActState act);

// Where the act stands. Fails with kCorruption when the rows contradict one another.
Result<Standing> standing(const ArbiterRows& rows);

// Each rule gives the row afterwards (unchanged when it was done before), or nothing: refused.
std::optional<ArbiterRow> after_fence(const ArbiterRow& row, Epoch epoch);
std::optional<ArbiterRow> after_abort(const ArbiterRow& row, Epoch epoch);
std::optional<ArbiterRow> after_handover(const ArbiterRow& row, Epoch epoch);
// `other` is the row of the side that was fenced.
std::optional<ArbiterRow> after_open(const ArbiterRow& row, const ArbiterRow& other, Epoch epoch);

}  // namespace banyan::replication
