"""A real gateway between raw clients and raw upstream servers, for the tests beside this file.

The upstream is deliberately lenient (bare LF, any coding that mentions chunked): what it takes for a
request is what a careless server would, so smuggling shows.
"""
import asyncio
import contextlib
import os
import pathlib
import sys
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "lib"))
from cluster import Banyan, RpcError, free_port  # noqa: E402

__all__ = ["Backend", "Client", "Gateway", "Request", "RpcError", "free_port", "main", "snapshot",
           "until"]

GUARD_S = 60  # against hanging, never an assertion about speed


class Request:
    def __init__(self, line, fields, connection):
        parts = line.split(" ")
        self.method, self.target = parts[0], parts[1] if len(parts) > 1 else ""
        self.fields, self.connection = fields, connection
        self.body = b""

    def field(self, name):
        return next((value for key, value in self.fields if key.lower() == name), None)

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name]


async def read_head(reader):
    lines = []
    while True:
        line = await reader.readline()
        if not line.endswith(b"\n"):
            return None
        text = line.decode("latin1").rstrip("\r\n")
        if not text:
            if lines:
                break
            continue
        lines.append(text)
    fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
    return lines[0], fields


async def read_chunked(reader):
    body = bytearray()
    while True:
        size = int((await reader.readline()).split(b";")[0].strip(), 16)
        if size == 0:
            while (await reader.readline()).strip():
                pass
            return bytes(body)
        body += await reader.readexactly(size)
        await reader.readline()


class Backend:
    """`handler(request, reader, writer)` answers and returns False to close; default: 200 with the body."""

    def __init__(self, handler=None, reads_body=True, name="backend"):
        self.handler, self.reads_body, self.name = handler or self.echo, reads_body, name
        self.requests, self.connections = [], 0
        self.healthy = True

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.port = self.server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.writers = set()
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for writer in list(self.writers):
            writer.transport.abort()

    async def _serve(self, reader, writer):
        self.connections += 1
        self.writers.add(writer)
        number = self.connections
        try:
            while head := await read_head(reader):
                request = Request(*head, number)
                if request.target == "/healthz":
                    await self.answer(writer, b"ok", status=200 if self.healthy else 500)
                    continue
                self.requests.append(request)
                if self.reads_body:
                    await self.read_body(request, reader)
                if await self.handler(request, reader, writer) is False:
                    break
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    @staticmethod
    async def read_body(request, reader):
        if "chunked" in (request.field("transfer-encoding") or ""):
            request.body = await read_chunked(reader)
        elif length := request.field("content-length"):
            request.body = await reader.readexactly(int(length))

    @staticmethod
    async def answer(writer, body=b"", status=200, fields=()):
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *fields]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    async def echo(self, request, reader, writer):
        await self.answer(writer, request.body, fields=[f"X-Backend: {self.name}"])


class Response:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    def field(self, name):
        return next((value for key, value in self.fields if key.lower() == name), None)


class Client:
    """One raw connection."""

    def __init__(self, port):
        self.port = port

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        return self

    async def __aexit__(self, *_):
        self.writer.close()

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def response(self, method="GET", informational=False):
        """The next final response (or any, with `informational`); None at the end of the connection."""
        while True:
            head = await asyncio.wait_for(read_head(self.reader), GUARD_S)
            if head is None:
                return None
            response = Response(int(head[0].split(" ")[1]), head[1], b"")
            if response.status >= 200 or response.status == 101 or informational:
                break
        if method == "HEAD" or response.status < 200 or response.status in (204, 304):
            return response
        response.body = await asyncio.wait_for(self._body(response), GUARD_S)
        return response

    async def _body(self, response):
        if response.field("transfer-encoding") == "chunked":
            return await read_chunked(self.reader)
        if (length := response.field("content-length")) is not None:
            return await self.reader.readexactly(int(length))
        return await self.reader.read()

    async def request(self, method="GET", target="/", body=None, fields=(), version="1.1"):
        lines = [f"{method} {target} HTTP/{version}", "Host: docs.example", *fields]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        self.writer.write(head + (body or b""))
        drained = asyncio.create_task(self.writer.drain())
        try:
            return await self.response(method)
        finally:
            drained.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await drained


def snapshot(port, backends, epoch=1, routes=None, limits=None, access_log=None, health=None):
    """`backends`: name -> addresses; the first one gets everything unless `routes` says otherwise."""
    def backend(addresses):
        out = {"endpoints": [{"address": address, "zone": ""} for address in addresses]}
        return out | ({"health": health} if health else {})
    return {"epoch": epoch, "listen": [f"127.0.0.1:{port}"], "public_host": None, "access_log": access_log,
            "backends": {name: backend(addresses) for name, addresses in backends.items()},
            "routes": routes or [{"id": "all", "methods": [], "path": "/*", "to": next(iter(backends))}],
            "limits": limits or {}}


class Gateway(Banyan):
    """The role process with its calls made asynchronous."""

    def __init__(self, binary, args=()):
        super().__init__(binary, "gateway")
        self.args = args
        self.port = free_port()
        self.epoch = 0

    async def verb(self, name, **body):
        return await asyncio.to_thread(self.call, name, **body)

    async def route_to(self, *addresses, **more):
        """Publishes the next epoch with one backend of these addresses."""
        self.epoch += 1
        await self.verb("snapshot.put", snapshot=snapshot(self.port, {"b": addresses}, self.epoch, **more))

    async def status(self):
        return await self.verb("status")

    def client(self):
        return Client(self.port)

    async def get(self, target="/", **more):
        async with self.client() as client:
            return await client.request(target=target, **more)


async def until(condition, what):
    for _ in range(int(GUARD_S / 0.01)):
        if await condition():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError(f"gave up waiting for {what}")


def main(tests, args=()):
    """Runs `async def test(gateway)` functions, each with a fresh gateway; argv: binary [name...]."""
    binary, wanted = os.path.abspath(sys.argv[1]), sys.argv[2:]
    failures = 0
    for test in tests:
        if wanted and test.__name__ not in wanted:
            continue
        with Gateway(binary, args) as gateway:
            try:
                asyncio.run(asyncio.wait_for(test(gateway), GUARD_S * 5))
                print(f"ok      {test.__name__}", flush=True)
            except Exception:  # every test is reported
                failures += 1
                print(f"FAILED  {test.__name__}\n{traceback.format_exc()}", flush=True)
                print(gateway.log_tail(10), flush=True)
    sys.exit(failures > 0)
