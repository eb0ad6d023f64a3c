#include "planes/replication/readdress.h"

#include <fmt/format.h>

#include "planes/replication/control_schema.h"

namespace banyan::replication {
namespace {

using nlohmann::json;

Result<void> require_same_database(const std::string& migration, SideName side,
                                   const std::string& url) {
  const auto where = fmt::format("the {} database's new address", side_name(side));
  auto opened = pg::Connection::open(url);
  if (!opened) return std::unexpected(std::move(opened).error().with_context(where));
  const auto rows = opened->query("select 1 from banyan.migration where name = $1 and side = $2",
                                  {migration, std::string(side_name(side))});
  if (rows && !rows->empty()) return {};
  return std::unexpected(
      Error(Code::kConflict, where + " leads to a database that knows nothing of this migration")
          .with_remedy(fmt::format("1. Put the address of the spec right, then: banyan migrate "
                                   "create {0}\n2. Before a switch, to begin anew: put the former "
                                   "address back, then: banyan migrate cancel {0}",
                                   migration)));
}

}  // namespace

Result<std::optional<json>> readdressed(const std::string& migration, const json& stored,
                                        const json& wanted) {
  json out = stored;
  for (const auto side : {SideName::kOld, SideName::kNew}) {
    const auto* key = side == SideName::kOld ? "source" : "target";
    const auto url = wanted.value(key, "");
    if (url.empty() || url == stored.value(key, "")) continue;
    TRY_VOID(require_same_database(migration, side, url));
    out[key] = url;
  }
  if (out == stored) return std::optional<json>();
  return std::optional(std::move(out));
}

}  // namespace banyan::replication
