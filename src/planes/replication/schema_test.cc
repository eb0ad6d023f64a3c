#include "planes/replication/schema.h"

#include <gtest/gtest.h>

namespace banyan::replication {
namespace {

constexpr std::string_view kDump = R"(--
-- PostgreSQL database dump
--
\restrict abc

SET statement_timeout = 0;

--
-- Name: orders orders_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY (id);


--
-- Name: odd; name orders_idx; Type: INDEX; Schema: odd schema; Owner: some owner
--

CREATE INDEX orders_idx ON public.orders USING btree (v);

\unrestrict abc
)";

TEST(SplitDump, GivesTheObjectsInOrderWithTheirTypes) {
  const auto items = split_dump(kDump);
  ASSERT_EQ(items.size(), 3U);
  EXPECT_EQ(items[0].type, "SETTINGS");
  EXPECT_EQ(items[1].name, "orders orders_pkey");
  EXPECT_EQ(items[1].type, "CONSTRAINT");
  EXPECT_EQ(items[1].schema, "public");
  EXPECT_TRUE(items[1].sql.contains("PRIMARY KEY (id);"));
}

TEST(SplitDump, NamesMayHoldTheSeparator) {
  const auto items = split_dump(kDump);
  ASSERT_EQ(items.size(), 3U);
  EXPECT_EQ(items[2].name, "odd; name orders_idx");
  EXPECT_EQ(items[2].schema, "odd schema");
}

TEST(SplitDump, LeavesCommandsOfPsqlOut) {
  for (const auto& item : split_dump(kDump)) EXPECT_FALSE(item.sql.contains("restrict"));
}

TEST(SplitDump, TheItemsTogetherAreTheWholeScript) {
  std::string all;
  for (const auto& item : split_dump(kDump)) all += item.sql;
  EXPECT_TRUE(all.contains("SET statement_timeout = 0;"));
  EXPECT_TRUE(all.contains("CREATE INDEX orders_idx"));
}

TEST(IsKey, PrimaryKeysAndReplicaIdentityIndexesAre) {
  EXPECT_TRUE(is_key({"", "CONSTRAINT", "", "ADD CONSTRAINT x PRIMARY KEY (id);"}));
  EXPECT_FALSE(is_key({"", "CONSTRAINT", "", "ADD CONSTRAINT x UNIQUE (id);"}));
  EXPECT_TRUE(is_key({"", "INDEX", "", "ALTER TABLE ONLY t REPLICA IDENTITY USING INDEX x;"}));
  EXPECT_FALSE(is_key({"", "INDEX", "", "CREATE INDEX x ON t (a);"}));
}

}  // namespace
}  // namespace banyan::replication
