#pragma once
// TablePlans: how the rows of each published relation are written here, read from the catalogs once
// and shared by all sessions that apply. Any thread. A plan stays as it is: a relation that has
// changed its shape is another one.

#include <memory>
#include <string>
#include <unordered_map>

#include "base/guarded.h"
#include "planes/replication/footprint.h"
#include "planes/replication/mapping.h"
#include "planes/replication/set_plan.h"

namespace banyan::replication {

struct TablePlan {
  RelationPtr relation;
  RowPlan row;
  std::optional<SetPlan> set{};  // nothing: rows are written one by one
  TableFootprint footprint;
  bool is_cascaded_to = false;  // foreign keys act here and cascade before the stream says so
};

class TablePlans {
 public:
  TablePlans(std::string to_url, Mapping mapping, SetPlan::Role role)
      : to_url_(std::move(to_url)), mapping_(std::move(mapping)), role_(role) {}
  Result<const TablePlan*> of(const RelationPtr& relation);
  // Null: of() has not been asked yet.
  const TablePlan* known(const RelationPtr& relation) const;
  const Mapping& mapping() const { return mapping_; }
  const std::string& to_url() const { return to_url_; }

 private:
  struct State {
    std::optional<pg::Connection> catalog;
    std::unordered_map<const Relation*, std::unique_ptr<TablePlan>> plans;
  };
  Result<std::unique_ptr<TablePlan>> read(pg::Connection& catalog,
                                          const RelationPtr& relation) const;
  const std::string to_url_;
  const Mapping mapping_;
  const SetPlan::Role role_;
  Guarded<State> state_;
};

}  // namespace banyan::replication
