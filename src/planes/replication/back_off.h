#pragma once
// What every thread of the engine asks after a failure: may it pass by itself, and how to wait?

#include <stop_token>

#include "base/clock.h"
#include "base/error.h"

namespace banyan::replication {

// A server away or late; anything else needs a person.
bool may_pass(const Error& error);

// Returns early when a stop is asked for.
void sleep_unless_stopped(const std::stop_token& stop, Duration duration);

}  // namespace banyan::replication
