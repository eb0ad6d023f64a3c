#include "planes/replication/writer_origin.h"

#include <algorithm>

#include "spec/value.h"

namespace banyan::replication {
namespace {

constexpr std::size_t kKnownMax = 2000;

// Connections that have ended keep their local address for a while (TIME_WAIT), without an inode.
const TcpSocket* socket_of(const Client& client, const std::vector<TcpSocket>& sockets) {
  const TcpSocket* ended = nullptr;
  for (const TcpSocket& socket : sockets) {
    if (socket.local != client.endpoint) continue;
    if (socket.inode != 0) return &socket;
    ended = &socket;
  }
  return ended;
}

}  // namespace

std::string_view origin_name(Origin origin) {
  switch (origin) {
    case Origin::kApplication:
      return "application";
    case Origin::kInstance:
      return "instance";
    case Origin::kStranger:
      return "stranger";
  }
  return "?";
}

void WriterOrigins::look(const std::vector<Client>& clients) {
  if (known_.size() > kKnownMax) known_.clear();
  if (owners_.size() > kKnownMax) owners_.clear();
  const auto is_known = [this](const Client& client) { return known_.contains(client); };
  if (std::ranges::all_of(clients, is_known)) return;
  const auto sockets = tcp_sockets();
  Wanted wanted;
  std::vector<Client> elsewhere;
  for (const Client& client : clients) {
    if (is_known(client)) continue;
    const TcpSocket* socket = socket_of(client, sockets);
    if (socket == nullptr) elsewhere.push_back(client);
    if (socket != nullptr && socket->inode != 0) wanted[socket->inode] = client;
  }
  find_owners(wanted, sockets);
  if (wanted.empty() && elsewhere.empty()) return;
  const auto left = tcp_sockets();
  // A list that changes while it is read may leave out a socket, hardly twice.
  for (const auto& client : elsewhere) {
    if (socket_of(client, left) == nullptr) known_[client] = {};
  }
  // Either the owner may not be seen, or it closed the socket meanwhile.
  for (const auto& [inode, client] : wanted) {
    const TcpSocket* socket = socket_of(client, left);
    if (socket != nullptr && socket->inode == inode) known_[client] = {};
  }
}

void WriterOrigins::find_owners(Wanted& wanted, const std::vector<TcpSocket>& sockets) {
  if (wanted.empty()) return;
  auto pids = all_pids();
  std::ranges::partition(pids, [this](int pid) { return owners_.contains(pid); });
  for (const int pid : pids) {
    if (wanted.empty()) return;
    for (const long inode : socket_inodes(pid)) {
      const auto found = wanted.find(inode);
      if (found == wanted.end()) continue;
      known_[found->second] = judge(pid, sockets);
      owners_.insert(pid);
      wanted.erase(found);
    }
  }
}

Provenance WriterOrigins::judge(int pid, const std::vector<TcpSocket>& sockets) const {
  Provenance found{.program = program_of(pid)};
  if (environment_of(pid).contains(std::string(kInstanceMark))) {
    found.origin = Origin::kInstance;
  } else if (serves_application(pid, sockets)) {
    found.origin = Origin::kApplication;
  }
  return found;
}

// Up to, and without, the first process: it may listen for anybody.
bool WriterOrigins::serves_application(int pid, const std::vector<TcpSocket>& sockets) const {
  const auto address = spec::parse_address(app_listen_);
  if (!address) return false;
  for (; pid > 1; pid = parent_of(pid)) {
    const auto inodes = socket_inodes(pid);
    const auto is_it = [&](const TcpSocket& socket) {
      return inodes.contains(socket.inode) && listens_on(socket, address->host, address->port);
    };
    if (std::ranges::any_of(sockets, is_it)) return true;
  }
  return false;
}

std::optional<Provenance> WriterOrigins::of(const Client& client) const {
  const auto found = known_.find(client);
  if (found == known_.end()) return std::nullopt;
  return found->second;
}

}  // namespace banyan::replication
