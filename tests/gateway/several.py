"""`banyan up` with two gateways: they share the address, and every verb of the operator knows both."""
import asyncio
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

from harness import Backend, Client, free_port, until

SPEC = """banyan: 1
name: several
gateway:
  listen: ["127.0.0.1:{port}"]
  instances: {instances}
  access_log: access.log
source:
  app: {{ listen: "127.0.0.1:{app}" }}
routes:
  - {{ match: "/*", to: source }}
"""


class Site:
    def __init__(self, binary, directory, backend):
        self.binary, self.directory, self.backend, self.port = binary, directory, backend, free_port()

    def declare(self, instances):
        (self.directory / "banyan.yaml").write_text(
            SPEC.format(port=self.port, app=self.backend.port, instances=instances))

    async def banyan(self, *arguments, code=0):
        done = await asyncio.to_thread(subprocess.run, [self.binary, "--json", "--yes", *arguments],
                                       cwd=self.directory, capture_output=True, text=True)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return json.loads(done.stdout)

    async def up(self, instances):
        self.declare(instances)
        await self.banyan("up", "--detach")
        await self.banyan("apply")
        await until(self.is_whole, "every gateway with the same routes")

    async def gateways(self):
        return (await self.banyan("status"))["gateways"]

    async def is_whole(self):
        gateways = await self.gateways()
        return all(gateways) and gateways[0]["epoch"] > 0 and len({one["epoch"] for one in gateways}) == 1

    async def ask(self, number):
        async with Client(self.port) as client:
            response = await client.request(target=f"/{number}", fields=[f"X-Request-Id: mine-{number}"])
            assert response is not None and response.status == 200, response

    async def ask_until_both_served(self):
        before, number = [one["requests_total"] for one in await self.gateways()], 0
        while True:
            for _ in range(20):
                await self.ask(number)
                number += 1
            now = [one["requests_total"] for one in await self.gateways()]
            if all(a > b for a, b in zip(now, before)):
                return number


async def every_request_is_found_whoever_served_it(site):
    asked = await site.ask_until_both_served()
    for number in range(0, asked, 5):
        (found,) = (await site.banyan("why", f"mine-{number}"))["requests"]
        assert found["path"] == f"/{number}", found


async def tap_shows_the_requests_of_both(site):
    tap = await asyncio.create_subprocess_exec(
        site.binary, "tap", "--json", cwd=site.directory, stdout=subprocess.PIPE)
    paths, asked = set(), 0
    try:
        while len(paths) < 40:
            await asyncio.sleep(0.05)
            for _ in range(10):
                await site.ask(f"tap{asked}")
                asked += 1
            while len(paths) < 40:
                try:
                    line = await asyncio.wait_for(tap.stdout.readline(), 1)
                except TimeoutError:
                    break
                paths.add(json.loads(line)["path"])
    finally:
        tap.terminate()
        await tap.wait()


async def drain_takes_an_endpoint_out_of_both(site):
    address = site.backend.address
    async def seen():
        return [backend["endpoints"][0]["draining"] for one in await site.gateways() for backend in one["backends"]]
    await site.banyan("drain", "source", address, "--force")
    assert await seen() == [True, True]
    await site.banyan("undrain", "source", address)
    assert await seen() == [False, False]


async def one_that_dies_is_missed_by_nobody_new_and_comes_back(site):
    first, second = await site.gateways()
    os.kill(second["pid"], signal.SIGKILL)
    async def restarted():
        return await site.is_whole() and (await site.gateways())[1]["pid"] != second["pid"]
    await until(restarted, "the second gateway")
    assert (await site.gateways())[0]["pid"] == first["pid"]
    await site.ask_until_both_served()


async def one_that_hangs_is_said_to(site):
    pid = (await site.gateways())[1]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        status = await site.banyan("status")
        assert status["roles"]["gateway"] and not status["roles"]["gateway-2"], status["roles"]
    finally:
        os.kill(pid, signal.SIGCONT)
    await until(site.is_whole, "the gateway that goes on")


async def an_upgrade_replaces_both(site):
    before = [one["pid"] for one in await site.gateways()]
    done = await site.banyan("upgrade", "gateway")
    assert [one["from"] for one in done["gateways"]] == before, done
    assert [one["pid"] for one in await site.gateways()] == [one["to"] for one in done["gateways"]]
    await site.ask_until_both_served()


async def a_gateway_that_is_no_longer_wanted_is_forgotten(site):
    site.declare(1)
    assert any("1 gateways" in step["what"] for step in (await site.banyan("plan", code=2))["steps"])
    await site.banyan("down")
    await site.up(1)
    assert len(await site.gateways()) == 1
    assert not (site.directory / ".banyan" / "gateway-2").exists()


async def run(binary, directory):
    async with Backend() as backend:
        site = Site(binary, directory, backend)
        try:
            await site.up(2)
            for test in (every_request_is_found_whoever_served_it, tap_shows_the_requests_of_both,
                         drain_takes_an_endpoint_out_of_both, one_that_dies_is_missed_by_nobody_new_and_comes_back,
                         one_that_hangs_is_said_to, an_upgrade_replaces_both,
                         a_gateway_that_is_no_longer_wanted_is_forgotten):
                await test(site)
                print(f"ok      {test.__name__}", flush=True)
        finally:
            await site.banyan("down")


def main():
    with tempfile.TemporaryDirectory(prefix="banyan-several-") as directory:
        asyncio.run(asyncio.wait_for(run(os.path.abspath(sys.argv[1]), pathlib.Path(directory)), 240))


main()
