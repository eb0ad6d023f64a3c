#include "control/connection_budget.h"

#include <gtest/gtest.h>

namespace banyan::control {
namespace {

TEST(ConnectionBudget, CountsWorkersAndThreads) {
  EXPECT_EQ(connections_per_instance("gunicorn a.wsgi -b :1 -w 2 -k gthread --threads 8"), 16);
  EXPECT_EQ(connections_per_instance("gunicorn a.wsgi --workers=4"), 4);
  EXPECT_EQ(connections_per_instance("uwsgi --processes 3 --threads 2"), 6);
  EXPECT_EQ(connections_per_instance("node server.js"), 1);
  EXPECT_EQ(connections_per_instance("gunicorn -w many"), 1);
}

int items_for(int max_connections) {
  const auto outcome = spec::parse_spec(R"(banyan: 1
name: shop
databases: { main: { url: { env: NEW } } }
services:
  web:
    command: gunicorn shop.wsgi -w 2 --threads 4
    instances: { min: 1, max: 10 }
    bind: { DATABASE_URL: database.main }
)",
                                        "/etc/banyan.yaml");
  for (const auto& problem : outcome.problems) ADD_FAILURE() << format(problem);
  Items items;
  check_connection_budget(outcome.spec, "main", max_connections, items);
  return items.count(Severity::kConfig);
}

TEST(ConnectionBudget, WarnsWhenAllCopiesTogetherNeedMore) {
  EXPECT_EQ(items_for(100), 0);
  EXPECT_EQ(items_for(99), 1);
}

}  // namespace
}  // namespace banyan::control
