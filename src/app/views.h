#pragma once
// What people read of a migration: each function prints an answer of `banyan control` (the verbs
// `migrate.*`) to stdout; with --json the answer itself is printed instead. What an answer lacks is
// left out, never guessed.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace banyan {

// ---- where it stands
void print_status(const nlohmann::json& out);
void print_report(const nlohmann::json& out);
void print_throttle(const nlohmann::json& out);
void print_gates(const nlohmann::json& gates);
// One line, to be drawn again and again.
std::string progress_line(const nlohmann::json& out);

// ---- both sides
void print_verification(const nlohmann::json& out);
void print_repair(const nlohmann::json& out);
void print_differences(const nlohmann::json& tables);

// ---- acts
void print_refusal(const nlohmann::json& out);
void print_steps(const nlohmann::json& steps);
void print_event(const nlohmann::json& event);
// In milliseconds, from the beginning of the fence to the opening, by the act's events; nothing
// when it has no such steps.
std::optional<long> closed_ms(const nlohmann::json& events);
void print_moved(const std::string& name, const std::string& to, const nlohmann::json& out);
// To stderr: it is an error.
void print_aborted(const std::string& name, const std::string& to,
                   const nlohmann::json& conclusion);
void print_cancelled(const nlohmann::json& out);
void print_completed(const nlohmann::json& out);

// ---- what crosses the border of a split
void print_split(const nlohmann::json& out);

}  // namespace banyan
