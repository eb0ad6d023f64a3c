foreach(name create routes_change_once sessions_cache several_gateways adopt_tls writer_census verbs)
  add_test(NAME migration_${name}
           COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/migration/${name}.py $<TARGET_FILE:banyan>)
  set_tests_properties(migration_${name} PROPERTIES TIMEOUT 300)
endforeach()
