#pragma once
// TLS 1.2 and 1.3 over OpenSSL: what is configured, apart from any connection.
//
// TlsServer: certificates chosen by server name (exact before wildcard, the first one otherwise),
// ALPN, session tickets whose keys rotate, OCSP stapling, client certificates. `refresh` reads
// files that changed; files that do not fit together are refused and the old ones stay in use.
// TlsClient: verifies the other side against a CA file, or the system's, and its name, as far as it
// is told to; may show a certificate of its own.
// Both are used by all workers at once. Files are read in `create` and `refresh`, never on a loop.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/guarded.h"

using SSL = struct ssl_st;
using SSL_CTX = struct ssl_ctx_st;

namespace banyan::io {

enum class ClientCertificates : std::uint8_t { kOff, kOptional, kRequired };

struct CertificateFiles {
  std::string certificate = {};  // PEM, the chain behind it
  std::string key = {};          // PEM
  std::string ocsp = {};         // DER, stapled; empty: none
  bool operator==(const CertificateFiles&) const = default;
};

struct TlsServerOptions {
  std::vector<CertificateFiles> certificates;  // at least one
  ClientCertificates client_certificates = ClientCertificates::kOff;
  std::string client_ca = {};  // PEM; of clients
  bool http2 = true;           // offered by ALPN, before http/1.1
  bool operator==(const TlsServerOptions&) const = default;
};

struct SslFree {
  void operator()(SSL* ssl) const;
  void operator()(SSL_CTX* context) const;
};
using SslPtr = std::unique_ptr<SSL, SslFree>;
using SslContextPtr = std::unique_ptr<SSL_CTX, SslFree>;

// What speaks for this side of one connection, which is still to be given its bytes.
struct TlsPeer {
  std::shared_ptr<const void> files;  // what it was made from: kept as long as it lives
  SslPtr ssl;
};

class TicketKeys;

class TlsServer {
  struct Passkey {};

 public:
  static Result<std::shared_ptr<TlsServer>> create(TlsServerOptions options);
  TlsServer(Passkey, TlsServerOptions options);
  ~TlsServer();
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;

  const TlsServerOptions& options() const { return options_; }
  // True when other files are in use now. An error is given once for each change of the files.
  Result<bool> refresh();
  // Until the first certificate expires, in seconds; negative when it has.
  std::int64_t expires_in_s() const;
  // The same of the first stapled OCSP answer; empty: none is stapled. An expired one is left out.
  std::optional<std::int64_t> staple_expires_in_s() const;
  // What opens the tickets of this server, a secret; false: `bytes` are not what another one gave.
  std::string ticket_keys() const;
  bool inherit_ticket_keys(std::string_view bytes);

  // Its `ssl` is null when OpenSSL has no memory.
  TlsPeer accept() const;

 private:
  struct Loaded;

  Result<std::shared_ptr<const Loaded>> load() const;
  Result<SslContextPtr> load_context(const CertificateFiles& files, const Loaded& loaded) const;
  std::string fingerprint() const;  // of the files as they are now

  TlsServerOptions options_;
  std::unique_ptr<TicketKeys> ticket_keys_;
  Guarded<std::shared_ptr<const Loaded>> loaded_;
  Guarded<std::string> seen_;  // the fingerprint tried last
};

enum class Verify : std::uint8_t { kAuthorityAndName, kAuthority, kNothing };

struct TlsClientOptions {
  std::string ca = {};           // PEM file; empty: the system's
  std::string server_name = {};  // expected, and sent as SNI
  bool http2 = false;            // asked for by ALPN, and then required
  Verify verify = Verify::kAuthorityAndName;
  CertificateFiles own = {};  // shown when the other side asks for it; empty: none
  bool operator==(const TlsClientOptions&) const = default;
};

class TlsClient {
  struct Passkey {};

 public:
  static Result<std::shared_ptr<TlsClient>> create(TlsClientOptions options);
  explicit TlsClient(Passkey, TlsClientOptions options) : options_(std::move(options)) {}

  const TlsClientOptions& options() const { return options_; }

  TlsPeer connect() const;

 private:
  TlsClientOptions options_;
  SslContextPtr context_;
};

// What was agreed on a connection.
std::string_view alpn_of(const SSL& ssl);         // "h2", "http/1.1" or ""
std::string_view tls_version_of(const SSL& ssl);  // "TLSv1.3"
struct PeerCertificate {
  std::string subject;  // RFC 2253, printable ASCII only
  std::string sha256;   // lower-case hex; empty: the peer has shown none
};
PeerCertificate peer_certificate_of(const SSL& ssl);

// The first error OpenSSL has queued on this thread, as text; empties the queue.
std::string tls_error_text();

}  // namespace banyan::io
