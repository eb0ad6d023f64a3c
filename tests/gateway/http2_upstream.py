"""An application that speaks HTTP/2 and refuses, leaves and ends with trailers: what is tried again, and what is not."""
import asyncio
import contextlib
import json

import h2.config
import h2.connection
import h2.errors
import h2.events

from h2client import H2Client
from harness import main, snapshot

# Takes WebSockets on /chat by RFC 8441, and echoes.
NODE = """
const server = require('http2').createServer({settings: {enableConnectProtocol: true}});
server.on('stream', (stream, head) => {
  const seen = JSON.stringify(head);
  if (head[':method'] !== 'CONNECT' || head[':protocol'] !== 'websocket' || head[':path'] !== '/chat') {
    stream.respond({':status': 403});
    return stream.end('not here');
  }
  stream.respond({':status': 200, 'sec-websocket-protocol': 'chat', 'x-seen': seen});
  stream.write('hi ');
  stream.on('data', data => stream.write(data));
  stream.on('end', () => stream.end('bye'));
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""
UPGRADE = (b"GET %s HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nCookie: a=1\r\n"
           b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")


class H2Backend:
    """`behave(backend, connection, stream, number)`, with the number of the request among all, says True to answer it."""

    def __init__(self, behave):
        self.behave, self.heard, self.served, self.trailers = behave, 0, [], []
        self.said = [("x-sum", "42")]  # as trailers
        self.writers = set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = "127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for writer in list(self.writers):
            writer.transport.abort()

    async def _serve(self, reader, writer):
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        self.writers.add(writer)
        requests = {}
        try:
            writer.write(connection.data_to_send())
            while data := await reader.read(65536):
                for event in connection.receive_data(data):
                    self._note(connection, requests, event)
                writer.write(connection.data_to_send())
                await writer.drain()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        self.writers.discard(writer)
        writer.close()

    def _note(self, connection, requests, event):
        if isinstance(event, h2.events.RequestReceived):
            requests[event.stream_id] = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers.append(dict(event.headers))
        elif isinstance(event, h2.events.StreamEnded):
            self.heard += 1
            if self.behave(connection, event.stream_id, self.heard):
                self.served.append(requests[event.stream_id][":path"])
                connection.send_headers(event.stream_id, [(":status", "200")])
                connection.send_data(event.stream_id, b"served")
                connection.send_headers(event.stream_id, self.said, end_stream=True)


@contextlib.asynccontextmanager
async def chat_server():
    """A real HTTP/2 server; its address."""
    process = await asyncio.create_subprocess_exec("node", "-e", NODE, stdout=asyncio.subprocess.PIPE)
    try:
        yield "127.0.0.1:%d" % int(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()


async def publish(gateway, backend):
    await publish_address(gateway, backend.address)


async def publish_address(gateway, address):
    gateway.epoch += 1
    out = snapshot(gateway.port, {"b": [address]}, gateway.epoch)
    out["backends"]["b"]["protocol"] = "h2c"
    await gateway.verb("snapshot.put", snapshot=out)


def reset(code, numbers):
    """Resets the requests of these numbers and serves all others."""
    def behave(connection, stream, number):
        if number in numbers:
            connection.reset_stream(stream, code)
        return number not in numbers
    return behave


async def what_was_refused_is_sent_again(gateway):
    async with H2Backend(reset(h2.errors.ErrorCodes.REFUSED_STREAM, {1, 2, 4})) as backend:
        await publish(gateway, backend)
        async with H2Client(gateway.port) as client:
            answer = await client.request("DELETE", "/first")  # refused twice; RFC 9113, 8.7: not done
            assert (answer.status, answer.body) == (200, b"served"), answer.status
            answer = await client.request("GET", "/second")
            assert (answer.status, answer.body) == (200, b"served")
        assert backend.served == ["/first", "/second"] and backend.heard == 5


async def what_was_begun_is_not(gateway):
    async with H2Backend(reset(h2.errors.ErrorCodes.INTERNAL_ERROR, {1})) as backend:
        await publish(gateway, backend)
        async with H2Client(gateway.port) as client:
            assert (await client.request("DELETE", "/once")).status == 502
        assert backend.heard == 1


async def what_comes_behind_a_goaway_is_sent_on_a_new_connection(gateway):
    left = set()

    def behave(connection, stream, number):
        if number == 1 or number == 3:  # leaves, and has not looked at this one
            left.add(connection)
            connection.close_connection(last_stream_id=stream - 2 if stream > 1 else 0)
            return False
        assert connection not in left
        return True

    async with H2Backend(behave) as backend:
        await publish(gateway, backend)
        async with H2Client(gateway.port) as client:
            for path in ("/first", "/second", "/third"):
                answer = await client.request("DELETE", path)
                assert (answer.status, answer.body) == (200, b"served"), (path, answer.status)
        assert backend.served == ["/first", "/second", "/third"] and len(left) == 2


async def trailers_pass_both_ways(gateway):
    async with H2Backend(lambda *_: True) as backend:
        await publish(gateway, backend)
        async with H2Client(gateway.port) as client:
            answer = await client.request("GET", "/")
            assert answer.trailers == [("x-sum", "42")], answer.trailers
        async with gateway.client() as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
                              b"5\r\nhello\r\n0\r\nX-Check: 7\r\n\r\n")
            assert (await client.response()).status == 200
        assert backend.trailers == [{"x-check": "7"}], backend.trailers


async def a_trailer_is_never_taken_for_framing(gateway):
    async with H2Backend(lambda *_: True) as backend:
        await publish(gateway, backend)
        for name in ("content-length", "host", "trailer", "x_sum"):  # the library sends no transfer-encoding
            backend.said = [(name, "9")]
            async with gateway.client() as client:
                await client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
                try:
                    answer = await client.response()
                    fine = answer is not None and answer.status == 200
                except (asyncio.IncompleteReadError, ValueError):
                    fine = False
                assert fine == (name == "x_sum"), name
        async with H2Client(gateway.port) as client:
            stream = await client.begin("POST", "/", end=False)
            client.h2.send_headers(stream, [("content-length", "9")], end_stream=True)
            await client.flush()
            answer = await client.answer(stream)
            assert answer.status == 400 or answer.reset is not None, answer.status
        assert not backend.trailers


async def a_websocket_of_http1_is_a_stream(gateway):
    async with chat_server() as address:
        await publish_address(gateway, address)
        async with gateway.client() as client:
            await client.send(UPGRADE % b"/chat")
            answer = await client.response()
            assert answer.status == 101 and answer.field("upgrade") == "websocket", answer.fields
            assert answer.field("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, 1.3
            seen = json.loads(answer.field("x-seen"))
            assert seen[":scheme"] == "http" and seen[":authority"] == "a.example" and seen["cookie"] == "a=1", seen
            assert seen["sec-websocket-version"] == "13", seen
            assert not {"sec-websocket-key", "upgrade", "connection", "te"} & set(seen), seen
            data = b"x" * 300_000
            await client.send(data)
            assert await client.reader.readexactly(3 + len(data)) == b"hi " + data
            assert (await gateway.status())["streams"] == 1
            client.writer.write_eof()
            assert await client.reader.read() == b"bye"


async def a_websocket_of_http2_is_one_on_both_sides(gateway):
    async with chat_server() as address:
        await publish_address(gateway, address)
        async with H2Client(gateway.port) as client:
            stream = await client.begin_websocket("/chat")
            answer = client.answers[stream]
            await client.until(lambda: answer.status is not None, "the handshake")
            assert answer.status == 200 and answer.field("sec-websocket-protocol") == "chat", answer.fields
            await client.send_body(stream, b"one", end=False)
            await client.until(lambda: answer.body == b"hi one", "the echo")
            client.h2.end_stream(stream)
            await client.flush()
            assert (await client.answer(stream)).body == b"hi onebye"


async def an_application_may_refuse_a_websocket(gateway):
    async with chat_server() as address:
        await publish_address(gateway, address)
        async with gateway.client() as client:
            await client.send(UPGRADE % b"/elsewhere")
            answer = await client.response()
            assert (answer.status, answer.body) == (403, b"not here")
    async with H2Backend(lambda *_: True) as backend:  # says nothing of RFC 8441
        await publish(gateway, backend)
        async with gateway.client() as client:
            await client.send(UPGRADE % b"/chat")
            assert (await client.response()).status == 502
        assert backend.heard == 0


if __name__ == "__main__":
    main([a_websocket_of_http1_is_a_stream, a_websocket_of_http2_is_one_on_both_sides,
          an_application_may_refuse_a_websocket, what_was_refused_is_sent_again, what_was_begun_is_not,
          what_comes_behind_a_goaway_is_sent_on_a_new_connection, trailers_pass_both_ways, a_trailer_is_never_taken_for_framing])
