"""Hostile HTTP/2 peers: each is stopped, and other clients are served meanwhile."""
import asyncio
import struct

from h2client import H2Client
from harness import Backend, main, until

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET = b"\x82\x86\x84\x41\x01a"  # :method GET, :scheme http, :path /, :authority a
SETTINGS, PING, GOAWAY, CALM = 4, 6, 7, 11
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def get(stream, flags=END_STREAM | END_HEADERS):
    return frame(1, flags, stream, GET)


class Peer:
    """Sends bytes; the error of the GOAWAY that comes back, or None when the connection just ends."""

    def __init__(self, gateway):
        self.port = gateway.port

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(PREFACE + frame(SETTINGS))
        return self

    async def __aexit__(self, *_):
        self.writer.transport.abort()

    async def frames(self):
        try:
            while True:
                head = await asyncio.wait_for(self.reader.readexactly(9), 60)
                size, kind, flags, stream = int.from_bytes(head[:3]), head[3], head[4], int.from_bytes(head[5:])
                yield kind, flags, stream, await self.reader.readexactly(size)
        except (OSError, asyncio.IncompleteReadError):
            return

    async def error(self):
        async for kind, _, _, payload in self.frames():
            if kind == GOAWAY and int.from_bytes(payload[4:8]) != 0:
                return int.from_bytes(payload[4:8])
        return None

    async def send_until_stopped(self, pieces):
        """Sends `pieces` while reading, until the gateway has had enough: (error, pieces sent)."""
        reading, sent = asyncio.create_task(self.error()), 0
        try:
            for piece in pieces:
                self.writer.write(piece)
                sent += 1
                if sent % 50 == 0:
                    await self.writer.drain()
                    await asyncio.sleep(0)
                if reading.done() or self.writer.transport.is_closing():
                    break
        except OSError:
            pass
        return await reading, sent


async def error_of(gateway, *data):
    async with Peer(gateway) as peer:
        peer.writer.write(b"".join(data))
        return await peer.error()


async def the_letter_of_the_rfc_is_kept(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        window = struct.pack(">I", 0x7FFFFFFF)
        cases = {  # name: (frames, codes that RFC 9113 allows)
            "smaller stream id": ([get(5), get(3)], {1}),
            "even stream id": ([get(2)], {1}),
            "data on an idle stream": ([frame(0, 0, 9, b"x")], {1}),
            "data on stream 0": ([frame(0, 0, 0, b"x")], {1}),
            "headers on stream 0": ([frame(1, 5, 0, GET)], {1}),
            "reset of an idle stream": ([frame(3, 0, 7, b"\0\0\0\x08")], {1}),
            "window update of an idle stream": ([frame(8, 0, 7, b"\0\0\0\x08")], {1}),
            "continuation without headers": ([frame(9, 4, 1, GET)], {1}),
            "another frame inside a head": ([frame(1, 1, 1, GET), frame(PING, 0, 0, b"x" * 8)], {1}),
            "ping of 7 bytes": ([frame(PING, 0, 0, b"x" * 7)], {6}),
            "ping on a stream": ([frame(PING, 0, 1, b"x" * 8)], {1}),
            "settings on a stream": ([frame(SETTINGS, 0, 1)], {1}),
            "settings of 5 bytes": ([frame(SETTINGS, 0, 0, b"x" * 5)], {6}),
            "settings ack with a payload": ([frame(SETTINGS, 1, 0, b"x" * 6)], {6}),
            "window too large in settings": ([frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31))], {3}),
            "frame size too small in settings": ([frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 100))], {1}),
            "frame too large": ([frame(0, 0, 1, b"x" * 20_000)], {6}),
            "window overflow": ([frame(8, 0, 0, window), frame(8, 0, 0, window)], {3}),
            "push promise from a client": ([frame(5, 4, 1, b"\0\0\0\x02" + GET)], {1}),
            "padding longer than the frame": ([get(1, END_HEADERS), frame(0, 8, 1, b"\xffx")], {1}),
            "hpack index 0": ([frame(1, 5, 1, b"\x80")], {9}),
            "hpack index unknown": ([frame(1, 5, 1, b"\xff\xff\x7f")], {9}),
            "hpack table size too large": ([frame(1, 5, 1, b"\x3f\xff\xff\x7f" + GET)], {9}),
            "hpack string cut": ([frame(1, 5, 1, b"\x40\x0ashort")], {9}),
            "increment of 0 on the connection": ([frame(8, 0, 0, b"\0\0\0\0")], {1}),
            "headers after the end": ([get(1), get(1)], {1, 5}),
            "data after the end": ([get(1), frame(0, 0, 1, b"x")], {5}),
            "priorities and unknown frames are no matter": ([frame(2, 0, 1, b"\0\0\0\0\x10"), get(1),
                                                                   frame(99, 0, 0, b"?"), frame(8, 0, 0, b"")], {6}),
        }
        for name, (frames, allowed) in cases.items():
            error = await error_of(gateway, *frames)
            assert error in allowed, (name, error)
        for bad in (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + frame(SETTINGS), b"PRI * HTTP/2.0\r\n\r\n" + b"\0" * 100):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(bad)
            answer = await asyncio.wait_for(reader.read(), 60)
            assert b"HTTP/1.1 2" not in answer, bad
            writer.close()


