foreach(test importers routing balancing limits shared_limits traffic tls http2 http2_upstream http2_windows http2_hostile grpc_e2e grpc_streams upstreams retries smuggling desync differential several hold hold_races reloads never_drop upgrade_verb rehome seen tracing metrics)
  add_test(NAME gateway_${test}
    COMMAND /usr/bin/python3 ${CMAKE_SOURCE_DIR}/tests/gateway/${test}.py $<TARGET_FILE:banyan>)
endforeach()
