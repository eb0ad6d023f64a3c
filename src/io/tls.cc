#include "io/tls.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "io/ocsp_staple.h"
#include "io/ticket_keys.h"

namespace banyan::io {
namespace {

const SystemClock kClock;

// TLS 1.2 suites with forward secrecy and authenticated encryption only.
constexpr const char* kCiphers =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr std::string_view kBothProtocols("\x02h2\x08http/1.1", 12);
constexpr std::string_view kHttp1("\x08http/1.1", 9);
constexpr std::string_view kHttp2("\x02h2", 3);

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

Error tls_failure(const std::string& what) {
  Error made(Code::kInvalidArgument, fmt::format("{}: {}", what, tls_error_text()));
  return std::move(made).with_remedy("see that the file is readable PEM and belongs to the others");
}

Result<void> use_certificate(SSL_CTX* context, const CertificateFiles& files) {
  if (SSL_CTX_use_certificate_chain_file(context, files.certificate.c_str()) != 1)
    return std::unexpected(tls_failure(fmt::format("certificate {}", files.certificate)));
  if (SSL_CTX_use_PrivateKey_file(context, files.key.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1)
    return std::unexpected(tls_failure(fmt::format("key {}", files.key)));
  return {};
}

struct X509Free {
  void operator()(X509* certificate) const { X509_free(certificate); }
};
using X509Ptr = std::unique_ptr<X509, X509Free>;

bool names_host(X509* certificate, const std::string& host, unsigned flags) {
  return X509_check_host(certificate, host.data(), host.size(), flags, nullptr) == 1;
}

}  // namespace

void SslFree::operator()(SSL* ssl) const {
  SSL_free(ssl);
}
void SslFree::operator()(SSL_CTX* context) const {
  SSL_CTX_free(context);
}

std::string tls_error_text() {
  const unsigned long error = ERR_get_error();
  if (error == 0) return "no reason given";
  std::array<char, 256> text{};
  ERR_error_string_n(error, text.data(), text.size());
  ERR_clear_error();
  return text.data();
}

namespace {

int on_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
            unsigned in_size, void* offers) {
  const auto& offered = *static_cast<const std::string_view*>(offers);
  unsigned char* chosen = nullptr;
  const int found = SSL_select_next_proto(&chosen, out_size, bytes_of(offered),
                                          static_cast<unsigned>(offered.size()), in, in_size);
  *out = chosen;
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

int on_ocsp(SSL* ssl, void* stapled) {
  const auto& staple = *static_cast<const OcspStaple*>(stapled);
  if (!staple.is_current(kClock.wall())) return SSL_TLSEXT_ERR_NOACK;
  void* const copy = OPENSSL_memdup(staple.der.data(), staple.der.size());
  if (copy == nullptr) return SSL_TLSEXT_ERR_NOACK;
  SSL_set_tlsext_status_ocsp_resp(ssl, copy, static_cast<long>(staple.der.size()));
  return SSL_TLSEXT_ERR_OK;
}

void set_common_options(SSL_CTX* context) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                   SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_cipher_list(context, kCiphers);
}

Result<void> require_client_certificates(SSL_CTX* context, const TlsServerOptions& options) {
  if (options.client_certificates == ClientCertificates::kOff) return {};
  if (SSL_CTX_load_verify_file(context, options.client_ca.c_str()) != 1)
    return std::unexpected(tls_failure(fmt::format("client_ca {}", options.client_ca)));
  SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(options.client_ca.c_str()));
  const bool required = options.client_certificates == ClientCertificates::kRequired;
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                     nullptr);
  constexpr std::string_view kScope = "banyan";
  SSL_CTX_set_session_id_context(context, bytes_of(kScope), kScope.size());
  return {};
}

std::int64_t seconds_left(X509* certificate) {
  int days = 0;
  int seconds = 0;
  if (ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(certificate)) != 1) return 0;
  return std::int64_t{days} * 86'400 + seconds;
}

}  // namespace

// ---- the server

struct TlsServer::Loaded {
  std::vector<SslContextPtr> contexts;  // as options_.certificates
  std::vector<std::unique_ptr<const OcspStaple>> staples;
  std::string_view protocols;

