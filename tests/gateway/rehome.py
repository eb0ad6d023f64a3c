"""WebSockets and event streams whose route leads elsewhere are ended politely and spread; the others never notice."""
import asyncio
import contextlib
import json
import os
import re

import aiohttp
from aiohttp import web

from h2client import H2Client
from harness import Backend, RpcError, main, snapshot, until
from never_drop import ended, upgrade

SOCKETS, EVENTS = 24, 6
UPGRADE = b"GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Live:
    """A server of WebSockets (which say who they are) and of event streams."""

    def __init__(self, name):
        self.name, self.codes, self.open = name, [], 0

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/{rest:.*}", self.serve)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0, shutdown_timeout=0.1)
        await site.start()
        self.address = "127.0.0.1:%d" % self.runner.addresses[0][1]
        return self

    async def __aexit__(self, *_):
        await self.runner.cleanup()

    async def serve(self, request):
        self.open += 1
        try:
            if "upgrade" in request.headers.get("connection", "").lower():
                return await self.talk(request)
            return await self.tell(request)
        finally:
            self.open -= 1

    async def talk(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{self.name} {message.data}")
        self.codes.append(socket.close_code)
        return socket

    async def tell(self, request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(f"data: {self.name}\n\n".encode())
                await asyncio.sleep(0.02)
        return response


def published(gateway, epoch, live, stay, **more):
    """Route /live leads to `live`, /stay to `stay`."""
    out = snapshot(gateway.port, {"live": (live.address,), "stay": (stay.address,)}, epoch,
                   routes=[{"id": name, "methods": [], "path": f"/{name}/*", "to": name} for name in ("live", "stay")],
                   access_log=os.path.join(gateway.directory, "access.log"))
    return out | {"rehome": {"after": 50, "window": 1500}} | more


async def one_socket(session, base, path, closed):
    """Talks until it is closed; returns its code and who answers after connecting again."""
    codes, who = [], []
    for _ in range(2):
        async with session.ws_connect(base + path, autoping=True) as socket:
            await socket.send_str("hello")
            who.append((await socket.receive_str()).split()[0])
            if codes:
                break
            while (message := await socket.receive()).type == aiohttp.WSMsgType.TEXT:
                pass
            codes.append(socket.close_code)
            closed.append(path)
    return codes, who


async def one_event_stream(session, base, path, closed):
    who = []
    for _ in range(2):
        async with session.get(base + path) as response:
            data = b""
            async for piece in response.content.iter_any():  # raises when it is cut off
                data += piece
                if who and data.endswith(b"\n\n"):
                    break
            else:
                assert data.endswith(b"\n\n"), data[-30:]
                closed.append(path)
            who.append(re.match(rb"data: (\w+)\n", data)[1].decode())
    return who


def log_lines(gateway):
    with open(os.path.join(gateway.directory, "access.log")) as log:
        return [json.loads(line) for line in log]


async def streams_follow_their_route_and_the_others_stay(gateway):
    base = f"http://127.0.0.1:{gateway.port}"
    async with Live("old") as old, Live("new") as new, aiohttp.ClientSession() as session:
        await gateway.verb("snapshot.put", snapshot=published(gateway, 1, old, old))
        closed = []
        sockets = [asyncio.create_task(one_socket(session, base, "/live/ws", closed)) for _ in range(SOCKETS)]
        events = [asyncio.create_task(one_event_stream(session, base, "/live/events", closed)) for _ in range(EVENTS)]
        staying = [asyncio.create_task(one_socket(session, base, "/stay/ws", closed)) for _ in range(4)]
        staying += [asyncio.create_task(one_event_stream(session, base, "/stay/events", closed)) for _ in range(2)]

        async def all_open():
            return old.open == SOCKETS + EVENTS + len(staying)
        await until(all_open, "the streams")
        await gateway.verb("snapshot.put", snapshot=published(gateway, 2, new, old))
        for codes, who in await asyncio.gather(*sockets):
            assert codes == [1012] and who == ["old", "new"], (codes, who)
        for who in await asyncio.gather(*events):
            assert who == ["old", "new"], who
        assert len(closed) == SOCKETS + EVENTS and set(closed) == {"/live/ws", "/live/events"}, closed
        assert not any(task.done() for task in staying)

        async def told():
            return len(old.codes) == SOCKETS
        await until(told, "a Close for every socket of the old side")
        assert set(old.codes) == {1000}, old.codes  # what aiohttp answers a Close with
        status = await gateway.status()
        assert status["rehomed"] == SOCKETS + EVENTS, status
        text = (await gateway.verb("metrics"))["text"]
        assert f"banyan_gateway_rehomed_total {SOCKETS + EVENTS}\n" in text

        async def logged():
            return sum("leads now" in line.get("reason", "") for line in log_lines(gateway)) == SOCKETS + EVENTS
        await until(logged, "their lines in the access log")
        moments = {line["ts"] for line in log_lines(gateway) if "leads now" in line.get("reason", "")}
        assert len(moments) > (SOCKETS + EVENTS) / 2, f"closed at only {len(moments)} moments: {sorted(moments)}"
        for task in staying:
            task.cancel()
        await asyncio.gather(*staying, return_exceptions=True)


async def a_socket_over_http2_hears_the_close(gateway):
    async with Live("old") as old, Live("new") as new, contextlib.AsyncExitStack() as stack:
        await gateway.verb("snapshot.put", snapshot=published(gateway, 1, old, old))
        client = await stack.enter_async_context(H2Client(gateway.port))
        stream = await client.begin_websocket("/live/ws")
        await client.until(lambda: client.answers[stream].status == 200, "the answer")
        await gateway.verb("snapshot.put", snapshot=published(gateway, 2, new, old, rehome={
            "after": 0, "window": 0, "close_code": 1001}))
        answer = client.answers[stream]
        await client.until(lambda: answer.body == b"\x88\x02\x03\xe9", "the Close")
        await client.send_body(stream, b"\x88\x82\0\0\0\0\x03\xe9", end=False)
        await client.until(lambda: answer.ended, "the end of the stream")
        assert answer.body == b"\x88\x02\x03\xe9"

        async def told():
            return old.codes == [1001]
        await until(told, "the client's Close at the backend")


async def raw_pair(gateway, heard):
    """A raw socket through the gateway; returns the client and what writes as the backend."""
    inside = asyncio.Queue()

    async def handler(request, reader, writer):
        writer.write(SWITCHED)
        await inside.put(writer)
        while data := await reader.read(1000):
            heard.append(data)
        heard.append(b"end")
        return False
    backend = await Backend(handler).__aenter__()
    await gateway.route_to(backend.address)
    client = await gateway.client().__aenter__()
    await client.send(UPGRADE)
    assert (await client.response()).status == 101
    return client, backend, await inside.get()


async def leave(gateway, other):
    gateway.epoch += 1
    moved = snapshot(gateway.port, {"b": (other,)}, gateway.epoch) | {"rehome": {"after": 0, "window": 0}}
    await gateway.verb("snapshot.put", snapshot=moved)


async def a_close_waits_for_the_end_of_a_frame(gateway):
    heard = []
    client, backend, writer = await raw_pair(gateway, heard)
    writer.write(b"\x81\x05hel")
    assert await client.reader.readexactly(5) == b"\x81\x05hel"
    await leave(gateway, "127.0.0.1:1")

    async def told():
        return (await gateway.status())["rehomed"] == 1
    await until(told, "the stream to be told")
    await client.send(b"\x81\x81\0\0\0\0x")  # still arrives
    writer.write(b"lo\x81\x04lost")
    assert await client.reader.readexactly(6) == b"lo\x88\x02\x03\xf4"
    await client.send(b"\x88\x80\0\0\0\0")
    assert await client.reader.read() == b""
    client.writer.close()

    async def over():
        return heard and heard[-1] == b"end"
    await until(over, "the end at the backend")
    assert b"".join(heard) == b"\x81\x81\0\0\0\0x\x88\x80\0\0\0\0end", heard
    await backend.__aexit__()


async def a_client_that_does_not_answer_is_left(gateway):
    heard = []
    client, backend, writer = await raw_pair(gateway, heard)
    await leave(gateway, "127.0.0.1:1")
    assert await client.reader.readexactly(4) == b"\x88\x02\x03\xf4"

    async def over():
        return heard and heard[-1] == b"end"
    await until(over, "the end at the backend")
    frame = b"".join(heard)[:-3]
    assert frame[:2] == b"\x88\x82" and bytes(a ^ b for a, b in zip(frame[6:], frame[2:6])) == b"\x03\xe9", frame
    assert await client.reader.read() == b""
    client.writer.close()
    await backend.__aexit__()


async def an_endpoint_that_drains_loses_its_streams_within_the_time(gateway):
    base = f"http://127.0.0.1:{gateway.port}"
    async with Live("one") as one, Live("two") as two, aiohttp.ClientSession() as session:
        both = published(gateway, 1, one, one, rehome={"window": 600_000})
        both["backends"]["live"]["endpoints"].append({"address": two.address, "zone": ""})
        await gateway.verb("snapshot.put", snapshot=both)
        closed = []
        tasks = [asyncio.create_task(one_socket(session, base, "/live/ws", closed)) for _ in range(6)]
        tasks += [asyncio.create_task(one_socket(session, base, "/stay/ws", closed)) for _ in range(2)]

        async def all_open():
            return one.open + two.open == len(tasks)
        await until(all_open, "the sockets")
        there = one.open - 2
        drained = await gateway.verb("endpoint.drain", backend="live", address=one.address, timeout_ms=8_000)
        assert drained["drained"], drained

        async def again():
            return one.open == 2 and two.open + sum(task.done() for task in tasks) == len(tasks) - 2
        await until(again, "the sockets to be back")
        assert len(closed) == there, (closed, there)
        assert all(task.result() == ([1012], ["one", "two"]) for task in tasks if task.done())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def a_retired_gateway_says_close_at_its_bound(gateway):
    base = f"http://127.0.0.1:{gateway.port}"
    async with Live("old") as old, aiohttp.ClientSession() as session:
        await gateway.verb("snapshot.put", snapshot=published(gateway, 1, old, old, limits={"retire_ms": 500}))
        task = asyncio.create_task(one_socket(session, base, "/live/ws", []))

        async def is_open():
            return old.open == 1
        await until(is_open, "the socket")
        former = await upgrade(gateway)
        assert await task == ([1012], ["old", "old"])
        await ended(former)


async def never_means_never(gateway):
    async with Live("old") as old, Live("new") as new, aiohttp.ClientSession() as session:
        stays = {"mode": "never", "after": 0, "window": 0}
        await gateway.verb("snapshot.put", snapshot=published(gateway, 1, old, old, rehome=stays))
        async with session.ws_connect(f"http://127.0.0.1:{gateway.port}/live/ws") as socket:
            await gateway.verb("snapshot.put", snapshot=published(gateway, 2, new, old, rehome=stays))
            await socket.send_str("still")
            assert await socket.receive_str() == "old still"
            assert (await gateway.status())["rehomed"] == 0
        try:
            await gateway.verb("snapshot.put", snapshot=published(gateway, 3, new, old, rehome={"close_code": 1002}))
            raise AssertionError("a protocol error is no reason to connect again")
        except RpcError as error:
            assert "close_code" in str(error), error


if __name__ == "__main__":
    main([streams_follow_their_route_and_the_others_stay, a_socket_over_http2_hears_the_close,
          a_close_waits_for_the_end_of_a_frame, a_client_that_does_not_answer_is_left,
          an_endpoint_that_drains_loses_its_streams_within_the_time, a_retired_gateway_says_close_at_its_bound,
          never_means_never])
