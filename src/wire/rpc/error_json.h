#pragma once
// How an Error travels between roles: {code, message, remedy} with an HTTP status of its kind.

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace banyan::rpc {

inline nlohmann::json error_to_json(const Error& error) {
  nlohmann::json out = {{"code", code_name(error.code())}, {"message", error.message()}};
  if (!error.remedy().empty()) out["remedy"] = error.remedy();
  return out;
}

inline Error error_from_json(const nlohmann::json& in) {
  return Error(code_from_name(in.value("code", "internal")), in.value("message", "no message"))
      .with_remedy(in.value("remedy", ""));
}

inline int http_status(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return 400;
    case Code::kPermission:
      return 403;
    case Code::kNotFound:
      return 404;
    case Code::kConflict:
      return 409;
    case Code::kUnsupported:
      return 501;
    case Code::kUnavailable:
      return 503;
    case Code::kTimeout:
      return 504;
    default:
      return 500;
  }
}

}  // namespace banyan::rpc
