# Integration, fault and style tests that are not beside a source file.
include(tests/spec/tests.cmake)
include(tests/objects/tests.cmake)
include(tests/demo/tests.cmake)
include(tests/sessions/tests.cmake)
include(tests/fleet/tests.cmake)
include(tests/gateway/tests.cmake)
include(tests/assess/tests.cmake)
include(tests/files/tests.cmake)
