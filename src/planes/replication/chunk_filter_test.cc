#include "planes/replication/chunk_filter.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

namespace banyan::replication {
namespace {

SnapshotFilter snapshot(std::string_view text) {
  return *SnapshotFilter::parse(text);
}

RelationPtr relation() {
  auto made = std::make_shared<Relation>();
  made->schema = "public";
  made->name = "t";
  made->columns = {{"id", true}, {"v", false}};
  return made;
}

pg::Tuple row(std::string_view id, std::string_view value) {
  return {{pg::CellKind::kText, id}, {pg::CellKind::kText, value}};
}

Change insert_of(std::string_view key) {
  Change change;
  change.relation = relation();
  change.row = row(key, "x");
  return change;
}

Change move_row(std::string_view from, std::string_view to) {
  Change change;
  change.operation = Operation::kUpdate;
  change.relation = relation();
  change.old_kind = pg::message::OldRow::kKey;
  change.old_row = {{pg::CellKind::kText, from}, {pg::CellKind::kNull, ""}};
  change.row = row(to, "x");
  return change;
}

// Keys below 10 were copied before transaction 100 ended, the others after it.
ChunkFilter two_pieces() {
  return *ChunkFilter::create(
      "id", KeyOrder::kNumber,
      {{{"10", std::nullopt}, snapshot("150:150:")}, {{std::nullopt, "10"}, snapshot("50:60:")}});
}

TEST(ChunkFilter, LeavesOutWhatThePieceOfTheKeyHasSeen) {
  auto insert = insert_of("9");
  Change part;
  EXPECT_EQ(*two_pieces().left_to_apply(insert, 100, part), &insert);
  EXPECT_EQ(*two_pieces().left_to_apply(insert, 40, part), nullptr);
  insert.row = row("11", "x");
  EXPECT_EQ(*two_pieces().left_to_apply(insert, 100, part), nullptr);
  EXPECT_EQ(*two_pieces().left_to_apply(insert, 150, part), &insert);
}

TEST(ChunkFilter, TurnsAMoveIntoASeenPieceIntoADelete) {
  const auto change = move_row("9", "11");
  Change part;
  ASSERT_EQ(*two_pieces().left_to_apply(change, 100, part), &part);
  EXPECT_EQ(part.operation, Operation::kDelete);
  EXPECT_EQ(part.old_row[0].bytes, "9");
}

TEST(ChunkFilter, TurnsAMoveOutOfASeenPieceIntoAnInsert) {
  const auto change = move_row("11", "9");
  Change part;
  ASSERT_EQ(*two_pieces().left_to_apply(change, 100, part), &part);
  EXPECT_EQ(part.operation, Operation::kInsert);
  EXPECT_EQ(part.row[0].bytes, "9");
}

TEST(ChunkFilter, LeavesARowInPartWhenTheStreamTellsNoMore) {
  auto change = move_row("11", "9");
  change.row[1] = {pg::CellKind::kUnchangedToast, ""};
  Change part;
  ASSERT_EQ(*two_pieces().left_to_apply(change, 100, part), &part);
  EXPECT_EQ(part.operation, Operation::kInsert);
  EXPECT_FALSE(is_whole(part.row));
  EXPECT_FALSE(two_pieces().piece_snapshot(change)->has_seen(100));
}

TEST(ChunkFilter, ARowCopiedAgainHasItsOwnSnapshot) {
  auto filter = two_pieces();
  const auto row_of_9 = row_key(*relation(), row("9", "x"));
  filter.set_row(row_of_9, snapshot("120:120:"));
  Change part;
  const auto insert = insert_of("9");
  EXPECT_EQ(*filter.left_to_apply(insert, 110, part), nullptr);
  EXPECT_EQ(*filter.left_to_apply(insert, 130, part), &insert);
  const auto neighbour = insert_of("8");
  EXPECT_EQ(*filter.left_to_apply(neighbour, 110, part), &neighbour);
  // It moves on within its piece: seen there, not seen here.
  const auto change = move_row("9", "8");
  ASSERT_EQ(*filter.left_to_apply(change, 110, part), &part);
  EXPECT_EQ(part.operation, Operation::kInsert);
  EXPECT_TRUE(filter.has_row_beyond(110));
  EXPECT_FALSE(filter.has_row_beyond(130));
  filter.set_row(row_of_9, std::nullopt);
  EXPECT_EQ(*filter.left_to_apply(insert, 110, part), &insert);
}

TEST(ChunkFilter, TakesUnchangedValuesFromAFullOldRow) {
  auto change = move_row("11", "9");
  change.old_kind = pg::message::OldRow::kFull;
  change.old_row = row("11", "large");
  change.row[1] = {pg::CellKind::kUnchangedToast, ""};
  Change part;
  ASSERT_EQ(*two_pieces().left_to_apply(change, 100, part), &part);
  EXPECT_EQ(part.row[1].bytes, "large");
}

TEST(ChunkFilter, TruncatesOnlyThePiecesThatHaveNotSeenIt) {
  EXPECT_EQ(two_pieces().left_to_truncate(40, "id"), std::nullopt);
  EXPECT_EQ(two_pieces().left_to_truncate(200, "id"), "true");
  EXPECT_EQ(two_pieces().left_to_truncate(100, "id"), "(true and \"id\" < '10')");
}

TEST(ChunkFilter, APieceUnderTheSlotsSnapshotHasSeenNothing) {
  const auto filter = *ChunkFilter::create(
      "id", KeyOrder::kNumber,
      {{{std::nullopt, "10"}, std::nullopt}, {{"10", std::nullopt}, snapshot("150:150:")}});
  const auto insert = insert_of("1");
  Change part;
  EXPECT_EQ(*filter.left_to_apply(insert, 1, part), &insert);
}

TEST(ChunkFilter, RefusesPiecesThatLeaveKeysOutOrOverlap) {
  const auto refused = [](std::vector<CopiedPiece> pieces) {
    return !ChunkFilter::create("id", KeyOrder::kNumber, std::move(pieces)).has_value();
  };
  EXPECT_TRUE(refused({}));
  EXPECT_TRUE(refused({{{std::nullopt, "10"}, {}}}));
  EXPECT_TRUE(refused({{{std::nullopt, "10"}, {}}, {{"11", std::nullopt}, {}}}));
  EXPECT_TRUE(refused({{{std::nullopt, "10"}, {}}, {{"9", std::nullopt}, {}}}));
  EXPECT_TRUE(refused({{{std::nullopt, std::nullopt}, {}}, {{"9", std::nullopt}, {}}}));
}

TEST(KeyOrder, NumbersCompareAsNumbers) {
  EXPECT_TRUE(is_before(KeyOrder::kNumber, "9", "10"));
  EXPECT_TRUE(is_before(KeyOrder::kNumber, "-10", "-9"));
  EXPECT_FALSE(is_before(KeyOrder::kBytes, "9", "10"));
}

std::string ranges_text(const std::vector<KeyRange>& ranges) {
  std::string text;
  for (const auto& range : ranges) {
    text += fmt::format("[{},{})", range.lo.value_or(""), range.hi.value_or(""));
  }
  return text;
}

TEST(GapsBetween, AreWhatIsNotDone) {
  const auto gaps = [](std::vector<KeyRange> done) {
    return ranges_text(gaps_between(KeyOrder::kNumber, std::move(done)));
  };
  EXPECT_EQ(gaps({}), "[,)");
  EXPECT_EQ(gaps({{{}, {}}}), "");
  EXPECT_EQ(gaps({{{}, "5"}}), "[5,)");
  EXPECT_EQ(gaps({{"5", {}}}), "[,5)");
  EXPECT_EQ(gaps({{"20", "30"}, {"5", "9"}}), "[,5)[9,20)[30,)");
  EXPECT_EQ(gaps({{{}, "5"}, {"5", "9"}, {"9", {}}}), "");
}

// Every history of a few transactions over three keys in two pieces, each piece copied after any of
// them, transaction ids in any order: copying, then applying what the filter leaves, strictly, must
// give what the source holds.
class EveryHistory : public testing::Test {
 protected:
  using State = std::map<int, int>;  // key -> value
  struct Step {
    Change change;
    std::string old_key, new_key, value;
  };

