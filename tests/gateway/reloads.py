"""Snapshots change under load: listeners, routes and backends come and go, and no connection notices."""
import asyncio

from harness import Backend, free_port, main, snapshot

RELOADS = 300
ROUTES = [{"id": "all", "methods": [], "path": "/*", "to": "work"},
          {"id": "ws", "methods": [], "path": "/ws", "to": "ws"}]


async def echo_socket(request, reader, writer):
    if request.field("upgrade") is None:
        await Backend.answer(writer, request.body)
        return True
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()
    return False


async def load(gateway, counts, running):
    while running[0]:
        async with gateway.client() as client:
            for _ in range(10):
                response = await client.request("POST", "/work", b"x" * 3000)
                assert response is not None and response.status == 200, response and response.status
                assert response.body == b"x" * 3000
                counts[0] += 1


async def three_hundred_reloads_touch_no_connection(gateway):
    async with Backend(echo_socket) as one, Backend(echo_socket) as two:
        await gateway.route_to(one.address)
        running, counts = [True], [0]
        clients = [asyncio.create_task(load(gateway, counts, running)) for _ in range(8)]
        async with gateway.client() as socket:
            await socket.send(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            assert (await socket.response()).status == 101
            for number in range(RELOADS):
                work = [(one.address,), (two.address,), (one.address, two.address)][number % 3]
                gateway.epoch += 1
                await gateway.verb("snapshot.put", snapshot=snapshot(
                    gateway.port, {"work": work, "ws": (one.address,)}, gateway.epoch, routes=ROUTES))
                await socket.send(b"ping")
                assert await socket.reader.readexactly(4) == b"ping"
        running[0] = False
        await asyncio.gather(*clients)
        assert counts[0] > RELOADS / 10, counts
        assert len(one.requests) + len(two.requests) == counts[0] + 1, "each request reached one backend, once"


async def listeners_come_and_go(gateway):
    async with Backend() as backend:
        other = free_port()
        first = snapshot(gateway.port, {"b": [backend.address]}, 1)
        await gateway.verb("snapshot.put", snapshot=first)
        async with gateway.client() as client:
            assert (await client.request()).status == 200
            both = first | {"epoch": 2, "listen": [*first["listen"], f"127.0.0.1:{other}"]}
            await gateway.verb("snapshot.put", snapshot=both)
            port, gateway.port = gateway.port, other
            assert (await gateway.get()).status == 200
            await gateway.verb("snapshot.put", snapshot=both | {"epoch": 3, "listen": [f"127.0.0.1:{other}"]})
            assert (await client.request()).status == 200, "a connection outlives its listener"
            gateway.port = port
            try:
                await gateway.get()
            except OSError:
                return
            raise AssertionError("the removed listener still accepts")


async def an_address_in_use_changes_nothing(gateway):
    async with Backend() as backend:
        taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = taken.sockets[0].getsockname()[1]
        first = snapshot(gateway.port, {"b": [backend.address]}, 1)
        await gateway.verb("snapshot.put", snapshot=first)
        try:
            await gateway.verb("snapshot.put", snapshot=first | {
                "epoch": 2, "listen": [*first["listen"], f"127.0.0.1:{port}"]})
        except Exception as error:
            assert "in use" in str(error), error
        else:
            raise AssertionError("took an address that is in use")
        taken.close()
        assert (await gateway.status())["epoch"] == 1
        assert (await gateway.get()).status == 200


if __name__ == "__main__":
    main([three_hundred_reloads_touch_no_connection, listeners_come_and_go, an_address_in_use_changes_nothing])
