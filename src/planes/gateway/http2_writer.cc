#include "planes/gateway/http2_writer.h"

#include <string>

namespace banyan::gateway {
namespace {

constexpr std::size_t kPiece = 64 * 1024;
constexpr Duration kGoodbyeTime = 2s;

}  // namespace

io::Detached Http2Writer::run() {
  std::string out;
  while (true) {
    out.clear();
    connection_.output(out, kPiece);
    if (out.empty() && finishing_) break;
    if (out.empty()) {
      out.shrink_to_fit();  // an idle connection keeps no buffer
      output_.reset();
      (void)co_await output_.wait();
      co_await socket_.loop().batch_end();  // what other streams say by then goes out with it
      continue;
    }
    const Mono deadline = socket_.loop().now() + (finishing_ ? kGoodbyeTime : patience_);
    const io::IoResult sent = co_await socket_.send(out, deadline);
    if (sent.ok()) continue;
    socket_.cancel();
    break;
  }
  done_.set();
}

io::Task<void> Http2Writer::finish() {
  finishing_ = true;
  wake();
  (void)co_await done_.wait();
}

}  // namespace banyan::gateway
