// The part of Socket that speaks TLS.

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "io/socket.h"

namespace banyan::io {
namespace {

constexpr std::size_t kRecord = 16 * 1024;  // the largest piece that goes out as one

IoStatus end_of(int error) {
  return error == SSL_ERROR_ZERO_RETURN ? IoStatus::kEnd : IoStatus::kFailed;
}

}  // namespace

Task<Result<void>> Socket::start_tls(const TlsServer& server, Mono deadline) {
  return shake_hands(server.accept_on(fd_), deadline);
}

Task<Result<void>> Socket::start_tls(const TlsClient& client, Mono deadline) {
  return shake_hands(client.connect_on(fd_), deadline);
}

Task<Result<void>> Socket::shake_hands(SslPtr ssl, Mono deadline) {
  if (ssl == nullptr) co_return failure(Code::kInternal, "tls: " + tls_error_text());
  tls_ = std::move(ssl);
  ERR_clear_error();
  const IoResult done = co_await Handshake(*this, deadline);
  if (done.ok()) co_return Result<void>{};
  if (done.status == IoStatus::kTimeout)
    co_return failure(Code::kTimeout, "tls: the handshake was not finished in time");
  const long verified = SSL_get_verify_result(tls_.get());
  if (verified != X509_V_OK && SSL_get_verify_mode(tls_.get()) != SSL_VERIFY_NONE)
    co_return failure(Code::kPermission, std::string("tls: the certificate is refused: ") +
                                             X509_verify_cert_error_string(verified));
  co_return failure(Code::kUnavailable, "tls: " + tls_error_text());
}

bool Socket::Handshake::attempt() {
  if (socket.cancelled_ || socket.fd_ < 0) {
    result = {IoStatus::kCancelled, 0};
    return true;
  }
  const int done = SSL_do_handshake(socket.tls_.get());
  if (done == 1) {
    socket.readable_ = true;  // more may be in the same segment
    return true;
  }
  const int error = SSL_get_error(socket.tls_.get(), done);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return false;
  socket.broken_ = true;
  result = {IoStatus::kFailed, 0};
  return true;
}

void Socket::Handshake::await_suspend(std::coroutine_handle<> waiting) {
  socket.receive_later(*this, waiting);
}

// As many records as are there and fit.
bool Socket::recv_tls(std::span<char> into, IoResult& result) {
  std::size_t filled = 0;
  while (filled < into.size()) {
    ERR_clear_error();
    const int got =
        SSL_read(tls_.get(), into.data() + filled,
                 static_cast<int>(std::min<std::size_t>(into.size() - filled, 1 << 30)));
    if (got > 0) {
      filled += static_cast<std::size_t>(got);
      continue;
    }
    const int error = SSL_get_error(tls_.get(), got);
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
  const int got = SSL_peek(tls_.get(), &byte, 1);
  if (got > 0) return true;
  const int error = SSL_get_error(tls_.get(), got);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return false;
  note_tls_end(error);
  return false;
}

// Tells the peer that nothing was cut off; what cannot go out at once is not worth waiting for.
void Socket::end_tls() {
  if (SSL_is_init_finished(tls_.get()) != 1) return;
  ERR_clear_error();
  SSL_shutdown(tls_.get());
}

// Small pieces go out as one record. The same bytes are offered again after a wait.
bool Socket::Send::attempt_tls() {
  std::array<char, kRecord> joined;  // not initialised: only what is filled is read
  while (!first_.empty() || !second_.empty()) {
    if (socket.cancelled_ || socket.fd_ < 0 || socket.broken_) {
      result.status = socket.broken_ ? IoStatus::kFailed : IoStatus::kCancelled;
      return true;
    }
    std::string_view next = (first_.empty() ? second_ : first_).substr(0, kRecord);
    if (!first_.empty() && first_.size() < kRecord && !second_.empty()) {
      const std::size_t more = std::min(kRecord - first_.size(), second_.size());
      std::memcpy(joined.data(), first_.data(), first_.size());
      std::memcpy(joined.data() + first_.size(), second_.data(), more);
      next = {joined.data(), first_.size() + more};
    }
    ERR_clear_error();
    const int sent = SSL_write(socket.tls_.get(), next.data(), static_cast<int>(next.size()));
    if (sent > 0) {
      consume(static_cast<std::size_t>(sent));
      continue;
    }
    const int error = SSL_get_error(socket.tls_.get(), sent);
    if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ) return false;
    socket.broken_ = true;
    result.status = IoStatus::kFailed;
    return true;
  }
  return true;
}

}  // namespace banyan::io
