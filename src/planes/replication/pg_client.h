#pragma once
// PostgreSQL's own client programs: finding pg_dump and running it. A program reads its password
// from the environment: arguments are readable by everyone on a machine.

#include <string>
#include <vector>

#include "base/error.h"

namespace banyan::replication {

struct Finished {
  int status = 0;
  std::string output;  // standard output and error
};

// Runs a program to its end. `settings` are NAME=value pairs added to its environment.
Result<Finished> run_program(const std::vector<std::string>& command,
                             const std::vector<std::string>& settings);

// The newest pg_dump at least as new as the server: BANYAN_PG_BIN, PATH, /usr/lib/postgresql/*/bin.
Result<std::string> find_pg_dump(int server_major);

// Its major version; 0 when it does not run.
int major_of(const std::string& pg_dump);

}  // namespace banyan::replication
