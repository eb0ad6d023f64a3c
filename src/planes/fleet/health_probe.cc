#include "planes/fleet/health_probe.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace banyan::fleet {
namespace {

// A socket whose connecting has begun; -1 when it failed at once.
int begin_connect(const ProbeTarget& target) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(target.port));
  if (::inet_pton(AF_INET, target.host.c_str(), &address.sin_addr) != 1) return -1;
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 ||
      errno == EINPROGRESS)
    return fd;
  ::close(fd);
  return -1;
}

std::string request_of(const ProbeTarget& target) {
  const std::string host = target.host_header.empty()
                               ? fmt::format("{}:{}", target.host, target.port)
                               : target.host_header;
  return fmt::format(
      "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: banyan-health\r\nConnection: close\r\n\r\n",
      target.path, host);
}

}  // namespace

HealthProbe::~HealthProbe() {
  for (const Probe& probe : probes_) ::close(probe.fd);
}

void HealthProbe::begin(const ProbeTarget& target) {
  const auto running = std::ranges::find(probes_, target.instance, &Probe::instance);
  if (running != probes_.end()) return;
  const int fd = begin_connect(target);
  if (fd < 0) {
    failed_at_once_.push_back({.instance = target.instance, .health = Health::kBad});
    return;
  }
  probes_.push_back({.instance = target.instance,
                     .fd = fd,
                     .request = request_of(target),
                     .answer = {},
                     .connect_only = target.path.empty(),
                     .deadline = clock_.now() + target.timeout});
}

// Only the status line matters: "HTTP/1.1 200".
HealthProbe::Progress HealthProbe::advance(Probe& probe, short events) {
  if (events == 0) return Progress::kWaiting;
  if (!probe.request.empty()) {
    const auto sent = ::send(probe.fd, probe.request.data(), probe.request.size(), MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN ? Progress::kWaiting : Progress::kBad;
    probe.request.erase(0, static_cast<std::size_t>(sent));
    return probe.connect_only ? Progress::kGood : Progress::kWaiting;
  }
  char buffer[512];
  const auto size = ::recv(probe.fd, buffer, sizeof buffer, 0);
  if (size < 0) return errno == EAGAIN ? Progress::kWaiting : Progress::kBad;
  if (size == 0) return Progress::kBad;
  probe.answer.append(buffer, static_cast<std::size_t>(size));
  if (probe.answer.size() < 12) return Progress::kWaiting;
  const int status = std::atoi(probe.answer.substr(9, 3).c_str());
  const bool good = probe.answer.starts_with("HTTP/1.") && status >= 200 && status < 400;
  return good ? Progress::kGood : Progress::kBad;
}

void HealthProbe::collect(std::vector<ProbeOutcome>& outcomes, std::size_t index,
                          Progress progress) {
  outcomes.push_back({.instance = probes_[index].instance,
                      .health = progress == Progress::kGood ? Health::kGood : Health::kBad});
  ::close(probes_[index].fd);
  probes_.erase(probes_.begin() + static_cast<std::ptrdiff_t>(index));
}

std::vector<ProbeOutcome> HealthProbe::run(Duration wait) {
  std::vector<ProbeOutcome> outcomes = std::move(failed_at_once_);
  failed_at_once_.clear();
  const Mono end = clock_.now() + wait;
  do {
    std::vector<pollfd> polled;
    for (const Probe& probe : probes_)
      polled.push_back({.fd = probe.fd,
                        .events = static_cast<short>(probe.request.empty() ? POLLIN : POLLOUT),
                        .revents = 0});
    const long left_ms = std::max(to_ms(end - clock_.now()), 1L);
    ::poll(polled.data(), polled.size(), static_cast<int>(left_ms));
    for (std::size_t i = polled.size(); i-- > 0;) {
      const Progress progress = advance(probes_[i], polled[i].revents);
      const bool late = progress == Progress::kWaiting && clock_.now() >= probes_[i].deadline;
      if (progress != Progress::kWaiting || late) collect(outcomes, i, progress);
    }
  } while (clock_.now() < end);
  return outcomes;
}

}  // namespace banyan::fleet
