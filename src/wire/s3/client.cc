#include "wire/s3/client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <thread>

#include "base/check.h"
#include "base/percent.h"
#include "wire/s3/xml.h"

namespace banyan::s3 {
namespace {

constexpr std::size_t kReplyBytesMax = 16 << 20;
constexpr std::size_t kIdleMax = 32;
constexpr long kConnectTimeoutMs = 5000;
constexpr long kStallSeconds = 30;
constexpr auto kPauseFirst = std::chrono::milliseconds(100);
constexpr auto kPauseMax = std::chrono::milliseconds(2000);

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string without_quotes(std::string_view etag) {
  if (etag.size() >= 2 && etag.front() == '"') etag = etag.substr(1, etag.size() - 2);
  return std::string(etag);
}

std::string query_text(const HeaderList& pairs) {
  std::string out;
  for (const auto& [name, value] : pairs) {
    out += (out.empty() ? "" : "&") + uri_encode(name) + "=" + uri_encode(value);
  }
  return out;
}

struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

std::string value_of(const HeaderList& headers, std::string_view name) {
  const std::string* value = find_header(headers, name);
  return value == nullptr ? std::string() : *value;
}

RemoteObject object_of(const Address& address, const HeaderList& headers) {
  const auto modified = parse_http_date(value_of(headers, "last-modified"));
  return {.key = address.key,
          .etag = without_quotes(value_of(headers, "etag")),
          .size = std::atoll(value_of(headers, "content-length").c_str()),
          .modified_ms = modified ? to_ms(modified->time_since_epoch()) : 0,
          .headers = headers};
}

// How listings spell keys when asked to encode them: like a form, with '+' for a space.
std::string listed_key(const std::string& text, bool url) {
  if (!url) return text;
  std::string form = text;
  std::replace(form.begin(), form.end(), '+', ' ');
  return percent_decoded(form);
}

void initialise_curl() {
  static const CURLcode done = curl_global_init(CURL_GLOBAL_ALL);
  CHECK(done == CURLE_OK);
}

}  // namespace

struct Client::Call {
  std::string method;
  Address address;
  HeaderList query;
  HeaderList headers;
  std::string_view body;
  const ByteSink* sink = nullptr;
  const std::function<void()>* restart = nullptr;
};

struct Client::Reply {
  long status = 0;
  HeaderList headers;
  std::string body;
  const ByteSink* sink = nullptr;
  std::optional<Error> sink_error;
  const std::atomic<bool>* cancelled = nullptr;

  static std::size_t on_header(char* data, std::size_t, std::size_t size, void* self);
  static std::size_t on_body(char* data, std::size_t, std::size_t size, void* self);
  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Reply*>(self)->cancelled->load() ? 1 : 0;
  }
};

std::size_t Client::Reply::on_header(char* data, std::size_t, std::size_t size, void* self) {
  auto& reply = *static_cast<Reply*>(self);
  std::string_view line(data, size);
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {
    reply.headers.clear();
    const auto space = line.find(' ');
    reply.status = space == std::string_view::npos
                       ? 0
                       : std::atol(std::string(line.substr(space + 1)).c_str());
    return size;
  }
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return size;
  auto value = line.substr(colon + 1);
  while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  reply.headers.emplace_back(lower(line.substr(0, colon)), value);
  return size;
}

std::size_t Client::Reply::on_body(char* data, std::size_t, std::size_t size, void* self) {
  auto& reply = *static_cast<Reply*>(self);
  const std::string_view bytes(data, size);
  if (reply.sink == nullptr || reply.status >= 300) {
    if (reply.body.size() + size > kReplyBytesMax) return 0;
    reply.body += bytes;
    return size;
  }
  auto taken = (*reply.sink)(bytes);
  if (taken) return size;
  reply.sink_error = std::move(taken.error());
  return 0;
}

void Client::FreeHandle::operator()(void* handle) const {
  curl_easy_cleanup(handle);
}

Client::Client(ClientOptions options, const Clock& clock)
    : options_(std::move(options)), clock_(clock), signer_(options_.credentials, options_.region) {
  initialise_curl();
  std::string_view rest = options_.endpoint;
  if (const auto scheme = rest.find("://"); scheme != std::string_view::npos) {
    rest.remove_prefix(scheme + 3);
  }
  host_ = rest.substr(0, rest.find('/'));
  base_path_ = rest.substr(host_.size());
  while (base_path_.ends_with('/')) base_path_.pop_back();
}

Client::~Client() = default;

