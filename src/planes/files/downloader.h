#pragma once
// FileDownloader: makes the file of a path what its object is: written beside it, fsynced, renamed,
// with the modification time of the object, and owner and mode of the file it replaces or of its
// directory. An object that is gone takes its file along, under the guard. Thread-safe for
// different paths.

#include "planes/files/mirror.h"

namespace banyan::files {

class FileDownloader {
 public:
  explicit FileDownloader(const Mirror& mirror) : mirror_(mirror) {}
  Result<Carried> carry(const std::string& path);

 private:
  Result<Carried> carry_delete(const std::string& path);
  // True when the file has the object's content already.
  Result<bool> adopt(const std::string& path, const s3::RemoteObject& object);
  Result<Carried> fetch(const std::string& path, const s3::Address& address);
  Result<void> install(const std::string& path, const File& parent, const File& file,
                       const std::string& temporary);

  const Mirror& mirror_;
};

}  // namespace banyan::files
