add_test(NAME spec_schema COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/spec/schema.py)
add_test(NAME spec_reference COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/spec/schema_reference.py)
add_test(NAME docs_links COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/spec/links.py)
