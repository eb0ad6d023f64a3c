#include "io/ticket_keys.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

#include <cstring>
#include <type_traits>

namespace banyan::io {
namespace {

using Keys = std::array<TicketKeys::Key, 2>;
static_assert(std::is_trivially_copyable_v<Keys>);  // `bytes` are its own

int set_ticket_key(const TicketKeys::Key& key, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                   EVP_MAC_CTX* mac, int seals) {
  std::array<OSSL_PARAM, 3> params = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY,
                                        const_cast<unsigned char*>(key.mac.data()), key.mac.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, const_cast<char*>("sha256"), 0),
      OSSL_PARAM_construct_end()};
  if (EVP_MAC_CTX_set_params(mac, params.data()) != 1) return -1;
  return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key.cipher.data(), iv, seals) == 1
             ? 1
             : -1;
}

int on_ticket(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
              EVP_MAC_CTX* mac, int seals) {
  auto* const keys = static_cast<TicketKeys*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  if (seals != 0) {
    const TicketKeys::Key key = keys->present();
    std::memcpy(name, key.name.data(), key.name.size());
    if (RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1) return -1;
    return set_ticket_key(key, iv, cipher, mac, 1);
  }
  const TicketKeys::Found found = keys->find(name);
  if (!found.known) return 0;  // a full handshake
  if (set_ticket_key(found.key, iv, cipher, mac, 0) != 1) return -1;
  return found.present ? 1 : 2;  // 2: and gets a new ticket
}

}  // namespace

void TicketKeys::make(Key& key) const {
  RAND_bytes(key.name.data(), static_cast<int>(key.name.size()));
  RAND_bytes(key.cipher.data(), static_cast<int>(key.cipher.size()));
  RAND_bytes(key.mac.data(), static_cast<int>(key.mac.size()));
  key.since = clock_.now();
}

void TicketKeys::rotate(Keys& keys) const {
  const auto age = clock_.now() - keys[0].since;
  if (age < kAge) return;
  keys[1] = keys[0];
  make(keys[0]);
  if (age >= 2 * kAge) make(keys[1]);
}

void TicketKeys::use_in(SSL_CTX& context) {
  SSL_CTX_set_app_data(&context, this);
  SSL_CTX_set_tlsext_ticket_key_evp_cb(&context, on_ticket);
}

TicketKeys::Key TicketKeys::present() {
  return keys_.with([this](Keys& keys) {
    rotate(keys);
    return keys[0];
  });
}

TicketKeys::Found TicketKeys::find(const unsigned char* name) {
  return keys_.with([&](Keys& keys) {
    rotate(keys);
    for (std::size_t i = 0; i < keys.size(); ++i)
      if (std::memcmp(keys[i].name.data(), name, keys[i].name.size()) == 0)
        return Found{.key = keys[i], .present = i == 0, .known = true};
    return Found{};
  });
}

void TicketKeys::forget() {
  keys_.with([this](Keys& keys) {
    for (Key& key : keys) make(key);
  });
}

std::string TicketKeys::bytes() const {
  return keys_.with([](const Keys& keys) {
    return std::string(reinterpret_cast<const char*>(keys.data()), sizeof(keys));
  });
}

bool TicketKeys::take(std::string_view bytes) {
  return keys_.with([&](Keys& keys) {
    if (bytes.size() != sizeof(keys)) return false;
    std::memcpy(keys.data(), bytes.data(), bytes.size());
    return true;
  });
}

}  // namespace banyan::io
