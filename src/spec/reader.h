#pragma once
// Reader: typed access to one mapping of the document. The one place where a setting is declared:
// the same call reads the value, checks its type and range, and describes it for the JSON Schema.
//
//   Reader reader = ...;
//   health.path = reader.text({"path", "Path asked for"}, "/healthz");
//   health.rise = reader.integer({"rise", "Good answers in a row until healthy"}, {1, 100}, 2);
//   reader.finish();   // reports the keys nobody asked for
//
// Never fails: a wrong value is a Problem and the default is returned. Keys starting with "x-" are
// ignored. Borrowed: the node, the problems and the schema outlive the reader. One thread.

#include <chrono>
#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spec/document.h"
#include "spec/spec.h"

namespace banyan::spec {

enum class Need : std::uint8_t { kOptional, kRequired };

struct Setting {
  std::string_view key;
  std::string_view help;  // one line
  Need need = Need::kOptional;
};

struct Range {
  std::int64_t min;
  std::int64_t max;
};

// May the value be written plainly, or only as {env:}, {file:} or {secret:}?
enum class Plain : std::uint8_t {
  kNever,
  kWithoutPassword,  // a URL with no password in it
};

class Reader {
 public:
  using Json = nlohmann::ordered_json;
  // `path` names the mapping in problems ("services.web"; empty at the top). A node that is not a
  // mapping is reported and read as an empty one. `schema`, when given, is filled in.
  Reader(const Node& node, std::string path, Problems& problems, Json* schema = nullptr);

  std::string text(const Setting& setting, std::string_view otherwise = {});
  std::optional<std::string> optional_text(const Setting& setting);
  // One of `choices`; the first is the default.
  std::string choice(const Setting& setting, const std::vector<std::string>& choices);
  int integer(const Setting& setting, Range range, int otherwise);
  std::optional<int> optional_integer(const Setting& setting, Range range,
                                      std::optional<int> otherwise = {});
  bool flag(const Setting& setting);
  // A text such as "2s"; keys that end in "_ms" also take a number of milliseconds.
  std::chrono::milliseconds duration(const Setting& setting, Range range_ms,
                                     std::chrono::milliseconds otherwise);
  std::optional<std::chrono::milliseconds> optional_duration(
      const Setting& setting, Range range_ms,
      std::optional<std::chrono::milliseconds> otherwise = {});
  std::int64_t size(const Setting& setting, Range range_bytes, std::int64_t otherwise);
  // A text or a list of texts.
  std::vector<std::string> texts(const Setting& setting);
  // The same where whole numbers are texts too.
  std::vector<std::string> words(const Setting& setting);
  std::optional<SecretRef> secret(const Setting& setting, Plain plain);
  // Environment variables: plain texts (unless the name or value smells of a secret) and secrets.
  std::map<std::string, SecretRef> variables(const Setting& setting);
  // name → text, with the position of each name.
  std::vector<Entry> pairs(const Setting& setting);

  // name → whole number, in the order of the file.
  std::vector<std::pair<std::string, int>> numbers(const Setting& setting, Range range);

  // A text, which is returned, or a mapping, which `read` reads.
  std::optional<std::string> text_or_mapping(const Setting& setting,
                                             const std::function<void(Reader&)>& read);
  // A mapping with keys of its own. False, without calling `read`, when the key is absent.
  bool mapping(const Setting& setting, const std::function<void(Reader&)>& read);
  // A mapping from names the user chose to mappings.
  void each(const Setting& setting,
            const std::function<void(const std::string& name, Reader&)>& read);
  // A list of mappings.
  void list(const Setting& setting, const std::function<void(Reader&)>& read);
  // "all" or the form `read` reads (a mapping, or each mapping of a list).
  enum class Form : std::uint8_t { kMapping, kList };
  struct AllOr {
    bool all = false;
    bool given = false;
  };
  AllOr all_or(const Setting& setting, Form form, const std::function<void(Reader&)>& read);
  // "all" or a list of texts (an empty list stands for all).
  std::optional<std::vector<std::string>> all_or_texts(const Setting& setting);

  // Reports the keys that no call asked for. Call it last.
  void finish();

  Position at() const { return node_->at; }
  // Where a key's value stands; the mapping's own place when it is absent.
  Position at(std::string_view key) const;
  // "services.web.health"
  std::string name(std::string_view key) const;
  void problem(std::string code, std::string_view key, std::string_view what, std::string do_this);

 private:
  const Node* ask(const Setting& setting, Json type);
  void describe(const Setting& setting, Json type);
  void wrong_type(const Setting& setting, const Node& node, std::string_view expected);
  std::optional<SecretRef> secret_of(const Node& node, std::string_view key, Plain plain);
  std::optional<SecretRef> secret_reference(const Node& node, std::string_view key);
  std::vector<std::string> texts_of(const Setting& setting, const Node& node,
                                    bool (*fits)(const Node&) = is_text);
  static bool is_text(const Node& node) { return node.kind == Node::Kind::kText; }
  static bool is_word(const Node& node) {
    return is_text(node) || node.kind == Node::Kind::kInteger;
  }
  void read_items(const Setting& setting, const Node& list,
                  const std::function<void(Reader&)>& read);
  // The schema of a mapping, found by letting `read` read an empty one.
  Json described(const std::function<void(Reader&)>& read) const;

  const Node* node_;
  std::string path_;
  Problems& problems_;
  Json* schema_;
  std::vector<std::string> known_;
};

}  // namespace banyan::spec
