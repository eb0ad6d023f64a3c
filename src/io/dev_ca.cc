#include "io/dev_ca.h"

#include <fmt/format.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <memory>

#include "base/durable_file.h"
#include "io/tls.h"

namespace banyan::io {
namespace {

namespace fs = std::filesystem;

constexpr int kAuthorityDays = 3650;
constexpr int kDaysMax = 825;

struct Free {
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509_EXTENSION* extension) const { X509_EXTENSION_free(extension); }
};
using Certificate = std::unique_ptr<X509, Free>;
using Key = std::unique_ptr<EVP_PKEY, Free>;
using Bio = std::unique_ptr<BIO, Free>;

struct Signed {
  Certificate certificate;
  Key key;
};

std::string pem_of(X509* certificate) {
  const Bio out(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(out.get(), certificate);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

std::string pem_of(EVP_PKEY* key) {
  const Bio out(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

bool add_extension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context{};
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, Free> extension(
      X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

Certificate blank_certificate(EVP_PKEY* key, const std::string& subject, int days) {
  Certificate made(X509_new());
  X509_set_version(made.get(), X509_VERSION_3);
  std::uint64_t serial = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(made.get()), serial >> 1);
  X509_gmtime_adj(X509_getm_notBefore(made.get()), -300);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), long{days} * 86'400);
  X509_set_pubkey(made.get(), key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(subject.c_str()), -1, -1, 0);
  return made;
}

Result<Signed> read_authority(const fs::path& folder) {
  const Bio certificate(BIO_new_file((folder / "ca.pem").c_str(), "r"));
  const Bio key(BIO_new_file((folder / "ca-key.pem").c_str(), "r"));
  Signed out;
  if (certificate && key) {
    out.certificate.reset(PEM_read_bio_X509(certificate.get(), nullptr, nullptr, nullptr));
    out.key.reset(PEM_read_bio_PrivateKey(key.get(), nullptr, nullptr, nullptr));
  }
  if (out.certificate && out.key) return out;
  (void)tls_error_text();
  Error error(Code::kNotFound, fmt::format("{} holds no development CA", folder.string()));
  return std::unexpected(
      std::move(error).with_remedy(fmt::format("banyan cert dev-ca {}", folder.string())));
}

// "DNS:a.example,IP:127.0.0.1"; empty when a name is not one.
std::string alternative_names(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) {
    const bool is_address = name.find_first_not_of("0123456789.") == std::string::npos ||
                            name.find(':') != std::string::npos;
    const bool is_fine = !name.empty() && std::ranges::all_of(name, [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '*' || c == ':';
    });
    if (!is_fine) return {};
    out += fmt::format("{}{}:{}", out.empty() ? "" : ",", is_address ? "IP" : "DNS", name);
  }
  return out;
}

Result<IssuedFiles> write_pair(const fs::path& stem, const std::string& chain, EVP_PKEY* key) {
  IssuedFiles files{.certificate = stem.string() + ".pem", .key = stem.string() + "-key.pem"};
  TRY_VOID(write_durably(files.key, pem_of(key)));
  TRY_VOID(write_durably(files.certificate, chain, 0644));
  return files;
}

}  // namespace

Result<IssuedFiles> create_dev_ca(const fs::path& folder) {
  if (fs::exists(folder / "ca.pem") && fs::exists(folder / "ca-key.pem"))
    return IssuedFiles{.certificate = folder / "ca.pem", .key = folder / "ca-key.pem"};
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    return failure(Code::kUnavailable, fmt::format("{}: {}", folder.string(), error.message()));
  const Key key(EVP_EC_gen("P-256"));
  const Certificate made = blank_certificate(key.get(), "Banyan development CA", kAuthorityDays);
  X509_set_issuer_name(made.get(), X509_get_subject_name(made.get()));
  const bool fine =
      add_extension(made.get(), made.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
      add_extension(made.get(), made.get(), NID_key_usage, "critical,keyCertSign,cRLSign") &&
      add_extension(made.get(), made.get(), NID_subject_key_identifier, "hash") &&
      X509_sign(made.get(), key.get(), EVP_sha256()) > 0;
  if (!fine) return failure(Code::kInternal, "development CA: " + tls_error_text());
  return write_pair(folder / "ca", pem_of(made.get()), key.get());
}

Result<IssuedFiles> issue_certificate(const fs::path& folder, const IssueOrder& order) {
  TRY(const Signed authority, read_authority(folder));
  const std::string names = alternative_names(order.names);
  if (names.empty() || order.days < 1 || order.days > kDaysMax)
    return failure(
        Code::kInvalidArgument,
        fmt::format("a certificate needs host names or addresses, and 1 to {} days", kDaysMax));
  const Key key(EVP_EC_gen("P-256"));
  const Certificate made = blank_certificate(key.get(), order.names.front(), order.days);
  X509* const issuer = authority.certificate.get();
  X509_set_issuer_name(made.get(), X509_get_subject_name(issuer));
  const bool serves = order.use == CertificateUse::kServer;
  const bool fine =
      add_extension(made.get(), issuer, NID_basic_constraints, "critical,CA:FALSE") &&
      add_extension(made.get(), issuer, NID_key_usage, "critical,digitalSignature") &&
      add_extension(made.get(), issuer, NID_ext_key_usage, serves ? "serverAuth" : "clientAuth") &&
      add_extension(made.get(), issuer, NID_authority_key_identifier, "keyid") &&
      add_extension(made.get(), issuer, NID_subject_alt_name, names) &&
      X509_sign(made.get(), authority.key.get(), EVP_sha256()) > 0;
  if (!fine) return failure(Code::kInternal, "certificate: " + tls_error_text());
  std::string stem = order.names.front();
  std::ranges::replace(stem, '*', '_');
  std::ranges::replace(stem, ':', '_');
  return write_pair(folder / stem, pem_of(made.get()) + pem_of(issuer), key.get());
}

}  // namespace banyan::io
