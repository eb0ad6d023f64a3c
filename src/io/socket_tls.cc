// The part of Socket that speaks TLS.

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <algorithm>

#include "base/check.h"
#include "io/socket.h"

namespace banyan::io {
namespace {

IoStatus end_of(int error) {
  return error == SSL_ERROR_ZERO_RETURN ? IoStatus::kEnd : IoStatus::kFailed;
}

}  // namespace

Task<Result<void>> Socket::start_tls(const TlsServer& server, Mono deadline) {
  return shake_hands(server.accept(), deadline);
}

Task<Result<void>> Socket::start_tls(const TlsClient& client, Mono deadline) {
  return shake_hands(client.connect(), deadline);
}

Task<Result<void>> Socket::shake_hands(TlsPeer peer, Mono deadline) {
  tls_ = TlsLink::create(std::move(peer), fd_);
  if (tls_ == nullptr) co_return failure(Code::kInternal, "tls: " + tls_error_text());
  ERR_clear_error();
  const IoResult done = co_await Handshake(*this, deadline);
  if (done.ok()) co_return Result<void>{};
  if (done.status == IoStatus::kTimeout)
    co_return failure(Code::kTimeout, "tls: the handshake was not finished in time");
  const long verified = SSL_get_verify_result(tls_->ssl());
  if (verified != X509_V_OK && SSL_get_verify_mode(tls_->ssl()) != SSL_VERIFY_NONE)
    co_return failure(Code::kPermission, std::string("tls: the certificate is refused: ") +
                                             X509_verify_cert_error_string(verified));
  co_return failure(Code::kUnavailable, "tls: " + tls_error_text());
}

bool Socket::Handshake::attempt() {
  if (socket.cancelled_ || socket.fd_ < 0) {
    result = {IoStatus::kCancelled, 0};
    return true;
  }
  SSL* const ssl = socket.tls_->ssl();
  const int done = SSL_do_handshake(ssl);
  const int error = SSL_get_error(ssl, done);
  (void)socket.flush_tls();  // also what tells the peer why it failed; a failure is remembered
  if (done == 1) {
    socket.readable_ = true;  // more may be in the same segment
    return true;
  }
  if (error == SSL_ERROR_WANT_READ && !socket.broken_) return false;
  socket.broken_ = true;
  result = {IoStatus::kFailed, 0};
  return true;
}

void Socket::Handshake::await_suspend(std::coroutine_handle<> waiting) {
  socket.receive_later(*this, waiting);
}

bool Socket::recv_tls(std::span<char> into, IoResult& result) {
  const bool over = open_records(into, result);
  (void)flush_tls();  // what the peer's records are answered with; a failure is remembered
  return over;
}

// As many records as are there and fit.
bool Socket::open_records(std::span<char> into, IoResult& result) {
  std::size_t filled = 0;
  while (filled < into.size()) {
    ERR_clear_error();
    const int got =
        SSL_read(tls_->ssl(), into.data() + filled,
                 static_cast<int>(std::min<std::size_t>(into.size() - filled, 1 << 30)));
    if (got > 0) {
      filled += static_cast<std::size_t>(got);
      continue;
    }
    const int error = SSL_get_error(tls_->ssl(), got);
    const bool again = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
    if (again) readable_ = false;
    if (again && filled == 0) return false;
    if (!again && filled == 0) {
      note_tls_end(error);
      result = {end_of(error), 0};
      return true;
    }
    break;
  }
  result = {IoStatus::kOk, filled};
  return true;
}

void Socket::note_tls_end(int error) {
  peer_ended_ = true;
  if (error != SSL_ERROR_ZERO_RETURN) broken_ = true;
}

bool Socket::has_tls_data() {
  char byte = 0;
  ERR_clear_error();
  const int got = SSL_peek(tls_->ssl(), &byte, 1);
  const int error = SSL_get_error(tls_->ssl(), got);
  (void)flush_tls();  // what a peer's record is answered with; a failure is remembered
  if (got > 0) return true;
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return false;
  note_tls_end(error);
  return false;
}

// Tells the peer that nothing was cut off; what cannot go out at once is not worth waiting for.
void Socket::end_tls() {
  if (SSL_is_init_finished(tls_->ssl()) != 1) return;
  ERR_clear_error();
  SSL_shutdown(tls_->ssl());
  (void)tls_->flush();
}

TlsLink::Flushed Socket::flush_tls() {
  const TlsLink::Flushed flushed = tls_->flush();
  if (flushed == TlsLink::Flushed::kBroken) broken_ = true;
  return flushed;
}

bool Socket::Send::attempt_tls() {
  while (true) {
    const bool gone = socket.cancelled_ || socket.fd_ < 0;
    if (gone || socket.broken_) {
      result.status = gone ? IoStatus::kCancelled : IoStatus::kFailed;
      return true;
    }
    const TlsLink::Flushed flushed = socket.flush_tls();
    if (flushed == TlsLink::Flushed::kBlocked) return false;
    if (flushed == TlsLink::Flushed::kBroken) continue;
    if (first_.empty() && second_.empty()) return true;
    const TlsLink::Written written = socket.tls_->write(first_, second_, socket.loop_.outbox());
    socket.broken_ |= written.flushed == TlsLink::Flushed::kBroken;
    consume(written.bytes);
  }
}

}  // namespace banyan::io
