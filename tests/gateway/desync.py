"""Requests that two servers may read differently: what each mode does with each class."""
import asyncio
import json
import pathlib
import tempfile

from harness import Backend, main, snapshot, until

GET = b"GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n"
BOTH = (b"POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\n\r\n")
BODY = b"GET /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"
TWICE = b"POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"
UNDERSCORE = b"POST /a HTTP/1.1\r\nHost: a.example\r\nContent_Length: 5\r\n\r\n"
PADDED = b"POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 005\r\n\r\nhello"
PLAIN = b"POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello"
SEVERE = b"POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"


async def publish(gateway, backend, mode, **more):
    gateway.epoch += 1
    await gateway.verb("snapshot.put", snapshot=snapshot(gateway.port, {"b": [backend.address]}, gateway.epoch,
                                                         **more) | {"desync": mode})


async def converse(gateway, *requests):
    """The statuses of the answers on one connection, each request sent after the answer before it."""
    statuses = []
    async with gateway.client() as client:
        for request in requests:
            try:
                await client.send(request)
                response = await client.response()
            except OSError:
                response = None
            if response is None:
                break
            statuses.append(response.status)
    return statuses


async def monitor_forwards_and_reuses(gateway):
    async with Backend() as backend:
        await publish(gateway, backend, "monitor")
        for request in (BODY, TWICE, UNDERSCORE, PADDED):
            assert await converse(gateway, request, GET) == [200, 200], request
        assert backend.connections <= 2, backend.connections  # one of each worker
        # RFC 9112, 6.3: closed in any mode.
        assert await converse(gateway, BOTH, GET) == [200]
        assert [len(r.all("content-length")) + len(r.all("transfer-encoding")) for r in backend.requests
                if r.target == "/a"] == [1, 1, 0, 1, 1]
        assert await converse(gateway, SEVERE, GET) == [400]


async def defensive_uses_both_connections_once(gateway):
    async with Backend() as backend:
        await publish(gateway, backend, "defensive")
        for number, request in enumerate((BODY, TWICE, UNDERSCORE, BOTH), start=1):
            assert await converse(gateway, request, GET) == [200], request
            assert backend.connections == number
            assert backend.requests[-1].field("connection") == "close"
        for request in (PADDED, PLAIN):
            assert await converse(gateway, request, GET) == [200, 200], request
        assert await converse(gateway, SEVERE, GET) == [400]
        assert {len(r.all("content-length")) + len(r.all("transfer-encoding")) for r in backend.requests} == {0, 1}


async def strictest_passes_only_what_is_compliant(gateway):
    async with Backend() as backend:
        await publish(gateway, backend, "strictest")
        for request in (BODY, TWICE, UNDERSCORE, BOTH, PADDED, SEVERE):
            assert await converse(gateway, request, GET) == [400], request
        assert not backend.requests
        assert await converse(gateway, PLAIN, GET) == [200, 200]


async def a_route_has_a_mode_of_its_own(gateway):
    async with Backend() as backend:
        routes = [{"id": "old", "methods": [], "path": "/a", "to": "b", "desync": "monitor"},
                  {"id": "all", "methods": [], "path": "/*", "to": "b"}]
        await publish(gateway, backend, "strictest", routes=routes)
        assert await converse(gateway, BODY, GET) == [200, 200]
        assert await converse(gateway, BODY.replace(b"/a", b"/b"), GET) == [400]


async def the_class_is_logged_and_counted(gateway):
    with tempfile.TemporaryDirectory(prefix="banyan-desync-") as folder:
        log = pathlib.Path(folder) / "access.log"
        async with Backend() as backend:
            await publish(gateway, backend, "defensive", access_log=str(log))
            for request in (PLAIN, PADDED, BODY, SEVERE):
                await converse(gateway, request)
            async def written():
                return log.exists() and len(log.read_text().splitlines()) == 4
            await until(written, "the access log")
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        shapes = {line.get("desync"): (line["status"], line.get("desync_shape")) for line in lines}
        assert shapes == {None: (200, None), "acceptable": (200, "content-length with leading zeros"),
                          "ambiguous": (200, "body of a method that has none"),
                          "severe": (400, "content-lengths differ")}, lines
        text = (await gateway.verb("metrics"))["text"]
        for name in ("compliant", "acceptable", "ambiguous", "severe"):
            assert f'banyan_gateway_desync_total{{class="{name}"}} 1' in text, text


EXTENDED = (b"POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5;a=b\r\nhello\r\n3;x=\"1;2\"\r\n;;;\r\n0;end\r\nSum: 1;2\r\n\r\n")
BARE = b"5\r\nhello\r\n3\r\n;;;\r\n0\r\nSum: 1;2\r\n\r\n"


async def extensions_of_chunks_end_at_the_gateway(gateway):
    bodies = []
    async def answer(request, reader, writer):
        if request.method == "POST":
            bodies.append(await reader.readuntil(b"Sum: 1;2\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + EXTENDED.partition(b"\r\n\r\n")[2])
        await writer.drain()

    async def exchange(*pieces):
        async with gateway.client() as client:
            for piece in pieces:
                await client.send(piece)
                await asyncio.sleep(0.02)  # so that they arrive one by one; nothing depends on it
            head = (await client.reader.readuntil(b"\r\n\r\n")).decode()
            return head.split()[1], await client.reader.readuntil(b"\r\n\r\n") if " 200 " in head else b""

    head = EXTENDED.index(b"5;a=b")
    cuts = [(EXTENDED,), (EXTENDED[:head], EXTENDED[head:]), (EXTENDED[:head + 3], EXTENDED[head + 3:]),
            (EXTENDED[:head + 2], EXTENDED[head + 2:head + 4], EXTENDED[head + 4:])]
    async with Backend(answer, reads_body=False) as backend:
        for mode in ("monitor", "defensive"):
            await publish(gateway, backend, mode)
            for pieces in cuts:
                assert await exchange(*pieces) == ("200", BARE), (mode, pieces)
        assert set(bodies) == {BARE} and len(bodies) == 8, bodies
        text = (await gateway.verb("metrics"))["text"]
        assert 'banyan_gateway_desync_total{class="acceptable"} 8' in text, text
        await publish(gateway, backend, "strictest")
        for pieces in cuts:
            assert (await exchange(*pieces))[0] == "400", pieces
        assert len(bodies) == 8, bodies
        assert await exchange(GET) == ("200", BARE)


async def an_upgrade_to_http2_is_ignored(gateway):
    async with Backend() as backend:
        await publish(gateway, backend, "defensive")
        upgrade = (b"GET /a HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                   b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n")
        assert await converse(gateway, upgrade, GET) == [200, 200]
        seen = backend.requests[0]
        assert not seen.all("upgrade") and not seen.all("connection") and not seen.all("http2-settings"), seen.fields


if __name__ == "__main__":
    main([monitor_forwards_and_reuses, defensive_uses_both_connections_once, strictest_passes_only_what_is_compliant,
          a_route_has_a_mode_of_its_own, the_class_is_logged_and_counted,
          extensions_of_chunks_end_at_the_gateway, an_upgrade_to_http2_is_ignored])
