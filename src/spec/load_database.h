#pragma once
// What of a database moves, under which names, and how it is copied and applied.

#include "spec/reader.h"

namespace banyan::spec {

void read_copy_options(Reader& reader, DatabaseMove& move);
void read_mapping(Reader& reader, DatabaseMove& move);

}  // namespace banyan::spec
