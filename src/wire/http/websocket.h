#pragma once
// WebSocket frames (RFC 6455 section 5), as much of them as one who only passes them on must know:
// where each ends, and whether a Close has gone by. Sans-IO; payload is skipped, never copied.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace banyan::http {

class WebSocketFollower {
 public:
  enum class Sender : std::uint8_t { kServer, kClient };  // a client's frames are masked
  enum class Stop : std::uint8_t { kNever, kAtFrameEnd };

  explicit WebSocketFollower(Sender sender) : sender_(sender) {}

  // Consumes `bytes`, or with kAtFrameEnd only up to the end of the frame that is under way (of the
  // next one at a boundary). Returns how many. After a malformed frame everything is consumed.
  std::size_t take(std::string_view bytes, Stop stop = Stop::kNever);

  // Between two frames: a control frame may be put in here, in a fragmented message too.
  bool at_boundary() const { return head_bytes_ == 0 && payload_left_ == 0 && !malformed_; }
  // A whole Close has gone by: its sender says nothing more.
  bool closed() const { return closed_; }
  // These are no frames: a reserved length, a control frame that is long or in fragments, a wrong
  // mask. Where the next one would begin is not known any more.
  bool malformed() const { return malformed_; }

 private:
  void take_head_byte(unsigned char byte);
  void finish_head();
  void finish_frame();
  bool is_control() const { return (head_[0] & 0x08) != 0; }

  Sender sender_;
  bool closed_ = false;
  bool malformed_ = false;
  std::uint8_t head_bytes_ = 0;  // received of the present head; 0 in the payload too
  std::uint8_t head_size_ = 2;   // known after the second byte
  unsigned char head_[14] = {};
  std::uint64_t payload_left_ = 0;
};

// A Close with `code` (section 7.4), as a server and as a client sends it.
std::string close_frame(int code);
std::string masked_close_frame(int code, std::uint32_t mask);

}  // namespace banyan::http
