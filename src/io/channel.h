#pragma once
// Channel: a blocking conversation of two processes of this machine over a Unix socket, message by
// message (SOCK_SEQPACKET), whose messages can carry open descriptors (SCM_RIGHTS, unix(7)). What
// one process passes refers to the same open file: a listening socket keeps its queue.
//
// One thread at a time. kUnavailable when the other side is gone or nobody listens; kTimeout when
// nothing came in time.

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "io/descriptor.h"

namespace banyan::io {

class Channel {
 public:
  static constexpr std::size_t kMessageBytesMax = 64 * 1024;

  struct Message {
    std::string text;
    std::vector<Descriptor> descriptors;
  };

  static Result<Channel> connect(const std::string& path);
  explicit Channel(Descriptor socket) : socket_(std::move(socket)) {}

  Result<void> send(std::string_view text, std::span<const int> descriptors = {});
  Result<Message> receive(Duration patience);

 private:
  Descriptor socket_;
};

// Where one process is asked by another. `accept` gives up, with kUnavailable, once `close` was
// called (any thread).
class ChannelListener {
  struct Passkey {};

 public:
  // Replaces a stale socket file; only its owner can connect.
  static Result<std::unique_ptr<ChannelListener>> open(const std::string& path);
  ChannelListener(Passkey, std::string path, Descriptor socket)
      : path_(std::move(path)), socket_(std::move(socket)) {}
  ~ChannelListener() { close(); }
  ChannelListener(const ChannelListener&) = delete;
  ChannelListener& operator=(const ChannelListener&) = delete;

  Result<Channel> accept();
  void close();

 private:
  std::string path_;
  Descriptor socket_;
};

}  // namespace banyan::io
