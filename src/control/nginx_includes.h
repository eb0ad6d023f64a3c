#pragma once
// nginx's `include`: each is replaced by the directives of the files it names.

#include <string>
#include <vector>

#include "control/import_nginx.h"

namespace banyan::control {

// `file` gives the folder of relative names. A file that is not there is left over in `out`; one
// that cannot be read or parsed, and includes without end, are errors.
Result<std::vector<NginxDirective>> expand_includes(std::vector<NginxDirective> directives,
                                                    const std::string& file, const ReadFile& read,
                                                    Imported& out);

}  // namespace banyan::control
