#pragma once
// Layout: where a project's roles keep their state, sockets and logs. A value.
//
//   <spec folder>/.banyan/            private (0700)
//     control.db                      journal and state
//     gateway/ replicate/ agent/      what each role remembers
//     run/<role>.sock                 in a private folder of the temporary directory when the path
//                                     would exceed what a Unix socket address holds (107 bytes)
//     log/<role>.log

#include <string>

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
  std::string database() const { return state_dir_ + "/control.db"; }

 private:
  std::string spec_file_;
  std::string state_dir_;
  std::string run_dir_;
};

}  // namespace banyan::control
