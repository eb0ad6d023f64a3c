// FUZZ SOURCES: planes/gateway/grpc.cc
// A grpc-timeout is its digits and its unit, and nothing else is one; a grpc-message is printable.
// Where messages end does not depend on how the bytes are cut.

#include <array>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "planes/gateway/grpc.h"

namespace {

using namespace banyan;  // NOLINT(google-build-using-namespace)

constexpr std::string_view kUnits = "HMSmun";
constexpr std::array<Duration, 6> kLasts = {1h, 1min, 1s, 1ms, 1us, 1ns};

bool is_timeout(std::string_view text) {
  if (text.size() < 2 || text.size() > 9 || kUnits.find(text.back()) == std::string_view::npos)
    return false;
  return text.find_first_not_of("0123456789") == text.size() - 1;
}

// However they are followed, the same bytes end in the same place.
void follow(std::string_view in) {
  gateway::GrpcMessages at_once;
  at_once.take(in);
  gateway::GrpcMessages whole;
  const std::size_t taken = whole.take_whole(in);
  CHECK(whole.count() == at_once.count() && whole.at_boundary());  // it began between two
  whole.take(in.substr(taken));
  gateway::GrpcMessages one_by_one;
  for (std::size_t at = 0; at < in.size();) {
    one_by_one.take(in.substr(at++, 1));
    const std::size_t rest = one_by_one.take_rest(in.substr(at));
    CHECK(one_by_one.at_boundary() || at + rest == in.size());
    at += rest;
  }
  for (const gateway::GrpcMessages& other : {whole, one_by_one})
    CHECK(other.count() == at_once.count() && other.at_boundary() == at_once.at_boundary());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view in(reinterpret_cast<const char*>(data), size);
  const auto timeout = gateway::grpc_timeout(in);
  CHECK(timeout.has_value() == is_timeout(in));
  if (timeout) {
    const Duration unit = kLasts.at(kUnits.find(in.back()));
    CHECK(*timeout >= Duration::zero() && *timeout % unit == Duration::zero());
    CHECK(*timeout / unit <= std::stol(std::string(in)));
  }
  follow(in);
  for (const char c : gateway::grpc_message(in)) CHECK(c >= 0x20 && c < 0x7f);
  return 0;
}
