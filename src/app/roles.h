#pragma once
// The roles of the one binary. Each runs until SIGTERM or SIGINT and returns the exit code.

#include <string>

namespace banyan {

struct RoleOptions {
  std::string socket;      // Unix socket on which the role answers its verbs
  std::string state_dir;   // private directory of the role; what it must remember is here
  int workers = 0;         // gateway: event-loop threads; 0 = one per core
  bool take_over = false;  // gateway: from the one that runs, without dropping a connection
};

struct ObjectsOptions {
  std::string listen;  // "127.0.0.1:9000"
  std::string root;
  std::string access_key;
  std::string secret_key_file;
};

int run_gateway(const RoleOptions& options);
int run_replicate(const RoleOptions& options);
int run_agent(const RoleOptions& options);
int run_objects(const ObjectsOptions& options);

}  // namespace banyan
