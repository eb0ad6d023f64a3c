"""HTTP/2 towards the user: with and without TLS, both ways of flow control, hold, drain, WebSocket."""
import asyncio
import os
import signal
import subprocess
from unittest import mock

from h2client import H2Client
from harness import Backend, free_port, main, until
from tls import Authority, with_tls


async def requests_are_answered_side_by_side(gateway):
    gate = asyncio.Event()

    async def handler(request, reader, writer):
        if request.target == "/slow":
            await gate.wait()
        await Backend.answer(writer, request.target.encode(), fields=["X-Method: " + request.method])

    async with Backend(handler) as backend:
        await gateway.route_to(backend.address)
        async with H2Client(gateway.port) as client:
            slow = await client.begin("GET", "/slow")
            for i in range(20):
                answer = await client.request("GET", f"/{i}")
                assert answer.status == 200 and answer.body == f"/{i}".encode()
            gate.set()
            answer = await client.answer(slow)
            assert answer.body == b"/slow" and answer.field("x-method") == "GET"
    request = backend.requests[1]
    assert request.field("host") == "docs.example" and request.field("x-forwarded-proto") == "http"
    assert request.field("traceparent") and request.field("transfer-encoding") is None


async def bodies_of_all_sizes_pass_both_ways(gateway):
    async def handler(request, reader, writer):
        if "chunked" in request.target:
            body = b"".join(b"%x\r\n%s\r\n" % (len(request.body[i:i + 9000]), request.body[i:i + 9000])
                            for i in range(0, len(request.body), 9000))
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n")
        elif "close" in request.target:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + request.body)
            return False
        else:
            await Backend.answer(writer, request.body)

    async with Backend(handler) as backend:
        await gateway.route_to(backend.address)
        async with H2Client(gateway.port) as client:
            for size in (0, 1, 1000, 65536, 1_000_000, 5_000_000):
                body = os.urandom(size)
                for how in ("length", "chunked", "close"):
                    for fields in ((), [("content-length", str(size))]):
                        answer = await client.request("POST", "/" + how, body, fields)
                        assert answer.status == 200 and answer.body == body, (size, how, fields, len(answer.body))
            answer = await client.request("HEAD", "/length")
            assert answer.status == 200 and answer.body == b""


async def tls_chooses_http2_and_curl_speaks_it(gateway):
    with Authority(gateway) as authority:
        async with Backend() as backend:
            tls = {"certificates": [authority.issue("shop.example")]}
            await gateway.verb("snapshot.put", snapshot=with_tls(gateway, backend, tls, hsts_s=60))
            context = authority.trust()
            context.set_alpn_protocols(["h2"])
            async with H2Client(gateway.port, context, "shop.example") as client:
                answer = await client.request("POST", "/", b"x" * 300_000)
                assert answer.body == b"x" * 300_000 and answer.field("strict-transport-security") == "max-age=60"
            where = ["--cacert", authority.ca, "--resolve", f"shop.example:{gateway.port}:127.0.0.1",
                     f"https://shop.example:{gateway.port}/"]
            for version, said in (("--http2", "2"), ("--http1.1", "1.1")):
                done = await asyncio.to_thread(
                    subprocess.run, ["curl", "-sS", version, "-o", "/dev/null", "-w", "%{http_version} %{http_code}", *where],
                    capture_output=True, text=True)
                assert done.stdout == f"{said} 200", (done.stdout, done.stderr)
            assert backend.requests[0].field("x-forwarded-proto") == "https"


