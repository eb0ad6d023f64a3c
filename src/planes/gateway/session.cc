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

io::Detached Session::serve(Worker& worker, int fd, Listened listener) {
  Session session(worker, fd, std::move(listener));
  if (session.socket_.is_open()) co_await session.run();
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

io::Task<void> Session::run() {
  if (listener_->tls && !co_await start_tls()) co_return;
  if (listener_->tls && io::alpn_of(*socket_.tls()) == "h2") co_return co_await speak_http2({});
  std::string received = co_await speak_http1();
  if (!received.empty()) co_await speak_http2(std::move(received));
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

io::Task<std::string> Session::speak_http1() {
  Http1Session http1(worker_, *this);
  protocol_ = &http1;
  co_await http1.run();
  protocol_ = nullptr;
  co_return http1.take_preface();
}

io::Task<void> Session::speak_http2(std::string received) {
  Http2Session http2(worker_, *this);
  protocol_ = &http2;
  co_await http2.run(std::move(received));
  protocol_ = nullptr;
}

}  // namespace banyan::gateway
