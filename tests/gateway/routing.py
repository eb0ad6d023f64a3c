"""Which route a request takes, what is changed on the way, and what the gateway answers itself."""
import asyncio
import base64
import json

from harness import Backend, free_port, main, snapshot


def route(path, to=None, **more):
    out = {"id": more.pop("id", path), "path": path, **more}
    return out | ({"to": to} if to else {})


async def publish(gateway, backends, routes, **more):
    gateway.epoch += 1
    value = snapshot(gateway.port, backends, gateway.epoch, routes=routes, **more)
    await gateway.verb("snapshot.put", snapshot=value)


async def conditions_choose_the_route(gateway):
    async with Backend(name="plain") as plain, Backend(name="beta") as beta, Backend(name="host") as host:
        await publish(gateway, {"plain": [plain.address], "beta": [beta.address], "host": [host.address]}, [
            route("/*", "plain"),
            route("/*", "beta", id="beta", when={"headers": [["x-beta", "1"]], "source": ["127.0.0.0/8"]}),
            route("/*", "beta", id="v2", when={"query": [["v", "2"]], "source": ["10.0.0.0/8"]}),
            route("/*", "host", id="wild", host="*.wild.example")])
        assert (await gateway.get("/a")).field("x-backend") == "plain"
        assert (await gateway.get("/a", fields=["X-Beta: 1"])).field("x-backend") == "beta"
        assert (await gateway.get("/a", fields=["X-Beta: 2"])).field("x-backend") == "plain"
        assert (await gateway.get("/a?v=2")).field("x-backend") == "plain", "10/8 does not hold this client"
        async with gateway.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a.wild.example:80\r\n\r\n")
            assert (await client.response()).field("x-backend") == "host"


async def the_original_path_is_forwarded(gateway):
    async with Backend() as backend:
        await publish(gateway, {"b": [backend.address]}, [route("/a/*", "b")])
        for target in ("/a/x%2Fy//z?q=%20", "//a/b", "/%61/c", "/a/./d"):
            assert (await gateway.get(target)).status == 200
            assert backend.requests[-1].target == target, backend.requests[-1].target
        assert (await gateway.get("/a/../b")).status == 404


async def a_prefix_is_rewritten_both_ways(gateway):
    async def answer(request, reader, writer):
        await Backend.answer(writer, b"", 302, ["Location: /login?n=1", "Set-Cookie: s=1; Path=/; Domain=app.internal",
                                                "Server: secret", "Refresh: 3; url=http://app.internal/x"])
    async with Backend(answer) as backend:
        await publish(gateway, {"b": [backend.address]}, [route(
            "/old/*", "b", rewrite={"prefix": "/", "host": "app.internal"},
            headers={"request": {"set": [["x-side", "new"]], "remove": ["cookie"]},
                     "response": {"remove": ["server"], "add": [["x-frame-options", "DENY"]]}})])
        response = await gateway.get("/old/a%2Fb//c?x=1", fields=["Cookie: c=1", "X-Side: forged"])
        request = backend.requests[-1]
        assert request.target == "/a%2Fb//c?x=1", request.target
        assert request.field("host") == "app.internal" and request.all("x-side") == ["new"]
        assert request.field("cookie") is None and request.field("x-forwarded-host") == "docs.example"
        assert response.field("location") == "/old/login?n=1", response.fields
        assert response.field("set-cookie") == "s=1; Path=/old; Domain=docs.example", response.fields
        assert response.field("refresh") == "3; url=http://docs.example/old/x", response.fields
        assert response.field("server") is None and response.field("x-frame-options") == "DENY"
        await gateway.get("/old/../old/x/../y")
        assert backend.requests[-1].target == "/y", "a prefix cannot be climbed out of"
        body = b"x" * 300_000
        async with gateway.client() as client:
            assert (await client.request("POST", "/old/up", body)).status == 302
        assert backend.requests[-1].body == body


async def the_gateway_answers_itself(gateway):
    await publish(gateway, {}, [
        route("/u/:id/*", redirect={"status": 308, "location": "https://${host}/people/${id}/${*}${query}"}),
        route("/back/*", redirect={"status": 302, "location": "${uri}"}),
        route("/robots.txt", respond={"body": "User-agent: *\n", "type": "text/x-robots"},
              headers={"response": {"set": [["x-by", "gateway"]]}})])
    async with gateway.client() as client:
        response = await client.request(target="/u/7/a/b?q=1")
        assert response.status == 308
        assert response.field("location") == "https://docs.example/people/7/a/b?q=1", response.fields
        response = await client.request(target="/robots.txt")
        assert response.status == 200 and response.body == b"User-agent: *\n"
        assert response.field("content-type") == "text/x-robots" and response.field("x-by") == "gateway"
        response = await client.request(target="//back/evil.example")
        assert response.field("location") == "/back/evil.example", response.fields
        response = await client.request("POST", "/robots.txt", b"body")
        assert response.status == 200


