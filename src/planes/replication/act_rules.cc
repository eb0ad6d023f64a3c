#include "planes/replication/act_rules.h"

#include <array>
#include <utility>

namespace banyan::replication {
namespace {

constexpr std::array<std::pair<RowState, std::string_view>, 4> kRowStates = {{
    {RowState::kRunning, "running"},
    {RowState::kFenced, "fenced"},
    {RowState::kHandedOver, "handed_over"},
    {RowState::kPassive, "passive"},
}};

bool is_closed(const ArbiterRow& row) {
  return row.state == RowState::kPassive || row.state == RowState::kHandedOver;
}

Standing standing_of_closed(const ArbiterRows& rows) {
  // Handed over and not opened yet: the later handover decides which side opens.
  const bool old_handed_over = rows.old_side.epoch > rows.new_side.epoch;
  const SideName from = old_handed_over ? SideName::kOld : SideName::kNew;
  return {other_side(from), ActState::kHandedOver, rows.of(from).epoch};
}

}  // namespace

std::optional<RowState> parse_row_state(std::string_view text) {
  for (const auto& [state, name] : kRowStates) {
    if (name == text) return state;
  }
  return std::nullopt;
}

std::string_view row_state_name(RowState state) {
  return kRowStates[static_cast<std::size_t>(state)].second;
}

std::string_view act_state_name(ActState act) {
  switch (act) {
    case ActState::kRunning:
      return "running";
    case ActState::kFenced:
      return "fenced";
    case ActState::kHandedOver:
      return "handed_over";
    case ActState::kOpen:
      return "open";
  }
  return "";
}

Result<Standing> standing(const ArbiterRows& rows) {
  const bool old_closed = is_closed(rows.old_side);
  const bool new_closed = is_closed(rows.new_side);
  if (old_closed && new_closed) return standing_of_closed(rows);
  if (!old_closed && !new_closed) {
    return std::unexpected(
        Error(Code::kCorruption, "both databases say that they are the active one")
            .with_remedy("Stop the applications, compare both sides with `verify`, and set "
                         "banyan.migration of the wrong side to 'passive'."));
  }
  const SideName active = new_closed ? SideName::kOld : SideName::kNew;
  const auto& row = rows.of(active);
  if (row.state == RowState::kFenced) return Standing{active, ActState::kFenced, row.epoch};
  const bool was_opened = rows.of(other_side(active)).state == RowState::kHandedOver;
  return Standing{active, was_opened ? ActState::kOpen : ActState::kRunning, row.epoch};
}

std::optional<ArbiterRow> after_fence(const ArbiterRow& row, Epoch epoch) {
  if (row.state == RowState::kFenced && row.epoch == epoch) return row;
  if (row.state != RowState::kRunning || row.epoch >= epoch) return std::nullopt;
  return ArbiterRow{RowState::kFenced, epoch};
}

std::optional<ArbiterRow> after_abort(const ArbiterRow& row, Epoch epoch) {
  const bool fenced = row.state == RowState::kFenced && row.epoch == epoch;
  const bool open = row.state == RowState::kRunning && row.epoch <= epoch;
  if (!fenced && !open) return std::nullopt;
  return ArbiterRow{RowState::kRunning, epoch};
}

std::optional<ArbiterRow> after_handover(const ArbiterRow& row, Epoch epoch) {
  if (row.epoch != epoch) return std::nullopt;
  if (row.state == RowState::kHandedOver) return row;
  if (row.state != RowState::kFenced) return std::nullopt;
  return ArbiterRow{RowState::kHandedOver, epoch};
}

std::optional<ArbiterRow> after_open(const ArbiterRow& row, const ArbiterRow& other, Epoch epoch) {
  if (other != ArbiterRow{RowState::kHandedOver, epoch}) return std::nullopt;
  if (row == ArbiterRow{RowState::kRunning, epoch}) return row;
  if (!is_closed(row) || row.epoch >= epoch) return std::nullopt;
  return ArbiterRow{RowState::kRunning, epoch};
}

}  // namespace banyan::replication