Client::Handle Client::borrow() {
  Handle handle = idle_.with([](auto& idle) {
    if (idle.empty()) return Handle();
    Handle last = std::move(idle.back());
    idle.pop_back();
    return last;
  });
  return handle ? std::move(handle) : Handle(curl_easy_init());
}

void Client::give_back(Handle handle) {
  idle_.with([&](auto& idle) {
    if (idle.size() < kIdleMax) idle.push_back(std::move(handle));
  });
}

SignableRequest Client::signed_request(const Call& call) const {
  std::string path = base_path_ + "/" + uri_encode(call.address.bucket);
  if (!call.address.key.empty()) path += "/" + uri_encode(call.address.key, Slash::kKeep);
  SignableRequest request{call.method, std::move(path), query_text(call.query), call.headers};
  request.headers.emplace_back("host", host_);
  const bool has_body = call.method == "PUT" || call.method == "POST";
  if (has_body && !call.body.empty()) {
    request.headers.emplace_back("content-md5", base64(md5(call.body)));
  }
  const std::string hash = call.body.empty() ? std::string(kEmptySha256) : hex(sha256(call.body));
  signer_.sign(request, hash, clock_.wall() + Duration(skew_ns_.load()));
  return request;
}

Result<Client::Reply> Client::transfer(const Call& call, const SignableRequest& request) {
  const std::string scheme = options_.endpoint.substr(0, options_.endpoint.find("://") + 3);
  std::string url = scheme + host_ + request.path;
  if (!request.query.empty()) url += "?" + request.query;
  std::unique_ptr<curl_slist, FreeList> headers;
  const auto add = [&](const std::string& line) {
    headers.reset(curl_slist_append(headers.release(), line.c_str()));
  };
  for (const auto& [name, value] : request.headers) {
    add(value.empty() ? name + ";" : name + ": " + value);
  }
  add("Expect:");
  if (find_header(request.headers, "content-type") == nullptr) add("Content-Type:");

  Reply reply;
  reply.sink = call.sink;
  reply.cancelled = &cancelled_;
  Handle handle = borrow();
  curl_easy_reset(handle.get());
  const auto set = [&](CURLoption option, auto value) {
    curl_easy_setopt(handle.get(), option, value);
  };
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_PATH_AS_IS, 1L);
  set(CURLOPT_CUSTOMREQUEST, call.method.c_str());
  set(CURLOPT_HTTPHEADER, headers.get());
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_PROXY, "");
  set(CURLOPT_CONNECTTIMEOUT_MS, kConnectTimeoutMs);
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, kStallSeconds);
  set(CURLOPT_HEADERFUNCTION, &Reply::on_header);
  set(CURLOPT_HEADERDATA, static_cast<void*>(&reply));
  set(CURLOPT_WRITEFUNCTION, &Reply::on_body);
  set(CURLOPT_WRITEDATA, static_cast<void*>(&reply));
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &Reply::on_progress);
  set(CURLOPT_XFERINFODATA, static_cast<void*>(&reply));
  if (call.method == "HEAD") set(CURLOPT_NOBODY, 1L);
  if (call.method == "PUT" || call.method == "POST") {
    set(CURLOPT_POSTFIELDS, call.body.empty() ? "" : call.body.data());
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call.body.size()));
  }
  const CURLcode code = curl_easy_perform(handle.get());
  if (reply.sink_error) return std::unexpected(*std::move(reply.sink_error));
  if (cancelled_) return failure(Code::kCancelled, "the transfer was cancelled");
  if (code != CURLE_OK) {
    return failure(Code::kUnavailable,
                   "object storage at " + options_.endpoint + ": " + curl_easy_strerror(code),
                   Retry::kSafe);
  }
  give_back(std::move(handle));
  return reply;
}

Error Client::error_of(const Call& call, const Reply& reply) const {
  const auto document = parse_xml(reply.body);
  const std::string code = document ? document->value("Code") : "";
  const std::string what =
      fmt::format("{} {}/{}: HTTP {} {} {}", call.method, call.address.bucket, call.address.key,
                  reply.status, code, document ? document->value("Message") : "");
  if (reply.status == 404) return {Code::kNotFound, what};
  if (reply.status == 412 || reply.status == 409) return {Code::kConflict, what};
  if (reply.status == 429 || reply.status >= 500) return {Code::kUnavailable, what, Retry::kSafe};
  if (code == "RequestTimeTooSkewed" || code == "RequestTimeout" || code == "IncompleteBody" ||
      code == "BadDigest") {
    return {Code::kUnavailable, what, Retry::kSafe};
  }
  if (reply.status == 401 || reply.status == 403) {
    return Error(Code::kPermission, what)
        .with_remedy("check the access key, the secret key and what the key may do");
  }
  return {Code::kInvalidArgument, what};
}

