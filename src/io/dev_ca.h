#pragma once
// A certificate authority for development: ca.pem and ca-key.pem in a folder (the key readable by
// its owner only), and certificates it signs. Never for users' browsers: nobody trusts it until
// they are told to.

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"

namespace banyan::io {

struct IssuedFiles {
  std::filesystem::path certificate;  // the leaf, then the authority
  std::filesystem::path key;
};

enum class CertificateUse { kServer, kClient };

// Makes ca.pem and ca-key.pem in `folder`, valid for ten years; what is there already stays.
Result<IssuedFiles> create_dev_ca(const std::filesystem::path& folder);

struct IssueOrder {
  std::vector<std::string> names;  // host names, wildcards, addresses; the first is the subject
  CertificateUse use = CertificateUse::kServer;
  int days = 90;
};

// Signs <folder>/<first name>.pem and -key.pem ('*' in a file's name becomes '_'), replacing them.
Result<IssuedFiles> issue_certificate(const std::filesystem::path& folder, const IssueOrder& order);

}  // namespace banyan::io
