#pragma once
// Rows of users in tables of extensions: what pg_dump dumps of them as data (the tables and
// sequences an extension registered by pg_extension_config_dump, with its condition on rows;
// PostGIS keeps its coordinate systems so). CREATE EXTENSION makes the rest anew on the other side.
//
// Such tables are in no publication and have no fence: their rows are carried when the schema is
// made, before a switch, and last in its pause; a write after that is found while the pause lasts.
// https://www.postgresql.org/docs/current/extend-extensions.html

#include <string>
#include <vector>

#include "base/error.h"
#include "planes/replication/outside_log.h"
#include "wire/pg/connection.h"

namespace banyan::replication {

struct ExtensionTable {
  std::string extension;
  std::string qualified;
  std::string columns;    // that hold data, quoted
  std::string condition;  // "where ...", or empty
  bool is_sequence = false;
};

// In an order in which their rows can be inserted. Those among `moved` are left to the stream.
Result<std::vector<ExtensionTable>> extension_tables(pg::Connection& db, const TableNames& moved);
// "12 d41d8..." of the rows that are carried; "0 " of none.
Result<std::string> extension_rows_digest(pg::Connection& db, const ExtensionTable& table);

// Replaces the rows of each extension of which any differ, in the caller's transaction.
Result<CarriedObjects> carry_extension_rows(pg::Connection& active, pg::Connection& passive,
                                            const TableNames& moved);
// kConflict, with the table's name, when rows differ.
Result<void> check_extension_rows(pg::Connection& active, pg::Connection& passive,
                                  const TableNames& moved);

}  // namespace banyan::replication
