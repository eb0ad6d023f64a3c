#pragma once
// FileUploader: makes the object of a path what the file is. A file that changed while it was read
// is never recorded as the same on both sides. Small files go in one request, large ones in parts
// that are continued after a crash; deletes pass the guard. Thread-safe for different paths.

#include "planes/files/mirror.h"

namespace banyan::files {

// What to do with a file somebody has open for writing.
enum class OpenFiles : std::uint8_t { kWait, kTake };

// Ends an upload in parts that was begun, or was about to be, as the bucket knows it.
Result<void> end_upload(s3::Client& client, const s3::Address& address, const UploadRecord& upload);

class FileUploader {
 public:
  explicit FileUploader(const Mirror& mirror) : mirror_(mirror) {}
  Result<Carried> carry(const std::string& path, OpenFiles open_files);

 private:
  Result<Carried> carry_delete(const std::string& path);
  Result<Carried> put_whole(const std::string& path, const File& file,
                            const FileIdentity& identity);
  Result<Carried> put_parts(const std::string& path, const File& file,
                            const FileIdentity& identity);
  Result<UploadRecord> resume_or_begin(const std::string& path, const s3::Address& address,
                                       const FileIdentity& identity);
  Result<std::vector<s3::RemotePart>> send_parts(const s3::Address& address, const File& file,
                                                 const UploadRecord& upload);
  Result<bool> is_unchanged(const File& file, const FileIdentity& identity) const;
  bool is_hot(const FileIdentity& identity) const;

  const Mirror& mirror_;
};

}  // namespace banyan::files
