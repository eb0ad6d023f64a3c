"""Gateways that share the rates of clients through a real Redis admit together what one would; without it each
goes on by itself. The password of the Redis is nowhere but where the operator put it."""
import asyncio
import contextlib
import json
import pathlib
import signal
import subprocess
import tempfile
import time

from harness import Backend, Client, Gateway, free_port, main, snapshot, until

from cluster import Redis

RATE, BURST, SECONDS = 60, 12, 2.5
LIMITS = {"client_requests_per_s": RATE, "client_burst": BURST}
SHARED = LIMITS | {"shared": {"redis": "limits"}}
PASSWORD = "not-to-be-seen"


async def publish(gateway, backend, limits, **more):
    gateway.epoch += 1
    await gateway.verb("snapshot.put", snapshot=snapshot(
        gateway.port, {"b": (backend.address,)}, gateway.epoch, limits=limits) | more)


async def is_up(gateway):
    lines = (await gateway.verb("metrics"))["text"].splitlines()
    return next((line.split()[1] for line in lines if line.startswith("banyan_gateway_shared_limits_up ")), None)


async def until_up(gateways, value):
    for gateway in gateways:
        async def there():
            return await is_up(gateway) == value
        await until(there, f"banyan_gateway_shared_limits_up {value}")


async def hammer(ports, connections=2):
    """(admitted, what one rate allows in the time it took): as fast as it goes, over every port."""
    counts, begin = {200: 0, 429: 0}, time.monotonic()

    async def one(port):
        async with Client(port) as client:
            while time.monotonic() - begin < SECONDS:
                counts[(await client.request()).status] += 1

    await asyncio.gather(*(one(port) for port in ports for _ in range(connections)))
    return counts[200], BURST + RATE * (time.monotonic() - begin)


async def assert_one_rate(ports, connections=2):
    admitted, allowed = await hammer(ports, connections)
    assert 0.5 * allowed < admitted < 1.4 * allowed, (admitted, allowed)


async def assert_a_rate_each(ports):
    admitted, allowed = await hammer(ports)
    assert admitted > 1.6 * allowed, (admitted, allowed)


@contextlib.asynccontextmanager
async def two(gateway):
    async with Backend() as backend:
        with Redis() as redis, Gateway(gateway.binary) as other:
            yield backend, redis, (gateway, other), (gateway.port, other.port)


async def two_gateways_admit_what_one_would(gateway):
    async with two(gateway) as (backend, redis, gateways, ports):
        for one in gateways:
            await publish(one, backend, LIMITS)
            assert await is_up(one) is None
        await assert_a_rate_each(ports)
        for one in gateways:
            await publish(one, backend, SHARED, limits_redis={"text": redis.url()})
        await until_up(gateways, "1")
        await assert_one_rate(ports)


async def without_redis_each_gateway_goes_on_by_itself(gateway):
    async with two(gateway) as (backend, redis, gateways, ports):
        for one in gateways:
            await publish(one, backend, SHARED, limits_redis={"text": redis.url()})
        await until_up(gateways, "1")
        redis.kill9()
        await until_up(gateways, "0")
        await assert_a_rate_each(ports)
        redis.start()
        await until_up(gateways, "1")
        await assert_one_rate(ports)
        for one in gateways:
            log = one.log_tail(1000)
            assert log.count("are shared with other gateways") == 2, log
            assert log.count("are not shared") == 1, log


async def a_redis_that_hangs_delays_nobody_and_a_restart_shares_again(gateway):
    async with Backend() as backend:
        with Redis() as redis:
            await publish(gateway, backend, SHARED | {"client_requests_per_s": 1_000_000},
                          limits_redis={"text": redis.url()})
            await until_up([gateway], "1")
            redis.process.send_signal(signal.SIGSTOP)
            try:
                async def hangs():
                    assert (await gateway.get()).status == 200
                    return await is_up(gateway) == "0"
                await until(hangs, "banyan_gateway_shared_limits_up 0")
                await publish(gateway, backend, LIMITS)
                assert await is_up(gateway) is None
                await publish(gateway, backend, SHARED, limits_redis={"text": redis.url()})
            finally:
                redis.process.send_signal(signal.SIGCONT)
            await until_up([gateway], "1")
            await asyncio.to_thread(gateway.kill9)
            await asyncio.to_thread(gateway.start)
            await until_up([gateway], "1")


