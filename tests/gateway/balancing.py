"""Which endpoint gets a request, which one is passed over, and what happens when there is no room.

One worker, because limits are divided over workers.
"""
import asyncio
import contextlib
import random

from harness import Backend, free_port, main, snapshot, until


async def publish(gateway, endpoints, routes=None, health=None, zone=None, name="b", **traffic):
    """One backend of these endpoints (addresses or mappings)."""
    gateway.epoch += 1
    value = snapshot(gateway.port, {name: []}, gateway.epoch, routes=routes, health=health)
    value["backends"][name]["endpoints"] = [e if isinstance(e, dict) else {"address": e} for e in endpoints]
    value["backends"][name].update(traffic)
    if zone:
        value["zone"] = zone
    await gateway.verb("snapshot.put", snapshot=value)


async def backend_of(gateway, client=None, **request):
    if client is None:
        async with gateway.client() as client:
            return (await client.request(**request)).field("x-backend")
    return (await client.request(**request)).field("x-backend")


async def spread(gateway, count, **request):
    seen = {}
    async with gateway.client() as client:
        for _ in range(count):
            name = await backend_of(gateway, client, **request)
            seen[name] = seen.get(name, 0) + 1
    return seen


async def state(gateway, name="b"):
    return next(b for b in (await gateway.status())["backends"] if b["name"] == name)


async def dies(request, reader, writer):
    return False


async def fails(request, reader, writer):
    await Backend.answer(writer, b"broken", 500, ["X-Backend: bad"])


async def weights_are_shares(gateway):
    async with Backend(name="heavy") as heavy, Backend(name="light") as light:
        await publish(gateway, [{"address": heavy.address, "weight": 9}, light.address])
        seen = await spread(gateway, 300)
        assert seen["heavy"] > 4 * seen.get("light", 0) > 0, seen


async def a_key_stays_with_its_endpoint(gateway):
    async with contextlib.AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(Backend(name=str(i))) for i in range(4)]
        rules = {"balance": "hash", "hash": {"by": "cookie", "name": "user"}, "hash_bound_percent": 1000}
        await publish(gateway, [b.address for b in backends], **rules)

        async def homes():
            async with gateway.client() as client:
                return {user: await backend_of(gateway, client, fields=[f"Cookie: user={user}"]) for user in range(40)}
        first = await homes()
        assert first == await homes() and len(set(first.values())) == 4, first
        await publish(gateway, [b.address for b in backends[:3]], **rules)
        second = await homes()
        assert all(second[user] == home for user, home in first.items() if home != "3"), (first, second)


async def the_own_zone_is_preferred(gateway):
    async with Backend(name="near") as near, Backend(name="far") as far:
        await publish(gateway, [{"address": near.address, "zone": "a"}, {"address": far.address, "zone": "b"}], zone="a")
        assert await spread(gateway, 30) == {"near": 30}


async def a_backup_serves_when_the_others_are_down(gateway):
    async with Backend(name="backup") as backup:
        async with Backend(name="first") as first:
            rules = {"health": {"interval": 50, "fall": 1, "rise": 1}}
            await publish(gateway, [first.address, {"address": backup.address, "backup": True}], **rules)
            assert await spread(gateway, 20) == {"first": 20}
        await until(lambda: _healthy(gateway, 0, False), "the check to see it")
        assert await spread(gateway, 20) == {"backup": 20}


async def _healthy(gateway, index, wanted, name="b"):
    return (await state(gateway, name))["endpoints"][index]["healthy"] is wanted


async def an_endpoint_starts_slowly(gateway):
    """One that joins, and one that is healthy again, begin with a tenth of their share; the first ones do not."""
    rules = {"name": "slow", "slow_start": 3_600_000, "health": {"interval": 20, "fall": 1, "rise": 1}}
    async with Backend(name="one") as one, Backend(name="two") as two, Backend(name="new") as new:
        await publish(gateway, [one.address, two.address], **rules)
        seen = await spread(gateway, 200)
        assert min(seen["one"], seen["two"]) > 50, seen
        two.healthy = False
        await until(lambda: _healthy(gateway, 1, False, "slow"), "the check to see it")
        two.healthy = True
        await until(lambda: _healthy(gateway, 1, True, "slow"), "the check to see it again")
        seen = await spread(gateway, 200)
        assert 0 < seen.get("two", 0) < 60 < seen["one"], seen
        await publish(gateway, [one.address, new.address], **rules)
        seen = await spread(gateway, 200)
        assert 0 < seen.get("new", 0) < 60 < seen["one"], seen
        await publish(gateway, [one.address, new.address], **rules | {"slow_start": 0})
        seen = await spread(gateway, 200)
        assert min(seen["one"], seen["new"]) > 50, seen


