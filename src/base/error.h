#pragma once
// Error and Result<T>: how every fallible function in Banyan reports failure.
//
// An Error says what happened (message), what the caller can do about it (code), whether doing it
// again can do it twice (retry), and, where a person reads it, what to do next (remedy).
// Values; safe to move between threads.

#include <cstdint>
#include <expected>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

namespace banyan {

// What the caller can do about it. Add a code only when some caller branches on it.
enum class Code : std::uint8_t {
  kInvalidArgument,
  kNotFound,
  kConflict,     // the world is not in the state the call needs
  kUnavailable,  // the other side is not there right now
  kTimeout,
  kCancelled,
  kPermission,
  kCorruption,
  kUnsupported,
  kInternal,
};

// "invalid_argument", "not_found", ...: the spelling used in JSON and logs.
std::string_view code_name(Code code);
// The inverse; unknown names are kInternal.
Code code_from_name(std::string_view name);

enum class Retry : std::uint8_t { kNever, kSafe };

class [[nodiscard]] Error {
 public:
  Error(Code code, std::string message, Retry retry = Retry::kNever,
        std::source_location where = std::source_location::current())
      : code_(code),
        retry_(retry),
        line_(where.line()),
        file_(where.file_name()),
        message_(std::move(message)) {}

  Code code() const { return code_; }
  Retry retry() const { return retry_; }
  const std::string& message() const { return message_; }
  const std::string& remedy() const { return remedy_; }
  // Source position where the error was made, for the log: "fence.cc:41".
  std::string where() const;

  // Prepends what was being attempted: "copying table public.orders: connection refused".
  Error with_context(std::string_view attempt) && {
    message_ = std::string(attempt) + ": " + message_;
    return std::move(*this);
  }
  // What a person can do next; one sentence, or numbered ways out separated by newlines.
  Error with_remedy(std::string remedy) && {
    remedy_ = std::move(remedy);
    return std::move(*this);
  }

 private:
  Code code_;
  Retry retry_;
  std::uint32_t line_;
  const char* file_;
  std::string message_;
  std::string remedy_;
};

// A value or an Error. Derived only to be [[nodiscard]], which libstdc++ 12's std::expected is not.
template <class T = void>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using std::expected<T, Error>::expected;
};

// `return failure(Code::kTimeout, "no barrier within 2 s")`.
inline std::unexpected<Error> failure(
    Code code, std::string message, Retry retry = Retry::kNever,
    std::source_location where = std::source_location::current()) {
  return std::unexpected(Error(code, std::move(message), retry, where));
}

// Adds context to a failed result on its way up; a successful one passes unchanged.
template <class T>
Result<T> with_context(Result<T> result, std::string_view attempt) {
  if (result) return result;
  return std::unexpected(std::move(result).error().with_context(attempt));
}

#define BANYAN_CONCAT_IMPL(a, b) a##b
#define BANYAN_CONCAT(a, b) BANYAN_CONCAT_IMPL(a, b)
#define BANYAN_TRY_IMPL(tmp, decl, ret, ...)             \
  auto tmp = (__VA_ARGS__);                              \
  if (!tmp) ret std::unexpected(std::move(tmp).error()); \
  decl = *std::move(tmp)
#define BANYAN_CHECK_OK_IMPL(tmp, ret, ...) \
  if (auto tmp = (__VA_ARGS__); !tmp) ret std::unexpected(std::move(tmp).error())

// TRY(auto rows, fetch(id));   TRY_VOID(flush());   and CO_ forms inside coroutines.
#define TRY(decl, ...) BANYAN_TRY_IMPL(BANYAN_CONCAT(try_, __LINE__), decl, return, __VA_ARGS__)
#define CO_TRY(decl, ...) \
  BANYAN_TRY_IMPL(BANYAN_CONCAT(try_, __LINE__), decl, co_return, __VA_ARGS__)
#define TRY_VOID(...) BANYAN_CHECK_OK_IMPL(BANYAN_CONCAT(try_, __LINE__), return, __VA_ARGS__)
#define CO_TRY_VOID(...) BANYAN_CHECK_OK_IMPL(BANYAN_CONCAT(try_, __LINE__), co_return, __VA_ARGS__)

}  // namespace banyan
