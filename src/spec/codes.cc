#include "spec/codes.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace banyan::spec {

const std::vector<CodeEntry>& codes() {
  static const std::vector<CodeEntry> kCodes = {
      {"BY-0301", "the spec cannot be read",
       "The file named by --file (default: banyan.yaml in this folder) is missing, a folder, or "
       "not "
       "readable by this user.",
       "Go to the project's folder, name the file with -f FILE, or correct its permissions."},
      {"BY-0302", "not valid YAML",
       "The text breaks off or contradicts itself: usually indentation, a missing quote, or a "
       "bracket. Nothing after that place can be read.",
       "Look at the place named and the line above it. Texts with \": \" or a leading \"*\", "
       "\"&\", "
       "\"%\" or \"@\" need quotes."},
      {"BY-0303", "a key stands twice",
       "Two values for one key: YAML readers disagree which one counts, so neither is taken.",
       "Keep one of the two."},
      {"BY-0304", "YAML that Banyan does not read",
       "Anchors, aliases, merge keys, tags, keys that are lists, and a second document let a file "
       "mean something else than it shows.",
       "Write the value out where it is used; put texts in quotes; keep one document."},
      {"BY-0305", "too large or too deep", "A spec has at most 1 MiB and 32 levels.",
       "Check that this is the right file."},
      {"BY-0310", "a required key is missing", "Without it Banyan would have to guess.",
       "Add the key; the message says what it means, docs/banyan.schema.json has an overview."},
      {"BY-0311", "another type is expected",
       "A text where a number belongs, a list where a mapping belongs, and so on. Only true and "
       "false are booleans; on, off, yes and no are texts.",
       "Write the expected type; put numbers and booleans that are meant as text in quotes."},
      {"BY-0312", "unknown key",
       "No setting has this name here. A misspelt key that is ignored is a setting that is "
       "missing.",
       "Correct it (the nearest known key is named), remove it, or start it with x- if it is a "
       "note."},
      {"BY-0313", "a value out of range or in the wrong form",
       "The type is right, but the value is not one the setting can have.",
       "Durations: 500ms, 2s, 10m, 1h. Sizes: 512KB, 10MB, 1GiB. Addresses: 127.0.0.1:8080. "
       "Matches: \"GET /path/:id\", \"/path/*\"."},
      {"BY-0320", "a secret in plain text",
       "The spec is read by people and kept in version control: a password, token or key may not "
       "stand in it.",
       "Refer to it: {env: NAME}, {file: PATH} or {secret: NAME}."},
      {"BY-0321", "a secret was not found",
       "The spec refers to an environment variable, file or secret that does not exist for this "
       "user.",
       "Export the variable, create the file (mode 0600), or add a line NAME=value to the file "
       "named "
       "by secrets.file."},
      {"BY-0330", "a name that nothing has",
       "A route, bind or move refers to a service, database, redis, bucket, file set or route that "
       "the spec does not declare.",
       "Correct the name (the nearest one is suggested), or declare what is missing."},
      {"BY-0331", "two things with one name",
       "Names identify: two routes with the same match, two zones or two file sets of one name "
       "would "
       "be one.",
       "Rename or remove one."},
      {"BY-0332", "the choice is open",
       "\"all\" needs one place to go to, and the spec declares none or several.",
       "Say which: database: { to: NAME }, files: [ { name: NAME, to: BUCKET } ], "
       "sessions: { to: NAME }."},
      {"BY-0333", "values that contradict each other",
       "Each is fine alone, not together: max below min, more copies per zone than max allows, one "
       "half of a key pair.",
       "Change one of the two values named."},
  };
  return kCodes;
}

const CodeEntry* explain(std::string_view code) {
  const auto digit = code.find_first_of("0123456789");
  if (digit == std::string_view::npos) return nullptr;
  const auto wanted = fmt::format("BY-{:0>4}", code.substr(digit));
  const auto found = std::ranges::find(codes(), wanted, &CodeEntry::code);
  return found == codes().end() ? nullptr : &*found;
}

}  // namespace banyan::spec
