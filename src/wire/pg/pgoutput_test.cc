#include "wire/pg/pgoutput.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace banyan::pg {
namespace {

using namespace std::string_literals;

std::string u16(unsigned v) {
  return {static_cast<char>(v >> 8), static_cast<char>(v)};
}
std::string u32(unsigned v) {
  return u16(v >> 16) + u16(v & 0xFFFF);
}
std::string u64(std::uint64_t v) {
  return u32(static_cast<unsigned>(v >> 32)) + u32(static_cast<unsigned>(v));
}
std::string text_cell(const std::string& text) {
  return "t" + u32(static_cast<unsigned>(text.size())) + text;
}

const std::string kUpdate =
    "U" + u32(16400) + "K" + u16(2) + text_cell("1") + "n" + "N" + u16(2) + text_cell("2") + "u";

TEST(PgOutputDecoder, ReadsTheFrameOfATransaction) {
  PgOutputDecoder decoder;
  const auto payload = "B" + u64(0x16B374D848) + u64(7) + u32(755);
  const auto begin = decoder.decode(payload);
  ASSERT_TRUE(begin);
  EXPECT_EQ(std::get<message::Begin>(*begin).xid, 755U);
  EXPECT_EQ(format_lsn(std::get<message::Begin>(*begin).commit_lsn), "16/B374D848");
}

TEST(PgOutputDecoder, TellsKeyNullAndUnchangedToastApart) {
  PgOutputDecoder decoder;
  const auto decoded = decoder.decode(kUpdate);
  ASSERT_TRUE(decoded);
  const auto& update = std::get<message::Update>(*decoded);
  EXPECT_EQ(update.old_kind, message::OldRow::kKey);
  EXPECT_EQ(update.old_row[1].kind, CellKind::kNull);
  EXPECT_EQ(update.row[0].bytes, "2");
  EXPECT_EQ(update.row[1].kind, CellKind::kUnchangedToast);
}

TEST(PgOutputDecoder, RefusesEveryTruncatedAndOverlongPayload) {
  for (std::size_t length = 0; length < kUpdate.size(); ++length) {
    PgOutputDecoder decoder;
    EXPECT_FALSE(decoder.decode(std::string_view(kUpdate).substr(0, length))) << length;
  }
  PgOutputDecoder decoder;
  const auto overlong = kUpdate + "x";
  EXPECT_FALSE(decoder.decode(overlong));
}

TEST(PgOutputDecoder, ReadsTheXidOfChangesInsideAStreamedBlock) {
  PgOutputDecoder decoder;
  ASSERT_TRUE(decoder.decode("S" + u32(9) + "\x01"s));
  const auto insert = "I" + u32(12) + u32(16400) + "N" + u16(1) + text_cell("1");
  ASSERT_TRUE(decoder.decode(insert));
  EXPECT_EQ(decoder.streamed_xid(), 12U);
  ASSERT_TRUE(decoder.decode("E"));
  EXPECT_FALSE(decoder.decode(insert));
}

TEST(PgOutputDecoder, GivesAStreamedChangeAsVersionOneWouldSendIt) {
  PgOutputDecoder decoder;
  std::string scratch;
  const std::string insert("I\0\0\0\x0C\0\0\0\x07N\0\1n", 13);
  EXPECT_FALSE(decoder.streamed_change(insert, scratch));
  ASSERT_TRUE(decoder.decode(std::string("S\0\0\0\x0A\1", 6)));
  const auto change = decoder.streamed_change(insert, scratch);
  ASSERT_TRUE(change);
  EXPECT_EQ(change->xid, 12U);
  const auto decoded = PgOutputDecoder().decode(change->payload);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(std::get<message::Insert>(*decoded).relation, 7U);
  EXPECT_FALSE(decoder.streamed_change("E", scratch));
}

TEST(PgOutputDecoder, ReadsAbortsOfEveryVersion) {
  PgOutputDecoder decoder;
  const std::string old_form("A\0\0\0\1\0\0\0\2", 9);
  const auto old_abort = decoder.decode(old_form);
  ASSERT_TRUE(old_abort);
  EXPECT_EQ(std::get<message::StreamAbort>(*old_abort).subxid, 2U);
  const auto new_abort =
      decoder.decode(old_form + std::string("\0\0\0\0\0\0\0\x09", 8) + std::string(8, '\0'));
  ASSERT_TRUE(new_abort);
  EXPECT_EQ(std::get<message::StreamAbort>(*new_abort).lsn, Lsn(9));
  EXPECT_FALSE(decoder.decode(old_form + "x"));
}

TEST(Lsn, RoundTripsAndRefusesOtherText) {
  EXPECT_EQ(format_lsn(*parse_lsn("16/B374D848")), "16/B374D848");
  for (const auto* bad : {"", "/", "1", "1/", "/1", "1/x", "123456789/0", "1/2/3"}) {
    EXPECT_FALSE(parse_lsn(bad)) << bad;
  }
}

}  // namespace
}  // namespace banyan::pg