async def a_slash_64_is_one_client_in_redis_too(gateway):
    async with Backend() as backend:
        with Redis() as redis:
            await publish(gateway, backend, {"client_requests_per_s": 1, "client_burst": 5,
                                             "shared": {"redis": "limits", "key_prefix": "mine:"}},
                          limits_redis={"text": redis.url()}, listen=[f"[::1]:{gateway.port}"])
            await until_up([gateway], "1")
            seen = set()

            async def counted():
                reader, writer = await asyncio.open_connection("::1", gateway.port)
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert (await reader.read()).startswith(b"HTTP/1.1 ")
                writer.close()
                seen.update(redis.client().keys())
                return seen
            await until(counted, "a key")
            assert seen == {b"mine:::/64"}, seen


async def the_password_is_looked_up_when_needed_and_never_shown(gateway):
    async with Backend() as backend:
        with Redis() as redis:
            redis.client().config_set("requirepass", PASSWORD)
            secret = pathlib.Path(gateway.directory) / "url"
            secret.write_text(f"redis://:wrong-{PASSWORD}@127.0.0.1:{redis.port}/0\n")
            await publish(gateway, backend, SHARED, access_log=f"{gateway.directory}/access.log",
                          limits_redis={"kind": "file", "text": str(secret)})
            async def refused():
                return "WRONGPASS" in gateway.log_tail()
            await until(refused, "the wrong password to be refused")
            secret.write_text(f"redis://:{PASSWORD}@127.0.0.1:{redis.port}/0\n")
            await until_up([gateway], "1")
            assert (await gateway.get(fields=["X-Request-Id: mine"])).status == 200
            shown = [await gateway.verb("snapshot.get"), await gateway.status(), await gateway.verb("metrics"),
                     await gateway.verb("request.find", id="mine")]
            assert PASSWORD not in json.dumps(shown)
            assert_unseen(pathlib.Path(gateway.directory), secret)


def assert_unseen(directory, secret):
    files = [path for path in directory.rglob("*") if path.is_file() and path != secret]
    seen = [path for path in files if PASSWORD.encode() in path.read_bytes()]
    assert len(files) > 2 and not seen, (files, seen)


SPEC = """banyan: 1
name: shared
secrets: {{ file: .env }}
gateway:
  listen: ["127.0.0.1:{port}"]
  instances: 2
  access_log: access.log
  limits: {{ client_requests_per_s: {rate}, client_burst: {burst}, shared: {{ redis: limits }} }}
redis: {{ limits: {{ url: {{ secret: LIMITS_REDIS }} }} }}
source:
  app: {{ listen: "{backend}" }}
routes:
  - {{ match: "/*", to: source }}
"""


async def the_gateways_of_one_site_share_by_its_spec(gateway):
    port = free_port()
    async with Backend() as backend:
        with Redis() as redis, tempfile.TemporaryDirectory(prefix="banyan-shared-") as name:
            redis.client().config_set("requirepass", PASSWORD)
            directory = pathlib.Path(name)
            secret = directory / ".env"
            secret.write_text(f"LIMITS_REDIS=redis://:{PASSWORD}@127.0.0.1:{redis.port}/0\n")
            (directory / "banyan.yaml").write_text(
                SPEC.format(port=port, rate=RATE, burst=BURST, backend=backend.address))

            async def banyan(*arguments):
                done = await asyncio.to_thread(subprocess.run, [gateway.binary, "--json", "--yes", *arguments],
                                               cwd=directory, capture_output=True, text=True)
                assert done.returncode == 0 and PASSWORD not in done.stdout + done.stderr, done
                return json.loads(done.stdout)
            try:
                await banyan("up", "--detach")
                await banyan("apply")
                logs = list((directory / ".banyan").rglob("gateway*.log"))
                async def shared():
                    return len(logs) == 2 and all("are shared with" in log.read_text() for log in logs)
                await until(shared, "both gateways to share")
                await assert_one_rate([port], connections=8)
                served = [one["requests_total"] for one in (await banyan("status"))["gateways"]]
                assert min(served) > 0, served
                await banyan("route", "ls")
                assert_unseen(directory, secret)
            finally:
                await banyan("down")


main([two_gateways_admit_what_one_would, without_redis_each_gateway_goes_on_by_itself,
      a_redis_that_hangs_delays_nobody_and_a_restart_shares_again, a_slash_64_is_one_client_in_redis_too,
      the_password_is_looked_up_when_needed_and_never_shown,
      the_gateways_of_one_site_share_by_its_spec])
