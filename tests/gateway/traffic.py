"""What goes through the gateway, and what it says when something is broken."""
import asyncio
import contextlib
import hashlib
import random
import re
import signal

from harness import Backend, free_port, main, snapshot, until

SIZES = [0, 1, 1000, 65536, 1_000_000, 20_000_000]


def payload(size):
    return random.Random(size).randbytes(size)


def chunked(body, size=50_000):
    pieces = [body[i:i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


async def echo_as_asked(request, reader, writer):
    how = request.target.lstrip("/")
    if how == "chunked":
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(request.body))
    elif how == "close":
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + request.body)
    else:
        await Backend.answer(writer, request.body)
    await writer.drain()
    return how != "close"


async def bodies_of_all_sizes_pass_both_ways(gateway):
    async with Backend(echo_as_asked) as backend:
        await gateway.route_to(backend.address)
        for size in SIZES:
            body = payload(size)
            for how in ("length", "chunked", "close"):
                async with gateway.client() as client:
                    response = await client.request("POST", "/" + how, body)
                    assert response.status == 200 and response.body == body, (size, how, len(response.body))
                async with gateway.client() as client:
                    head = f"POST /{how} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
                    sending = asyncio.create_task(client.send(head + chunked(body)))
                    response = await client.response()
                    await sending
                    assert response.status == 200 and response.body == body, (size, how, "chunked upload")
        digests = [hashlib.sha256(request.body).digest() for request in backend.requests]
        assert len(digests) == len(SIZES) * 6
    status = await gateway.status()
    assert status["requests_total"] == len(SIZES) * 6 and status["failures_total"] == 0, status


async def trace_and_options_come_as_far_as_they_may(gateway):
    """RFC 9110, 7.6.2."""
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            for method, times, status in (("OPTIONS", 0, 200), ("TRACE", 0, 501), ("OPTIONS", 3, 200), ("TRACE", 1, 200), ("GET", 0, 200)):
                await client.send(f"{method} /far HTTP/1.1\r\nHost: a\r\nMax-Forwards: {times}\r\n\r\n".encode())
                response = await client.response()
                assert response.status == status, (method, times, response.status)
        told = [(request.method, request.all("max-forwards")) for request in backend.requests]
        assert told == [("OPTIONS", ["2"]), ("TRACE", ["0"]), ("GET", ["0"])], told


