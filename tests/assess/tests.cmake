add_test(NAME assess COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/assess/assess_test.py
         $<TARGET_FILE:banyan>)
set_tests_properties(assess PROPERTIES TIMEOUT 300)
