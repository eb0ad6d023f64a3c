# Several majors of PostgreSQL, downloaded once into build/servers; skipped where that is impossible.
add_test(NAME versions COMMAND /usr/bin/python3
  ${CMAKE_SOURCE_DIR}/tests/versions/versions.py $<TARGET_FILE:banyan>)
set_tests_properties(versions PROPERTIES TIMEOUT 900 LABELS integration SKIP_RETURN_CODE 77)
