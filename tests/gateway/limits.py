"""Clients that are slow, many, or too fast are bounded, and everybody else is served meanwhile."""
import asyncio
import contextlib
import pathlib

from harness import Backend, main, until

GIB = 1 << 30


def resident(gateway):
    status = pathlib.Path(f"/proc/{gateway.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) * 1024


async def large(request, reader, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    with contextlib.suppress(OSError):
        for _ in range(1 << 14):
            writer.write(b"x" * 65536)
            await writer.drain()
    return False


async def closed(client):
    """The rest of what it receives, until the end; a reset is an end too."""
    with contextlib.suppress(OSError):
        return await client.reader.read()
    return b""


async def a_head_has_a_deadline(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address, limits={"head_ms": 200})
        async with gateway.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-")
            assert (await client.response()).status == 408
        assert not backend.requests


async def a_body_has_a_least_rate(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address, limits={"body_grace_ms": 200, "body_rate": 10_000_000})
        async with gateway.client() as client:
            await client.send(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx")
            assert (await client.response()).status == 408
        body = b"x" * 5_000_000
        async with gateway.client() as client:
            assert (await client.request("POST", "/fast", body)).body == body


async def a_slow_reader_is_cut_off_and_costs_no_memory(gateway):
    async with Backend(large) as backend, Backend(name="other") as other:
        gateway.epoch += 1
        await gateway.verb("snapshot.put", snapshot={
            "epoch": gateway.epoch, "listen": [f"127.0.0.1:{gateway.port}"],
            "backends": {"large": {"endpoints": [{"address": backend.address}]},
                         "other": {"endpoints": [{"address": other.address}]}},
            "routes": [{"id": "large", "path": "/large", "to": "large"}, {"id": "other", "path": "/*", "to": "other"}],
            "limits": {"body_idle_ms": 500}})
        before = resident(gateway)
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(40):
                client = await stack.enter_async_context(gateway.client())
                await client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
                client.reader._transport.pause_reading()  # reads nothing any more
            for _ in range(50):
                assert (await gateway.get("/")).status == 200
            assert resident(gateway) - before < 128 << 20, resident(gateway) - before
            await until(lambda: _connections(gateway, 0), "the slow readers to be cut off")


async def _connections(gateway, most):
    return (await gateway.status())["connections"] <= most


async def one_client_has_so_many_connections(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address, limits={"client_connections": 3})
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(gateway.client()) for _ in range(3)]
            for client in clients:
                assert (await client.request()).status == 200
            async with gateway.client() as extra:
                await extra.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert await closed(extra) == b""
        async def served():
            with contextlib.suppress(OSError, AttributeError):
                return (await gateway.get("/")).status == 200
        await until(served, "room again")
        assert "too many connections of one client" in (await gateway.verb("metrics"))["text"]


async def one_client_has_a_rate(gateway):
    async with Backend() as backend:
        routes = [{"id": "all", "path": "/*", "to": "b",
                   "limits": {"rate": {"per_second": 1, "burst": 3, "by": "header", "name": "x-user"}}},
                  {"id": "free", "path": "/free", "to": "b"}]
        await gateway.route_to(backend.address, routes=routes)
        async with gateway.client() as client:
            answers = [await client.request(fields=["X-User: fast"]) for _ in range(10)]
            limited = [a for a in answers if a.status == 429]
            assert len(limited) >= 6 and answers[2].status == 200, [a.status for a in answers]
            assert int(limited[0].field("retry-after")) >= 1
            assert (await client.request(fields=["X-User: other"])).status == 200, "another client"
            for _ in range(10):
                assert (await client.request(target="/free", fields=["X-User: fast"])).status == 200
        await gateway.route_to(backend.address, limits={"client_requests_per_s": 1, "client_burst": 2})
        async with gateway.client() as client:
            statuses = [(await client.request()).status for _ in range(6)]
        assert statuses[:2] == [200, 200] and statuses.count(429) >= 3, statuses


async def heads_have_so_many_fields(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address, limits={"fields": 10})
        assert (await gateway.get("/", fields=[f"X-{i}: 1" for i in range(20)])).status == 431
        assert (await gateway.get("/", fields=[f"X-{i}: 1" for i in range(5)])).status == 200


async def a_route_has_its_own_largest_body(gateway):
    async with Backend() as backend:
        routes = [{"id": "small", "path": "/small", "to": "b", "limits": {"body_bytes": 100}},
                  {"id": "all", "path": "/*", "to": "b"}]
        await gateway.route_to(backend.address, routes=routes)
        async with gateway.client() as client:
            assert (await client.request("POST", "/small", b"x" * 101)).status == 413
        async with gateway.client() as client:
            assert (await client.request("POST", "/large", b"x" * 101)).status == 200


async def a_flood_of_slow_clients_leaves_others_served(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address, limits={"head_ms": 20_000, "body_grace_ms": 20_000})
        before = resident(gateway)
        async with contextlib.AsyncExitStack() as stack:
            for i in range(400):
                client = await stack.enter_async_context(gateway.client())
                if i % 2:
                    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 30_000)
                else:
                    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"z" * 1000)
            for i in range(100):
                response = await gateway.get(f"/{i}")
                assert response.status == 200, response.status
            grown = resident(gateway) - before
            assert grown < 400 * 128 * 1024, grown


main([a_head_has_a_deadline, a_body_has_a_least_rate, a_slow_reader_is_cut_off_and_costs_no_memory,
      one_client_has_so_many_connections, one_client_has_a_rate, heads_have_so_many_fields,
      a_route_has_its_own_largest_body, a_flood_of_slow_clients_leaves_others_served])
