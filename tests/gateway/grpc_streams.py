"""Long gRPC calls, between a real client and a real server, through holds, switches and drains: a stream neither keeps a
switch from happening nor says anything to the old side behind it; what can end by itself does."""
import asyncio
import contextlib
import json
import os
import random

import grpc
import grpc.aio

from h2client import H2Client
from harness import GUARD_S, main, snapshot, until

HOLD = {"routes": ["*"], "max_requests": 1000, "max_bytes": 1 << 20, "max_ms": 60_000}
REHOME = {"after": 0, "window": 300, "settle": 100, "unanswered": 5_000}
SWITCHES = int(os.environ.get("SWITCHES", "12"))
BIG = 2_000_000
OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


class Server:
    """Says who it is, and remembers what it was told. `go` lets the calls that wait for it end."""

    def __init__(self, name):
        self.name, self.heard, self.inside, self.go = name.encode(), [], 0, asyncio.Event()
        self.fenced, self.too_late = False, []

    async def __aenter__(self):
        self.server = grpc.aio.server(handlers=[self])
        self.address = "127.0.0.1:%d" % self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        return self

    async def __aexit__(self, *_):
        self.go.set()
        await self.server.stop(0)

    def service(self, details):
        unary = grpc.unary_unary_rpc_method_handler
        kinds = {"Echo": grpc.stream_stream_rpc_method_handler, "Sum": grpc.stream_unary_rpc_method_handler,
                 "Watch": grpc.unary_stream_rpc_method_handler, "Wait": grpc.unary_stream_rpc_method_handler,
                 "Big": unary, "Slow": unary, "Who": unary}
        name = details.method.rsplit("/", 1)[1]
        return kinds[name](getattr(self, name.lower())) if name in kinds else None

    @contextlib.contextmanager
    def counted(self):
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    async def echo(self, requests, context):
        with self.counted():
            async for request in requests:
                (self.too_late if self.fenced else self.heard).append(request)
                yield self.name + b" " + request

    async def sum(self, requests, context):
        with self.counted():
            async for request in requests:
                self.heard.append(request)
            return self.name

    async def watch(self, request, context):
        with self.counted():
            while not self.go.is_set():
                yield self.name
                await asyncio.sleep(0.02)

    async def wait(self, request, context):  # no head before the first news
        with self.counted():
            await self.go.wait()
            yield self.name

    async def slow(self, request, context):
        with self.counted():
            await self.go.wait()
            self.heard.append(request)
            return self.name

    async def big(self, request, context):
        return bytes(BIG)

    async def who(self, request, context):
        return self.name


class Caller:
    """A channel with a connection of its own."""

    def __init__(self, gateway):
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}", options=options)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.channel.close(None)

    def echo(self, service="live"):
        return self.channel.stream_stream(f"/{service}/Echo")(timeout=GUARD_S)

    def sum(self):
        return self.channel.stream_unary("/live/Sum")(timeout=GUARD_S)

    def down(self, name, service="live"):
        return self.channel.unary_stream(f"/{service}/{name}")(b"", timeout=GUARD_S)

    def call(self, name, request=b""):
        return self.channel.unary_unary(f"/live/{name}")(request, timeout=GUARD_S)


def published(gateway, live, stay=None, rehome=None, **more):
    """/live leads to `live`, /stay to `stay`; all speak HTTP/2."""
    gateway.epoch += 1
    stay = stay or live
    out = snapshot(gateway.port, {"live": (live.address,), "stay": (stay.address,)}, gateway.epoch,
                   routes=[{"id": name, "methods": [], "path": f"/{name}/*", "to": name} for name in ("live", "stay")],
                   access_log=os.path.join(gateway.directory, "access.log"), **more)
    for backend in out["backends"].values():
        backend["protocol"] = "h2c"
    return out | {"rehome": REHOME | (rehome or {})}


async def put(gateway, *args, **more):
    await gateway.verb("snapshot.put", snapshot=published(gateway, *args, **more))


async def said(stream, text):
    await stream.write(text)
    return await stream.read()


async def ended(stream):
    """Reads to the end; the messages, and the status."""
    messages = []
    with contextlib.suppress(grpc.RpcError):
        while (message := await stream.read()) is not grpc.aio.EOF:
            messages.append(message)
    return messages, await stream.code()


async def in_flight(gateway, count):
    async def there():
        return (await gateway.status())["in_flight"] == count
    await until(there, f"{count} in flight")


async def inside(server, count):
    async def there():
        return server.inside == count
    await until(there, f"{count} calls at {server.name}")


async def switch(gateway, live, epoch):
    await gateway.verb("hold.commit", epoch=epoch)
    return await open_to(gateway, live, epoch)


