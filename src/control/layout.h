#pragma once
// Layout: where a project's roles keep their state, sockets and logs. A value.
//
//   <spec folder>/.banyan/            private (0700)
//     control.db                      journal and state
//     gateway/ replicate/ agent/      what each role remembers; gateway-2/ ... where several run
//     gateways                        how many gateways run, written by `banyan up`; absent: one
//     run/<role>.sock                 in a private folder of the temporary directory when the path
//                                     would exceed what a Unix socket address holds (107 bytes)
//     log/<role>.log

#include <string>
#include <vector>

#include "base/error.h"

namespace banyan::control {

class Layout {
 public:
  // Creates the folders. `state_dir` empty: .banyan beside the spec file.
  static Result<Layout> create(const std::string& spec_file, std::string state_dir);

  const std::string& spec_file() const { return spec_file_; }
  const std::string& state_dir() const { return state_dir_; }
  std::string role_dir(const std::string& role) const { return state_dir_ + "/" + role; }
  std::string socket(const std::string& role) const { return run_dir_ + "/" + role + ".sock"; }
  std::string log(const std::string& role) const { return state_dir_ + "/log/" + role + ".log"; }
  // The gateways that `banyan up` runs (or ran last): "gateway", "gateway-2", ...
  std::vector<std::string> gateways() const;
  // Before they are started. What a gateway that is no longer wanted remembered is removed: if it
  // comes back one day, it must not serve the routes of today.
  Result<void> set_gateways(int count) const;
  std::string database() const { return state_dir_ + "/control.db"; }

 private:
  std::string spec_file_;
  std::string state_dir_;
  std::string run_dir_;
};

}  // namespace banyan::control
