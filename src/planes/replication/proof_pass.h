#pragma once
// ProofPass: one comparison of both sides on its way into the proof.
//
//   made ──begin(): both sides stand──► begun ──compared, by coverage()──► finish(): kept
//     └────────────────────────── destroyed: nothing is learned ◄──┘
//
// With kUnproven only what the proof does not hold is read: tables without a proof (or that have
// changed their shape since) wholly, of the others the touched rows. With kLast only what was
// written last of it, as far as its keys are known; of that nothing is learned: it is not begun.

#include "base/guarded.h"
#include "planes/replication/proof.h"
#include "planes/replication/verifier.h"

namespace banyan::replication {

enum class Scope : std::uint8_t { kAll, kUnproven, kLast };

class ProofPass {
 public:
  // Rows come from the side `from`.
  ProofPass(Proof& proof, SideName from, Scope scope) : proof_(proof), from_(from), scope_(scope) {}
  ~ProofPass() { settle({}); }
  ProofPass(const ProofPass&) = delete;
  ProofPass& operator=(const ProofPass&) = delete;

  // While nothing is applied: what is touched from now on is not in it. Finishes what was begun.
  void begin(std::string position);
  Coverage coverage();
  void finish();

 private:
  using Findings = std::map<std::string, TableFinding>;
  std::vector<ComparedTable> parts(const ComparedTable& table);
  std::vector<ComparedTable> last_parts(const ComparedTable& table) const;
  void note(const ComparedTable& table, const TableVerdict& verdict);
  void settle(const Findings& findings);
  const VerifiedTable& old_of(const ComparedTable& table) const;

  Proof& proof_;
  const SideName from_;
  const Scope scope_;
  std::string position_;
  std::optional<Moment> begun_;
  Guarded<Findings> findings_;
  Guarded<std::set<std::string>> partly_;  // compared as far as they were touched
};

// Changes when rows may have changed without being written.
std::string shape_of(const ComparedTable& table, SideName from);

}  // namespace banyan::replication
