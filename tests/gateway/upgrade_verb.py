"""`banyan up` with a gateway that is upgraded by `banyan upgrade gateway`, twice, and crashes afterwards."""
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
name: upgrade
gateway:
  listen: ["127.0.0.1:{port}"]
source:
  app: {{ listen: "127.0.0.1:{app}" }}
routes:
  - {{ match: "/*", to: source }}
"""


async def run(binary, directory):
    async with Backend() as backend:
        port = free_port()
        (directory / "banyan.yaml").write_text(SPEC.format(port=port, app=backend.port))

        async def banyan(*arguments):
            done = await asyncio.to_thread(subprocess.run, [binary, "--json", "--yes", *arguments], cwd=directory,
                                           capture_output=True, text=True)
            assert done.returncode == 0, (arguments, done.stdout, done.stderr)
            return json.loads(done.stdout)

        async def serves():
            try:
                async with Client(port) as client:
                    response = await client.request()
                    return response is not None and response.status == 200
            except OSError:
                return False

        supervisor = await asyncio.to_thread(
            subprocess.Popen, [binary, "up"], cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            control = directory / ".banyan" / "run" / "control.sock"
            await until(lambda: asyncio.sleep(0, control.exists()), "banyan up")
            await banyan("apply")
            await until(serves, "the route")
            first = await banyan("upgrade", "gateway")
            assert await serves()
            second = await banyan("upgrade", "gateway")
            assert await serves()
            assert second["from"] == first["to"] != first["from"]
            os.kill(second["to"], signal.SIGKILL)
            await until(serves, "the gateway's restart")
            assert supervisor.poll() is None
        finally:
            supervisor.terminate()
            supervisor.wait()


def main():
    with tempfile.TemporaryDirectory(prefix="banyan-upgrade-") as directory:
        asyncio.run(asyncio.wait_for(run(os.path.abspath(sys.argv[1]), pathlib.Path(directory)), 120))
        print("ok      the verb upgrades twice and the supervisor still minds the gateway")


main()
