#pragma once
// Django recipe: which settings an application needs so that it runs as several copies elsewhere,
// whether its code takes them from the environment, and whether the spec provides them.

#include <optional>
#include <string>
#include <vector>

#include "control/assessment.h"
#include "control/code_scan.h"
#include "spec/spec.h"

namespace banyan::control {

// One assignment in a settings module: SECRET_KEY = os.environ["SECRET_KEY"].
struct DjangoSetting {
  std::string name;
  std::string value;  // the whole right side, over as many lines as its brackets span
  CodePlace place;
  bool from_environment() const;
};

struct DjangoApp {
  std::string settings_module;           // "eaglebox.settings"
  std::vector<CodeFile> settings_files;  // the module, or every file of the settings package
  std::vector<DjangoSetting> settings;   // in order; a name may be assigned more than once
  std::vector<const DjangoSetting*> all(std::string_view name) const;
};

// Nothing when the code is no Django application.
std::optional<DjangoApp> find_django(const std::vector<CodeFile>& files);
std::vector<DjangoSetting> django_settings(const CodeFile& file);
void assess_django(const DjangoApp& app, const spec::Spec& spec, Items& items);

}  // namespace banyan::control
