"""gRPC from a real client through the gateway to a real server: streams, trailers, deadlines, errors as gRPC statuses."""
import asyncio
import concurrent.futures
import contextlib

import grpc

from h2client import H2Client
from harness import free_port, main, snapshot

GUARD_S = 60


class Echo(grpc.GenericRpcHandler):
    """Methods without messages' schemas: bytes in, bytes out."""

    def __init__(self, name="echo"):
        self.name, self.calls = name, 0

    def service(self, details):
        self.calls += 1
        handlers = {
            "/demo.Echo/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/demo.Echo/Down": grpc.unary_stream_rpc_method_handler(self.down),
            "/demo.Echo/Up": grpc.stream_unary_rpc_method_handler(self.up),
            "/demo.Echo/Both": grpc.stream_stream_rpc_method_handler(self.both),
            "/demo.Echo/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "/demo.Echo/Who": grpc.unary_unary_rpc_method_handler(lambda request, context: self.name.encode()),
            "/demo.Other/Who": grpc.unary_unary_rpc_method_handler(lambda request, context: self.name.encode()),
        }
        return handlers.get(details.method)

    def unary(self, request, context):
        context.set_trailing_metadata([("sum", str(len(request))), ("raw-bin", b"\x00\xff")])
        return request

    def down(self, request, context):
        for i in range(int(request)):
            yield b"%d" % i

    def up(self, requests, context):
        return b"+".join(requests)

    def both(self, requests, context):
        for request in requests:
            yield request[::-1]

    def fail(self, request, context):
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not like this: 100%")


@contextlib.contextmanager
def served(handler, credentials=None):
    pool = concurrent.futures.ThreadPoolExecutor(8)
    server = grpc.server(pool, handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
        pool.shutdown()


async def publish(gateway, backends, routes=None):
    gateway.epoch += 1
    base = snapshot(gateway.port, backends, gateway.epoch, routes)
    for backend in base["backends"].values():
        backend["protocol"] = "h2c"
    await gateway.verb("snapshot.put", snapshot=base)


def channel(gateway):
    return grpc.insecure_channel(f"127.0.0.1:{gateway.port}", options=[("grpc.enable_retries", 0),
                                                                       ("grpc.max_receive_message_length", -1)])


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("the call succeeded")


async def calls_of_all_four_kinds_pass(gateway):
    with served(Echo()) as address:
        await publish(gateway, {"b": [address]})

        def calls():
            with channel(gateway) as to:
                for size in (0, 1, 100_000, 3_000_000):
                    answer, call = to.unary_unary("/demo.Echo/Unary").with_call(b"x" * size, timeout=GUARD_S)
                    assert answer == b"x" * size and call.code() == grpc.StatusCode.OK
                    trailers = dict(call.trailing_metadata())
                    assert trailers["sum"] == str(size) and trailers["raw-bin"] == b"\x00\xff", trailers
                assert len(list(to.unary_stream("/demo.Echo/Down")(b"1000", timeout=GUARD_S))) == 1000
                assert to.stream_unary("/demo.Echo/Up")(iter([b"a", b"b", b"c"]), timeout=GUARD_S) == b"a+b+c"
                both = to.stream_stream("/demo.Echo/Both")(iter([b"ab", b"cd"] * 100), timeout=GUARD_S)
                assert list(both) == [b"ba", b"dc"] * 100
                code, text = code_of(lambda: to.unary_unary("/demo.Echo/Fail")(b"", timeout=GUARD_S))
                assert code == grpc.StatusCode.INVALID_ARGUMENT and text == "not like this: 100%"
                assert code_of(lambda: to.unary_unary("/demo.Echo/None")(b""))[0] == grpc.StatusCode.UNIMPLEMENTED

        await asyncio.to_thread(calls)


async def many_calls_share_one_connection(gateway):
    echo = Echo()
    with served(echo) as address:
        await publish(gateway, {"b": [address]})

        def calls():
            with channel(gateway) as to:
                unary = to.unary_unary("/demo.Echo/Unary")
                assert unary(b"first", timeout=GUARD_S) == b"first"
                pending = [unary.future(b"%d" % i, timeout=GUARD_S) for i in range(300)]
                assert [call.result() for call in pending] == [b"%d" % i for i in range(300)]

        await asyncio.to_thread(calls)
        metrics = (await gateway.verb("metrics"))["text"]
        connects = next(line for line in metrics.splitlines() if line.startswith("banyan_gateway_upstream_connects_total"))
        assert int(connects.split()[-1]) <= 10, connects


async def methods_are_routes(gateway):
    with served(Echo("one")) as one, served(Echo("two")) as two:
        routes = [{"id": "other", "methods": [], "path": "/demo.Other/*", "to": "two"},
                  {"id": "echo", "methods": [], "path": "/demo.Echo/*", "to": "one"}]
        await publish(gateway, {"one": [one], "two": [two]}, routes)

        def calls():
            with channel(gateway) as to:
                assert to.unary_unary("/demo.Echo/Who")(b"", timeout=GUARD_S) == b"one"
                assert to.unary_unary("/demo.Other/Who")(b"", timeout=GUARD_S) == b"two"
                code, text = code_of(lambda: to.unary_unary("/demo.Third/Who")(b"", timeout=GUARD_S))
                assert code == grpc.StatusCode.UNIMPLEMENTED and "nothing is published" in text, (code, text)

        await asyncio.to_thread(calls)


async def the_gateways_own_errors_are_grpc_statuses(gateway):
    await publish(gateway, {"b": [f"127.0.0.1:{free_port()}"]})

    def call():
        with channel(gateway) as to:
            return code_of(lambda: to.unary_unary("/demo.Echo/Unary")(b"", timeout=GUARD_S))

    code, text = await asyncio.to_thread(call)
    assert code == grpc.StatusCode.UNAVAILABLE and "cannot be reached" in text, (code, text)
    async with H2Client(gateway.port) as client:
        answer = await client.request("POST", "/demo.Echo/Unary", b"", [("content-type", "application/grpc")])
        assert answer.status == 200 and answer.field("grpc-status") == "14" and answer.body == b""


async def a_deadline_of_the_client_is_kept(gateway):
    async def silent(reader, writer):
        await reader.read()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    await publish(gateway, {"b": [f"127.0.0.1:{server.sockets[0].getsockname()[1]}"]})
    async with H2Client(gateway.port) as client:
        answer = await client.request("POST", "/demo.Echo/Unary", b"",
                                      [("content-type", "application/grpc"), ("grpc-timeout", "200m")])
        assert answer.field("grpc-status") == "4", answer.fields
    server.close()


if __name__ == "__main__":
    main([calls_of_all_four_kinds_pass, many_calls_share_one_connection, methods_are_routes,
          the_gateways_own_errors_are_grpc_statuses, a_deadline_of_the_client_is_kept])