async def a_connection_is_kept_on_both_sides(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            for i in range(50):
                response = await client.request("POST", f"/{i}", b"x" * i)
                assert response.status == 200 and len(response.body) == i
        assert backend.connections == 1, backend.connections


async def a_long_body_leaves_its_connection_to_the_next_request(gateway):
    async def long(request, reader, writer):
        await Backend.answer(writer, payload(1_000_000))

    async def clients(count):
        async with gateway.client() as client:
            for _ in range(count):
                assert len((await client.request()).body) == 1_000_000
    async with Backend(long) as backend:
        await gateway.route_to(backend.address)
        await asyncio.gather(*(clients(8) for _ in range(4)))
        assert backend.connections <= 4, backend.connections


async def pipelined_requests_are_answered_in_order(gateway):
    async def name(request, reader, writer):
        await asyncio.sleep(random.random() / 100)
        await Backend.answer(writer, request.target.encode() + request.body)
    async with Backend(name) as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            await client.send(b"".join(
                b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n%02d" % (i, i) for i in range(50)))
            for i in range(50):
                assert (await client.response()).body == b"/%d%02d" % (i, i)


async def a_head_arriving_byte_by_byte_is_understood(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            for byte in b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc":
                await client.send(bytes([byte]))
                await asyncio.sleep(0)
            assert (await client.response()).body == b"abc"


async def interim_and_final_answers_arrive_however_they_are_cut(gateway):
    body = payload(10_000)
    whole = (b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
             b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\nX-Last: yes\r\n\r\n" + body)

    async def cut(request, reader, writer):
        at = int(request.target[1:])
        for piece in (whole[:at], whole[at:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01 if at else 0)
    async with Backend(cut) as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            for at in (0, 10, 40, 46, 48, 50, 80, 120, 5000):
                await client.send(f"GET /{at} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                interim = await client.response(informational=True)
                assert interim.status == 103 and interim.field("link") == "</a.css>", (at, interim.status)
                final = await client.response()
                assert final.status == 200 and final.field("x-last") == "yes" and final.body == body, at
        assert backend.connections == 1, backend.connections


async def http10_is_served(gateway):
    async with Backend(echo_as_asked) as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            response = await client.request("POST", "/chunked", b"hello", version="1.0")
            assert response.body == b"hello" and response.field("transfer-encoding") is None
            assert await client.response() is None
        async with gateway.client() as client:
            for _ in range(3):
                response = await client.request("GET", "/length", fields=["Connection: keep-alive"], version="1.0")
                assert response.status == 200 and response.field("connection") == "keep-alive"
        async with gateway.client() as client:
            await client.send(b"GET /length HTTP/1.0\r\n\r\n")
            assert (await client.response()).status == 200
        assert backend.requests[-1].field("host"), "an upstream always gets a Host"


async def head_204_and_304_have_no_body(gateway):
    async def answer(request, reader, writer):
        if request.method == "HEAD":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n")
        elif request.target == "/304":
            writer.write(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 99\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    async with Backend(answer) as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            for _ in range(3):
                response = await client.request("HEAD", "/")
                assert response.status == 200 and response.field("content-length") == "12345"
                assert (await client.request("GET", "/304")).status == 304
                assert (await client.request("GET", "/204")).status == 204


async def fields_are_rewritten(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        await gateway.get("/a%2Fb/../c?d", fields=[
            "X-Forwarded-For: 1.2.3.4", "Connection: close, x-private", "X-Private: 1", "Keep-Alive: 3",
            "X_Forwarded_For: 6.6.6.6", "Cookie: a=b"])
        request = backend.requests[0]
        assert request.target == "/a%2Fb/../c?d", "the original path is forwarded"
        assert request.all("x-forwarded-for") == ["1.2.3.4, 127.0.0.1"], request.fields
        assert request.field("host") == "docs.example" and request.field("x-forwarded-host") == "docs.example"
        assert request.field("x-forwarded-proto") == "http" and request.field("cookie") == "a=b"
        assert len(request.field("traceparent")) == 55 and len(request.field("x-request-id")) == 32
        for gone in ("x-private", "keep-alive", "x_forwarded_for"):
            assert request.field(gone) is None, gone


async def answers_are_dated(gateway):
    """RFC 9110, 6.6.1: who passes an answer without a date on gives it one."""
    async def answer(request, reader, writer):
        fields = ["Date: Thu, 01 Jan 1970 00:00:00 GMT"] if request.target == "/dated" else []
        await Backend.answer(writer, b"", fields=fields)
    async with Backend(answer) as backend:
        await gateway.route_to(backend.address)
        for target, year in (("/dated", "1970"), ("/", None), ("/%zz", None)):
            (date,) = [value for name, value in (await gateway.get(target)).fields if name.lower() == "date"]
            assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", date), date
            assert (" 1970 " in date) == (year is not None), (target, date)


async def expect_100_continue_is_answered(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            assert (await client.response(informational=True)).status == 100
            await client.send(b"hello")
            assert (await client.response()).body == b"hello"


async def an_early_response_is_delivered_while_the_body_is_sent(gateway):
    async def refuse(request, reader, writer):
        await Backend.answer(writer, b"too large", status=413, fields=["Connection: close"])
        return False
    async with Backend(refuse, reads_body=False) as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            client.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n" + payload(300_000))
            assert (await client.response()).status == 413


async def a_websocket_is_tunnelled(gateway):
    async def switch(request, reader, writer):
        assert request.field("upgrade") == "websocket" and request.field("connection").lower() == "upgrade"
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write(b"bye")
        await writer.drain()
        return False
    async with Backend(switch) as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            assert (await client.response()).status == 101
            assert await client.reader.readexactly(5) == b"hello"
            for size in (1, 100, 100_000):
                data = payload(size)
                await client.send(data)
                assert await client.reader.readexactly(size) == data
            assert (await gateway.status())["in_flight"] == 0, "a stream is not waited for"
            client.writer.write_eof()
            assert await client.reader.read() == b"bye"


async def a_refused_upgrade_leaves_plain_http(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            for _ in range(2):
                response = await client.request(fields=["Connection: Upgrade", "Upgrade: websocket"])
                assert response.status == 200 and response.field("upgrade") is None


async def a_client_that_half_closes_gets_its_response(gateway):
    async def slow(request, reader, writer):
        await asyncio.sleep(0.2)
        await Backend.answer(writer, b"answer")
    async with Backend(slow) as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            client.writer.write_eof()
            assert (await client.response()).body == b"answer"


async def events_are_not_delayed(gateway):
    gate = asyncio.Event()
    async def stream(request, reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await gate.wait()
        writer.write(b"data: 2\n\n")
        await writer.drain()
        return False
    async with Backend(stream) as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"data: 1\n\n" in await client.reader.readuntil(b"data: 1\n\n")
            gate.set()
            assert b"data: 2\n\n" in await client.reader.readuntil(b"data: 2\n\n")


async def a_long_body_that_comes_slowly_is_not_kept_back(gateway):
    pieces, turn = [b"%d" % i * 40_000 for i in range(8)], asyncio.Semaphore(1)

    async def slow(request, reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % sum(map(len, pieces)))
        for piece in pieces:
            await turn.acquire()  # the client has the piece before
            writer.write(piece)
            await writer.drain()
    async with Backend(slow) as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            for _ in range(2):  # and the connections are good for another request
                await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await client.reader.readuntil(b"\r\n\r\n")
                for piece in pieces:
                    assert await client.reader.readexactly(len(piece)) == piece
                    turn.release()
            assert backend.connections == 1


async def a_long_body_cut_off_by_its_upstream_is_cut_off(gateway):
    async def cut(request, reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(600_000))
        await writer.drain()
        return False
    async with Backend(cut) as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await client.reader.readuntil(b"\r\n\r\n")
            assert len(await client.reader.read(-1)) == 600_000


async def a_dying_upstream_never_gets_a_post_twice(gateway):
    async def dies_on_second(request, reader, writer):
        seen = sum(r.connection == request.connection for r in backend.requests)
        if seen > 1:
            writer.transport.abort()
            return False
        await Backend.answer(writer, request.target.encode())
    async with Backend(dies_on_second) as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            for i in range(100):
                method = "POST" if i % 2 else "GET"
                response = await client.request(method, f"/{method}/{i}", b"x" if i % 2 else None)
                assert response.status == 200 if method == "GET" else response.status in (200, 502)
        targets = [r.target for r in backend.requests if r.method == "POST"]
        assert len(targets) == len(set(targets)) == 50, "a POST was sent twice or lost"


async def a_truncated_response_is_never_made_to_look_whole(gateway):
    async def truncate(request, reader, writer):
        kind = b"Content-Length: 1000\r\n" if request.target == "/length" else b"Transfer-Encoding: chunked\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\n" + kind + b"\r\n10\r\nabc")
        await writer.drain()
        return False
    async with Backend(truncate) as backend:
        await gateway.route_to(backend.address)
        for target in ("/length", "/chunked"):
            async with gateway.client() as client:
                with contextlib.suppress(asyncio.IncompleteReadError, ValueError, OSError):
                    response = await client.request("GET", target)
                    assert response is None or response.status == 502, "looked whole"


async def a_dead_endpoint_is_passed_over_even_for_posts(gateway):
    async with Backend() as backend:
        await gateway.route_to(f"127.0.0.1:{free_port()}", backend.address)
        for i in range(40):
            response = await gateway.get(f"/{i}", method="POST", body=b"x")
            assert response.status == 200
        assert len(backend.requests) == 40


async def an_unhealthy_endpoint_is_left_out_and_comes_back(gateway):
    health = {"path": "/healthz", "interval": 20, "timeout": 2000, "rise": 1, "fall": 2}
    async with Backend(name="one") as one, Backend(name="two") as two, Backend(name="three") as three:
        await gateway.route_to(one.address, two.address, three.address, health=health)
        async def healthy(want):
            endpoints = (await gateway.status())["backends"][0]["endpoints"]
            return {e["address"]: e["healthy"] for e in endpoints}[two.address] is want
        two.healthy = False
        await until(lambda: healthy(False), "ejection")
        before = len(two.requests)
        for _ in range(60):
            assert (await gateway.get()).status == 200
        assert len(two.requests) == before, "an ejected endpoint got a request"
        two.healthy = True
        await until(lambda: healthy(True), "return")
        for _ in range(60):
            assert (await gateway.get()).status == 200
        assert len(two.requests) > before


async def draining_an_endpoint_waits_and_sends_nothing_new(gateway):
    gate = asyncio.Event()
    async def slow(request, reader, writer):
        await gate.wait()
        await Backend.answer(writer, b"slow")
    async with Backend(slow) as slow_one, Backend(name="fast") as fast:
        await gateway.route_to(slow_one.address)
        inside = asyncio.create_task(gateway.get())
        async def entered():
            return len(slow_one.requests) == 1
        await until(entered, "the request inside")
        await gateway.route_to(slow_one.address, fast.address)
        draining = asyncio.create_task(
            gateway.verb("endpoint.drain", backend="b", address=slow_one.address, timeout_ms=30_000))
        async def begun():
            (backend,) = (await gateway.status())["backends"]
            return any(endpoint["draining"] for endpoint in backend["endpoints"])
        await until(begun, "the drain to begin")
        for _ in range(30):
            assert (await gateway.get()).field("x-backend") == "fast"
        gate.set()
        assert (await inside).body == b"slow"
        await draining
        assert len(slow_one.requests) == 1


async def broken_services_get_the_right_status(gateway):
    async def silent(request, reader, writer):
        await asyncio.sleep(30)
    async def nonsense(request, reader, writer):
        writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        await writer.drain()
        return False
    async def vanish(request, reader, writer):
        return False
    async with Backend(silent) as late, Backend(nonsense) as odd, Backend(vanish) as gone:
        backends = {"dead": [f"127.0.0.1:{free_port()}"], "empty": [], "late": [late.address],
                    "odd": [odd.address], "gone": [gone.address]}
        routes = [{"id": name, "methods": [], "path": f"/{name}", "to": name} for name in backends]
        await gateway.verb("snapshot.put", snapshot=snapshot(gateway.port, backends, 1, routes, {"response_ms": 300}))
        want = {"dead": 502, "empty": 503, "late": 504, "odd": 502, "gone": 502, "nowhere": 404}
        for name, status in want.items():
            async with gateway.client() as client:
                response = await client.request("POST", f"/{name}", b"x")
                assert response.status == status, (name, response.status)
                assert str(status).encode() in response.body
        assert len(gone.requests) == len(odd.requests) == len(late.requests) == 1


async def routes_choose_the_backend(gateway):
    async with Backend(name="old") as old, Backend(name="new") as new:
        routes = [{"id": "progress", "methods": ["GET"], "path": "/progress/:id", "to": "new"},
                  {"id": "host", "methods": [], "host": "new.example", "path": "/*", "to": "new"},
                  {"id": "default", "methods": [], "path": "/*", "to": "old"}]
        await gateway.verb("snapshot.put", snapshot=snapshot(
            gateway.port, {"old": [old.address], "new": [new.address]}, 1, routes))
        assert (await gateway.get("/progress/7")).field("x-backend") == "new"
        assert (await gateway.get("/x/../progress/%37")).field("x-backend") == "new"
        assert (await gateway.get("/progress/7", method="POST", body=b"")).field("x-backend") == "old"
        assert (await gateway.get("/progress/7/x")).field("x-backend") == "old"


async def sigterm_finishes_what_is_inside(gateway):
    gate = asyncio.Event()
    async def slow(request, reader, writer):
        await gate.wait()
        await Backend.answer(writer, b"z" * 1_000_000)
    async with Backend(slow) as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as idle:
            assert idle
            inside = [asyncio.create_task(gateway.get(f"/{i}")) for i in range(20)]
            async def entered():
                return len(backend.requests) == 20
            await until(entered, "requests inside")
            gateway.process.send_signal(signal.SIGTERM)
            async def refuses():
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                    writer.close()
                    return False
                except OSError:
                    return True
            await until(refuses, "the listener to close")
            gate.set()
            for response in await asyncio.gather(*inside):
                assert response.status == 200 and len(response.body) == 1_000_000
        assert await asyncio.to_thread(gateway.process.wait, 60) == 0


async def it_serves_again_after_kill_9_without_a_controller(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        await asyncio.to_thread(gateway.kill9)
        await asyncio.to_thread(gateway.start)
        async def serves():
            with contextlib.suppress(OSError):
                return (await gateway.get()).status == 200
        await until(serves, "service after a crash")
        assert (await gateway.status())["epoch"] == 1


if __name__ == "__main__":
    main([bodies_of_all_sizes_pass_both_ways, trace_and_options_come_as_far_as_they_may, a_connection_is_kept_on_both_sides,
          a_long_body_leaves_its_connection_to_the_next_request, pipelined_requests_are_answered_in_order,
          a_head_arriving_byte_by_byte_is_understood, interim_and_final_answers_arrive_however_they_are_cut,
          http10_is_served,
          head_204_and_304_have_no_body, fields_are_rewritten, answers_are_dated,
          expect_100_continue_is_answered,
          an_early_response_is_delivered_while_the_body_is_sent, a_websocket_is_tunnelled,
          a_refused_upgrade_leaves_plain_http, a_client_that_half_closes_gets_its_response, events_are_not_delayed,
          a_long_body_that_comes_slowly_is_not_kept_back, a_long_body_cut_off_by_its_upstream_is_cut_off,
          a_dying_upstream_never_gets_a_post_twice, a_truncated_response_is_never_made_to_look_whole,
          a_dead_endpoint_is_passed_over_even_for_posts, an_unhealthy_endpoint_is_left_out_and_comes_back,
          draining_an_endpoint_waits_and_sends_nothing_new, broken_services_get_the_right_status,
          routes_choose_the_backend, sigterm_finishes_what_is_inside,
          it_serves_again_after_kill_9_without_a_controller])