async def h2load_finds_no_failure(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        done = await asyncio.to_thread(
            subprocess.run, ["h2load", "-n", "2000", "-c", "10", "-m", "50", f"http://127.0.0.1:{gateway.port}/"],
            capture_output=True, text=True)
        assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout, done.stdout + done.stderr


async def a_slow_reader_holds_only_its_own_stream(gateway):
    size = 3_000_000

    async def handler(request, reader, writer):
        await Backend.answer(writer, b"x" * (size if request.target == "/big" else 10))

    async with Backend(handler) as backend:
        await gateway.route_to(backend.address)
        async with H2Client(gateway.port, consume=False) as client:
            client.h2.increment_flow_control_window(size)
            big = await client.begin("GET", "/big")
            await client.until(lambda: len(client.answers[big].body) >= 65535, "a first window")
            for _ in range(5):
                assert (await client.request("GET", "/small")).status == 200
            assert len(client.answers[big].body) == 65535, "the window was not respected"
            while not client.answers[big].ended:
                seen = len(client.answers[big].body)
                client.h2.increment_flow_control_window(500_000, big)
                await client.flush()
                await client.until(lambda: client.answers[big].ended or len(client.answers[big].body) > seen, "more")
            assert len(client.answers[big].body) == size


async def a_slow_upstream_stops_the_upload(gateway):
    gate = asyncio.Event()

    async def handler(request, reader, writer):
        await gate.wait()
        await reader.readexactly(int(request.field("content-length")))
        await Backend.answer(writer, b"done")

    async with Backend(handler, reads_body=False) as backend:
        await gateway.route_to(backend.address)
        body = os.urandom(30_000_000)
        async with H2Client(gateway.port) as client:
            stream = await client.begin("POST", "/", [("content-length", str(len(body)))], end=False)
            sending = asyncio.create_task(client.send_body(stream, body))
            await asyncio.sleep(0.5)  # gives it time to send more than it may
            assert not sending.done()
            gate.set()
            await sending
            assert (await client.answer(stream)).body == b"done"


async def a_held_stream_stays_open_and_a_reset_one_is_never_sent(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        await gateway.verb("hold.close", epoch=1, routes=["*"], max_requests=100, max_bytes=1 << 20, max_ms=30_000)
        async with H2Client(gateway.port) as client:
            kept = await client.begin("POST", "/kept", end=False)
            await client.send_body(kept, b"y" * 1000)
            gone = await client.begin("POST", "/gone", end=False)

            async def waiting(count):
                return (await gateway.status())["waiting"] == count

            await until(lambda: waiting(2), "two in the queue")
            client.h2.ping(b"12345678")
            await client.flush()
            await client.until(lambda: client.pings == 1, "the ping's answer")
            client.h2.reset_stream(gone)
            await client.flush()
            await until(lambda: waiting(1), "the reset stream to leave")
            assert not backend.requests
            await gateway.verb("hold.open", epoch=1)
            assert (await client.answer(kept)).body == b"y" * 1000
            assert [r.target for r in backend.requests] == ["/kept"]


async def a_client_that_goes_leaves_the_queue(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        await gateway.verb("hold.close", epoch=1, routes=["*"], max_requests=100, max_bytes=1 << 20, max_ms=30_000)

        async def waiting(count):
            return (await gateway.status())["waiting"] == count

        async with H2Client(gateway.port) as client:
            for _ in range(5):
                await client.begin("GET", "/")
            await until(lambda: waiting(5), "five in the queue")
        await until(lambda: waiting(0), "all to leave")
        await gateway.verb("hold.open", epoch=1)
        assert not backend.requests


async def draining_says_goaway_at_once_and_finishes_what_is_inside(gateway):
    gate = asyncio.Event()

    async def handler(request, reader, writer):
        await gate.wait()
        await Backend.answer(writer, b"late")

    async with Backend(handler) as backend:
        await gateway.route_to(backend.address)
        async with H2Client(gateway.port) as client, H2Client(gateway.port) as idle:
            stream = await client.begin("GET", "/")
            await until(lambda: asyncio.sleep(0, bool(backend.requests)), "the request inside")
            gateway.process.send_signal(signal.SIGTERM)
            await idle.until(lambda: idle.goaway is not None, "GOAWAY on an idle connection")
            await client.until(lambda: client.goaway is not None, "GOAWAY while a request is inside")
            assert client.goaway.error_code == 0
            gate.set()
            assert (await client.answer(stream)).body == b"late"
            await idle.until(lambda: idle.closed, "the idle connection's end")
            await client.until(lambda: client.closed, "the end")
        await asyncio.to_thread(gateway.process.wait, 30)


async def a_broken_answer_resets_its_stream_only(gateway):
    async def handler(request, reader, writer):
        if request.target == "/cut":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            return False
        await Backend.answer(writer, b"fine")

    async with Backend(handler) as backend:
        await gateway.route_to(backend.address)
        async with H2Client(gateway.port) as client:
            assert (await client.answer(await client.begin("GET", "/cut"))).reset == 2
            assert (await client.request("GET", "/ok")).body == b"fine"
            await gateway.route_to(f"127.0.0.1:{free_port()}")
            answer = await client.request("HEAD", "/nobody")
            assert answer.status == 502 and answer.body == b"" and answer.field("content-length")
            answer = await client.request("GET", "/nobody")
            assert answer.status == 502 and b"cannot be reached" in answer.body


async def heads_become_one_clean_request(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        async with H2Client(gateway.port) as client:
            await client.request("GET", "/", fields=[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers"),
                                                     ("x-forwarded-for", "6.6.6.6"), ("x-client-cert-subject", "root")])
            seen = backend.requests[-1]
            assert seen.all("cookie") == ["a=1; b=2"] and seen.field("te") is None
            assert seen.field("x-forwarded-for") == "6.6.6.6, 127.0.0.1" and seen.field("x-client-cert-subject") is None
            assert (await client.request("GET", "/", fields=[("host", "other.example")])).status == 400
            assert (await client.request("GET", "/", fields=[("a", "b" * 61_500)])).status == 431
            assert (await client.request("GET", "/", fields=[("cookie", "c" * 500)] * 130)).status == 431
            for bad in ([("transfer-encoding", "chunked")], [("connection", "close")], [("Upper", "x")], [("a", "b\r\nc: d")],
                        [("content-length", "5"), ("content-length", "6")]):
                assert (await client.answer(await client.begin("GET", "/", bad))).reset == 1, bad
            assert len(backend.requests) == 1


async def interim_answers_and_expectations_pass(gateway):
    async def handler(request, reader, writer):
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        await Backend.answer(writer, request.body)

    async with Backend(handler) as backend:
        await gateway.route_to(backend.address)
        async with H2Client(gateway.port) as client:
            stream = await client.begin("POST", "/", [("expect", "100-continue"), ("content-length", "5")], end=False)
            await client.send_body(stream, b"hello")
            assert (await client.answer(stream)).body == b"hello"


async def a_websocket_announces_no_body(gateway):
    async with Backend(reads_body=False) as backend:  # one that read would wait for what is never sent
        await gateway.route_to(backend.address)
        async with H2Client(gateway.port) as client:
            stream = await client.begin_websocket("/chat", [("content-length", "5")])
            answer = client.answers[stream]
            await client.until(lambda: answer.status is not None or answer.reset is not None, "a refusal")
            assert answer.status in (400, None) and not backend.requests, (answer.status, backend.requests)


async def a_websocket_lives_on_a_stream(gateway):
    async def handler(request, reader, writer):
        assert request.field("upgrade") == "websocket" and request.field("sec-websocket-version") == "13"
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     b"Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\nhi ")
        while data := await reader.read(1000):
            writer.write(data)
        return False

    async with Backend(handler) as backend:
        await gateway.route_to(backend.address)
        async with H2Client(gateway.port) as client:
            stream = await client.begin_websocket("/chat", [("sec-websocket-protocol", "chat")])
            answer = client.answers[stream]
            await client.until(lambda: answer.status is not None, "the handshake")
            assert answer.status == 200 and answer.field("sec-websocket-protocol") == "chat", answer.fields
            assert answer.field("sec-websocket-accept") is None and answer.field("upgrade") is None
            for piece in (b"one", b"two" * 50_000):
                before = len(answer.body)
                await client.send_body(stream, piece, end=False)
                await client.until(lambda: len(answer.body) >= before + len(piece), "the echo")
            assert answer.body == b"hi one" + b"two" * 50_000
            assert (await gateway.status())["streams"] == 1
            client.h2.end_stream(stream)
            await client.flush()
            await client.answer(stream)


async def exactly_the_streams_beyond_the_bound_are_refused(gateway):
    gate = asyncio.Event()

    async def handler(request, reader, writer):
        await gate.wait()
        await Backend.answer(writer, b"served")

    async with Backend(handler) as backend:
        await gateway.route_to(backend.address)
        async with H2Client(gateway.port) as client:
            await client.until(lambda: client.h2.remote_settings.max_concurrent_streams == 100, "the bound")
            client.h2.ping(b"12345678")  # answered after the settings were acknowledged
            await client.flush()
            await client.until(lambda: client.pings == 1, "the ping's answer")
            with mock.patch.object(type(client.h2), "open_outbound_streams", 0):  # python3-h2 keeps to the bound
                streams = [await client.begin("GET", f"/{i}") for i in range(130)]
            await client.until(lambda: sum(client.answers[s].reset is not None for s in streams) >= 30, "refusals")
            gate.set()
            answers = [await client.answer(stream) for stream in streams]
            assert [a.body for a in answers[:100]] == [b"served"] * 100
            assert [a.reset for a in answers[100:]] == [7] * 30, [a.reset for a in answers]  # REFUSED_STREAM
            assert (await client.request("GET", "/after")).body == b"served"
            assert len(backend.requests) == 101 and client.goaway is None


async def trailers_pass_both_ways(gateway):
    async def handler(request, reader, writer):
        size = int((await reader.readline()).strip(), 16)
        body = await reader.readexactly(size + 2)
        rest = [await reader.readline() for _ in range(3)]  # the last chunk, the trailer, the end
        seen.append((body[:-2], rest[1]))
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                     b"2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n")
        await writer.drain()

    seen = []
    async with Backend(handler, reads_body=False) as backend:
        await gateway.route_to(backend.address)
        async with H2Client(gateway.port) as client:
            stream = await client.begin("POST", "/", end=False)
            await client.send_body(stream, b"hello", end=False)
            client.h2.send_headers(stream, [("x-check", "7")], end_stream=True)
            await client.flush()
            answer = await client.answer(stream)
            assert answer.body == b"ok" and answer.trailers == [("x-sum", "42")], answer.trailers
            assert seen == [(b"hello", b"x-check: 7\r\n")], seen


if __name__ == "__main__":
    main([requests_are_answered_side_by_side, bodies_of_all_sizes_pass_both_ways, tls_chooses_http2_and_curl_speaks_it,
          h2load_finds_no_failure, a_slow_reader_holds_only_its_own_stream, a_slow_upstream_stops_the_upload,
          a_held_stream_stays_open_and_a_reset_one_is_never_sent, a_client_that_goes_leaves_the_queue,
          draining_says_goaway_at_once_and_finishes_what_is_inside, a_broken_answer_resets_its_stream_only,
          heads_become_one_clean_request, interim_answers_and_expectations_pass, a_websocket_announces_no_body, a_websocket_lives_on_a_stream,
          exactly_the_streams_beyond_the_bound_are_refused, trailers_pass_both_ways])
