#pragma once
// TlsLink: the TLS of one connection, between OpenSSL and the socket's descriptor. What OpenSSL
// writes is gathered, so that many records go out in one system call: `flush` after every call that
// may have written. What the socket does not take then waits here. Belongs to one loop.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "io/tls.h"

using BIO = struct bio_st;

namespace banyan::io {

class TlsLink {
  struct Passkey {};

 public:
  enum class Flushed : std::uint8_t { kAll, kBlocked, kBroken };
  struct Written {
    std::size_t bytes = 0;  // of what was given; 0 and kBroken: none of it can have gone out
    Flushed flushed = Flushed::kAll;
  };

  // Null when OpenSSL has no memory.
  static std::unique_ptr<TlsLink> create(TlsPeer peer, int fd);
  TlsLink(Passkey, TlsPeer peer, int fd);
  TlsLink(const TlsLink&) = delete;
  TlsLink& operator=(const TlsLink&) = delete;

  SSL* ssl() const { return peer_.ssl.get(); }
  Flushed flush();
  // Seals the beginning of `first` and then `second`, small pieces as one record, and flushes it.
  // `buffer` is empty before and after. Only when a flush has said kAll.
  Written write(std::string_view first, std::string_view second, std::string& buffer);

 private:
  struct Callbacks;

  bool attach();
  void gather(std::string_view bytes);
  std::size_t seal(std::string_view first, std::string_view second);
  Flushed send(std::string_view& left);

  int fd_;
  std::string unsent_;
  std::size_t unsent_at_ = 0;
  std::string* buffer_ = nullptr;  // takes what OpenSSL writes; otherwise unsent_ does
  TlsPeer peer_;
};

}  // namespace banyan::io
