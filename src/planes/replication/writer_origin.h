#pragma once
// WriterOrigins: which program of this machine holds the client's end of a database connection.
//
// Proven by sockets and processes (base/proc.h), not by names, while the connection lives. A client
// on another machine, on a Unix socket, or of a user whose processes we may not see is a stranger:
// only the spec can know it. One thread.

#include <compare>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/proc.h"

namespace banyan::replication {

enum class Origin : std::uint8_t {
  kApplication,  // the old application: it, or its parent, listens where the gateway finds it
  kInstance,     // a process of an instance that Banyan started
  kStranger,
};
std::string_view origin_name(Origin origin);

struct Client {
  int backend = 0;       // the server's process: an address alone is used again
  std::string endpoint;  // "127.0.0.1:50000"
  auto operator<=>(const Client&) const = default;
};

struct Provenance {
  Origin origin = Origin::kStranger;
  std::string program;  // empty: not seen on this machine
};

class WriterOrigins {
 public:
  // `app_listen` is the address of the old application; empty: there is none.
  explicit WriterOrigins(std::string app_listen) : app_listen_(std::move(app_listen)) {}

  // Looks for the new ones among `clients`, all in one pass over this machine's processes.
  void look(const std::vector<Client>& clients);
  // Of one of the last look; nothing when its connection ended before its owner was found.
  std::optional<Provenance> of(const Client& client) const;

 private:
  using Wanted = std::map<long, Client>;  // by the socket's inode
  void find_owners(Wanted& wanted, const std::vector<TcpSocket>& sockets);
  Provenance judge(int pid, const std::vector<TcpSocket>& sockets) const;
  bool serves_application(int pid, const std::vector<TcpSocket>& sockets) const;

  const std::string app_listen_;
  std::map<Client, Provenance> known_;
  std::set<int> owners_;  // asked first: mostly it is one of them again
};

}  // namespace banyan::replication
