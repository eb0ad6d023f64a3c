#include "wire/s3/signer.h"

#include <algorithm>

#include "base/percent.h"
#include "wire/s3/encoding.h"

namespace banyan::s3 {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";
constexpr auto kSkewMax = std::chrono::minutes(15);
constexpr auto kPresignMax = std::chrono::seconds(7 * 24 * 3600);

// Trimmed, inner runs of spaces collapsed.
std::string trimmed(std::string_view value) {
  std::string out;
  for (const char c : value) {
    const bool space = c == ' ' || c == '\t';
    if (space && (out.empty() || out.back() == ' ')) continue;
    out += space ? ' ' : c;
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

std::string canonical_query(std::string_view query) {
  HeaderList pairs;
  for (const auto& [name, value] : parse_query(query)) {
    if (name == "X-Amz-Signature") continue;
    pairs.emplace_back(uri_encode(name), uri_encode(value));
  }
  std::sort(pairs.begin(), pairs.end());
  std::string out;
  for (const auto& [name, value] : pairs) {
    if (!out.empty()) out += '&';
    out += name + "=" + value;
  }
  return out;
}

// S3 encodes the path once; every other service encodes what is already encoded.
std::string canonical_path(std::string_view path, std::string_view service) {
  const std::string once = uri_encode(percent_decoded(path), Slash::kKeep);
  return service == "s3" ? once : uri_encode(once, Slash::kKeep);
}

std::string canonical_headers(const HeaderList& headers, const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) {
    std::string values;
    for (const auto& [header, value] : headers) {
      if (header == name) values += (values.empty() ? "" : ",") + trimmed(value);
    }
    out += name + ":" + values + "\n";
  }
  return out;
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ";") + name;
  return out;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    const auto at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::vector<std::string> header_names(const HeaderList& headers) {
  std::vector<std::string> names;
  for (const auto& [name, value] : headers) names.push_back(name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

struct Signable {
  const SignableRequest& request;
  const std::vector<std::string>& signed_headers;
  std::string_view payload_hash;
  std::string_view date;
  const Scope& scope;
};

std::string signature(const Signable& what, std::string_view key) {
  const std::string canonical =
      what.request.method + "\n" + canonical_path(what.request.path, what.scope.service) + "\n" +
      canonical_query(what.request.query) + "\n" +
      canonical_headers(what.request.headers, what.signed_headers) + "\n" +
      joined(what.signed_headers) + "\n" + std::string(what.payload_hash);
  const std::string to_sign = std::string(kAlgorithm) + "\n" + std::string(what.date) + "\n" +
                              what.scope.text() + "\n" + hex(sha256(canonical));
  return hex(hmac_sha256(key, to_sign));
}

std::unexpected<Error> refused(std::string message) {
  return failure(Code::kPermission, std::move(message));
}

// "Credential=x, SignedHeaders=y, Signature=z"
std::string field_of(std::string_view authorization, std::string_view name) {
  for (const std::string& field : split(authorization, ',')) {
    const std::string text = trimmed(field);
    if (text.starts_with(std::string(name) + "=")) return text.substr(name.size() + 1);
  }
  return {};
}

}  // namespace

const std::string* find_header(const HeaderList& headers, std::string_view name) {
  for (const auto& [header, value] : headers) {
    if (header == name) return &value;
  }
  return nullptr;
}

HeaderList parse_query(std::string_view query) {
  HeaderList pairs;
  if (query.empty()) return pairs;
  for (const std::string& item : split(query, '&')) {
    if (item.empty()) continue;
    const auto equals = item.find('=');
    pairs.emplace_back(percent_decoded(item.substr(0, equals)),
                       equals == std::string::npos ? "" : percent_decoded(item.substr(equals + 1)));
  }
  return pairs;
}

std::string Scope::key(std::string_view secret) const {
  const std::string date_key = hmac_sha256("AWS4" + std::string(secret), date);
  return hmac_sha256(hmac_sha256(hmac_sha256(date_key, region), service), "aws4_request");
}

Scope Signer::scope(Wall now) const {
  return {.date = amz_date(now).substr(0, 8), .region = region_, .service = service_};
}

void Signer::sign(SignableRequest& request, std::string_view payload_hash, Wall now) const {
  const std::string date = amz_date(now);
  request.headers.emplace_back("x-amz-date", date);
  request.headers.emplace_back("x-amz-content-sha256", payload_hash);
  if (!credentials_.session_token.empty()) {
    request.headers.emplace_back("x-amz-security-token", credentials_.session_token);
  }
  const Scope at = scope(now);
  const auto names = header_names(request.headers);
  const std::string sealed =
      signature({request, names, payload_hash, date, at}, at.key(credentials_.secret_key));
  request.headers.emplace_back(
      "authorization", std::string(kAlgorithm) + " Credential=" + credentials_.access_key + "/" +
                           at.text() + ",SignedHeaders=" + joined(names) + ",Signature=" + sealed);
}

std::string Signer::presign(const SignableRequest& request, Wall now,
                            std::chrono::seconds valid) const {
  const Scope at = scope(now);
  const auto names = header_names(request.headers);
  SignableRequest full = request;
  const auto add = [&](std::string_view name, std::string_view value) {
    if (!full.query.empty()) full.query += '&';
    full.query += uri_encode(name) + "=" + uri_encode(value);
  };
  add("X-Amz-Algorithm", kAlgorithm);
  add("X-Amz-Credential", credentials_.access_key + "/" + at.text());
  add("X-Amz-Date", amz_date(now));
  add("X-Amz-Expires", std::to_string(valid.count()));
  if (!credentials_.session_token.empty()) {
    add("X-Amz-Security-Token", credentials_.session_token);
  }
  add("X-Amz-SignedHeaders", joined(names));
  const std::string date = amz_date(now);
  const std::string sealed =
      signature({full, names, kUnsignedPayload, date, at}, at.key(credentials_.secret_key));
  add("X-Amz-Signature", sealed);
  return full.query;
}

struct Verifier::Claim {
  std::string access_key;
  Scope scope;
  std::string date;
  std::string payload_hash;
  std::vector<std::string> signed_headers;
  std::string signature;
  std::chrono::seconds valid{0};  // 0: signed by header
};

namespace {

// "AKID/20130524/us-east-1/s3/aws4_request"
bool parse_credential(const std::string& text, std::string& access_key, Scope& scope) {
  const auto parts = split(text, '/');
  if (parts.size() < 5 || parts.back() != "aws4_request") return false;
  const std::size_t n = parts.size();
  scope = {.date = parts[n - 4], .region = parts[n - 3], .service = parts[n - 2]};
  access_key = parts[0];
  for (std::size_t i = 1; i + 4 < n; i++) access_key += "/" + parts[i];
  return true;
}

}  // namespace

Result<Verifier::Claim> Verifier::claim_of_header(const SignableRequest& request) const {
  const std::string* authorization = find_header(request.headers, "authorization");
  if (authorization == nullptr) return refused("AccessDenied: the request is not signed");
  if (!authorization->starts_with(kAlgorithm)) {
    return refused("InvalidRequest: only AWS4-HMAC-SHA256 signatures are supported");
  }
  const auto fields = std::string_view(*authorization).substr(kAlgorithm.size());
  Claim claim;
  if (!parse_credential(field_of(fields, "Credential"), claim.access_key, claim.scope)) {
    return refused("AuthorizationHeaderMalformed: the credential is malformed");
  }
  claim.signed_headers = split(field_of(fields, "SignedHeaders"), ';');
  claim.signature = field_of(fields, "Signature");
  const std::string* date = find_header(request.headers, "x-amz-date");
  if (date != nullptr) {
    claim.date = *date;
  } else if (const auto* plain = find_header(request.headers, "date")) {
    const auto time = parse_http_date(*plain);
    claim.date = time ? amz_date(*time) : *plain;
  }
  const std::string* hash = find_header(request.headers, "x-amz-content-sha256");
  if (hash == nullptr) return refused("InvalidRequest: x-amz-content-sha256 is missing");
  claim.payload_hash = *hash;
  return claim;
}

Result<Verifier::Claim> Verifier::claim_of_query(const SignableRequest& request) const {
  const HeaderList query = parse_query(request.query);
  const auto value = [&](std::string_view name) {
    const std::string* found = find_header(query, name);
    return found == nullptr ? std::string() : *found;
  };
  Claim claim;
  if (value("X-Amz-Algorithm") != kAlgorithm ||
      !parse_credential(value("X-Amz-Credential"), claim.access_key, claim.scope)) {
    return refused("AuthorizationQueryParametersError: the credential is malformed");
  }
  claim.date = value("X-Amz-Date");
  claim.signed_headers = split(value("X-Amz-SignedHeaders"), ';');
  claim.signature = value("X-Amz-Signature");
  claim.valid = std::chrono::seconds(std::atol(value("X-Amz-Expires").c_str()));
  if (claim.valid.count() <= 0 || claim.valid > kPresignMax) {
    return refused("AuthorizationQueryParametersError: X-Amz-Expires must be 1 to 604800");
  }
  const std::string* hash = find_header(request.headers, "x-amz-content-sha256");
  claim.payload_hash = hash == nullptr ? std::string(kUnsignedPayload) : *hash;
  return claim;
}

Result<void> Verifier::check_time(const Claim& claim, Wall now) const {
  const auto signed_at = parse_amz_date(claim.date);
  if (!signed_at || !claim.date.starts_with(claim.scope.date)) {
    return refused("AccessDenied: the date of the signature is malformed");
  }
  if (*signed_at > now + kSkewMax) {
    return refused("RequestTimeTooSkewed: the request was signed in the future");
  }
  if (claim.valid.count() > 0 && now > *signed_at + claim.valid) {
    return refused("AccessDenied: Request has expired");
  }
  if (claim.valid.count() == 0 && now > *signed_at + kSkewMax) {
    return refused("RequestTimeTooSkewed: the request was signed too long ago");
  }
  return {};
}

Result<Verified> Verifier::verify(const SignableRequest& request, Wall now) const {
  const bool presigned = find_header(parse_query(request.query), "X-Amz-Signature") != nullptr;
  TRY(const auto claim, presigned ? claim_of_query(request) : claim_of_header(request));
  if (!equal_secrets(claim.access_key, credentials_.access_key)) {
    return refused("InvalidAccessKeyId: the access key is not known here");
  }
  TRY_VOID(check_time(claim, now));
  const auto& names = claim.signed_headers;
  if (std::find(names.begin(), names.end(), "host") == names.end()) {
    return refused("AccessDenied: the host header is not signed");
  }
  const std::string key = claim.scope.key(credentials_.secret_key);
  const auto matches = [&](std::string_view hash) {
    return equal_secrets(signature({request, names, hash, claim.date, claim.scope}, key),
                         claim.signature);
  };
  // A presigned request may or may not have had its payload hash in mind when it was made.
  if (!matches(claim.payload_hash) && !(presigned && matches(kUnsignedPayload))) {
    return refused("SignatureDoesNotMatch: the signature does not match; check the secret key");
  }
  return Verified{.payload_hash = claim.payload_hash,
                  .date = claim.date,
                  .scope = claim.scope.text(),
                  .key = key,
                  .signature = claim.signature};
}

std::string chunk_signature(const Verified& seed, std::string_view previous,
                            std::string_view chunk_sha256_hex) {
  const std::string to_sign = "AWS4-HMAC-SHA256-PAYLOAD\n" + seed.date + "\n" + seed.scope + "\n" +
                              std::string(previous) + "\n" + std::string(kEmptySha256) + "\n" +
                              std::string(chunk_sha256_hex);
  return hex(hmac_sha256(seed.key, to_sign));
}

std::string trailer_signature(const Verified& seed, std::string_view previous,
                              std::string_view trailer_sha256_hex) {
  const std::string to_sign = "AWS4-HMAC-SHA256-TRAILER\n" + seed.date + "\n" + seed.scope + "\n" +
                              std::string(previous) + "\n" + std::string(trailer_sha256_hex);
  return hex(hmac_sha256(seed.key, to_sign));
}

}  // namespace banyan::s3
