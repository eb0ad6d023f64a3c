add_test(NAME eaglebox COMMAND /usr/bin/python3 ${CMAKE_CURRENT_SOURCE_DIR}/tests/demo/eaglebox_test.py)
add_test(NAME demo COMMAND /usr/bin/python3 ${CMAKE_CURRENT_SOURCE_DIR}/tests/demo/demo_test.py
         $<TARGET_FILE:banyan>)
set_tests_properties(demo PROPERTIES RUN_SERIAL TRUE TIMEOUT 600)
