#pragma once
// MetricsText: metrics as Prometheus reads them (text exposition format 0.0.4): families in the
// order they were begun, each with its samples. Names and label names are the caller's constants.

#include <string>
#include <string_view>

namespace banyan {

class MetricsText {
 public:
  // Begins a family; `type` is counter, gauge or histogram.
  void family(std::string_view name, std::string_view type, std::string_view help);
  // Of the family begun last; `labels` are label()s joined by commas, or empty.
  void sample(std::string_view labels, double value) { sample_as("", labels, value); }
  // A histogram's series: "_bucket", "_sum", "_count".
  void sample_as(std::string_view suffix, std::string_view labels, double value);
  std::string take() { return std::move(out_); }

  // name="value", whatever stands in the value.
  static std::string label(std::string_view name, std::string_view value);

 private:
  std::string name_;
  std::string out_;
};

}  // namespace banyan
