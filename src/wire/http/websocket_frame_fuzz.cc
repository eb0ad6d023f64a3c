// FUZZ SOURCES: wire/http/websocket.cc
// The follower finds the same boundaries however the bytes are cut, and never steps past them.

#include "base/check.h"
#include "wire/http/websocket.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using banyan::http::WebSocketFollower;
  if (size == 0) return 0;
  const auto sender =
      data[0] % 2 == 0 ? WebSocketFollower::Sender::kServer : WebSocketFollower::Sender::kClient;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  WebSocketFollower whole(sender);
  CHECK(whole.take(bytes) == bytes.size());

  WebSocketFollower by_byte(sender);
  WebSocketFollower by_frame(sender);
  std::size_t boundary = 0;  // where by_frame stands
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    CHECK(by_byte.take(bytes.substr(at, 1)) == 1);
    if (!by_byte.at_boundary()) continue;
    boundary += by_frame.take(bytes.substr(boundary), WebSocketFollower::Stop::kAtFrameEnd);
    CHECK(boundary == at + 1 && by_frame.closed() == by_byte.closed());
  }
  CHECK(by_byte.at_boundary() == whole.at_boundary());
  CHECK(by_byte.malformed() == whole.malformed() && by_byte.closed() == whole.closed());
  return 0;
}