  static std::vector<std::function<void(State&, Step&)>> choices(const State& state, int time);
  void explore(const State& state, std::vector<State> states,
               std::vector<std::shared_ptr<Step>> steps);
  void check(const std::vector<State>& states, const std::vector<std::shared_ptr<Step>>& steps);
  void replay(const std::vector<State>& states, const std::vector<std::shared_ptr<Step>>& steps,
              const std::vector<int>& xids, std::size_t first_at, std::size_t second_at);
  static constexpr int kBorder = 2;  // keys 0 and 1 | 2
  static constexpr int kKeys = 3;
  static constexpr std::size_t kSteps = 3;
  int replays_ = 0;
};

std::vector<std::function<void(EveryHistory::State&, EveryHistory::Step&)>> EveryHistory::choices(
    const State& state, int time) {
  std::vector<std::function<void(State&, Step&)>> all;
  const auto fill = [time](Step& step, Operation operation, int from, int to) {
    step.old_key = std::to_string(from);
    step.new_key = std::to_string(to);
    step.value = std::to_string(time);
    step.change.operation = operation;
    step.change.relation = relation();
    if (operation != Operation::kInsert && (operation == Operation::kDelete || from != to)) {
      step.change.old_kind = pg::message::OldRow::kKey;
      step.change.old_row = row(step.old_key, "");
    }
    if (operation != Operation::kDelete) step.change.row = row(step.new_key, step.value);
  };
  for (int key = 0; key < kKeys; key++) {
    if (!state.contains(key)) {
      all.emplace_back([fill, key, time](State& now, Step& step) {
        fill(step, Operation::kInsert, key, key);
        now[key] = time;
      });
      continue;
    }
    all.emplace_back([fill, key](State& now, Step& step) {
      fill(step, Operation::kDelete, key, key);
      now.erase(key);
    });
    for (int to = 0; to < kKeys; to++) {
      if (to != key && state.contains(to)) continue;
      all.emplace_back([fill, key, to, time](State& now, Step& step) {
        fill(step, Operation::kUpdate, key, to);
        now.erase(key);
        now[to] = time;
      });
    }
  }
  return all;
}

// The text of a snapshot taken after the first `count` of the transactions, whose ids are `xids`.
std::string snapshot_after(const std::vector<int>& xids, std::size_t count) {
  const int top = 10 + static_cast<int>(xids.size());
  std::string running;
  int least = top;
  for (std::size_t i = count; i < xids.size(); i++) {
    running += (running.empty() ? "" : ",") + std::to_string(xids[i]);
    least = std::min(least, xids[i]);
  }
  return fmt::format("{}:{}:{}", least, top, running);
}

void EveryHistory::replay(const std::vector<State>& states,
                          const std::vector<std::shared_ptr<Step>>& steps,
                          const std::vector<int>& xids, std::size_t first_at,
                          std::size_t second_at) {
  replays_++;
  State target;
  for (const auto& [key, value] : states[first_at]) {
    if (key < kBorder) target[key] = value;
  }
  for (const auto& [key, value] : states[second_at]) {
    if (key >= kBorder) target[key] = value;
  }
  const auto border = std::to_string(kBorder);
  const auto filter =
      *ChunkFilter::create("id", KeyOrder::kNumber,
                           {{{std::nullopt, border}, snapshot(snapshot_after(xids, first_at))},
                            {{border, std::nullopt}, snapshot(snapshot_after(xids, second_at))}});
  for (std::size_t i = 0; i < steps.size(); i++) {
    Change part;
    const auto left =
        filter.left_to_apply(steps[i]->change, static_cast<std::uint32_t>(xids[i]), part);
    ASSERT_TRUE(left);
    if (*left == nullptr) continue;
    const Change& change = **left;
    if (change.operation != Operation::kInsert) {
      ASSERT_EQ(target.erase(std::stoi(steps[i]->old_key)), 1U) << "a row that is not there";
    }
    if (change.operation != Operation::kDelete) {
      ASSERT_TRUE(target.emplace(std::stoi(steps[i]->new_key), std::stoi(steps[i]->value)).second);
    }
  }
  ASSERT_EQ(target, states.back());
}

void EveryHistory::check(const std::vector<State>& states,
                         const std::vector<std::shared_ptr<Step>>& steps) {
  std::vector<int> xids;
  for (std::size_t i = 0; i < steps.size(); i++) xids.push_back(10 + static_cast<int>(i));
  do {
    for (std::size_t first = 0; first < states.size(); first++) {
      for (std::size_t second = 0; second < states.size(); second++) {
        ASSERT_NO_FATAL_FAILURE(replay(states, steps, xids, first, second));
      }
    }
  } while (std::ranges::next_permutation(xids).found);
}

void EveryHistory::explore(const State& state, std::vector<State> states,
                           std::vector<std::shared_ptr<Step>> steps) {
  states.push_back(state);
  if (steps.size() == kSteps) return check(states, steps);
  for (const auto& choose : choices(state, static_cast<int>(steps.size()) + 1)) {
    auto next = state;
    auto step = std::make_shared<Step>();
    choose(next, *step);
    auto more = steps;
    more.push_back(std::move(step));
    explore(next, states, std::move(more));
    if (HasFatalFailure()) return;
  }
}

TEST_F(EveryHistory, EndsAsTheSource) {
  explore({{0, 0}}, {}, {});
  explore({{0, 0}, {2, 0}}, {}, {});
  EXPECT_GT(replays_, 10000);
}

}  // namespace
}  // namespace banyan::replication
