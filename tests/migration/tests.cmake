add_test(NAME migration_create COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/migration/create.py
         $<TARGET_FILE:banyan>)
set_tests_properties(migration_create PROPERTIES TIMEOUT 300)
add_test(NAME migration_sessions_cache COMMAND /usr/bin/python3
  ${CMAKE_SOURCE_DIR}/tests/migration/sessions_cache.py $<TARGET_FILE:banyan>)
set_tests_properties(migration_sessions_cache PROPERTIES TIMEOUT 300)
add_test(NAME migration_several_gateways COMMAND /usr/bin/python3
  ${CMAKE_SOURCE_DIR}/tests/migration/several_gateways.py $<TARGET_FILE:banyan>)
set_tests_properties(migration_several_gateways PROPERTIES TIMEOUT 300)
add_test(NAME migration_adopt_tls COMMAND /usr/bin/python3
  ${CMAKE_SOURCE_DIR}/tests/migration/adopt_tls.py $<TARGET_FILE:banyan>)
set_tests_properties(migration_adopt_tls PROPERTIES TIMEOUT 300)
add_test(NAME migration_writer_census COMMAND /usr/bin/python3
  ${CMAKE_SOURCE_DIR}/tests/migration/writer_census.py $<TARGET_FILE:banyan>)
set_tests_properties(migration_writer_census PROPERTIES TIMEOUT 300)
