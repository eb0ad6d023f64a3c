#pragma once
// OcspStaple: what an authority says of one certificate, to be shown in handshakes (RFC 6066
// section 8, RFC 6960). An answer about another certificate, or none at all, is not taken: clients
// would refuse the handshake.

#include <string>

#include "base/clock.h"
#include "base/error.h"

using X509 = struct x509_st;

namespace banyan::io {

struct OcspStaple {
  std::string der;
  Wall until = Wall::max();  // the authority will have said more by then
  bool revoked = false;

  bool is_current(Wall now) const { return now < until; }
};

// From a DER file of at most 64 KB. A certificate that is revoked is no error: its clients are
// told so, and the log.
Result<OcspStaple> read_staple(const std::string& path, const X509& certificate);

}  // namespace banyan::io