def token(subject):
    part = base64.urlsafe_b64encode(json.dumps({"sub": subject}).encode()).decode().rstrip("=")
    return f"Authorization: Bearer e30.{part}.sig"


async def cohorts_are_sticky_and_only_grow(gateway):
    async with Backend(name="old") as old, Backend(name="new") as new:
        sides = {"old": [old.address], "new": [new.address]}
        keys = {"cookie": lambda u: f"Cookie: a=b; sid={u}", "header": lambda u: f"X-User: {u}", "claim": token}
        names = {"cookie": "sid", "header": "x-user", "claim": "sub"}
        for by, field in keys.items():
            members = set()
            for percent in (0, 10, 50, 100):
                await publish(gateway, sides, [route(
                    "/*", weights=[["old", 100 - percent], ["new", percent]],
                    sticky={"by": by, "name": names[by], "salt": "s"})])
                async with gateway.client() as client:
                    now = {user for user in range(60) if (await client.request(
                        fields=[field(f"user{user}")])).field("x-backend") == "new"}
                    assert (await client.request()).field("x-backend") == "old", "no key: the stable side"
                assert members <= now, (by, percent, members - now)
                members = now
            assert len(members) == 60
        await publish(gateway, sides, [route("/*", weights=[["old", 1], ["new", 1]])])
        async with gateway.client() as client:
            seen = [(await client.request()).field("x-backend") for _ in range(100)]
        assert 20 < seen.count("new") < 80, seen


async def a_failing_service_has_a_fallback(gateway):
    async with Backend(name="other") as other:
        await publish(gateway, {"dead": [f"127.0.0.1:{free_port()}"], "other": [other.address]}, [
            route("/static", "dead", fallback={"respond": {"status": 503, "body": "later", "type": "text/html"}}),
            route("/other", "dead", fallback={"to": "other"})])
        response = await gateway.get("/static")
        assert response.status == 503 and response.body == b"later" and response.field("content-type") == "text/html"
        async with gateway.client() as client:
            response = await client.request("POST", "/other", b"never sent before")
            assert response.status == 200 and response.body == b"never sent before"


async def a_request_that_may_have_been_done_has_no_fallback(gateway):
    async def dies(request, reader, writer):
        return False
    async with Backend(dies) as dying, Backend(name="other") as other:
        await publish(gateway, {"dying": [dying.address], "other": [other.address]},
                      [route("/*", "dying", fallback={"to": "other"})])
        async with gateway.client() as client:
            assert (await client.request("POST", "/", b"once")).status == 502
        assert not other.requests and len(dying.requests) == 1
        assert (await gateway.get("/")).field("x-backend") == "other"


async def timeouts_and_retries_are_the_routes(gateway):
    async def silent(request, reader, writer):
        await asyncio.sleep(60)
    async with Backend(silent) as backend:
        await publish(gateway, {"b": [backend.address]}, [route("/*", "b", timeout=100)])
        assert (await gateway.get("/")).status == 504


async def a_held_request_follows_the_rules_in_force_when_it_is_let_in(gateway):
    async with Backend(name="old") as old, Backend(name="new") as new:
        sides = {"old": [old.address], "new": [new.address]}
        await publish(gateway, sides, [route("/*", "old", id="all")])
        await gateway.verb("hold.close", epoch=2, max_ms=20000)
        async with gateway.client() as client:
            asking = asyncio.create_task(client.request(target="/a/b", fields=["X-Beta: 1"]))
            while (await gateway.status())["waiting"] == 0:
                await asyncio.sleep(0.01)
            await publish(gateway, sides, [route("/*", "old", id="all"), route(
                "/a/*", "new", id="beta", when={"headers": [["x-beta", "1"]]}, rewrite={"prefix": "/n"})])
            await gateway.verb("hold.open", epoch=2)
            assert (await asking).field("x-backend") == "new"
            assert new.requests[-1].target == "/n/b"


async def a_bad_snapshot_is_refused_and_the_old_one_goes_on(gateway):
    async with Backend() as backend:
        await publish(gateway, {"b": [backend.address]}, [route("/*", "b")])
        try:
            await publish(gateway, {"b": [backend.address]}, [
                route("/*", "nobody", when={"source": ["10.0.0.0/99"]}, redirect={"status": 200, "location": "/"})])
            raise AssertionError("was taken")
        except Exception as error:
            text = str(error)
        for part in ("routes[0].to: no backend named 'nobody'", "routes[0].when.source", "routes[0].redirect.status"):
            assert part in text, text
        assert (await gateway.get("/")).status == 200


main([conditions_choose_the_route, the_original_path_is_forwarded, a_prefix_is_rewritten_both_ways,
      the_gateway_answers_itself, cohorts_are_sticky_and_only_grow, a_failing_service_has_a_fallback,
      a_request_that_may_have_been_done_has_no_fallback, timeouts_and_retries_are_the_routes,
      a_held_request_follows_the_rules_in_force_when_it_is_let_in, a_bad_snapshot_is_refused_and_the_old_one_goes_on])
