add_test(NAME objects COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/objects/objects.py
         $<TARGET_FILE:banyan>)
set_tests_properties(objects PROPERTIES TIMEOUT 300)
