#pragma once
// Project: one spec, its layout and the roles that carry it out; what every part of control works
// on. The spec is read anew by each verb, so that an edited file is seen without a restart.

#include <map>
#include <string>

#include "base/error.h"
#include "control/gateways.h"
#include "control/layout.h"
#include "spec/spec.h"
#include "wire/rpc/client.h"

namespace banyan::control {

class Project {
 public:
  explicit Project(Layout layout)
      : layout_(std::move(layout)),
        gateways_(layout_),
        replicate_("replicator", layout_.socket("replicate")),
        agent_("agent", layout_.socket("agent")) {}

  const Layout& layout() const { return layout_; }
  Result<spec::Spec> spec() const { return spec::require_spec(layout_.spec_file()); }
  const Gateways& gateways() const { return gateways_; }
  const rpc::Client& replicate() const { return replicate_; }
  const rpc::Client& agent() const { return agent_; }

 private:
  Layout layout_;
  Gateways gateways_;
  rpc::Client replicate_;
  rpc::Client agent_;
};

// Access and secret key of a bucket: from the spec, or for an embedded one without keys from a pair
// that is made once and kept in the state folder (0600).
struct BucketKeys {
  std::string access_key;
  std::string secret_key;
  std::string secret_key_file;  // where an embedded endpoint reads the secret
};
Result<BucketKeys> bucket_keys(const Project& project, const spec::Spec& spec,
                               const spec::Bucket& bucket);

// The environment a service's instances get, with the keys of embedded buckets added.
Result<std::map<std::string, std::string>> service_environment(const Project& project,
                                                               const spec::Spec& spec,
                                                               const spec::Service& service);

}  // namespace banyan::control
