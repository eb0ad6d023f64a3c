#pragma once
// Strong<T, Tag>: an identifier or quantity that cannot be mixed up with another of the same width.

#include <compare>
#include <cstddef>
#include <functional>
#include <utility>

namespace banyan {

template <class T, class Tag>
class Strong {
 public:
  constexpr Strong() = default;
  constexpr explicit Strong(T value) : value_(std::move(value)) {}
  constexpr const T& value() const { return value_; }
  friend constexpr auto operator<=>(const Strong&, const Strong&) = default;

 private:
  T value_{};
};

}  // namespace banyan

template <class T, class Tag>
struct std::hash<banyan::Strong<T, Tag>> {
  std::size_t operator()(const banyan::Strong<T, Tag>& strong) const noexcept {
    return std::hash<T>{}(strong.value());
  }
};
