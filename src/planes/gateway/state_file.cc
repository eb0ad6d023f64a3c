#include "planes/gateway/state_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace banyan::gateway {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

std::unexpected<Error> failed(std::string_view call, const std::string& path) {
  return failure(Code::kUnavailable, fmt::format("{} {}: {}", call, path, std::strerror(errno)));
}

Result<void> write_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return failed("write", path);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::fsync(fd) != 0) return failed("fsync", path);
  return {};
}

Result<void> write_durably(const std::string& directory, const std::string& path,
                           std::string_view text) {
  const std::string temporary = path + ".new";
  {
    const Descriptor file(
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (file.get() < 0) return failed("open", temporary);
    TRY_VOID(write_all(file.get(), text, temporary));
  }
  if (std::rename(temporary.c_str(), path.c_str()) != 0) return failed("rename", path);
  const Descriptor folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0 || ::fsync(folder.get()) != 0) return failed("fsync", directory);
  return {};
}

Result<nlohmann::json> parse(const std::string& path) {
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  nlohmann::json parsed = nlohmann::json::parse(text, nullptr, false);
  if (parsed.is_discarded() || !parsed.is_object() || !parsed.contains("hold"))
    return failure(Code::kCorruption, fmt::format("{} is not a gateway's state", path));
  return parsed;
}

Result<GatewayState> load(const std::string& path) {
  TRY(const nlohmann::json in, parse(path));
  GatewayState state;
  if (in.contains("snapshot") && !in["snapshot"].is_null()) {
    TRY(state.snapshot, with_context(RouteSnapshot::from_json(in["snapshot"]), path));
  }
  TRY(state.hold, with_context(HoldOrder::from_json(in["hold"]), path));
  for (const auto& one : in.value("draining", nlohmann::json::array()))
    state.draining.insert({one.value("backend", ""), one.value("address", "")});
  return state;
}

// Written by another version, or damaged.
constexpr const char* kUnreadable =
    "1. Start the version of Banyan that wrote the file; a gateway that was to be upgraded goes on "
    "serving.\n2. Unless a switch is under way: move the file away and start again. The routes are "
    "published anew, and endpoints that were drained get requests again.";

}  // namespace

Result<GatewayState> StateFile::read() const {
  std::error_code error;
  if (!std::filesystem::exists(path(), error)) return GatewayState{};
  Result<GatewayState> state = load(path());
  if (!state) return std::unexpected(std::move(state).error().with_remedy(kUnreadable));
  return state;
}

Result<void> StateFile::write(const GatewayState& state) const {
  nlohmann::json out = {{"hold", state.hold.to_json()}};
  for (const auto& [backend, address] : state.draining)
    out["draining"].push_back({{"backend", backend}, {"address", address}});
  if (state.snapshot) out["snapshot"] = state.snapshot->to_json();
  return write_durably(directory_, path(), out.dump());
}

}  // namespace banyan::gateway
