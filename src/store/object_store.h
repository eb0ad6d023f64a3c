#pragma once
// The values an object store is spoken to with: what an object is, what a page of a listing is.
// All are plain values.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace banyan::store {

// Response headers kept with the object: content-type, cache-control, x-amz-meta-*, lower-case.
using ObjectHeaders = std::map<std::string, std::string>;

// One immutable file of content inside the store; an object is one or more of them in order.
struct Blob {
  std::string id;
  std::int64_t size = 0;
};

struct ObjectInfo {
  std::string key;
  std::int64_t size = 0;
  std::string etag;  // without quotes
  std::int64_t modified_ms = 0;
  ObjectHeaders headers;
  std::vector<Blob> blobs;
};

// Which existing object a write may replace. ETags without quotes, "*" = any object.
struct WriteCondition {
  std::optional<std::string> if_match;
  std::optional<std::string> if_none_match;
};

struct ListQuery {
  std::string prefix;
  std::string delimiter;
  std::string after;  // keys and common prefixes strictly greater than this
  int max_keys = 1000;
};
struct ListPage {
  std::vector<ObjectInfo> objects;  // without headers and blobs
  std::vector<std::string> common_prefixes;
  bool truncated = false;
  std::string last;  // what to pass as `after` for the next page
};

struct BucketInfo {
  std::string name;
  std::int64_t created_ms = 0;
};

struct PartInfo {
  int number = 0;
  std::string etag;
  Blob blob;
  std::int64_t modified_ms = 0;
};
struct UploadInfo {
  std::string id;
  std::string key;
  ObjectHeaders headers;
  std::int64_t created_ms = 0;
};

}  // namespace banyan::store
