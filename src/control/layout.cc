#include "control/layout.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

namespace banyan::control {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kSocketPathMax = 107;
constexpr std::size_t kLongestSocketName = 28;  // "/gateway.sock.succession", and some

Result<void> make_private(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) {
    return std::unexpected(
        Error(Code::kPermission, "cannot create " + path + ": " + error.message())
            .with_remedy(
                "1. Let the user who runs banyan write there.\n"
                "2. Keep the state elsewhere, in every call: banyan --state-dir FOLDER .."));
  }
  ::chmod(path.c_str(), 0700);
  return {};
}

std::string count_file(const std::string& state_dir) {
  return state_dir + "/gateways";
}

int count_of(const std::string& state_dir) {
  int count = 1;
  std::ifstream(count_file(state_dir)) >> count;
  return std::max(count, 1);
}

std::string gateway_name(int number) {
  return number == 1 ? "gateway" : fmt::format("gateway-{}", number);
}

std::string run_dir_for(const std::string& state_dir) {
  const std::string beside = state_dir + "/run";
  if (beside.size() + kLongestSocketName <= kSocketPathMax) return beside;
  return fmt::format("{}/banyan-{}-{:x}", fs::temp_directory_path().string(), ::getuid(),
                     std::hash<std::string>{}(state_dir));
}

}  // namespace

Result<Layout> Layout::create(const std::string& spec_file, std::string state_dir) {
  Layout layout;
  layout.spec_file_ = fs::absolute(spec_file).lexically_normal();
  const std::string folder = fs::path(layout.spec_file_).parent_path();
  layout.state_dir_ =
      state_dir.empty() ? folder + "/.banyan" : fs::absolute(state_dir).lexically_normal().string();
  layout.run_dir_ = run_dir_for(layout.state_dir_);
  for (const std::string& path :
       {layout.state_dir_, layout.run_dir_, layout.state_dir_ + "/log", layout.role_dir("gateway"),
        layout.role_dir("replicate"), layout.role_dir("agent")})
    TRY_VOID(make_private(path));
  return layout;
}

std::vector<std::string> Layout::gateways() const {
  std::vector<std::string> names;
  for (int number = 1; number <= count_of(state_dir_); ++number)
    names.push_back(gateway_name(number));
  return names;
}

Result<void> Layout::set_gateways(int count) const {
  std::error_code ignored;  // what cannot be removed is not there
  for (int number = count + 1; number <= count_of(state_dir_); ++number) {
    fs::remove_all(role_dir(gateway_name(number)), ignored);
    fs::remove(socket(gateway_name(number)), ignored);
  }
  for (int number = 2; number <= count; ++number)
    TRY_VOID(make_private(role_dir(gateway_name(number))));
  const std::string file = count_file(state_dir_);
  std::ofstream(file + ".new") << count << std::endl;
  if (std::rename((file + ".new").c_str(), file.c_str()) != 0)
    return failure(Code::kPermission, "cannot write " + file);
  return {};
}

}  // namespace banyan::control
