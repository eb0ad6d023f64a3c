#pragma once
// TicketKeys: what TLS session tickets of one server are sealed with (RFC 5077, RFC 8446 4.6.1).
//
// Two keys: what either sealed is opened, and sealed anew under the present one, which is replaced
// when it is kAge old; so a ticket opens for at least that long, and for no more than twice as
// long. Any thread.

#include <array>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/guarded.h"

using SSL_CTX = struct ssl_ctx_st;

namespace banyan::io {

class TicketKeys {
 public:
  static constexpr Duration kAge = std::chrono::hours(12);
  struct Key {
    std::array<unsigned char, 16> name{};
    std::array<unsigned char, 32> cipher{};
    std::array<unsigned char, 32> mac{};
    Mono since{};
  };
  struct Found {
    Key key;
    bool present = false;
    bool known = false;
  };

  // `clock` outlives it.
  explicit TicketKeys(const Clock& clock) : clock_(clock) { forget(); }

  // Tickets of this context are sealed and opened here; the keys outlive it.
  void use_in(SSL_CTX& context);
  Key present();
  Found find(const unsigned char* name);
  // No ticket given so far opens any more.
  void forget();
  // Both keys, for another process of this machine; secret.
  std::string bytes() const;
  bool take(std::string_view bytes);

 private:
  void make(Key& key) const;
  void rotate(std::array<Key, 2>& keys) const;

  const Clock& clock_;
  Guarded<std::array<Key, 2>> keys_;
};

}  // namespace banyan::io
