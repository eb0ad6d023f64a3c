add_test(NAME files COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/files/files.py
         $<TARGET_FILE:banyan>)
set_tests_properties(files PROPERTIES TIMEOUT 600)