async def open_to(gateway, live, epoch):
    gateway.epoch = epoch - 1
    await put(gateway, live)
    return await gateway.verb("hold.open", epoch=epoch)


async def streams_follow_their_route_and_the_others_stay(gateway):
    async with Server("old") as old, Server("new") as new, contextlib.AsyncExitStack() as stack:
        await put(gateway, old)
        callers = [await stack.enter_async_context(Caller(gateway)) for _ in range(6)]
        echoes = [caller.echo() for caller in callers]
        for echo in echoes:
            assert await said(echo, b"1") == b"old 1"
        watches = [caller.down("Watch") for caller in callers]
        stays = callers[0].echo("stay")
        assert await said(stays, b"1") == b"old 1"
        slow = callers[0].call("Slow", b"write")
        await inside(old, 14)
        await put(gateway, new, stay=old)
        for messages, code in await asyncio.gather(*map(ended, echoes + watches)):
            assert code == UNAVAILABLE and set(messages) <= {b"old"}, (messages, code)
        assert await said(stays, b"2") == b"old 2"
        await inside(old, 2)  # what was left has gone from the old side, too
        old.go.set()
        assert await slow == b"old"  # it could end by itself
        assert await said(callers[0].echo(), b"3") == b"new 3"
        assert (await gateway.status())["rehomed"] == 12

        async def logged():
            with open(os.path.join(gateway.directory, "access.log")) as log:
                return sum("leads now" in json.loads(line).get("reason", "") for line in log) == 12
        await until(logged, "their lines in the access log")
        stays.cancel()


async def a_hold_waits_for_unary_calls_and_not_for_streams(gateway):
    async with Server("old") as old, Server("new") as new, Caller(gateway) as caller:
        await put(gateway, old)
        echo, watch, up = caller.echo(), caller.down("Watch"), caller.sum()
        assert await said(echo, b"1") == b"old 1"
        await up.write(b"2")
        slow = caller.call("Slow", b"write")
        await inside(old, 4)
        await in_flight(gateway, 4)
        closed = await gateway.verb("hold.close", epoch=10, **HOLD)
        assert closed["in_flight"] == 4, closed
        await in_flight(gateway, 1)  # the unary call
        assert (await gateway.status())["streams"] == 3
        await asyncio.gather(echo.write(b"behind the hold"), up.write(b"behind the hold"))
        who = asyncio.ensure_future(caller.call("Who"))
        old.go.set()
        assert await slow == b"old"
        await in_flight(gateway, 0)
        opened = await switch(gateway, new, 10)
        assert opened["held"] == 1 and opened["failed"] == 0, opened
        assert await who == b"new"
        assert await ended(echo) == ([], UNAVAILABLE)
        assert await up.code() == UNAVAILABLE
        assert (await ended(watch))[1] in (OK, UNAVAILABLE)
        assert old.heard == [b"1", b"2", b"write"], old.heard
        assert await said(caller.echo(), b"behind the hold") == b"new behind the hold"


async def a_hold_that_is_given_up_changes_nothing(gateway):
    async with Server("old") as old, Caller(gateway) as caller:
        await put(gateway, old)
        echo, up = caller.echo(), caller.sum()
        assert await said(echo, b"1") == b"old 1"
        await up.write(b"2")
        await inside(old, 2)
        for epoch in (10, 11):
            await gateway.verb("hold.close", epoch=epoch, **HOLD)
            await in_flight(gateway, 0)
            await echo.write(b"%d" % epoch)
            await up.write(b"up")
            await up.write(b"up")
            assert await echo_is_silent(gateway, old, epoch)
            await open_to(gateway, old, epoch)
            assert await echo.read() == b"old %d" % epoch
            await in_flight(gateway, 2)
        await echo.done_writing()
        await up.done_writing()
        assert await up == b"old" and await ended(echo) == ([], OK)
        assert sorted(old.heard) == sorted([b"1", b"2", b"10", b"11"] + [b"up"] * 4)
        assert (await gateway.status())["rehomed"] == 0


async def echo_is_silent(gateway, server, epoch):
    """What follows on the same connection has been seen, and what the stream said has not been passed on."""
    async with Caller(gateway) as other:
        waits = asyncio.ensure_future(other.call("Who"))

        async def held():
            return (await gateway.status())["waiting"] == 1
        await until(held, "the next call to be held")
        waits.cancel()
    return b"%d" % epoch not in server.heard


async def talk(gateway, name, acknowledged, over):
    """One message after the other on a stream, on the next stream when it ends; ends with a whole one."""
    async with Caller(gateway) as caller:
        stream = caller.echo()
        for number in range(1_000_000):
            message = b"%d-%d" % (name, number)
            while True:
                with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
                    await stream.write(message)
                    if (answer := await stream.read()) is not grpc.aio.EOF:
                        break
                assert await stream.code() == UNAVAILABLE, await stream.details()
                stream = caller.echo()
            acknowledged.append(answer.split()[1])
            if over.is_set():
                return
            await asyncio.sleep(random.random() * 0.02)


