add_test(NAME fleet COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/fleet/fleet_test.py $<TARGET_FILE:banyan>)
