#include "io/pipe.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace banyan::io {

Result<std::unique_ptr<Pipe>> Pipe::create() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) != 0)
    return failure(Code::kUnavailable, fmt::format("pipe: {}", std::strerror(errno)));
  // Refused beyond the user's share of such memory: then it is smaller, and works.
  ::fcntl(ends[1], F_SETPIPE_SZ, kBytesWanted);
  return std::make_unique<Pipe>(Passkey{}, Descriptor(ends[0]), Descriptor(ends[1]));
}

}  // namespace banyan::io