Result<Client::Reply> Client::attempt(const Call& call) {
  if (call.restart != nullptr) (*call.restart)();
  TRY(auto reply, transfer(call, signed_request(call)));
  if (reply.status < 300) return reply;
  if (reply.status == 403 && reply.body.find("RequestTimeTooSkewed") != std::string::npos) {
    if (const auto theirs = parse_http_date(value_of(reply.headers, "date"))) {
      skew_ns_ = (*theirs - clock_.wall()).count();
    }
  }
  return std::unexpected(error_of(call, reply));
}

void Client::pause(int attempt) const {
  thread_local std::minstd_rand chance{std::random_device{}()};
  const auto most = std::min(kPauseMax, kPauseFirst * (1 << attempt));
  auto left = most / 2 + std::chrono::milliseconds(chance() % (most.count() / 2 + 1));
  while (left.count() > 0 && !cancelled_) {
    const auto step = std::min<std::chrono::milliseconds>(left, 50ms);
    std::this_thread::sleep_for(step);
    left -= step;
  }
}

Result<Client::Reply> Client::perform(const Call& call) {
  for (int n = 0;; n++) {
    if (cancelled_) return failure(Code::kCancelled, "the client is stopping");
    auto reply = attempt(call);
    if (reply || reply.error().retry() == Retry::kNever || n + 1 >= options_.attempts) return reply;
    pause(n);
  }
}

Result<std::string> Client::put(const Address& address, std::string_view body, HeaderList headers) {
  TRY(const auto reply, perform({.method = "PUT",
                                 .address = address,
                                 .query = {},
                                 .headers = std::move(headers),
                                 .body = body}));
  return without_quotes(value_of(reply.headers, "etag"));
}

Result<RemoteObject> Client::get(const Address& address, const ByteSink& sink,
                                 const std::function<void()>& restart) {
  TRY(const auto reply, perform({.method = "GET",
                                 .address = address,
                                 .query = {},
                                 .headers = {},
                                 .body = {},
                                 .sink = &sink,
                                 .restart = &restart}));
  return object_of(address, reply.headers);
}

Result<RemoteObject> Client::head(const Address& address) {
  TRY(const auto reply,
      perform({.method = "HEAD", .address = address, .query = {}, .headers = {}, .body = {}}));
  return object_of(address, reply.headers);
}

Result<void> Client::remove(const Address& address) {
  const auto reply =
      perform({.method = "DELETE", .address = address, .query = {}, .headers = {}, .body = {}});
  if (reply || reply.error().code() == Code::kNotFound) return {};
  return std::unexpected(reply.error());
}

Result<ListResult> Client::list(const std::string& bucket, const ListRequest& request) {
  HeaderList query{{"encoding-type", "url"}, {"list-type", "2"}};
  if (!request.prefix.empty()) query.emplace_back("prefix", request.prefix);
  if (!request.after.empty()) query.emplace_back("start-after", request.after);
  if (!request.token.empty()) query.emplace_back("continuation-token", request.token);
  TRY(const auto reply, perform({.method = "GET",
                                 .address = {bucket, ""},
                                 .query = std::move(query),
                                 .headers = {},
                                 .body = {}}));
  TRY(const auto document, parse_xml(reply.body));
  if (document.name != "ListBucketResult") {
    return failure(Code::kUnavailable, "not a listing: " + document.name, Retry::kSafe);
  }
  const bool url = document.value("EncodingType") == "url";
  ListResult result;
  for (const XmlNode& node : document.children) {
    if (node.name != "Contents") continue;
    result.objects.push_back({.key = listed_key(node.value("Key"), url),
                              .etag = without_quotes(node.value("ETag")),
                              .size = std::atoll(node.value("Size").c_str()),
                              .modified_ms = parse_iso_date(node.value("LastModified")).value_or(0),
                              .headers = {}});
  }
  if (document.value("IsTruncated") == "true") {
    result.next_token = document.value("NextContinuationToken");
  }
  return result;
}

Result<void> Client::ensure_bucket(const std::string& bucket) {
  const Address address{bucket, ""};
  const auto there =
      perform({.method = "HEAD", .address = address, .query = {}, .headers = {}, .body = {}});
  if (there) return {};
  if (there.error().code() != Code::kNotFound) return std::unexpected(there.error());
  const auto made =
      perform({.method = "PUT", .address = address, .query = {}, .headers = {}, .body = {}});
  if (made || made.error().code() == Code::kConflict) return {};
  return std::unexpected(made.error());
}

