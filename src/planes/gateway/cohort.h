#pragma once
// Cohorts: which side of a weighted route a client belongs to, with nothing remembered.
//
// A client's key (cookie, header, claim, address) is hashed with the experiment's salt and the
// side's name; it belongs to the side when the hash is below the side's share. Raising a share only
// raises that line, so no member ever leaves; another salt draws other members. A client without a
// key, and whoever no other side claims, is on the first (stable) side.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "planes/gateway/route_conditions.h"
#include "spec/traffic.h"
#include "wire/http/head_writer.h"

namespace banyan::gateway {

// FNV-1a, 32 bits, then mixed so that keys which differ in their last byte are spread as well.
std::uint32_t cohort_hash(std::string_view salt, std::string_view side, std::string_view key);

// What identifies the client; nothing when the request does not say.
std::optional<std::string> client_key(const spec::ClientKey& rule, const RequestFacts& facts);
// A claim of an "Authorization: Bearer" token's payload. The signature is not checked: good for
// stickiness, worth nothing for admission.
std::optional<std::string> unverified_claim(std::string_view authorization, std::string_view claim);

// The index of the side for this key.
std::size_t side_of(std::span<const spec::Weight> sides, std::string_view salt,
                    const std::optional<std::string>& key);
// The index of a side by chance alone.
std::size_t random_side(std::span<const spec::Weight> sides, http::IdSource& ids);

}  // namespace banyan::gateway
