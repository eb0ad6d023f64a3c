#include "planes/gateway/session.h"

#include <fmt/format.h>
#include <unistd.h>

#include "planes/gateway/http1_session.h"
#include "planes/gateway/http2_session.h"
#include "planes/gateway/worker.h"

namespace banyan::gateway {
namespace {

std::string lines_about(const io::PeerCertificate& certificate) {
  if (certificate.sha256.empty()) return {};
  return fmt::format("x-client-cert-subject: {}\r\nx-client-cert-sha256: {}\r\n",
                     certificate.subject, certificate.sha256);
}

}  // namespace

// As few coroutines as may be: thousands of them are suspended for idle connections.
io::Detached Session::serve(Worker& worker, int fd, Listened listener) {
  Session session(worker, fd, std::move(listener));
  if (!session.socket_.is_open()) co_return;
  const bool has_tls = session.listener_->tls != nullptr;
  if (has_tls && !co_await session.start_tls()) co_return;
  std::string received;
  if (!has_tls || io::alpn_of(*session.socket_.tls()) != "h2") {
    Http1Session http1(worker, session);
    session.protocol_ = &http1;
    co_await http1.run();
    session.protocol_ = nullptr;
    received = http1.take_preface();
    if (received.empty()) co_return;
  }
  co_await session.speak_http2(std::move(received));
}

Session::Session(Worker& worker, int fd, Listened listener)
    : worker_(worker),
      listener_(std::move(listener)),
      socket_(worker.loop()),
      ip_(io::Address::of_peer(fd).host()) {
  worker_.enlist(*this);
  ++worker_.metrics().connections_open;
  if (!socket_.adopt(fd)) ::close(fd);
}

Session::~Session() {
  --worker_.metrics().connections_open;
  worker_.delist(*this);
}

void Session::begin_drain() {
  if (protocol_ != nullptr) protocol_->begin_drain();
}

void Session::close_if_idle() {
  if (protocol_ != nullptr) protocol_->close_if_idle();
}

void Session::cancel() {
  socket_.cancel();
  if (protocol_ != nullptr) protocol_->cancel();
}

io::Task<bool> Session::start_tls() {
  const Mono deadline = worker_.loop().now() + worker_.routing()->snapshot.limits.head_ms;
  const Result<void> done = co_await socket_.start_tls(*listener_->tls, deadline);
  if (!done) {
    worker_.metrics().count_refused("tls handshake failed");
    co_return false;
  }
  if (listener_->tls->options().client_certificates != io::ClientCertificates::kOff)
    certificate_lines_ = lines_about(io::peer_certificate_of(*socket_.tls()));
  co_return true;
}

io::Task<void> Session::speak_http2(std::string received) {
  Http2Session http2(worker_, *this);
  protocol_ = &http2;
  co_await http2.run(std::move(received));
  protocol_ = nullptr;
}

}  // namespace banyan::gateway