Result<std::string> Client::create_upload(const Address& address, HeaderList headers) {
  TRY(const auto reply, perform({.method = "POST",
                                 .address = address,
                                 .query = {{"uploads", ""}},
                                 .headers = std::move(headers),
                                 .body = {}}));
  TRY(const auto document, parse_xml(reply.body));
  const std::string id = document.value("UploadId");
  if (id.empty()) return failure(Code::kUnavailable, "no upload id in the answer", Retry::kSafe);
  return id;
}

Result<std::string> Client::upload_part(const Address& address, const std::string& upload_id,
                                        int number, std::string_view body) {
  TRY(const auto reply,
      perform({.method = "PUT",
               .address = address,
               .query = {{"partNumber", std::to_string(number)}, {"uploadId", upload_id}},
               .headers = {},
               .body = body}));
  return without_quotes(value_of(reply.headers, "etag"));
}

Result<std::vector<RemotePart>> Client::list_parts(const Address& address,
                                                   const std::string& upload_id) {
  std::vector<RemotePart> parts;
  std::string marker;
  while (true) {
    HeaderList query{{"uploadId", upload_id}};
    if (!marker.empty()) query.emplace_back("part-number-marker", marker);
    TRY(const auto reply, perform({.method = "GET",
                                   .address = address,
                                   .query = std::move(query),
                                   .headers = {},
                                   .body = {}}));
    TRY(const auto document, parse_xml(reply.body));
    for (const XmlNode& node : document.children) {
      if (node.name != "Part") continue;
      parts.push_back({.number = std::atoi(node.value("PartNumber").c_str()),
                       .etag = without_quotes(node.value("ETag")),
                       .size = std::atoll(node.value("Size").c_str())});
    }
    const std::string next = document.value("NextPartNumberMarker");
    if (document.value("IsTruncated") != "true" || next == marker) return parts;
    marker = next;
  }
}

Result<void> Client::complete_upload(const Address& address, const std::string& upload_id,
                                     const std::vector<RemotePart>& parts) {
  std::string body = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  for (const RemotePart& part : parts) {
    body += "<Part>" + xml_element("PartNumber", std::to_string(part.number)) +
            xml_element("ETag", "\"" + part.etag + "\"") + "</Part>";
  }
  body += "</CompleteMultipartUpload>";
  TRY(const auto reply, perform({.method = "POST",
                                 .address = address,
                                 .query = {{"uploadId", upload_id}},
                                 .headers = {{"content-type", "application/xml"}},
                                 .body = body}));
  // S3 may answer 200 first and fail afterwards.
  const auto document = parse_xml(reply.body);
  if (document && document->name == "Error") {
    return failure(Code::kUnavailable, "completing: " + document->value("Code"), Retry::kSafe);
  }
  return {};
}

Result<void> Client::abort_upload(const Address& address, const std::string& upload_id) {
  const auto reply = perform({.method = "DELETE",
                              .address = address,
                              .query = {{"uploadId", upload_id}},
                              .headers = {},
                              .body = {}});
  if (reply || reply.error().code() == Code::kNotFound) return {};
  return std::unexpected(reply.error());
}

Result<std::vector<std::string>> Client::find_uploads(const Address& address) {
  std::vector<std::string> found;
  std::string key_marker;
  std::string id_marker;
  while (true) {
    HeaderList query{{"uploads", ""}, {"prefix", address.key}};
    if (!key_marker.empty()) {
      query.emplace_back("key-marker", key_marker);
      query.emplace_back("upload-id-marker", id_marker);
    }
    TRY(const auto reply, perform({.method = "GET",
                                   .address = {.bucket = address.bucket, .key = {}},
                                   .query = std::move(query),
                                   .headers = {},
                                   .body = {}}));
    TRY(const auto document, parse_xml(reply.body));
    for (const XmlNode& node : document.children) {
      if (node.name != "Upload" || node.value("Key") != address.key) continue;
      found.push_back(node.value("UploadId"));
    }
    const bool is_more = document.value("IsTruncated") == "true";
    if (!is_more || document.value("NextUploadIdMarker") == id_marker) return found;
    key_marker = document.value("NextKeyMarker");
    id_marker = document.value("NextUploadIdMarker");
  }
}

}  // namespace banyan::s3
