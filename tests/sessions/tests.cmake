add_test(NAME sessions COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/sessions/sessions_test.py $<TARGET_FILE:banyan>)