async def an_endpoint_that_dies_is_passed_over(gateway):
    async with Backend(dies) as dying, Backend(name="good") as good:
        await publish(gateway, [dying.address, good.address], eject={"failures": 2, "base": 600_000})
        assert await spread(gateway, 40) == {"good": 40}
        assert len(dying.requests) <= 3, len(dying.requests)
        text = (await gateway.verb("metrics"))["text"]
        assert 'banyan_gateway_backend_ejections_total{backend="b"} 1' in text


async def errors_in_a_row_are_seen_too(gateway):
    async with Backend(fails) as bad, Backend(name="good") as good:
        await publish(gateway, [bad.address, good.address], eject={"errors": 3, "base": 600_000})
        seen = await spread(gateway, 40)
        assert seen["bad"] == 3 and seen["good"] == 37, seen


async def an_endpoint_comes_back_with_one_request(gateway):
    mood = {"dies": True}

    async def moody(request, reader, writer):
        if mood["dies"]:
            return False
        await Backend.answer(writer, b"", fields=["X-Backend: moody"])
    async with Backend(moody) as one, Backend(name="good") as good:
        await publish(gateway, [one.address, good.address], eject={"failures": 1, "base": 50})
        await until(lambda: _healthy(gateway, 0, False) if one.requests else spread(gateway, 5), "the ejection")
        mood["dies"] = False

        async def served():
            return "moody" in await spread(gateway, 5)
        await until(served, "its return")


async def panic_is_seen(gateway):
    async with Backend(name="b") as backend:
        backend.healthy = False
        await publish(gateway, [backend.address], health={"interval": 20, "fall": 1})
        async def panics():
            return (await state(gateway))["panic"]
        await until(panics, "panic")
        assert (await gateway.get("/")).status == 200, "the only one is used though unhealthy"
        assert 'banyan_gateway_backend_panic{backend="b"} 1' in (await gateway.verb("metrics"))["text"]


class Slow:
    """Answers when told; counts who is inside."""

    def __init__(self):
        self.go, self.inside, self.most, self.order = asyncio.Event(), 0, 0, []

    async def __call__(self, request, reader, writer):
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.order.append(request.target)
        await self.go.wait()
        self.inside -= 1
        await Backend.answer(writer, b"done", fields=["X-Backend: slow"])


async def ask(gateway, target="/", method="GET"):
    async with gateway.client() as client:
        return await client.request(method, target)


async def a_full_backend_makes_requests_wait_in_order_of_priority(gateway):
    slow = Slow()
    async with Backend(slow) as backend:
        routes = [{"id": name, "path": f"/{name}", "to": "b", "priority": name} for name in ("low", "normal", "high")]
        await publish(gateway, [backend.address], routes, limits={"requests": 1, "pending": 2, "wait": 60_000})
        inside = asyncio.create_task(ask(gateway, "/normal"))
        await until(lambda: _number(lambda: slow.inside == 1), "the first one")
        low = asyncio.create_task(ask(gateway, "/low"))
        await until(lambda: _waiting(gateway, 1), "one waiting")
        normal = asyncio.create_task(ask(gateway, "/normal"))
        await until(lambda: _waiting(gateway, 2), "two waiting")
        high = asyncio.create_task(ask(gateway, "/high"))
        shed = await low
        assert shed.status == 503 and shed.field("retry-after") == "1", "the lowest priority goes first"
        slow.go.set()
        answers = await asyncio.gather(inside, normal, high)
        assert [a.status for a in answers] == [200, 200, 200]
        assert slow.most == 1 and slow.order == ["/normal", "/high", "/normal"], slow.order
        assert (await state(gateway))["shed"] == 1


async def _number(condition):
    return condition()


async def _waiting(gateway, count):
    return (await state(gateway))["waiting"] == count


