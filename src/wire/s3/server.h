#pragma once
// S3Server: the S3 protocol over a DirectoryObjectStore, path-style, every request signed (SigV4 by
// header or presigned). Buckets, objects with ranges and conditions, listings v1 and v2, copies,
// deletes by hundreds, multipart uploads, streamed bodies. Thread-safe.

#include <memory>
#include <string>

#include "base/clock.h"
#include "store/directory_object_store.h"
#include "wire/s3/server_call.h"

namespace banyan::s3 {

class S3Server {
 public:
  S3Server(store::DirectoryObjectStore& store, Credentials credentials, const Clock& clock)
      : store_(store), verifier_(std::move(credentials)), clock_(clock) {}

  // The handler of an HttpServer.
  HttpResponse handle(const HttpRequest& request, BodyReader& body);

 private:
  Result<HttpResponse> answer(const HttpRequest& request, BodyReader& body);
  Result<HttpResponse> on_service(const S3Call& call);
  Result<HttpResponse> on_bucket(const S3Call& call);
  Result<HttpResponse> on_bucket_get(const S3Call& call);
  Result<HttpResponse> on_object(const S3Call& call);
  Result<HttpResponse> on_object_put(const S3Call& call);

  Result<HttpResponse> create_bucket(const S3Call& call);
  Result<HttpResponse> delete_bucket(const S3Call& call);
  Result<HttpResponse> list_objects(const S3Call& call);
  Result<HttpResponse> delete_objects(const S3Call& call);

  Result<HttpResponse> get_object(const S3Call& call);
  Result<HttpResponse> put_object(const S3Call& call);
  Result<HttpResponse> copy_object(const S3Call& call);
  Result<HttpResponse> delete_object(const S3Call& call);

  // server_uploads.cc
  Result<HttpResponse> create_upload(const S3Call& call);
  Result<HttpResponse> upload_part(const S3Call& call);
  Result<HttpResponse> copy_part(const S3Call& call);
  Result<HttpResponse> complete_upload(const S3Call& call);
  Result<HttpResponse> abort_upload(const S3Call& call);
  Result<HttpResponse> list_parts(const S3Call& call);
  Result<HttpResponse> list_uploads(const S3Call& call);

  struct Received {
    store::BlobWriter writer;
    store::Blob blob;
    std::string md5;
  };
  // The body as durable content, digests and signatures checked.
  Result<Received> receive(const S3Call& call);
  // The object an x-amz-copy-source names, its conditions checked.
  Result<store::OpenObject> copy_source(const S3Call& call);
  std::int64_t now_ms() const;

  store::DirectoryObjectStore& store_;
  const Verifier verifier_;
  const Clock& clock_;
};

}  // namespace banyan::s3
