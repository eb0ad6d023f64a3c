"""An HTTP/2 client on python3-h2 that says only what it is told to, for the tests beside this file."""
import asyncio

import h2.config
import h2.connection
import h2.events
import h2.settings

GUARD_S = 60


class Answer:
    def __init__(self):
        self.status, self.fields, self.body, self.trailers = None, [], b"", []
        self.ended = self.reset = None

    def field(self, name):
        return next((value for key, value in self.fields if key == name), None)


class H2Client:
    """`async with H2Client(port) as c: answer = await c.request("GET", "/")`; `tls`: an ssl context."""

    def __init__(self, port, tls=None, server_name=None, consume=True):
        self.port, self.tls, self.server_name, self.consume = port, tls, server_name, consume
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False,
                                           normalize_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.answers, self.goaway, self.pings, self.closed = {}, None, 0, False
        self.changed = asyncio.Condition()

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls,
                                                                 server_hostname=self.server_name)
        self.h2.initiate_connection()
        await self.flush()
        self.task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        self.writer.transport.abort()

    async def flush(self):
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    async def raw(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def _read(self):
        try:
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    self._note(event)
                await self.flush()
                async with self.changed:
                    self.changed.notify_all()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        self.closed = True
        async with self.changed:
            self.changed.notify_all()

    def _note(self, event):
        stream = getattr(event, "stream_id", None)
        answer = self.answers.setdefault(stream, Answer()) if stream else None
        if isinstance(event, h2.events.ResponseReceived):
            answer.status = int(dict(event.headers)[":status"])
            answer.fields = [(k, v) for k, v in event.headers if not k.startswith(":")]
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            if self.consume:
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = list(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = event.error_code
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event  # after which python3-h2 would hear nothing more
            self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        elif isinstance(event, h2.events.PingAckReceived):
            self.pings += 1

    def head(self, method, path, fields=(), authority="docs.example"):
        return [(":method", method), (":scheme", "https" if self.tls else "http"), (":authority", authority),
                (":path", path), *fields]

    async def begin(self, method, path, fields=(), end=True):
        stream = self.h2.get_next_available_stream_id()
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, self.head(method, path, fields), end_stream=end)
        await self.flush()
        return stream

    async def begin_websocket(self, path, fields=()):
        """An extended CONNECT (RFC 8441), once the other side has offered it."""
        await self.until(lambda: self.h2.remote_settings.enable_connect_protocol == 1, "the offer of RFC 8441")
        return await self.begin("CONNECT", path, [(":protocol", "websocket"), ("sec-websocket-version", "13"), *fields],
                                end=False)

    async def until(self, condition, what):
        async with self.changed:
            try:
                await asyncio.wait_for(self.changed.wait_for(lambda: condition() or self.closed), GUARD_S)
            except asyncio.TimeoutError:
                raise TimeoutError(f"gave up waiting for {what}") from None
        if not condition():
            raise ConnectionError(f"the connection ended before {what}; goaway {self.goaway}")

    async def send_body(self, stream, body, end=True):
        while body:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(body))
            if room == 0:
                await self.until(lambda: self.h2.local_flow_control_window(stream) > 0, "the window")
                continue
            self.h2.send_data(stream, body[:room])
            body = body[room:]
            await self.flush()
        if end:
            self.h2.end_stream(stream)
            await self.flush()

    async def answer(self, stream):
        await self.until(lambda: self.answers[stream].ended or self.answers[stream].reset is not None, "an answer")
        return self.answers[stream]

    async def request(self, method="GET", path="/", body=None, fields=()):
        stream = await self.begin(method, path, fields, end=body is None)
        if body is not None:
            await self.send_body(stream, body)
        return await self.answer(stream)
