"""The hold as the conductor uses it, one promise a test."""
import asyncio
import contextlib
import os

from harness import Backend, RpcError, main, snapshot, until

BOUNDS = {"max_requests": 10_000, "max_bytes": 50_000_000, "max_ms": 60_000}


async def waiting(gateway, count):
    async def there():
        return (await gateway.status())["waiting"] == count
    await until(there, f"{count} waiting")


async def conflict(gateway, verb, **body):
    try:
        await gateway.verb(verb, **body)
    except RpcError as error:
        assert "conflict" in str(error), error
        return
    raise AssertionError(f"{verb} was accepted")


async def held_requests_are_released_to_the_new_backend(gateway):
    async with Backend(name="old") as old, Backend(name="new") as new:
        await gateway.route_to(old.address)
        await gateway.verb("hold.close", epoch=2, routes=["*"], **BOUNDS)
        held = [asyncio.create_task(gateway.get(f"/{i}", method="POST", body=b"x" * i)) for i in range(20)]
        await waiting(gateway, 20)
        status = await gateway.verb("hold.commit", epoch=2)
        assert status["phase"] == "committed" and status["in_flight"] == 0
        await conflict(gateway, "hold.open", epoch=2)  # the snapshot is still the old one
        await gateway.route_to(new.address)
        opened = await gateway.verb("hold.open", epoch=2)
        assert opened["held"] == 20 and opened["failed"] == opened["refused"] == 0, opened
        for response in await asyncio.gather(*held):
            assert response.status == 200 and response.field("x-backend") == "new"
        assert not old.requests


