"""An application that speaks HTTP/2 and refuses, leaves and ends with trailers: what is tried again, and what is not."""
import asyncio

import h2.config
import h2.connection
import h2.errors
import h2.events

from h2client import H2Client
from harness import main, snapshot


class H2Backend:
    """`behave(backend, connection, stream, number)`, with the number of the request among all, says True to answer it."""

    def __init__(self, behave):
        self.behave, self.heard, self.served, self.trailers = behave, 0, [], []
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
                connection.send_headers(event.stream_id, [("x-sum", "42")], end_stream=True)


async def publish(gateway, backend):
    gateway.epoch += 1
    out = snapshot(gateway.port, {"b": [backend.address]}, gateway.epoch)
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


if __name__ == "__main__":
    main([what_was_refused_is_sent_again, what_was_begun_is_not,
          what_comes_behind_a_goaway_is_sent_on_a_new_connection, trailers_pass_both_ways])