  // By name, exact before wildcard; else the first.
  SSL_CTX* find(const std::string& host) const {
    for (const unsigned flags :
         {X509_CHECK_FLAG_NO_WILDCARDS, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS})
      for (const SslContextPtr& context : contexts)
        if (names_host(SSL_CTX_get0_certificate(context.get()), host, flags)) return context.get();
    return contexts.front().get();
  }

  static int on_server_name(SSL* ssl, int*, void* loaded) {
    const char* const name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (name != nullptr) SSL_set_SSL_CTX(ssl, static_cast<const Loaded*>(loaded)->find(name));
    return SSL_TLSEXT_ERR_OK;
  }
};

TlsServer::TlsServer(Passkey, TlsServerOptions options)
    : options_(std::move(options)), ticket_keys_(std::make_unique<TicketKeys>(kClock)) {}

TlsServer::~TlsServer() = default;

Result<std::shared_ptr<TlsServer>> TlsServer::create(TlsServerOptions options) {
  auto server = std::make_shared<TlsServer>(Passkey{}, std::move(options));
  const std::string seen = server->fingerprint();
  TRY(auto loaded, server->load());
  server->loaded_.with([&](auto& now) { now = loaded; });
  server->seen_.with([&](std::string& now) { now = seen; });
  return server;
}

Result<SslContextPtr> TlsServer::load_context(const CertificateFiles& files,
                                              const Loaded& loaded) const {
  SslContextPtr context(SSL_CTX_new(TLS_server_method()));
  set_common_options(context.get());
  TRY_VOID(use_certificate(context.get(), files));
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context.get(), 1);
  ticket_keys_->use_in(*context);
  SSL_CTX_set_alpn_select_cb(context.get(), on_alpn,
                             const_cast<std::string_view*>(&loaded.protocols));
  SSL_CTX_set_tlsext_servername_callback(context.get(), Loaded::on_server_name);
  SSL_CTX_set_tlsext_servername_arg(context.get(), const_cast<Loaded*>(&loaded));
  TRY_VOID(require_client_certificates(context.get(), options_));
  return context;
}

Result<std::shared_ptr<const TlsServer::Loaded>> TlsServer::load() const {
  auto loaded = std::make_shared<Loaded>();
  loaded->protocols = options_.http2 ? kBothProtocols : kHttp1;
  for (const CertificateFiles& files : options_.certificates) {
    TRY(SslContextPtr context, load_context(files, *loaded));
    if (!files.ocsp.empty()) {
      TRY(OcspStaple staple, read_staple(files.ocsp, *SSL_CTX_get0_certificate(context.get())));
      loaded->staples.push_back(std::make_unique<const OcspStaple>(std::move(staple)));
      SSL_CTX_set_tlsext_status_cb(context.get(), on_ocsp);
      SSL_CTX_set_tlsext_status_arg(context.get(),
                                    const_cast<OcspStaple*>(loaded->staples.back().get()));
    }
    loaded->contexts.push_back(std::move(context));
  }
  return std::shared_ptr<const Loaded>(std::move(loaded));
}

std::string TlsServer::fingerprint() const {
  std::string out;
  const auto add = [&](const std::string& path) {
    struct stat info{};
    if (path.empty() || ::stat(path.c_str(), &info) != 0) info = {};
    fmt::format_to(std::back_inserter(out), "{}.{}/{}/{} ", info.st_mtim.tv_sec,
                   info.st_mtim.tv_nsec, info.st_size, info.st_ino);
  };
  for (const CertificateFiles& files : options_.certificates) {
    add(files.certificate);
    add(files.key);
    add(files.ocsp);
  }
  add(options_.client_ca);
  return out;
}

Result<bool> TlsServer::refresh() {
  const std::string now = fingerprint();
  const bool changed =
      seen_.with([&](std::string& seen) { return std::exchange(seen, now) != now; });
  if (!changed) return false;
  TRY(auto loaded, load());
  loaded_.with([&](auto& in_use) { in_use = loaded; });
  // A session says who the client was: it is to be seen again by who is trusted now.
  if (options_.client_certificates != ClientCertificates::kOff) ticket_keys_->forget();
  return true;
}

std::string TlsServer::ticket_keys() const {
  return ticket_keys_->bytes();
}

bool TlsServer::inherit_ticket_keys(std::string_view bytes) {
  return ticket_keys_->take(bytes);
}

