#include "io/ocsp_staple.h"

#include <fmt/format.h>
#include <openssl/ocsp.h>

#include <ctime>
#include <fstream>
#include <iterator>
#include <memory>

#include "base/log.h"

namespace banyan::io {
namespace {

constexpr std::size_t kBytesMax = 64 * 1024;

using ResponsePtr = std::unique_ptr<OCSP_RESPONSE, decltype(&OCSP_RESPONSE_free)>;
using BasicPtr = std::unique_ptr<OCSP_BASICRESP, decltype(&OCSP_BASICRESP_free)>;

std::unexpected<Error> refused(const std::string& path, std::string_view why) {
  return std::unexpected(
      Error(Code::kInvalidArgument, fmt::format("OCSP answer {}: {}", path, why))
          .with_remedy("1. Fetch it anew: openssl ocsp -respout. 2. Leave ocsp out."));
}

Result<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return failure(Code::kNotFound, fmt::format("{} cannot be read", path));
  std::string bytes(std::istreambuf_iterator<char>(in), {});
  if (bytes.size() > kBytesMax) return refused(path, "is larger than 64 KB");
  return bytes;
}

BasicPtr parse(const std::string& der) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const ResponsePtr response(d2i_OCSP_RESPONSE(nullptr, &at, static_cast<long>(der.size())),
                             &OCSP_RESPONSE_free);
  const bool fine = response != nullptr &&
                    OCSP_response_status(response.get()) == OCSP_RESPONSE_STATUS_SUCCESSFUL;
  return {fine ? OCSP_response_get1_basic(response.get()) : nullptr, &OCSP_BASICRESP_free};
}

// What the answer says of this certificate; null: nothing.
OCSP_SINGLERESP* find(OCSP_BASICRESP& answer, const X509& certificate) {
  for (int i = 0; i < OCSP_resp_count(&answer); ++i) {
    OCSP_SINGLERESP* const single = OCSP_resp_get0(&answer, i);
    ASN1_INTEGER* serial = nullptr;
    auto* const id = const_cast<OCSP_CERTID*>(OCSP_SINGLERESP_get0_id(single));
    OCSP_id_get0_info(nullptr, nullptr, nullptr, &serial, id);
    if (ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(&certificate)) == 0) return single;
  }
  return nullptr;
}

Wall wall_of(const ASN1_GENERALIZEDTIME& time) {
  std::tm utc{};
  if (ASN1_TIME_to_tm(&time, &utc) != 1) return Wall::min();
  return std::chrono::system_clock::from_time_t(timegm(&utc));
}

}  // namespace

Result<OcspStaple> read_staple(const std::string& path, const X509& certificate) {
  TRY(std::string der, read_file(path));
  const BasicPtr answer = parse(der);
  if (answer == nullptr) return refused(path, "is no successful answer in DER");
  OCSP_SINGLERESP* const single = find(*answer, certificate);
  if (single == nullptr) return refused(path, "is about another certificate");
  ASN1_GENERALIZEDTIME* next = nullptr;
  const int status = OCSP_single_get0_status(single, nullptr, nullptr, nullptr, &next);
  OcspStaple out{.der = std::move(der), .revoked = status == V_OCSP_CERTSTATUS_REVOKED};
  if (next != nullptr) out.until = wall_of(*next);
  if (out.revoked) log_error("certificate is revoked: replace it", {{"ocsp", path}});
  if (!out.is_current(SystemClock().wall()))
    log_warn("OCSP answer has expired and is not stapled", {{"ocsp", path}});
  return out;
}

}  // namespace banyan::io
