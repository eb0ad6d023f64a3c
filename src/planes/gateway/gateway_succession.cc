// Gateway, one process after another: listening sockets given and taken.

#include <algorithm>

#include "base/log.h"
#include "planes/gateway/gateway.h"

namespace banyan::gateway {

Result<void> Gateway::inherit(Inheritance inheritance) {
  std::vector<std::vector<Inheritance::Listening*>> shares(workers_.size());
  for (auto& listening : inheritance.listeners)
    shares[listening.worker % shares.size()].push_back(&listening);
  std::vector<Result<void>> results(workers_.size());
  threads_->run_on_all([&](std::size_t i) {
    for (auto* listening : shares[i])
      if (results[i])
        results[i] = workers_[i]->inherit_listener(listening->name, std::move(listening->socket));
    for (const EndpointName& endpoint : inheritance.unhealthy) {
      workers_[i]->set_health(endpoint.backend, endpoint.address, false);
      if (i == 0) health_->assume_unhealthy(endpoint.backend, endpoint.address);
    }
  });
  const auto failed = std::ranges::find_if(results, [](const auto& result) { return !result; });
  return failed == results.end() ? Result<void>{} : *failed;
}

// Clients resume their TLS sessions at the successor.
void Gateway::inherit_ticket_keys(const Routing& routing, const Inheritance& inheritance) {
  for (const auto& listener : routing.listeners) {
    const auto keys = inheritance.ticket_keys.find(listener->name);
    const bool known = listener->tls != nullptr && keys != inheritance.ticket_keys.end();
    if (known && !listener->tls->inherit_ticket_keys(keys->second))
      log_warn("TLS sessions begin anew: the former gateway seals them otherwise",
               {{"listener", listener->name}});
  }
}

std::vector<EndpointName> Gateway::unhealthy() {
  std::vector<EndpointName> out;
  threads_->run_on(0, [&] {
    for (const auto& backend : workers_[0]->backends())
      for (const Endpoint* endpoint : backend)
        if (!endpoint->load.healthy)
          out.push_back({.backend = endpoint->backend(), .address = endpoint->address()});
  });
  return out;
}

Result<Inheritance> Gateway::hand_over() {
  Inheritance out;
  TRY_VOID(current_.with([&](Current& current) -> Result<void> {
    if (current.reign != Reign::kServing)
      return failure(Code::kConflict, "this gateway hands over already, or has retired");
    if (current.order.phase != Phase::kOpen)
      return failure(Code::kConflict, "a hold is closed: upgrade after it");
    current.reign = Reign::kHandingOver;
    if (!current.routing) return {};
    for (const auto& listener : current.routing->listeners)
      if (listener->tls) out.ticket_keys[listener->name] = listener->tls->ticket_keys();
    return {};
  }));
  out.unhealthy = unhealthy();
  std::vector<std::vector<std::pair<std::string, io::Descriptor>>> sockets(workers_.size());
  threads_->run_on_all([&](std::size_t i) { sockets[i] = workers_[i]->listening_sockets(); });
  for (std::size_t i = 0; i < sockets.size(); ++i)
    for (auto& [name, socket] : sockets[i])
      out.listeners.push_back({.name = name, .worker = i, .socket = std::move(socket)});
  return out;
}

void Gateway::keep_serving() {
  current_.change([](Current& current) { current.reign = Reign::kServing; });
}

void Gateway::retire() {
  current_.change([](Current& current) { current.reign = Reign::kRetired; });
  threads_->run_on_all([&](std::size_t i) { workers_[i]->retire(); });
}

bool Gateway::is_retired() const {
  return current_.with([](const Current& now) { return now.reign == Reign::kRetired; });
}

Duration Gateway::retirement() const {
  return current_.with([](const Current& now) -> Duration {
    return now.routing ? now.routing->snapshot.limits.retire_ms : 0ms;
  });
}

}  // namespace banyan::gateway