std::int64_t TlsServer::expires_in_s() const {
  const auto loaded = loaded_.with([](const auto& in_use) { return in_use; });
  std::int64_t least = INT64_MAX;
  for (const SslContextPtr& context : loaded->contexts)
    least = std::min(least, seconds_left(SSL_CTX_get0_certificate(context.get())));
  return least;
}

std::optional<std::int64_t> TlsServer::staple_expires_in_s() const {
  const auto loaded = loaded_.with([](const auto& in_use) { return in_use; });
  std::optional<std::int64_t> least;
  for (const auto& staple : loaded->staples) {
    const auto left = std::chrono::floor<std::chrono::seconds>(staple->until - kClock.wall());
    least = std::min(least.value_or(left.count()), left.count());
  }
  return least;
}

// A connection that began under one set of certificates keeps it until it ends.
TlsPeer TlsServer::accept() const {
  const auto loaded = loaded_.with([](const auto& in_use) { return in_use; });
  TlsPeer peer{.files = loaded, .ssl = SslPtr(SSL_new(loaded->contexts.front().get()))};
  if (peer.ssl != nullptr) SSL_set_accept_state(peer.ssl.get());
  return peer;
}

// ---- the client

Result<std::shared_ptr<TlsClient>> TlsClient::create(TlsClientOptions options) {
  auto client = std::make_shared<TlsClient>(Passkey{}, std::move(options));
  client->context_.reset(SSL_CTX_new(TLS_client_method()));
  SSL_CTX* const context = client->context_.get();
  set_common_options(context);
  const std::string& ca = client->options_.ca;
  const int loaded = ca.empty() ? SSL_CTX_set_default_verify_paths(context)
                                : SSL_CTX_load_verify_file(context, ca.c_str());
  if (loaded != 1) return std::unexpected(tls_failure(fmt::format("ca {}", ca)));
  const bool verifies = client->options_.verify != Verify::kNothing;
  SSL_CTX_set_verify(context, verifies ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  if (!client->options_.own.certificate.empty())
    TRY_VOID(use_certificate(context, client->options_.own));
  const std::string_view protocols = client->options_.http2 ? kHttp2 : kHttp1;
  SSL_CTX_set_alpn_protos(context, bytes_of(protocols), static_cast<unsigned>(protocols.size()));
  return client;
}

TlsPeer TlsClient::connect() const {
  TlsPeer peer{.files = nullptr, .ssl = SslPtr(SSL_new(context_.get()))};
  SSL* const ssl = peer.ssl.get();
  if (ssl == nullptr) return peer;
  if (!options_.server_name.empty()) {
    SSL_set_tlsext_host_name(ssl, options_.server_name.c_str());
    if (options_.verify == Verify::kAuthorityAndName)
      SSL_set1_host(ssl, options_.server_name.c_str());
  }
  SSL_set_connect_state(ssl);
  return peer;
}

// ---- what was agreed

std::string_view alpn_of(const SSL& ssl) {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(&ssl, &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

std::string_view tls_version_of(const SSL& ssl) {
  return SSL_get_version(&ssl);
}

PeerCertificate peer_certificate_of(const SSL& ssl) {
  const X509Ptr certificate(SSL_get1_peer_certificate(&ssl));
  if (certificate == nullptr) return {};
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (X509_digest(certificate.get(), EVP_sha256(), digest.data(), &size) != 1) return {};
  PeerCertificate out;
  for (unsigned i = 0; i < size; ++i) out.sha256 += fmt::format("{:02x}", digest[i]);
  const std::unique_ptr<BIO, decltype(&BIO_free)> text(BIO_new(BIO_s_mem()), &BIO_free);
  X509_NAME_print_ex(text.get(), X509_get_subject_name(certificate.get()), 0,
                     XN_FLAG_RFC2253 | ASN1_STRFLGS_ESC_CTRL | ASN1_STRFLGS_ESC_MSB);
  char* bytes = nullptr;
  const long length = BIO_get_mem_data(text.get(), &bytes);
  for (const char c : std::string_view(bytes, static_cast<std::size_t>(std::max(0L, length))))
    out.subject += c >= 0x20 && c < 0x7f ? c : '?';
  return out;
}

}  // namespace banyan::io
