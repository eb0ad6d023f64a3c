# How every part of Banyan is built: one static library a folder, its *_test.cc files one test
# program, its *_fuzz.cc files one libFuzzer program each.

add_library(banyan_options INTERFACE)
target_include_directories(banyan_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(banyan_options INTERFACE -Wall -Wextra -Werror -fno-omit-frame-pointer)
target_link_options(banyan_options INTERFACE -fuse-ld=lld-19)
if(BANYAN_SANITIZE)
  target_compile_options(banyan_options INTERFACE -fsanitize=${BANYAN_SANITIZE})
  target_link_options(banyan_options INTERFACE -fsanitize=${BANYAN_SANITIZE})
endif()

# The standard headers everybody uses, parsed once (-fno-pch-timestamp keeps ccache useful).
add_library(banyan_pch STATIC ${CMAKE_SOURCE_DIR}/cmake/pch.cc)
target_link_libraries(banyan_pch PUBLIC banyan_options)
target_compile_options(banyan_options INTERFACE "SHELL:-Xclang -fno-pch-timestamp")
target_precompile_headers(banyan_pch PRIVATE
  <algorithm> <array> <atomic> <chrono> <condition_variable> <cstdint> <deque> <expected>
  <functional> <map> <memory> <mutex> <optional> <span> <string> <string_view> <thread>
  <unordered_map> <utility> <variant> <vector> <fmt/format.h>)

# banyan_library(FOLDER [DEPS folder...] [LINK target...])
function(banyan_library folder)
  cmake_parse_arguments(ARG "" "" "DEPS;LINK" ${ARGN})
  string(REPLACE "/" "_" name ${folder})
  file(GLOB sources CONFIGURE_DEPENDS src/${folder}/*.cc)
  set(tests ${sources})
  set(fuzzers ${sources})
  list(FILTER sources EXCLUDE REGEX "_(test|fuzz)\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cc$")
  list(TRANSFORM ARG_DEPS REPLACE "/" "_")
  list(TRANSFORM ARG_DEPS PREPEND banyan_)
  if(sources)
    add_library(banyan_${name} STATIC ${sources})
    target_precompile_headers(banyan_${name} REUSE_FROM banyan_pch)
    set(scope PUBLIC)
  else()
    add_library(banyan_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_link_libraries(banyan_${name} ${scope} banyan_options ${ARG_DEPS} ${ARG_LINK})
  if(tests)
    add_executable(${name}_test ${tests})
    target_precompile_headers(${name}_test REUSE_FROM banyan_pch)
    target_link_libraries(${name}_test banyan_${name} GTest::gmock GTest::gtest_main)
    add_test(NAME ${name} COMMAND ${name}_test)
  endif()
  if(BANYAN_FUZZ AND NOT BANYAN_SANITIZE STREQUAL "thread")
    foreach(fuzzer ${fuzzers})
      banyan_fuzzer(${fuzzer} ${folder})
    endforeach()
  endif()
endfunction()

# The decoder under test is compiled again with coverage: the fuzzer names it with
# `// FUZZ SOURCES: file.cc other.cc` (relative to src/), a library with `// FUZZ LINK: name`, and
# its corpus is tests/fuzz/<name>/.
function(banyan_fuzzer file folder)
  get_filename_component(fuzz_name ${file} NAME_WE)
  file(STRINGS ${file} marker REGEX "^// FUZZ SOURCES:")
  list(TRANSFORM marker REPLACE "^// FUZZ SOURCES: *" "")
  list(JOIN marker " " marker)
  separate_arguments(under_test UNIX_COMMAND "${marker}")
  list(TRANSFORM under_test PREPEND ${CMAKE_SOURCE_DIR}/src/)
  add_executable(${fuzz_name} ${file} ${under_test} ${CMAKE_SOURCE_DIR}/src/base/error.cc
                 ${CMAKE_SOURCE_DIR}/src/base/check.cc)
  target_include_directories(${fuzz_name} PRIVATE ${CMAKE_SOURCE_DIR}/src)
  target_compile_options(${fuzz_name} PRIVATE -g -O1 -fsanitize=fuzzer,address,undefined)
  target_link_options(${fuzz_name} PRIVATE -fuse-ld=lld-19 -fsanitize=fuzzer,address,undefined)
  file(STRINGS ${file} libraries REGEX "^// FUZZ LINK:")
  string(REGEX REPLACE "^// FUZZ LINK: *" "" libraries "${libraries}")
  target_link_libraries(${fuzz_name} PRIVATE fmt::fmt ${libraries})
  add_test(NAME ${fuzz_name} COMMAND ${CMAKE_SOURCE_DIR}/tests/fuzz/run $<TARGET_FILE:${fuzz_name}>
           ${CMAKE_SOURCE_DIR}/tests/fuzz/${fuzz_name})
endfunction()

# The one binary.
function(banyan_app)
  file(GLOB sources CONFIGURE_DEPENDS src/app/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  if(NOT sources)
    return()
  endif()
  add_executable(banyan ${sources})
  target_precompile_headers(banyan REUSE_FROM banyan_pch)
  target_link_libraries(banyan banyan_options banyan_control banyan_planes_gateway
    banyan_planes_replication banyan_planes_files banyan_planes_sessions banyan_planes_fleet
    banyan_wire_s3 banyan_wire_rpc CLI11::CLI11)
endfunction()
