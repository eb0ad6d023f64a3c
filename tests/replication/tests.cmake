foreach(name run_cases fence_attacks switch_cycles kill_and_resume verify_finds carry copy_modes ddl ddl_in_stream ddl_back kitchen_sink without_superuser preflight table_split split_decisions moved_rows endings partitions begins_anew)
  add_test(NAME replication_${name}
           COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/replication/${name}.py $<TARGET_FILE:banyan>)
  set_tests_properties(replication_${name} PROPERTIES TIMEOUT 900 LABELS integration)
endforeach()

# The act and its proof.
foreach(name repair proof slices after_the_switch worked_example split_by_the_verbs)
  add_test(NAME replication_${name}
           COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/replication/${name}.py $<TARGET_FILE:banyan>)
  set_tests_properties(replication_${name} PROPERTIES TIMEOUT 900 LABELS integration)
endforeach()

add_test(NAME replication_stories
         COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/replication/stories/run.py $<TARGET_FILE:banyan>)
set_tests_properties(replication_stories PROPERTIES TIMEOUT 900 LABELS integration)

# The stream and its applying.
foreach(name batches reconnects beside streaming spool mapping wal_guard long_copy mapped_switch metrics shared_slot)
  add_test(NAME replication_${name}
           COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/replication/${name}.py $<TARGET_FILE:banyan>)
  set_tests_properties(replication_${name} PROPERTIES TIMEOUT 900 LABELS integration)
endforeach()

# The same, several sessions applying at once, however small the lag.
foreach(name run_cases batches streaming kill_and_resume without_superuser)
  add_test(NAME replication_${name}_beside
           COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/replication/${name}.py $<TARGET_FILE:banyan>)
  set_tests_properties(replication_${name}_beside PROPERTIES TIMEOUT 900 LABELS integration ENVIRONMENT
    "BANYAN_START_CONFIG={\"appliers\":4,\"far_behind_ms\":0,\"batch_transactions\":20}")
endforeach()
