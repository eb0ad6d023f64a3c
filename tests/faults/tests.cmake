# The whole migration with processes killed at every step; BANYAN_SEED repeats a run.
add_test(NAME migration_faults COMMAND /usr/bin/python3
  ${CMAKE_SOURCE_DIR}/tests/faults/migration_faults.py $<TARGET_FILE:banyan>)
set_tests_properties(migration_faults PROPERTIES TIMEOUT 900)

# One database there and back with everything failing; BANYAN_KILLS=500 for a night.
add_test(NAME replication_faults COMMAND /usr/bin/python3
  ${CMAKE_SOURCE_DIR}/tests/faults/replication_faults.py $<TARGET_FILE:banyan>)
set_tests_properties(replication_faults PROPERTIES TIMEOUT 3600 LABELS integration)
