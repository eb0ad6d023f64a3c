#pragma once
// Client: an S3 client over libcurl. Path-style, SigV4, keep-alive, bodies with Content-MD5 and
// SHA-256; tries again with growing pauses on 5xx, SlowDown and lost connections, and corrects a
// skewed clock. Every operation is safe to repeat. Thread-safe: each call borrows a connection.
//
// Errors: kNotFound (no such key, bucket or upload), kPermission, kConflict (a precondition),
// kUnavailable (not reachable or overloaded after all attempts; Retry::kSafe), kCancelled.

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/guarded.h"
#include "wire/s3/encoding.h"
#include "wire/s3/signer.h"

namespace banyan::s3 {

struct ClientOptions {
  std::string endpoint;  // "http://127.0.0.1:9000"
  std::string region = "us-east-1";
  Credentials credentials;
  int attempts = 4;
};

struct Address {
  std::string bucket;
  std::string key;
};

struct RemoteObject {
  std::string key;
  std::string etag;  // without quotes
  std::int64_t size = 0;
  std::int64_t modified_ms = 0;
  HeaderList headers;  // of get and head
};

struct ListRequest {
  std::string prefix;
  std::string token;  // from the page before
  std::string after;
};
struct ListResult {
  std::vector<RemoteObject> objects;
  std::string next_token;  // empty: the last page
};

struct RemotePart {
  int number = 0;
  std::string etag;
  std::int64_t size = 0;
};

class Client {
 public:
  Client(ClientOptions options, const Clock& clock);
  ~Client();

  // The ETag. `headers`: content-type, x-amz-meta-*, if-match ...
  Result<std::string> put(const Address& address, std::string_view body, HeaderList headers);
  // `restart` is called before every attempt: what the sink got so far is void.
  Result<RemoteObject> get(const Address& address, const ByteSink& sink,
                           const std::function<void()>& restart);
  Result<RemoteObject> head(const Address& address);
  Result<void> remove(const Address& address);  // idempotent
  Result<ListResult> list(const std::string& bucket, const ListRequest& request);
  Result<void> ensure_bucket(const std::string& bucket);

  Result<std::string> create_upload(const Address& address, HeaderList headers);
  Result<std::string> upload_part(const Address& address, const std::string& upload_id, int number,
                                  std::string_view body);
  Result<std::vector<RemotePart>> list_parts(const Address& address, const std::string& upload_id);
  Result<void> complete_upload(const Address& address, const std::string& upload_id,
                               const std::vector<RemotePart>& parts);
  Result<void> abort_upload(const Address& address, const std::string& upload_id);
  // Ids of all uploads of exactly this key that have not ended (ListMultipartUploads).
  Result<std::vector<std::string>> find_uploads(const Address& address);

  // Ends running calls with kCancelled and refuses new ones.
  void cancel() { cancelled_ = true; }

 private:
  struct Call;
  struct Reply;
  struct FreeHandle {
    void operator()(void* handle) const;
  };
  using Handle = std::unique_ptr<void, FreeHandle>;

  Result<Reply> perform(const Call& call);
  Result<Reply> attempt(const Call& call);
  Result<Reply> transfer(const Call& call, const SignableRequest& request);
  SignableRequest signed_request(const Call& call) const;
  Error error_of(const Call& call, const Reply& reply) const;
  void pause(int attempt) const;
  Handle borrow();
  void give_back(Handle handle);

  const ClientOptions options_;
  const Clock& clock_;
  const Signer signer_;
  std::string host_;
  std::string base_path_;
  std::atomic<std::int64_t> skew_ns_ = 0;
  std::atomic<bool> cancelled_ = false;
  Guarded<std::vector<Handle>> idle_;
};

}  // namespace banyan::s3