async def waiting_ends_at_its_deadline_or_with_the_client(gateway):
    slow = Slow()
    async with Backend(slow) as backend:
        await publish(gateway, [backend.address], limits={"requests": 1, "pending": 9, "wait": 100})
        inside = asyncio.create_task(ask(gateway))
        await until(lambda: _number(lambda: slow.inside == 1), "the first one")
        assert (await ask(gateway)).status == 503
        await publish(gateway, [backend.address], limits={"requests": 1, "pending": 9, "wait": 600_000})
        async with gateway.client() as gone:
            await gone.send(b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: _waiting(gateway, 1), "it to wait")
            gone.writer.transport.abort()
            await until(lambda: _waiting(gateway, 0), "it to be forgotten")
        slow.go.set()
        assert (await inside).status == 200
        assert slow.order == ["/"], slow.order


async def a_route_has_its_own_limit(gateway):
    slow = Slow()
    async with Backend(slow) as backend:
        await publish(gateway, [backend.address], [
            {"id": "few", "path": "/few", "to": "b", "limits": {"requests": 1}},
            {"id": "all", "path": "/*", "to": "b", "limits": {"adaptive": True}}])
        inside = asyncio.create_task(ask(gateway, "/few"))
        await until(lambda: _number(lambda: slow.inside == 1), "the first one")
        assert (await ask(gateway, "/few")).status == 503
        others = [asyncio.create_task(ask(gateway, "/x")) for _ in range(30)]
        done, _ = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        assert all(task.result().status == 503 for task in done), "more than the first guess of 20"
        slow.go.set()
        statuses = [response.status for response in await asyncio.gather(*others)]
        assert statuses.count(200) == 20 and (await inside).status == 200, statuses


async def admitted(gateway, backend, count):
    """Of `count` requests at once, how many the gateway lets in."""
    backend.handler = slow = Slow()
    asked = [asyncio.create_task(ask(gateway)) for _ in range(count)]
    await until(lambda: _number(lambda: slow.inside + sum(task.done() for task in asked) == count), "all to be decided")
    inside = slow.inside
    slow.go.set()
    statuses = [response.status for response in await asyncio.gather(*asked)]
    assert statuses.count(200) == inside and statuses.count(503) == count - inside, statuses
    return inside


async def an_adaptive_limit_follows_the_response_times(gateway):
    async def drive(clients, seconds, times):
        async def answers(request, reader, writer):
            await asyncio.sleep(seconds * random.uniform(0.8, 1.2))
            await Backend.answer(writer, b"")
        backend.handler = answers

        async def one():
            for _ in range(times):
                if (await ask(gateway)).status == 503:
                    await asyncio.sleep(seconds)
        await asyncio.gather(*(one() for _ in range(clients)))
    async with Backend() as backend:
        await publish(gateway, [backend.address], [
            {"id": "found", "path": "/*", "to": "b", "limits": {"adaptive": True}}])
        await drive(40, 0.1, 15)
        grown = await admitted(gateway, backend, 100)
        await drive(150, 1, 4)  # more than are let in: an idle limit does not move
        shrunk = await admitted(gateway, backend, 100)
        print(f"  let in: {grown} when fast, {shrunk} when slow")
        assert shrunk < 20 < grown, (grown, shrunk)


async def retries_have_a_budget(gateway):
    async with Backend(dies) as dying:
        await publish(gateway, [dying.address, f"127.0.0.1:{free_port()}"],
                      retry_budget={"percent": 0, "at_least": 0}, eject={"failures": 1000}, panic_percent=0)
        assert (await gateway.get("/")).status == 502
        assert len(dying.requests) <= 1
        text = (await gateway.verb("metrics"))["text"]
        assert 'banyan_gateway_backend_retries_refused_total{backend="b"} 1' in text


main([weights_are_shares, a_key_stays_with_its_endpoint, the_own_zone_is_preferred, an_endpoint_starts_slowly,
      a_backup_serves_when_the_others_are_down, an_endpoint_that_dies_is_passed_over, errors_in_a_row_are_seen_too,
      an_endpoint_comes_back_with_one_request, panic_is_seen,
      a_full_backend_makes_requests_wait_in_order_of_priority, waiting_ends_at_its_deadline_or_with_the_client,
      a_route_has_its_own_limit, an_adaptive_limit_follows_the_response_times,
      retries_have_a_budget], args=("--workers", "1"))
