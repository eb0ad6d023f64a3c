"""Reloads and upgrades of the program, mixed, while new connections come and WebSockets talk: nobody notices.

BANYAN_LONG=1: 1,000 reloads and 20 upgrades instead of 100 and 4.
"""
import asyncio
import os
import subprocess

from harness import Backend, RpcError, main, snapshot, until
from reloads import echo_socket

RELOADS, UPGRADES = (1000, 20) if os.environ.get("BANYAN_LONG") else (100, 4)
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def start_successor(gateway):
    """Another process of the same role, told to take over; returns the former one."""
    former = gateway.process
    state = os.path.join(gateway.directory, "state")
    with open(gateway.log_path, "ab") as log:
        gateway.process = subprocess.Popen(
            [gateway.binary, "gateway", "--socket", gateway.socket, "--state-dir", state, "--take-over"],
            stdout=log, stderr=log, cwd=gateway.directory)
    return former


async def upgrade(gateway):
    former = await start_successor(gateway)

    async def taken():
        assert gateway.process.poll() is None, gateway.log_tail()
        try:
            return (await gateway.status())["pid"] == gateway.process.pid
        except ConnectionRefusedError:  # the former one had nothing to end; the successor's socket is not there yet
            return False
    await until(taken, "the successor")
    return former


async def ended(process):
    async def gone():
        return process.poll() is not None
    await until(gone, "the former gateway's end")
    assert process.returncode == 0


async def newcomers(gateway, counts, running):
    while running[0]:
        async with gateway.client() as client:
            response = await client.request("POST", "/work", b"x" * 500)
            assert response is not None and response.status == 200, response and response.status
            assert response.body == b"x" * 500
            counts[0] += 1


async def stayers(gateway, counts, running):
    """Keep a connection until they are told to close."""
    while running[0]:
        async with gateway.client() as client:
            last = False
            while running[0] and not last:
                response = await client.request("GET", "/work")
                assert response is not None and response.status == 200, response and response.status
                last = response.field("connection") == "close"
                counts[0] += 1
                await asyncio.sleep(0.002)


async def open_socket(gateway):
    client = await gateway.client().__aenter__()
    await client.send(b"GET /ws HTTP/1.1\r\nHost: a\r\n" + UPGRADE)
    assert (await client.response()).status == 101
    return client


async def echo(client):
    await client.send(b"ping")
    assert await client.reader.readexactly(4) == b"ping"


def routes(number, backends):
    """The WebSocket's route stays; another one changes with every reload."""
    return [{"id": "all", "methods": [], "path": "/*", "to": "work"},
            {"id": "ws", "methods": [], "path": "/ws", "to": "ws"},
            {"id": "other", "methods": [], "path": f"/other{number}", "to": backends[number % len(backends)]}]


async def reload(gateway, one, two, number):
    work = [(one.address,), (two.address,), (one.address, two.address)][number % 3]
    gateway.epoch += 1
    await gateway.verb("snapshot.put", snapshot=snapshot(
        gateway.port, {"work": work, "ws": (one.address,)}, gateway.epoch, routes=routes(number, ["work", "ws"])))


async def reloads_and_upgrades_touch_no_connection(gateway):
    async with Backend(echo_socket) as one, Backend(echo_socket) as two:
        await reload(gateway, one, two, 0)
        running, counts, former, sockets = [True], [0], [], []
        load = [asyncio.create_task(newcomers(gateway, counts, running)) for _ in range(6)]
        load += [asyncio.create_task(stayers(gateway, counts, running)) for _ in range(4)]
        for number in range(1, RELOADS + 1):
            await reload(gateway, one, two, number)
            if number % (RELOADS // UPGRADES) == 0:
                sockets.append(await open_socket(gateway))  # one lives in every process
                former.append(await upgrade(gateway))
            for socket in sockets:
                await echo(socket)
            assert not any(task.done() for task in load), [task for task in load if task.done()]
        running[0] = False
        await asyncio.gather(*load)
        assert all(process.poll() is None for process in former), "a socket's process ended before it"
        status = await gateway.status()
        assert len(status["predecessors"]) == UPGRADES, status
        assert status["streams"] == UPGRADES, status
        for socket in sockets:
            socket.writer.close()
        for process in former:
            await ended(process)
        assert counts[0] > RELOADS / 2, counts
        print(f"        {RELOADS} reloads, {UPGRADES} upgrades, {counts[0]} requests, 0 failed")


async def a_request_inside_the_former_gateway_is_inside(gateway):
    gate = asyncio.Event()

    async def slow(request, reader, writer):
        await gate.wait()
        await Backend.answer(writer, b"slow")
    async with Backend(slow) as old, Backend(name="new") as new:
        await gateway.route_to(old.address)
        inside = asyncio.create_task(gateway.get())
        await until(lambda: asyncio.sleep(0, len(old.requests) == 1), "the request inside")
        former = await upgrade(gateway)
        await gateway.verb("hold.close", epoch=2, routes=["*"], max_requests=100, max_bytes=10**6, max_ms=60_000)
        assert (await gateway.status())["in_flight"] == 1, "what the former process carries counts"
        gate.set()
        assert (await inside).body == b"slow"
        await ended(former)
        assert (await gateway.status())["in_flight"] == 0
        await gateway.route_to(new.address)
        await gateway.verb("hold.open", epoch=2)
        assert (await gateway.get()).field("x-backend") == "new"


async def no_upgrade_while_requests_are_held(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        await gateway.verb("hold.close", epoch=1, routes=["*"], max_requests=100, max_bytes=10**6, max_ms=60_000)
        former = await start_successor(gateway)
        refused, gateway.process = gateway.process, former
        assert await asyncio.to_thread(refused.wait, 60) == 1
        await gateway.verb("hold.open", epoch=1)
        assert (await gateway.get()).status == 200


async def a_successor_that_dies_changes_nothing(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        former = await start_successor(gateway)
        gateway.process.kill()  # anywhere between its start and its taking over
        gateway.process.wait()
        gateway.process = former

        async def orders_again():
            try:
                await gateway.route_to(backend.address)
                return True
            except (RpcError, OSError):
                gateway.epoch -= 1
                return False
        if (await gateway.status())["pid"] == former.pid:
            await until(orders_again, "orders to be taken")
        assert (await gateway.get()).status == 200


if __name__ == "__main__":
    main([reloads_and_upgrades_touch_no_connection, a_request_inside_the_former_gateway_is_inside,
          no_upgrade_while_requests_are_held, a_successor_that_dies_changes_nothing])
