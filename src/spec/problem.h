#pragma once
// Problem: one thing wrong with banyan.yaml, in the words a person reads. Values.

#include <compare>
#include <string>
#include <vector>

namespace banyan::spec {

// Where something stands in the file, counted from 1; 0 when it was not written but defaulted.
struct Position {
  int line = 0;
  int column = 0;
  friend auto operator<=>(const Position&, const Position&) = default;
};

struct Problem {
  std::string code;  // "BY-0312", listed in docs/errors.md
  std::string file;
  Position at;
  std::string what;     // "services.web.healht: unknown key"
  std::string do_this;  // "did you mean \"health\"?"; never empty
};

// The problems of one file, as they are found.
class Problems {
 public:
  explicit Problems(std::string file) : file_(std::move(file)) {}

  void add(std::string code, Position at, std::string what, std::string do_this) {
    list_.push_back({std::move(code), file_, at, std::move(what), std::move(do_this)});
  }
  bool empty() const { return list_.empty(); }
  const std::vector<Problem>& list() const { return list_; }

 private:
  std::string file_;
  std::vector<Problem> list_;
};

}  // namespace banyan::spec
