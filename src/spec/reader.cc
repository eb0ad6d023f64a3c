#include "spec/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "spec/value.h"

namespace banyan::spec {
namespace {

using Json = Reader::Json;
using Kind = Node::Kind;

constexpr std::string_view kDurationHelp = "write a duration such as \"500ms\", \"2s\" or \"10m\"";
constexpr std::string_view kSizeHelp = "write a size such as \"512KB\", \"10MB\" or \"1GiB\"";
constexpr std::string_view kSecretHelp = "refer to it: {env: NAME}, {file: PATH} or {secret: NAME}";

const Node& empty_mapping() {
  static const Node kEmpty{Kind::kMapping, {}, {}, {}, {}};
  return kEmpty;
}

Json secret_schema() {
  Json schema = {{"type", "object"},
                 {"additionalProperties", false},
                 {"minProperties", 1},
                 {"maxProperties", 1}};
  for (const char* source : {"env", "file", "secret"}) {
    schema["properties"][source] = {{"type", "string"}};
  }
  return schema;
}

Json text_or_secret_schema() {
  return {{"anyOf", Json::array({{{"type", "string"}}, secret_schema()})}};
}

Json all_or_schema(Json other) {
  return {{"anyOf", Json::array({{{"const", "all"}}, std::move(other)})}};
}

std::string quoted_list(const std::vector<std::string>& words) {
  return fmt::format("\"{}\"", fmt::join(words, "\", \""));
}

// A {env:}, {file:} or {secret:} kind by its key; nothing for another key.
std::optional<SecretRef::Kind> secret_kind(std::string_view key) {
  if (key == "env") return SecretRef::Kind::kEnv;
  if (key == "file") return SecretRef::Kind::kFile;
  if (key == "secret") return SecretRef::Kind::kSecret;
  return std::nullopt;
}

}  // namespace

Reader::Reader(const Node& node, std::string path, Problems& problems, Json* schema)
    : node_(&node), path_(std::move(path)), problems_(problems), schema_(schema) {
  if (schema_ != nullptr) {
    (*schema_)["type"] = "object";
    (*schema_)["additionalProperties"] = false;
    (*schema_)["patternProperties"] = {{"^x-", Json::object()}};
    (*schema_)["properties"] = Json::object();
  }
  if (node.kind == Kind::kMapping) return;
  if (node.kind != Kind::kNull) {
    problems_.add("BY-0311", node.at,
                  fmt::format("{}: expected a mapping, found {}",
                              path_.empty() ? "the file" : path_, kind_name(node.kind)),
                  "write keys with values below it, such as \"key: value\"");
  }
  node_ = &empty_mapping();
}

std::string Reader::name(std::string_view key) const {
  if (key.empty()) return path_;
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

Position Reader::at(std::string_view key) const {
  const Node* node = node_->find(key);
  return node == nullptr ? node_->at : node->at;
}

void Reader::problem(std::string code, std::string_view key, std::string_view what,
                     std::string do_this) {
  problems_.add(std::move(code), at(key), fmt::format("{}: {}", name(key), what),
                std::move(do_this));
}

void Reader::describe(const Setting& setting, Json type) {
  type["description"] = setting.help;
  (*schema_)["properties"][std::string(setting.key)] = std::move(type);
  if (setting.need == Need::kRequired) (*schema_)["required"].push_back(setting.key);
}

// Null when the key is absent or says nothing (after reporting it, if it is required).
const Node* Reader::ask(const Setting& setting, Json type) {
  known_.emplace_back(setting.key);
  if (schema_ != nullptr) describe(setting, std::move(type));
  const Node* node = node_->find(setting.key);
  if (node != nullptr && node->kind != Kind::kNull) return node;
  if (setting.need == Need::kRequired) {
    problems_.add("BY-0310", node == nullptr ? node_->at : node->at,
                  fmt::format("{}: missing", name(setting.key)),
                  fmt::format("add \"{}\": {}", setting.key, setting.help));
  }
  return nullptr;
}

void Reader::wrong_type(const Setting& setting, const Node& node, std::string_view expected) {
  const bool scalar = node.kind != Kind::kMapping && node.kind != Kind::kSequence;
  const bool needs_quotes = expected == "a text" && scalar;
  problems_.add(
      "BY-0311", node.at,
      fmt::format("{}: expected {}, found {}", name(setting.key), expected, kind_name(node.kind)),
      needs_quotes ? fmt::format("put it in quotes: \"{}\"", node.text)
                   : fmt::format("write {} here: {}", expected, setting.help));
}

std::optional<std::string> Reader::optional_text(const Setting& setting) {
  const Node* node = ask(setting, {{"type", "string"}});
  if (node == nullptr) return std::nullopt;
  if (node->kind == Kind::kText) return node->text;
  wrong_type(setting, *node, "a text");
  return std::nullopt;
}

std::string Reader::text(const Setting& setting, std::string_view otherwise) {
  auto text = optional_text(setting);
  if (schema_ != nullptr && !otherwise.empty()) {
    (*schema_)["properties"][std::string(setting.key)]["default"] = otherwise;
  }
  return text ? *std::move(text) : std::string(otherwise);
}

std::string Reader::choice(const Setting& setting, const std::vector<std::string>& choices) {
  const Node* node = ask(setting, {{"enum", choices}});
  if (node == nullptr) return choices.front();
  if (std::ranges::find(choices, node->text) != choices.end()) return node->text;
  problem("BY-0313", setting.key, fmt::format("\"{}\" is not known here", node->text),
          "write one of " + quoted_list(choices));
  return choices.front();
}

int Reader::integer(const Setting& setting, Range range, int otherwise) {
  return optional_integer(setting, range, otherwise).value_or(otherwise);
}

std::optional<int> Reader::optional_integer(const Setting& setting, Range range,
                                            std::optional<int> otherwise) {
  Json type = {{"type", "integer"}, {"minimum", range.min}, {"maximum", range.max}};
  if (otherwise) type["default"] = *otherwise;
  const Node* node = ask(setting, std::move(type));
  if (node == nullptr) return otherwise;
  if (node->kind != Kind::kInteger) {
    wrong_type(setting, *node, "a whole number");
    return otherwise;
  }
  const auto number = parse_integer(node->text);
  if (number && *number >= range.min && *number <= range.max) return static_cast<int>(*number);
  problem("BY-0313", setting.key, fmt::format("{} is out of range", node->text),
          fmt::format("write a number from {} to {}", range.min, range.max));
  return otherwise;
}

bool Reader::flag(const Setting& setting) {
  const Node* node = ask(setting, {{"type", "boolean"}, {"default", false}});
  if (node == nullptr) return false;
  if (node->kind != Kind::kBool) wrong_type(setting, *node, "true or false");
  return node->kind == Kind::kBool && node->text == "true";
}

std::chrono::milliseconds Reader::duration(const Setting& setting, Range range_ms,
                                           std::chrono::milliseconds otherwise) {
  return optional_duration(setting, range_ms, otherwise).value_or(otherwise);
}

std::optional<std::chrono::milliseconds> Reader::optional_duration(
    const Setting& setting, Range range_ms, std::optional<std::chrono::milliseconds> otherwise) {
  const bool number_too = setting.key.ends_with("_ms");
  Json text_type = {{"type", "string"}, {"pattern", "^([0-9]+(ms|s|m|h|d))+$"}};
  Json type = number_too ? Json{{"anyOf", Json::array({text_type, {{"type", "integer"}}})}}
                         : std::move(text_type);
  if (otherwise) type["default"] = fmt::format("{}ms", otherwise->count());
  const Node* node = ask(setting, std::move(type));
  if (node == nullptr) return otherwise;
  std::optional<std::chrono::milliseconds> value;
  if (node->kind == Kind::kText) value = parse_duration(node->text);
  if (node->kind == Kind::kInteger && number_too) {
    value = parse_integer(node->text).transform([](std::int64_t ms) {
      return std::chrono::milliseconds(ms);
    });
  }
  if (!value) {
    problem("BY-0313", setting.key, fmt::format("\"{}\" is not a duration", node->text),
            std::string(kDurationHelp));
    return otherwise;
  }
  if (value->count() >= range_ms.min && value->count() <= range_ms.max) return *value;
  problem("BY-0313", setting.key, fmt::format("{} is out of range", node->text),
          fmt::format("write a duration from {}ms to {}ms", range_ms.min, range_ms.max));
  return otherwise;
}

std::int64_t Reader::size(const Setting& setting, Range range_bytes, std::int64_t otherwise) {
  Json text_type = {{"type", "string"}, {"pattern", "^[0-9]+([KMGT]i?)?B?$"}};
  const Node* node =
      ask(setting, {{"anyOf", Json::array({std::move(text_type), {{"type", "integer"}}})},
                    {"default", otherwise}});
  if (node == nullptr) return otherwise;
  const bool readable = node->kind == Kind::kText || node->kind == Kind::kInteger;
  const auto value = readable ? parse_size(node->text) : std::nullopt;
  if (!value) {
    problem("BY-0313", setting.key, fmt::format("\"{}\" is not a size", node->text),
            std::string(kSizeHelp));
    return otherwise;
  }
  if (*value >= range_bytes.min && *value <= range_bytes.max) return *value;
  problem("BY-0313", setting.key, fmt::format("{} is out of range", node->text),
          fmt::format("write a size from {} to {} bytes", range_bytes.min, range_bytes.max));
  return otherwise;
}

std::vector<std::string> Reader::texts_of(const Setting& setting, const Node& node,
                                          bool (*fits)(const Node&)) {
  if (fits(node)) return {node.text};
  if (node.kind != Kind::kSequence) {
    wrong_type(setting, node, "a text or a list of texts");
    return {};
  }
  std::vector<std::string> texts;
  for (const Node& item : node.items) {
    if (fits(item)) {
      texts.push_back(item.text);
    } else {
      wrong_type(setting, item, "a text");
    }
  }
  return texts;
}

std::vector<std::string> Reader::texts(const Setting& setting) {
  const Json text_type = {{"type", "string"}};
  const Node* node = ask(
      setting, {{"anyOf", Json::array({text_type, {{"type", "array"}, {"items", text_type}}})}});
  return node == nullptr ? std::vector<std::string>() : texts_of(setting, *node);
}

std::vector<std::string> Reader::words(const Setting& setting) {
  const Json word = {{"anyOf", Json::array({{{"type", "string"}}, {{"type", "integer"}}})}};
  const Node* node =
      ask(setting, {{"anyOf", Json::array({word, {{"type", "array"}, {"items", word}}})}});
  return node == nullptr ? std::vector<std::string>() : texts_of(setting, *node, is_word);
}

std::optional<std::vector<std::string>> Reader::all_or_texts(const Setting& setting) {
  Json list_type = {{"type", "array"}, {"items", {{"type", "string"}}}};
  const Node* node = ask(setting, all_or_schema(std::move(list_type)));
  if (node == nullptr) return std::nullopt;
  if (node->kind == Kind::kText && node->text == "all") return std::vector<std::string>();
  return texts_of(setting, *node);
}

std::optional<SecretRef> Reader::secret_reference(const Node& node, std::string_view key) {
  const auto bad = [&] {
    problems_.add("BY-0311", node.at, fmt::format("{}: not a reference to a secret", name(key)),
                  std::string(kSecretHelp));
    return std::nullopt;
  };
  if (node.kind != Kind::kMapping || node.entries.size() != 1) return bad();
  const Entry& entry = node.entries.front();
  const auto kind = secret_kind(entry.key);
  if (!kind || entry.value.kind != Kind::kText || entry.value.text.empty()) return bad();
  return SecretRef{*kind, entry.value.text, node.at};
}

std::optional<SecretRef> Reader::secret_of(const Node& node, std::string_view key, Plain plain) {
  if (node.kind == Kind::kMapping) return secret_reference(node, key);
  if (node.kind != Kind::kText) return secret_reference(node, key);
  if (plain == Plain::kNever || has_password(node.text)) {
    problems_.add("BY-0320", node.at,
                  fmt::format("{}: a secret stands here in plain text", name(key)),
                  std::string(kSecretHelp));
    return std::nullopt;
  }
  return SecretRef{SecretRef::Kind::kPlain, node.text, node.at};
}

std::optional<SecretRef> Reader::secret(const Setting& setting, Plain plain) {
  const Node* node =
      ask(setting, plain == Plain::kNever ? secret_schema() : text_or_secret_schema());
  return node == nullptr ? std::nullopt : secret_of(*node, setting.key, plain);
}

std::map<std::string, SecretRef> Reader::variables(const Setting& setting) {
  const Node* node =
      ask(setting, {{"type", "object"}, {"additionalProperties", text_or_secret_schema()}});
  std::map<std::string, SecretRef> variables;
  if (node == nullptr) return variables;
  if (node->kind != Kind::kMapping) {
    wrong_type(setting, *node, "a mapping");
    return variables;
  }
  Reader reader(*node, name(setting.key), problems_);
  for (const Entry& entry : node->entries) {
    const bool scalar = entry.value.kind != Kind::kMapping && entry.value.kind != Kind::kText;
    if (scalar) {
      reader.wrong_type({entry.key, "the variable's value"}, entry.value, "a text");
      continue;
    }
    const Plain plain = names_a_secret(entry.key) ? Plain::kNever : Plain::kWithoutPassword;
    auto value = reader.secret_of(entry.value, entry.key, plain);
    if (value) variables.emplace(entry.key, *std::move(value));
  }
  return variables;
}

std::vector<Entry> Reader::pairs(const Setting& setting) {
  const Node* node =
      ask(setting, {{"type", "object"}, {"additionalProperties", {{"type", "string"}}}});
  std::vector<Entry> pairs;
  if (node == nullptr) return pairs;
  if (node->kind != Kind::kMapping) {
    wrong_type(setting, *node, "a mapping");
    return pairs;
  }
  for (const Entry& entry : node->entries) {
    if (entry.value.kind == Kind::kText) {
      pairs.push_back(entry);
    } else {
      wrong_type({fmt::format("{}.{}", setting.key, entry.key), setting.help}, entry.value,
                 "a text");
    }
  }
  return pairs;
}

std::vector<std::pair<std::string, int>> Reader::numbers(const Setting& setting, Range range) {
  const Json number = {{"type", "integer"}, {"minimum", range.min}, {"maximum", range.max}};
  const Node* node = ask(setting, {{"type", "object"}, {"additionalProperties", number}});
  std::vector<std::pair<std::string, int>> numbers;
  if (node == nullptr) return numbers;
  if (node->kind != Kind::kMapping) {
    wrong_type(setting, *node, "a mapping");
    return numbers;
  }
  Reader reader(*node, name(setting.key), problems_);
  for (const Entry& entry : node->entries)
    numbers.emplace_back(entry.key, reader.integer({entry.key, setting.help}, range, 0));
  return numbers;
}

std::optional<std::string> Reader::text_or_mapping(const Setting& setting,
                                                   const std::function<void(Reader&)>& read) {
  Json type;
  if (schema_ != nullptr) type = {{"anyOf", Json::array({{{"type", "string"}}, described(read)})}};
  const Node* node = ask(setting, std::move(type));
  if (node == nullptr) return std::nullopt;
  if (node->kind == Kind::kText) return node->text;
  if (node->kind != Kind::kMapping) {
    wrong_type(setting, *node, "a text or a mapping");
    return std::nullopt;
  }
  Reader reader(*node, name(setting.key), problems_);
  read(reader);
  reader.finish();
  return std::nullopt;
}

Json Reader::described(const std::function<void(Reader&)>& read) const {
  Json schema = Json::object();
  Problems ignored("");
  Reader reader(empty_mapping(), "", ignored, &schema);
  read(reader);
  return schema;
}

bool Reader::mapping(const Setting& setting, const std::function<void(Reader&)>& read) {
  const Node* node = ask(setting, schema_ == nullptr ? Json() : described(read));
  if (node == nullptr) return false;
  Reader reader(*node, name(setting.key), problems_);
  read(reader);
  reader.finish();
  return true;
}

void Reader::each(const Setting& setting,
                  const std::function<void(const std::string& name, Reader&)>& read) {
  Json type;
  if (schema_ != nullptr) {
    type = {{"type", "object"},
            {"patternProperties", {{"^x-", Json::object()}}},
            {"additionalProperties", described([&](Reader& reader) { read("", reader); })}};
  }
  const Node* node = ask(setting, std::move(type));
  if (node == nullptr) return;
  if (node->kind != Kind::kMapping) return wrong_type(setting, *node, "a mapping");
  for (const Entry& entry : node->entries) {
    if (entry.key.starts_with("x-")) continue;
    Reader reader(entry.value, name(fmt::format("{}.{}", setting.key, entry.key)), problems_);
    read(entry.key, reader);
    reader.finish();
  }
}

void Reader::read_items(const Setting& setting, const Node& list,
                        const std::function<void(Reader&)>& read) {
  for (std::size_t i = 0; i < list.items.size(); ++i) {
    Reader reader(list.items[i], fmt::format("{}[{}]", name(setting.key), i), problems_);
    read(reader);
    reader.finish();
  }
}

void Reader::list(const Setting& setting, const std::function<void(Reader&)>& read) {
  Json type;
  if (schema_ != nullptr) type = {{"type", "array"}, {"items", described(read)}};
  const Node* node = ask(setting, std::move(type));
  if (node == nullptr) return;
  if (node->kind != Kind::kSequence) return wrong_type(setting, *node, "a list");
  read_items(setting, *node, read);
}

Reader::AllOr Reader::all_or(const Setting& setting, Form form,
                             const std::function<void(Reader&)>& read) {
  Json type;
  if (schema_ != nullptr) {
    Json other = described(read);
    if (form == Form::kList) other = {{"type", "array"}, {"items", std::move(other)}};
    type = all_or_schema(std::move(other));
  }
  const Node* node = ask(setting, std::move(type));
  if (node == nullptr) return {};
  if (node->kind == Kind::kText && node->text == "all") return {.all = true, .given = true};
  const bool fits = node->kind == (form == Form::kList ? Kind::kSequence : Kind::kMapping);
  if (!fits) {
    wrong_type(setting, *node, form == Form::kList ? "\"all\" or a list" : "\"all\" or a mapping");
    return {};
  }
  if (form == Form::kList) {
    read_items(setting, *node, read);
  } else {
    Reader reader(*node, name(setting.key), problems_);
    read(reader);
    reader.finish();
  }
  return {.all = false, .given = true};
}

void Reader::finish() {
  for (const Entry& entry : node_->entries) {
    if (entry.key.starts_with("x-")) continue;
    if (std::ranges::find(known_, entry.key) != known_.end()) continue;
    const auto meant = nearest(entry.key, known_);
    problems_.add("BY-0312", entry.at, fmt::format("{}: unknown key", name(entry.key)),
                  meant.empty() ? "known keys here: " + fmt::format("{}", fmt::join(known_, ", "))
                                : fmt::format("did you mean \"{}\"?", meant));
  }
}

}  // namespace banyan::spec
