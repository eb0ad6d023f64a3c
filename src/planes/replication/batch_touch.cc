#include "planes/replication/batch_touch.h"

#include <unordered_map>

namespace banyan::replication {
namespace {

class Collector {
 public:
  Collector(TablePlans& plans, SideName from) : plans_(plans), from_(from) {}
  Result<void> add(const Change& change);
  std::map<std::string, TableTouch> take() { return std::move(tables_); }

 private:
  struct Place {
    const RowPlan* rows;
    TableTouch* touch;
  };
  std::string name_of(const Relation& relation) const;
  Result<Place> place_of(const RelationPtr& relation);
  static void add_key(const Place& place, const pg::Tuple& row);

  TablePlans& plans_;
  const SideName from_;
  std::map<std::string, TableTouch> tables_;
  std::unordered_map<const Relation*, Place> places_;
};

std::string Collector::name_of(const Relation& relation) const {
  if (from_ == SideName::kOld) return relation.display();
  const auto there = plans_.mapping().of(relation.schema, relation.name);
  return there.target_schema + "." + there.target_table;
}

Result<Collector::Place> Collector::place_of(const RelationPtr& relation) {
  const auto known = places_.find(relation.get());
  if (known != places_.end()) return known->second;
  TRY(const auto* plan, plans_.of(relation));
  auto& touch = tables_[name_of(*relation)];
  std::vector<std::string> columns;
  for (const auto at : plan->row.key()) {
    columns.push_back(from_ == SideName::kOld ? relation->columns[at].name
                                              : plan->row.fields()[at].name);
  }
  const auto& key = plan->row.key();
  if (key.size() == 1 && is_whole_number(plan->row.fields()[key[0]].type)) {
    touch.kind = TouchedRows::Kind::kNumber;
  }
  const bool has_other_key = !touch.keys.empty() && touch.columns != columns;
  touch.is_all = touch.is_all || columns.empty() || has_other_key;
  touch.columns = std::move(columns);
  return places_[relation.get()] = {&plan->row, &touch};
}

void Collector::add_key(const Place& place, const pg::Tuple& row) {
  if (row.empty() || place.touch->is_all) return;
  TouchedRows::Key key;
  for (const auto at : place.rows->key()) {
    if (at >= row.size() || row[at].kind != pg::CellKind::kText) {
      place.touch->is_all = true;
      return;
    }
    key.emplace_back(row[at].bytes);
  }
  place.touch->keys.push_back(std::move(key));
}

Result<void> Collector::add(const Change& change) {
  for (const auto& relation : change.truncated) tables_[name_of(*relation)].is_all = true;
  if (!change.relation) return {};
  TRY(const auto place, place_of(change.relation));
  add_key(place, change.old_row);
  add_key(place, change.row);
  return {};
}

}  // namespace

Result<std::map<std::string, TableTouch>> touched_by(std::span<const Fragment> fragments,
                                                     TablePlans& plans, SideName from,
                                                     std::size_t most) {
  std::size_t changes = 0;
  for (const auto& fragment : fragments) changes += fragment.changes.size();
  std::size_t skipped = changes - std::min(changes, most);
  Collector collector(plans, from);
  for (const auto& fragment : fragments) {
    const auto here = std::min(skipped, fragment.changes.size());
    skipped -= here;
    for (const auto& change : std::span(fragment.changes).subspan(here)) {
      TRY_VOID(collector.add(change));
    }
  }
  return collector.take();
}

}  // namespace banyan::replication