async def every_message_is_said_once_through_many_switches(gateway):
    """Clients repeat what was not acknowledged: nothing may have been heard twice, nor behind the fence."""
    async with Server("one") as one, Server("two") as two:
        await put(gateway, one)
        acknowledged, over = [], asyncio.Event()
        talks = [asyncio.create_task(talk(gateway, name, acknowledged, over)) for name in range(8)]
        here, there = one, two
        for epoch in range(10, 10 + SWITCHES):
            told = len(acknowledged)

            async def talking():
                return len(acknowledged) > told + 20
            await until(talking, "some messages")
            await gateway.verb("hold.close", epoch=epoch, **HOLD)
            if random.random() < 0.3:
                await open_to(gateway, here, epoch)  # given up, perhaps before it was quiet
                continue
            await in_flight(gateway, 0)
            await gateway.verb("hold.commit", epoch=epoch)
            here.fenced, there.fenced = True, False
            await open_to(gateway, there, epoch)
            here, there = there, here
        over.set()
        await asyncio.gather(*talks)
        assert not one.too_late and not two.too_late, (one.too_late, two.too_late)
        assert sorted(one.heard + two.heard) == sorted(acknowledged)


async def a_subscription_without_news_is_a_stream_in_the_end(gateway):
    async with Server("old") as old, Server("new") as new, Caller(gateway) as caller:
        await put(gateway, old, rehome={"unanswered": 300})
        wait = caller.down("Wait")
        await inside(old, 1)
        await gateway.verb("hold.close", epoch=10, **HOLD)
        await in_flight(gateway, 0)
        await switch(gateway, new, 10)
        assert await ended(wait) == ([], UNAVAILABLE)
        await inside(old, 0)


async def a_message_under_way_is_carried_to_its_end(gateway):
    """Half of a second message keeps the hold waiting; its other half still goes up, the third one does not."""
    async with Server("old") as old, Server("new") as new, contextlib.AsyncExitStack() as stack:
        await put(gateway, old)
        client = await stack.enter_async_context(H2Client(gateway.port))
        stream = await client.begin("POST", "/live/Echo", [("content-type", "application/grpc"), ("te", "trailers")],
                                    end=False)
        frame = [b"\0\0\0\0\4%04d" % i for i in range(3)]
        await client.send_body(stream, frame[0] + frame[1][:6], end=False)
        answer = client.answers[stream]
        await client.until(lambda: answer.body == b"\0\0\0\0\x08old 0000", "the first echo")
        await client.begin("POST", "/live/Echo", [("content-type", "application/grpc")], end=False)
        await in_flight(gateway, 2)
        await gateway.verb("hold.close", epoch=10, **HOLD)
        who = await client.begin("POST", "/live/Who", [("content-type", "application/grpc")], end=False)
        await in_flight(gateway, 1)  # the other one is quiet: this one has only its message left
        await client.send_body(stream, frame[1][6:] + frame[2], end=False)
        await client.until(lambda: answer.body.endswith(b"old 0001"), "the second echo")
        await in_flight(gateway, 0)
        await switch(gateway, new, 10)
        await client.answer(stream)
        assert answer.ended and ("grpc-status", "14") in answer.trailers, answer.trailers
        assert answer.body == b"\0\0\0\0\x08old 0000\0\0\0\0\x08old 0001" and old.heard == [b"0000", b"0001"], old.heard
        await client.send_body(who, b"\0\0\0\0\0")
        assert (await client.answer(who)).body == b"\0\0\0\0\3new"


async def an_answer_that_is_read_slowly_is_whole(gateway):
    async with Server("old") as old, Server("new") as new, contextlib.AsyncExitStack() as stack:
        await put(gateway, old)
        client = await stack.enter_async_context(H2Client(gateway.port, consume=False))
        caller = await stack.enter_async_context(Caller(gateway))
        big = await client.begin("POST", "/live/Big", [("content-type", "application/grpc"), ("te", "trailers")], end=False)
        await client.send_body(big, bytes(5))
        answer, echo = client.answers[big], caller.echo()
        await client.until(lambda: len(answer.body) == 65535, "a first window")
        assert await said(echo, b"1") == b"old 1"
        await gateway.verb("hold.close", epoch=10, **HOLD)
        await in_flight(gateway, 0)
        await switch(gateway, new, 10)
        assert await ended(echo) == ([], UNAVAILABLE)
        client.h2.increment_flow_control_window(BIG)
        client.h2.increment_flow_control_window(BIG, big)
        await client.flush()
        await client.answer(big)
        assert len(answer.body) == BIG + 5 and ("grpc-status", "0") in answer.trailers, (len(answer.body), answer.trailers)


