# The whole migration with processes killed at every step; BANYAN_SEED repeats a run.
add_test(NAME migration_faults COMMAND /usr/bin/python3
  ${CMAKE_SOURCE_DIR}/tests/faults/migration_faults.py $<TARGET_FILE:banyan>)
set_tests_properties(migration_faults PROPERTIES TIMEOUT 900)
