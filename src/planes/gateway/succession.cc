#include "planes/gateway/succession.h"

#include <array>
#include <nlohmann/json.hpp>

#include "base/hex.h"
#include "base/log.h"

namespace banyan::gateway {
namespace {

using nlohmann::json;

constexpr Duration kAsked = 5s;       // for a successor that connected to say what it wants
constexpr Duration kStarting = 60s;   // for it to start and accept
constexpr Duration kAnswering = 10s;  // for a predecessor to answer
constexpr std::string_view kTake = "take";
constexpr std::string_view kEnd = "end";
constexpr std::string_view kAccepting = "accepting";
constexpr std::string_view kRetired = "retired";

Result<void> expect(io::Channel& channel, std::string_view word, Duration patience) {
  TRY(const io::Channel::Message message, channel.receive(patience));
  if (message.text == word) return {};
  return failure(Code::kCorruption, "the other gateway speaks another language");
}

Result<Inheritance::Listening> listening_from(io::Channel::Message& message, const json& in) {
  if (message.descriptors.size() != 1)
    return failure(Code::kCorruption, "a listening socket did not arrive");
  return Inheritance::Listening{.name = in.value("listen", ""),
                                .worker = in.value("worker", std::size_t{0}),
                                .socket = std::move(message.descriptors.front())};
}

}  // namespace

Result<std::unique_ptr<Succession>> Succession::open(const std::string& path, Gateway& gateway,
                                                     std::function<void()> on_retire) {
  TRY(auto listener, io::ChannelListener::open(path));
  return std::make_unique<Succession>(Passkey{}, std::move(listener), gateway,
                                      std::move(on_retire));
}

Succession::Succession(Passkey, std::unique_ptr<io::ChannelListener> listener, Gateway& gateway,
                       std::function<void()> on_retire)
    : gateway_(gateway), on_retire_(std::move(on_retire)), listener_(std::move(listener)) {
  thread_ = std::jthread([this] { serve(); });
}

Succession::~Succession() {
  listener_->close();
}

void Succession::serve() {
  while (true) {
    auto successor = listener_->accept();
    if (!successor || converse(*successor)) return;
  }
}

bool Succession::converse(io::Channel& successor) {
  if (!expect(successor, kTake, kAsked)) return false;
  Result<void> accepting = bequeath(successor);
  if (!accepting) return false;
  accepting = expect(successor, kAccepting, kStarting);
  if (!accepting) {
    gateway_.keep_serving();
    log_warn("not upgraded: this gateway goes on", {{"error", accepting.error().message()}});
    return false;
  }
  gateway_.retire();
  on_retire_();
  // A successor that does not hear it has died: then somebody restarts it, and this one is gone.
  (void)successor.send(kRetired);
  return true;
}

Result<void> Succession::bequeath(io::Channel& successor) {
  auto inheritance = gateway_.hand_over();
  if (!inheritance) {
    TRY_VOID(successor.send(json{{"refused", inheritance.error().message()}}.dump()));
    return std::unexpected(inheritance.error());
  }
  const auto send_all = [&]() -> Result<void> {
    for (const auto& listening : inheritance->listeners) {
      const json head = {{"listen", listening.name}, {"worker", listening.worker}};
      TRY_VOID(successor.send(head.dump(), std::array{listening.socket.get()}));
    }
    for (const EndpointName& endpoint : inheritance->unhealthy) {
      const json out = {{"unhealthy", endpoint.address}, {"backend", endpoint.backend}};
      TRY_VOID(successor.send(out.dump()));
    }
    for (const auto& [listen, keys] : inheritance->ticket_keys) {
      const json out = {{"tickets_of", listen}, {"keys", hex(keys)}};
      TRY_VOID(successor.send(out.dump()));
    }
    return successor.send(kEnd);
  };
  Result<void> sent = send_all();
  if (!sent) gateway_.keep_serving();
  return sent;
}

Result<Predecessor> Predecessor::meet(const std::string& path) {
  TRY(io::Channel channel, io::Channel::connect(path));
  return Predecessor(std::move(channel));
}

Result<Inheritance> Predecessor::take() {
  TRY_VOID(channel_.send(kTake));
  Inheritance out;
  while (true) {
    TRY(io::Channel::Message message, channel_.receive(kAnswering));
    if (message.text == kEnd) return out;
    const json in = json::parse(message.text, nullptr, false);
    if (!in.is_object()) return failure(Code::kCorruption, "the other gateway's words are no JSON");
    if (in.contains("refused"))
      return failure(Code::kConflict, "the gateway refuses: " + in.value("refused", ""));
    if (in.contains("listen")) {
      TRY(auto listening, listening_from(message, in));
      out.listeners.push_back(std::move(listening));
    } else if (in.contains("tickets_of")) {
      out.ticket_keys[in.value("tickets_of", "")] = unhex(in.value("keys", "")).value_or("");
    } else {
      out.unhealthy.push_back(
          {.backend = in.value("backend", ""), .address = in.value("unhealthy", "")});
    }
  }
}

Result<void> Predecessor::dismiss() {
  TRY_VOID(channel_.send(kAccepting));
  return expect(channel_, kRetired, kAnswering);
}

}  // namespace banyan::gateway
