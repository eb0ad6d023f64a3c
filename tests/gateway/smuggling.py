"""Every input of the fuzz corpora, over a real socket: what the upstream takes for a request is exactly what
the gateway forwarded, once, and nothing more."""
import asyncio
import contextlib
import pathlib

from harness import Backend, main

CORPUS = pathlib.Path(__file__).parents[1] / "fuzz"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"


async def exchange(gateway, data):
    """Sends `data`, ends the sending side, and returns the statuses of all responses."""
    statuses = []
    async with gateway.client() as client:
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
            await client.send(data)
            client.writer.write_eof()
            while response := await client.response():
                statuses.append(response.status)
    return statuses


def check(name, backend, statuses):
    """Answered by the upstream = seen by the upstream, and each was written by the gateway."""
    for request in backend.requests:
        assert request.all("via") == ["1.1 banyan"], (name, "reached the upstream unwritten", request.fields)
        assert len(request.all("host")) == 1, (name, request.fields)
        assert len(request.all("content-length")) + len(request.all("transfer-encoding")) <= 1, (name, request.fields)
        assert not any("_" in field for field, _ in request.fields), (name, request.fields)
    assert len(backend.requests) == statuses.count(200), (name, len(backend.requests), statuses)


async def heads(gateway):
    refused = 0
    async with Backend() as backend:
        await gateway.route_to(backend.address, limits={"head_ms": 2000, "body_idle_ms": 2000})
        for path in sorted((CORPUS / "http1_parser_fuzz").iterdir()):
            backend.requests.clear()
            statuses = await exchange(gateway, path.read_bytes())
            check(path.name, backend, statuses)
            assert len(statuses) <= 1 or statuses[-1] >= 400, (path.name, statuses)
            refused += statuses[:1] != [200]
    assert refused >= 60, refused


async def heads_followed_by_a_second_request(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address, limits={"head_ms": 2000, "body_idle_ms": 2000})
        for path in sorted((CORPUS / "http1_parser_fuzz").iterdir()):
            backend.requests.clear()
            check(path.name, backend, await exchange(gateway, path.read_bytes() + SMUGGLED))


async def chunked_bodies(gateway):
    head = b"POST /a HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with Backend() as backend:
        await gateway.route_to(backend.address, limits={"head_ms": 2000, "body_idle_ms": 2000})
        for path in sorted((CORPUS / "chunked_fuzz").iterdir()):
            for tail in (b"", SMUGGLED):
                backend.requests.clear()
                statuses = await exchange(gateway, head + path.read_bytes() + tail)
                assert all(len(r.all("via")) == 1 for r in backend.requests), path.name
                complete = [r for r in backend.requests if r.body or r.target == "/smuggled"]
                assert len(complete) <= 2 and statuses.count(200) <= 2, (path.name, statuses)


async def an_ambiguous_response_is_a_502(gateway):
    bad = [b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
           b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", b"Content-Length: 3, 4\r\n\r\nabc",
           b"Transfer-Encoding: gzip\r\n\r\nabc", b"X : y\r\n\r\n", b"X: a\r\n b\r\n\r\n", b"X: a\nY: b\r\n\r\n"]
    async def answer(request, reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n" + bad[int(request.target[1:])])
        await writer.drain()
        return False
    async with Backend(answer) as backend:
        await gateway.route_to(backend.address)
        for i in range(len(bad)):
            assert (await gateway.get(f"/{i}")).status == 502, bad[i]


async def bytes_behind_a_response_never_reach_another_client(gateway):
    async def answer(request, reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                     b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        await writer.drain()
    async with Backend(answer) as backend:
        await gateway.route_to(backend.address)
        for _ in range(20):
            assert (await gateway.get()).body == b"ok"


async def bytes_sent_before_an_upgrade_is_accepted_stay_this_clients(gateway):
    async with Backend() as backend:  # answers 200: the upgrade is refused
        await gateway.route_to(backend.address)
        statuses = await exchange(gateway, b"GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\n"
                                           b"Upgrade: websocket\r\n\r\n" + SMUGGLED)
        check("upgrade", backend, statuses)


async def a_switch_nobody_asked_for_is_a_502(gateway):
    async def switch(request, reader, writer):
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        await writer.drain()
        request.tunnelled = await reader.read(100)
        return False
    async with Backend(switch) as backend:
        await gateway.route_to(backend.address)
        async with gateway.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
            assert (await client.response()).status == 502


if __name__ == "__main__":
    main([heads, heads_followed_by_a_second_request, chunked_bodies, an_ambiguous_response_is_a_502,
          bytes_behind_a_response_never_reach_another_client,
          bytes_sent_before_an_upgrade_is_accepted_stay_this_clients, a_switch_nobody_asked_for_is_a_502])