async def closed_streams_stay_closed(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        for late in (frame(0, 0, 1, b"x"), get(1)):
            async with Peer(gateway) as peer:
                peer.writer.write(get(1))
                async for kind, flags, stream, _ in peer.frames():
                    if kind in (0, 1) and flags & END_STREAM:
                        break
                peer.writer.write(late)
                assert await peer.error() == 5


def resets():
    for stream in range(1, 100_000, 2):
        yield get(stream) + frame(3, 0, stream, b"\0\0\0\x08")


def made_resets():
    for stream in range(1, 100_000, 2):
        yield frame(1, END_STREAM | END_HEADERS, stream, GET + b"\x0f\x0d\x015")  # 5 bytes are announced, none come


def continuations():
    yield frame(1, 0, 1, GET)
    while True:
        yield frame(9, 0, 1, b"\x40\x01a\x01b" * 100)


def endless(piece):
    while True:
        yield piece


async def floods_are_stopped_while_others_are_served(gateway):
    async def slow(request, reader, writer):
        await asyncio.sleep(0.05 if request.target == "/" else 0)
        await Backend.answer(writer, b"ok")

    async with Backend(slow) as backend:
        await gateway.route_to(backend.address)
        floods = {
            "rapid reset": resets(), "MadeYouReset": made_resets(), "CONTINUATION": continuations(),
            "PING": endless(frame(PING, 0, 0, b"x" * 8)), "SETTINGS": endless(frame(SETTINGS)),
            "PRIORITY": endless(frame(2, 0, 1, b"\0\0\0\0\x10")), "WINDOW_UPDATE": endless(frame(8, 0, 0, b"\0\0\0\x01")),
            "empty DATA": iter([get(1, END_HEADERS)] + [frame(0, 0, 1)] * 100_000), "unknown": endless(frame(77, 0, 0, b"?")),
        }
        async with H2Client(gateway.port) as other:
            for name, flood in floods.items():
                async with Peer(gateway) as peer:
                    attack = asyncio.create_task(peer.send_until_stopped(flood))
                    assert (await other.request("GET", "/other")).body == b"ok", name
                    error, _ = await attack
                    assert error in (CALM, 1, None), (name, error)  # None: its own flood drowned the GOAWAY
        text = (await gateway.verb("metrics"))["text"]
        assert "too many glitches" in text, text

        async def calm():
            return (await gateway.status())["connections"] == 0

        await until(calm, "every hostile connection to end")


async def a_compressed_bomb_is_not_unpacked(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        long_field = b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000
        assert await error_of(gateway, frame(1, 5, 1, GET + long_field + b"\xbe" * 12_000)) == CALM
        crumbs = b"\x60\x04" + b"k=v;" + b"\xbe" * 3000  # a cookie of 4 bytes, three thousand times
        assert await error_of(gateway, frame(1, 5, 1, GET + crumbs)) in (CALM, None)
        assert not backend.requests


if __name__ == "__main__":
    main([the_letter_of_the_rfc_is_kept, closed_streams_stay_closed, floods_are_stopped_while_others_are_served,
          a_compressed_bomb_is_not_unpacked])
