"""HTTP/2 windows grow to what a long way takes in a round trip, both ways. Counted are bytes under way at once; first windows
would let 256 KiB be."""
import asyncio
import contextlib

from h2client import H2Client
from harness import Backend, main, snapshot

SIZE = 12 << 20
MANY = 1 << 20  # under way at once: four first windows

NODE = """
const server = require('http2').createServer();
server.on('stream', stream => { stream.respond({':status': 200}); stream.end(Buffer.alloc(%d)); });
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
""" % SIZE


class LongWay:
    """In front of an address: every byte takes 25 ms. `most` bytes were under way at once, to it and back."""

    def __init__(self, port):
        self.target, self.most, self.writers = port, {"to": 0, "back": 0}, []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=16 << 20)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()

    async def _serve(self, reader, writer):
        there = await asyncio.open_connection("127.0.0.1", self.target, limit=16 << 20)
        self.writers += [writer, there[1]]
        await asyncio.gather(self._carry("to", reader, there[1]), self._carry("back", there[0], writer))

    async def _carry(self, way, reader, writer):
        loop, under_way = asyncio.get_running_loop(), 0

        def arrive(data):
            nonlocal under_way
            under_way -= len(data)
            writer.write(data)

        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                under_way += len(data)
                self.most[way] = max(self.most[way], under_way)
                loop.call_later(0.025, arrive, data)
        loop.call_later(0.025, writer.close)


async def an_upload_fills_a_long_way(gateway):
    async def handler(request, reader, writer):
        await Backend.answer(writer, b"%d" % len(request.body))

    async with Backend(handler) as backend:
        await gateway.route_to(backend.address)
        async with LongWay(gateway.port) as way, H2Client(way.port) as client:
            answer = await client.request("POST", "/", bytes(SIZE))
            assert answer.body == b"%d" % SIZE
            assert way.most["to"] > MANY, way.most


async def an_answer_fills_a_long_way(gateway):
    node = await asyncio.create_subprocess_exec("node", "-e", NODE, stdout=asyncio.subprocess.PIPE)
    try:
        async with LongWay(int(await node.stdout.readline())) as way:
            made = snapshot(gateway.port, {"b": (f"127.0.0.1:{way.port}",)})
            made["backends"]["b"]["protocol"] = "h2c"
            await gateway.verb("snapshot.put", snapshot=made)
            assert len((await gateway.get()).body) == SIZE
            assert way.most["back"] > MANY, way.most
    finally:
        node.kill()
        await node.wait()


if __name__ == "__main__":
    main([an_upload_fills_a_long_way, an_answer_fills_a_long_way])