async def release_is_in_order_of_arrival(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        await gateway.verb("hold.close", epoch=1, routes=["*"], **BOUNDS)
        held = []
        for i in range(60):
            held.append(asyncio.create_task(gateway.get(f"/{i}")))
            await waiting(gateway, i + 1)
        await gateway.verb("hold.open", epoch=1, pace_per_s=100)
        await asyncio.gather(*held)
        order = [int(request.target[1:]) for request in backend.requests]
        # Each worker (one a core) releases its own queue in exact order: greedy chains, one a worker.
        last = []
        for i in order:
            fits = [n for n, end in enumerate(last) if end < i]
            if fits:
                last[max(fits, key=lambda n: last[n])] = i
            else:
                last.append(i)
        assert sorted(order) == list(range(60)) and len(last) <= os.cpu_count(), order


async def bodies_are_read_while_held(gateway):
    body = bytes(1_000_000)
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        await gateway.verb("hold.close", epoch=1, routes=["*"], **BOUNDS)
        async with gateway.client() as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await waiting(gateway, 1)
            await gateway.verb("hold.open", epoch=1)
            assert (await client.response()).body == body


async def a_client_that_leaves_is_never_sent(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        await gateway.verb("hold.close", epoch=1, routes=["*"], **BOUNDS)
        for i in range(20):
            async with gateway.client() as client:
                await client.send(b"POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
                await waiting(gateway, 1)
                client.writer.transport.abort()
            await waiting(gateway, 0)
        await gateway.verb("hold.open", epoch=1)
        assert (await gateway.get("/here")).status == 200
        assert [request.target for request in backend.requests] == ["/here"]


async def a_full_queue_answers_503_with_retry_after(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        await gateway.verb("hold.close", epoch=1, routes=["*"], **(BOUNDS | {"max_requests": 4}))
        clients = [asyncio.create_task(gateway.get()) for _ in range(40)]
        async def refused():
            return sum(task.done() for task in clients) >= 32
        await until(refused, "refusals")
        await gateway.verb("hold.open", epoch=1)
        responses = await asyncio.gather(*clients)
        for response in responses:
            assert response.status == 200 or (response.status == 503 and int(response.field("retry-after")) >= 1)
        assert 1 <= sum(response.status == 200 for response in responses) <= 8


async def one_client_may_have_so_many_waiting(gateway):
    async def ask(source):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, local_addr=(source, 0))
        client = gateway.client()
        client.reader, client.writer = reader, writer
        try:
            return await client.request()
        finally:
            writer.close()
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        await gateway.verb("hold.close", epoch=1, routes=["*"], **(BOUNDS | {"max_per_client": 3}))
        greedy = [asyncio.create_task(ask("127.0.0.2")) for _ in range(10)]
        async def refused():
            return sum(task.done() for task in greedy) == 7
        await until(refused, "seven refusals")
        modest = asyncio.create_task(ask("127.0.0.3"))
        await waiting(gateway, 4)
        await gateway.verb("hold.open", epoch=1)
        assert (await modest).status == 200
        responses = await asyncio.gather(*greedy)
        assert sorted(response.status for response in responses) == [200] * 3 + [503] * 7
        assert all(int(response.field("retry-after")) >= 1 for response in responses if response.status == 503)


async def a_slow_upload_is_not_cut_while_it_is_held(gateway):
    """Three seconds of a byte now and then: without the hold the least rate would end it."""
    async with Backend() as backend:
        await gateway.route_to(backend.address, limits={"body_grace_ms": 500, "body_rate": 1_000_000})
        await gateway.verb("hold.close", epoch=1, routes=["*"], **BOUNDS)
        async with gateway.client() as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(30):
                await client.send(b"x")
                await asyncio.sleep(0.1)
            await gateway.verb("hold.open", epoch=1)
            await client.send(b"x" * 970)
            response = await client.response()
            assert response.status == 200 and response.body == b"x" * 1000, response.status


async def of_a_large_body_a_part_is_read_while_held(gateway):
    body = os.urandom(20_000_000)
    async with Backend() as backend:
        await gateway.route_to(backend.address, limits={"body_grace_ms": 500, "body_rate": 1_000_000})
        await gateway.verb("hold.close", epoch=1, routes=["*"], **(BOUNDS | {"max_body_bytes": 300_000}))
        async with gateway.client() as client:
            upload = asyncio.create_task(client.request("POST", "/", body))
            async def full():
                return (await gateway.status())["waiting_bytes"] >= 300_000
            await until(full, "the part that is read")
            await asyncio.sleep(1)
            assert (await gateway.status())["waiting_bytes"] < 302_000  # its head counts too
            small = asyncio.create_task(gateway.get(method="POST", body=b"small"))
            await waiting(gateway, 2)
            await gateway.verb("hold.open", epoch=1)
            assert (await small).body == b"small"
            response = await upload
            assert response.status == 200 and response.body == body


async def a_revocable_hold_opens_by_itself(gateway):
    async with Backend(name="old") as backend:
        await gateway.route_to(backend.address)
        await gateway.verb("hold.close", epoch=2, routes=["*"], **(BOUNDS | {"max_ms": 200}))
        assert (await gateway.get()).field("x-backend") == "old"
        assert (await gateway.status())["phase"] == "open"
        await conflict(gateway, "hold.commit", epoch=2)
        assert (await gateway.get()).status == 200


async def a_committed_hold_never_opens_by_itself(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address, limits={"hold_wait_ms": 400})
        await gateway.verb("hold.close", epoch=2, routes=["*"], **(BOUNDS | {"max_ms": 300}))
        await gateway.verb("hold.commit", epoch=2)
        response = await gateway.get()
        assert response.status == 503 and int(response.field("retry-after")) >= 1
        assert (await gateway.status())["phase"] == "committed" and not backend.requests


async def a_committed_gateway_comes_back_closed_after_kill_9(gateway):
    async with Backend(name="old") as old, Backend(name="new") as new:
        await gateway.route_to(old.address)
        await gateway.verb("hold.close", epoch=2, routes=["*"], **BOUNDS)
        await gateway.verb("hold.commit", epoch=2)
        await asyncio.to_thread(gateway.kill9)
        await asyncio.to_thread(gateway.start)
        status = await gateway.status()
        assert status["phase"] == "committed" and status["epoch"] == 1 and status["hold_epoch"] == 2, status
        async def connects():
            with contextlib.suppress(OSError):
                async with gateway.client():
                    return True
        await until(connects, "the listener")
        held = asyncio.create_task(gateway.get())
        await waiting(gateway, 1)
        assert not old.requests and not new.requests
        await gateway.route_to(new.address)
        await gateway.verb("hold.open", epoch=2)
        assert (await held).field("x-backend") == "new"


async def only_the_named_routes_are_held(gateway):
    async with Backend() as backend:
        routes = [{"id": "write", "methods": ["POST"], "path": "/*", "to": "b"},
                  {"id": "read", "methods": [], "path": "/*", "to": "b"}]
        await gateway.route_to(backend.address, routes=routes)
        await gateway.verb("hold.close", epoch=1, routes=["write"], **BOUNDS)
        held = asyncio.create_task(gateway.get(method="POST", body=b"x"))
        await waiting(gateway, 1)
        assert (await gateway.get()).status == 200
        await gateway.verb("hold.open", epoch=1)
        assert (await held).status == 200


async def in_flight_requests_are_counted_until_they_end(gateway):
    gate = asyncio.Event()
    async def slow(request, reader, writer):
        await gate.wait()
        await Backend.answer(writer, b"done")
    async with Backend(slow) as backend:
        await gateway.route_to(backend.address)
        inside = [asyncio.create_task(gateway.get()) for _ in range(5)]
        async def entered():
            return len(backend.requests) == 5
        await until(entered, "requests inside")
        status = await gateway.verb("hold.close", epoch=1, routes=["*"], **BOUNDS)
        assert status["in_flight"] == 5, status
        gate.set()
        await asyncio.gather(*inside)
        async def drained():
            return (await gateway.status())["in_flight"] == 0
        await until(drained, "in flight 0")
        await gateway.verb("hold.open", epoch=1)


async def an_older_snapshot_is_refused(gateway):
    async with Backend() as backend:
        await gateway.verb("snapshot.put", snapshot=snapshot(gateway.port, {"b": [backend.address]}, 5))
        await gateway.verb("snapshot.put", snapshot=snapshot(gateway.port, {"b": [backend.address]}, 5))
        await conflict(gateway, "snapshot.put", snapshot=snapshot(gateway.port, {"b": [backend.address]}, 4))
        await conflict(gateway, "snapshot.put", snapshot=snapshot(gateway.port, {"c": [backend.address]}, 5))
        assert (await gateway.status())["epoch"] == 5


if __name__ == "__main__":
    main([held_requests_are_released_to_the_new_backend, release_is_in_order_of_arrival, bodies_are_read_while_held,
          a_client_that_leaves_is_never_sent, a_full_queue_answers_503_with_retry_after,
          one_client_may_have_so_many_waiting, a_slow_upload_is_not_cut_while_it_is_held,
          of_a_large_body_a_part_is_read_while_held,
          a_revocable_hold_opens_by_itself, a_committed_hold_never_opens_by_itself,
          a_committed_gateway_comes_back_closed_after_kill_9, only_the_named_routes_are_held,
          in_flight_requests_are_counted_until_they_end, an_older_snapshot_is_refused])