async def a_held_call_ends_at_its_own_deadline(gateway):
    async with Server("old") as old, contextlib.AsyncExitStack() as stack:
        await put(gateway, old)
        client = await stack.enter_async_context(H2Client(gateway.port))
        await gateway.verb("hold.close", epoch=10, **HOLD)
        fields = [("content-type", "application/grpc"), ("te", "trailers")]
        answer = await client.request("POST", "/live/Slow", b"\0\0\0\0\1x", [*fields, ("grpc-timeout", "200m")])
        assert answer.field("grpc-status") == "4", answer.fields
        open_ended = await client.begin("POST", "/live/Echo", [*fields, ("grpc-timeout", "200m")], end=False)
        assert (await client.answer(open_ended)).field("grpc-status") == "4"
        await open_to(gateway, old, 10)
        who = await client.request("POST", "/live/Who", b"\0\0\0\0\0", fields)
        assert who.body == b"\0\0\0\0\3old" and not old.heard and old.inside == 0


async def a_silent_client_is_no_slow_one(gateway):
    """Neither the least rate of a body nor its idle time means a stream between two messages."""
    async with Server("old") as old, Caller(gateway) as caller:
        limits = {"body_grace_ms": 100, "body_idle_ms": 100, "response_ms": 100, "stream_idle_ms": 4000}
        await put(gateway, old, limits=limits)
        echo, late, watch = caller.echo(), caller.echo(), caller.down("Watch")
        await inside(old, 3)
        assert await said(echo, b"1") == b"old 1"
        for _ in range(25):
            assert await watch.read() == b"old"
        assert await said(echo, b"2") == b"old 2" and await said(late, b"3") == b"old 3"
        old.go.set()
        assert (await ended(watch))[1] == OK
        assert await ended(echo) == await ended(late) == ([], UNAVAILABLE)  # at last they are idle


async def a_backend_that_dies_between_messages_is_unavailable(gateway):
    async with Server("old") as old, Caller(gateway) as caller:
        await put(gateway, old)
        echo = caller.echo()
        assert await said(echo, b"1") == b"old 1"
        await old.server.stop(0)
        messages, code = await ended(echo)
        assert (messages, code) == ([], UNAVAILABLE), (messages, code)


async def an_echo_goes_on_through_a_drain_to_its_half_close(gateway):
    async with Server("one") as one, Server("two") as two, Caller(gateway) as caller:
        both = published(gateway, one)
        both["backends"]["live"]["endpoints"].append({"address": two.address, "zone": ""})
        await gateway.verb("snapshot.put", snapshot=both)
        echoes = [caller.echo() for _ in range(4)]
        names = [(await said(echo, b"1")).split()[0] for echo in echoes]
        at_one = [echo for echo, name in zip(echoes, names) if name == b"one"]
        drain = asyncio.create_task(gateway.verb("endpoint.drain", backend="live", address=one.address,
                                                 timeout_ms=30_000))
        for i in range(20):
            for echo, name in zip(echoes, names):
                assert await said(echo, b"%d" % i) == name + b" %d" % i
        for echo in at_one:
            await echo.done_writing()
            assert await ended(echo) == ([], OK)
        assert (await drain)["drained"]
        assert (await gateway.status())["rehomed"] == 0
        for echo in echoes:
            echo.cancel()


async def a_gateway_that_stops_says_goodbye_at_its_bound(gateway):
    async with Server("old") as old, Caller(gateway) as caller:
        await put(gateway, old, limits={"drain_ms": 4_000})
        echo, short = caller.echo(), caller.echo()
        assert await said(echo, b"1") == b"old 1" and await said(short, b"1") == b"old 1"
        gateway.process.terminate()
        for i in range(20):
            assert await said(short, b"%d" % i) == b"old %d" % i
        await short.done_writing()
        assert await ended(short) == ([], OK)
        assert await ended(echo) == ([], UNAVAILABLE)
        assert await asyncio.to_thread(gateway.process.wait, GUARD_S) == 0


if __name__ == "__main__":
    main([streams_follow_their_route_and_the_others_stay, a_hold_waits_for_unary_calls_and_not_for_streams,
          a_hold_that_is_given_up_changes_nothing, every_message_is_said_once_through_many_switches,
          a_subscription_without_news_is_a_stream_in_the_end, a_message_under_way_is_carried_to_its_end,
          an_answer_that_is_read_slowly_is_whole, a_held_call_ends_at_its_own_deadline, a_silent_client_is_no_slow_one,
          a_backend_that_dies_between_messages_is_unavailable, an_echo_goes_on_through_a_drain_to_its_half_close,
          a_gateway_that_stops_says_goodbye_at_its_bound])
