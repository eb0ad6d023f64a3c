add_test(NAME spec_schema COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/spec/schema.py)
