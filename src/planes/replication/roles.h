#pragma once
// Roles: who owns and may use the objects of a database, and the settings of the database itself:
// what pg_dump leaves to pg_dumpall. Passwords are never read, so never carried.
//
// Carried where our role on the target may; otherwise the statements are what preflight shows.

#include <string>
#include <vector>

#include "base/error.h"
#include "wire/pg/connection.h"

namespace banyan::replication {

struct RoleScript {
  std::string name;
  std::string attributes;
  std::string grants;  // memberships, parameters, comment and the role's settings; may be empty

  std::string create() const;  // one statement, without a password
  std::string alter() const;   // one that is there becomes this, but keeps what it has besides
};

// The roles that the source's objects, grants and policies name, and the roles these belong to,
// which the target lacks. Roles of the system (pg_*) are not among them.
Result<std::vector<RoleScript>> missing_roles(pg::Connection& source, pg::Connection& target);
// Those that the target has with other attributes, grants or settings.
Result<std::vector<RoleScript>> differing_roles(pg::Connection& source, pg::Connection& target);
// Creates the missing ones, as far as permitted; what is refused is logged and stays missing.
Result<void> carry_roles(pg::Connection& source, pg::Connection& target);
// The providers of the source's security labels that the target's server has not loaded.
Result<std::vector<std::string>> missing_label_providers(pg::Connection& source,
                                                         pg::Connection& target);
// Our role there, quoted.
std::string our_role(pg::Connection& db);
// Whether our role is a superuser there.
bool is_superuser(const pg::Connection& db);
// Whether our role on the target may give every object the owner it has on the source.
Result<bool> can_keep_owners(pg::Connection& source, pg::Connection& target);

// A query of the default privileges there are: oid, what each is, and the statements that take it
// back to what a new database has.
std::string default_privileges_sql();

// The database's own comment, settings (also those of roles in it), grants and labels, as
// statements for the target's database. Some settings would stop ourselves and are left out:
// read-only defaults.
Result<std::vector<std::string>> database_settings(pg::Connection& source, pg::Connection& target);

}  // namespace banyan::replication
