"""What an operator sees: why a request ended as it did, the requests as they end, an endpoint drained, no secrets."""
import asyncio
import json
import os
import subprocess

from harness import Backend, main, snapshot, until


async def banyan(gateway, *arguments, fails=False):
    """The CLI, with the gateway's socket where `banyan up` would have put it."""
    run = os.path.join(gateway.directory, "project", "run")
    os.makedirs(run, exist_ok=True)
    link = os.path.join(run, "gateway.sock")
    if not os.path.lexists(link):
        os.symlink(gateway.socket, link)
    done = await asyncio.to_thread(
        subprocess.run, [gateway.binary, "--state-dir", os.path.dirname(run), *arguments], capture_output=True,
        text=True, cwd=gateway.directory)
    assert (done.returncode != 0) == fails, (arguments, done.stdout, done.stderr)
    return done.stdout + done.stderr


async def why_tells_route_endpoint_waiting_and_reason(gateway):
    log = os.path.join(gateway.directory, "access.log")
    async with Backend() as backend:
        await gateway.route_to(backend.address, access_log=log)
        await gateway.verb("hold.close", epoch=1, routes=["*"], max_requests=10, max_bytes=10**6, max_ms=60_000)
        held = asyncio.create_task(gateway.get("/a?token=hush", fields=["X-Request-Id: mine-1", "Cookie: s=hush"]))

        async def waits():
            return (await gateway.status())["waiting"] == 1
        await until(waits, "the request to be held")
        await gateway.verb("hold.open", epoch=1)
        assert (await held).status == 200
        (seen,) = json.loads(await banyan(gateway, "--json", "why", "mine-1"))["requests"]
        assert seen["route"] == "all" and seen["upstream"] == backend.address and seen["held_us"] > 0, seen
        assert backend.address in await banyan(gateway, "why", seen["trace"])
        address = backend.address
    response = await gateway.get("/b", fields=["X-Request-Id: mine-2"])
    assert response.status == 502
    text = await banyan(gateway, "why", "mine-2")
    assert "502" in text and "cannot be reached" in text and address in text, text
    assert "no request" in await banyan(gateway, "why", "never-sent", fails=True)
    assert "hush" not in open(log).read()


async def fields_of_the_log_are_chosen(gateway):
    log = os.path.join(gateway.directory, "access.log")
    async with Backend() as backend:
        chosen = snapshot(gateway.port, {"b": (backend.address,)}, 1, access_log=log)
        await gateway.verb("snapshot.put", snapshot=chosen | {"access_log_fields": ["status", "query"]})
        assert (await gateway.get("/a?q=tea&api_key=hush")).status == 200

        async def written():
            return os.path.getsize(log) > 0
        await until(written, "the line")
        line = json.loads(open(log).read())
        assert line.keys() == {"ts", "status", "query"} and line["query"] == "q=tea&api_key=***", line
        try:
            await gateway.verb("snapshot.put", snapshot=chosen | {"epoch": 2, "access_log_fields": ["cookie"]})
        except Exception as error:
            assert "cookie" in str(error)
        else:
            raise AssertionError("a field that does not exist was taken")


async def tap_shows_requests_as_they_end(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)  # without an access log
        assert "no route is called nowhere" in await banyan(gateway, "tap", "--route", "nowhere", fails=True)
        tapping = asyncio.create_task(banyan(gateway, "--json", "tap", "--status", "4xx", "--route", "", "-n", "2"))
        running = [True]

        async def load():
            while running[0]:
                assert (await gateway.get("/fine")).status == 200
                async with gateway.client() as client:
                    await client.send(b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n")
                    assert (await client.response()).status == 400
        loading = asyncio.create_task(load())
        lines = [json.loads(line) for line in (await tapping).splitlines()]
        running[0] = False
        await loading
        assert [line["status"] for line in lines] == [400, 400], lines


async def drain_waits_until_an_endpoint_is_empty(gateway):
    gate = asyncio.Event()

    async def slow(request, reader, writer):
        await gate.wait()
        await Backend.answer(writer, b"slow")
    async with Backend(slow) as one:
        await gateway.route_to(one.address)
        inside = asyncio.create_task(gateway.get())

        async def entered():
            return len(one.requests) == 1
        await until(entered, "the request inside")
        refused = await banyan(gateway, "drain", "b", one.address, fails=True)
        assert "last endpoint of b" in refused and "\n   1  Start" in refused and "\n   2  --force" in refused, refused
        assert "known: b" in await banyan(gateway, "drain", "nobody", one.address, fails=True)
        assert f"known: {one.address}" in await banyan(gateway, "undrain", "b", "127.0.0.1:1", fails=True)
        assert "1 requests are still inside" in await banyan(
            gateway, "drain", "b", one.address, "--force", "--timeout", "1", fails=True)
        gate.set()
        await inside
        assert "is empty" in await banyan(gateway, "drain", "b", one.address, "--force")
        assert "1, 1 drained" in await banyan(gateway, "route", "ls")
        assert (await gateway.get()).status == 503
        await banyan(gateway, "undrain", "b", one.address)
        assert (await gateway.get()).status == 200


main([why_tells_route_endpoint_waiting_and_reason, fields_of_the_log_are_chosen, tap_shows_requests_as_they_end,
      drain_waits_until_an_endpoint_is_empty])
