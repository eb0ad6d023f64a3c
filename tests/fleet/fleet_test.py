"""Instances are spread over zones, come back when killed, and survive the agent."""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from cluster import Banyan, RpcError, eventually  # noqa: E402

APP = pathlib.Path(__file__).resolve().parent / "app.py"
BINARY = os.path.abspath(sys.argv.pop(1) if len(sys.argv) > 1 else "build/release/banyan")
ZONES = [{"name": name, "address_base": f"127.0.{n}."} for n, name in ((71, "a"), (72, "b"), (73, "c"))]


def processes_with(mark):
    """Command lines of processes whose environment holds the mark, zombies included."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def zombies_of(pid):
    listed = subprocess.run(["ps", "-o", "stat=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [state for state in listed.split() if state.startswith("Z")]


class Fleet(unittest.TestCase):
    def setUp(self):
        self.cwd = tempfile.mkdtemp(prefix="banyan-app-")
        self.addCleanup(shutil.rmtree, self.cwd)
        self.colour = "colour-of-" + os.path.basename(self.cwd)
        self.agent = Banyan(BINARY, "agent")
        self.enterContext(self.agent)
        self.addCleanup(self.stop_all)

    def stop_all(self):
        if self.agent.process.poll() is not None:
            self.agent.start()
        self.agent.call("fleet.stop")
        self.assertEqual(self.instances(), [])
        self.assertEqual(processes_with(self.colour), [])

    def apply(self, instances, **more):
        service = {"name": "web", "command": f"exec {sys.executable} {APP} ${{PORT}}", "cwd": self.cwd,
                   "env": {"COLOUR": self.colour}, "instances": instances, "min_per_zone": 1, "zones": ZONES,
                   "health": {"path": "/healthz", "host": "shop.example"}, "stop_grace_ms": 3000,
                   "drain_ms": 200, **more}
        self.agent.call("fleet.apply", services=[service])

    def service(self):
        services = self.agent.call("fleet.status")["services"]
        return services[0] if services else {"desired": 0, "ready": 0, "instances": []}

    def instances(self, state=None):
        return [i for i in self.service()["instances"] if state in (None, i["state"])]

    def settle(self, count):
        eventually(lambda: (s := self.service())["ready"] == count == len(s["instances"]), f"{count} ready")
        return self.instances()

    def by_zone(self):
        zones = [i["zone"] for i in self.instances()]
        return [zones.count(zone["name"]) for zone in ZONES]

    def test_seven_are_spread_three_two_two_and_each_answers(self):
        self.apply(7)
        instances = self.settle(7)
        self.assertEqual(self.by_zone(), [3, 2, 2])
        for each in instances:
            request = urllib.request.Request(f"http://{each['address']}/", headers={"Host": "shop.example"})
            self.assertEqual(urllib.request.urlopen(request, timeout=30).read().decode(), each["id"])
        log = pathlib.Path(self.agent.directory, "state", "logs", instances[0]["id"] + ".log").read_text()
        self.assertIn(self.colour, log)

    def test_killed_instances_come_back_at_their_addresses(self):
        self.apply(5)
        before = {i["id"]: i for i in self.settle(5)}
        for _ in range(3):
            killed = {i["pid"] for i in self.settle(5)}
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            eventually(lambda: killed.isdisjoint(i["pid"] for i in self.settle(5)), "five others")
        after = {i["id"]: i for i in self.settle(5)}
        self.assertEqual({i: after[i]["address"] for i in after}, {i: before[i]["address"] for i in before})
        self.assertTrue(all(i["restarts"] >= 1 for i in after.values()))
        self.assertEqual(zombies_of(self.agent.process.pid), [])
        # one leader and one worker each: the workers of the killed are gone
        eventually(lambda: len(processes_with(self.colour)) == 10, "no worker left over")

    def test_the_last_instance_of_a_zone_is_replaced_there(self):
        self.apply(3)
        victim = next(i for i in self.settle(3) if i["zone"] == "b")
        os.kill(victim["pid"], signal.SIGKILL)
        eventually(lambda: all(i["pid"] != victim["pid"] for i in self.settle(3)), "a replacement")
        self.assertEqual(self.by_zone(), [1, 1, 1])

    def test_instances_survive_a_killed_agent_and_are_adopted(self):
        self.apply(3)
        before = {i["id"]: i["pid"] for i in self.settle(3)}
        self.agent.kill9()
        self.agent.start()
        self.assertEqual({i["id"]: i["pid"] for i in self.settle(3)}, before)
        os.kill(next(iter(before.values())), signal.SIGKILL)
        eventually(lambda: {i["pid"] for i in self.settle(3)} != set(before.values()), "a restart after adoption")

    def test_what_died_while_the_agent_was_away_is_started_again(self):
        self.apply(3)
        before = {i["pid"] for i in self.settle(3)}
        self.agent.kill9()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        self.agent.start()
        eventually(lambda: before.isdisjoint(i["pid"] for i in self.settle(3)), "three others")  # dying takes a moment
        eventually(lambda: len(processes_with(self.colour)) == 6, "no worker left over")

    def test_an_agent_killed_again_and_again_starts_nothing_twice(self):
        for _ in range(6):
            self.apply(6)
            self.agent.kill9()
            self.agent.start()
        self.settle(6)
        eventually(lambda: len(processes_with(self.colour)) == 12, "six leaders and six workers")

    def test_a_command_that_crashes_backs_off_and_recovers(self):
        pathlib.Path(self.cwd, "crash").touch()
        self.apply(1, zones=ZONES[:1])
        eventually(lambda: [i for i in self.instances() if i["restarts"] >= 3], "restarts")
        eventually(lambda: self.instances("backoff"), "back-off")
        pathlib.Path(self.cwd, "crash").unlink()
        self.settle(1)

    def test_scaling_in_drains_first_and_keeps_the_spread(self):
        self.apply(8)
        self.settle(8)
        self.apply(3, drain_ms=600_000)
        eventually(lambda: len(self.instances("draining")) == 5, "five draining")
        self.assertEqual(self.service()["ready"], 3)
        for each in self.instances("draining"):
            os.kill(each["pid"], 0)  # still serves what it has
            self.agent.call("fleet.drained", id=each["id"])
        self.settle(3)
        self.assertEqual(self.by_zone(), [1, 1, 1])
        with self.assertRaises(RpcError):
            self.agent.call("fleet.drained", id=self.instances()[0]["id"])

    def test_a_lost_zone_is_made_up_for_and_its_return_rebalanced(self):
        self.apply(6)
        self.settle(6)
        self.apply(6, zones=ZONES[:2])
        eventually(lambda: self.settle(6) and self.by_zone() == [3, 3, 0], "two zones")
        self.apply(6)
        eventually(lambda: self.settle(6) and self.by_zone() == [2, 2, 2], "an even spread")

    def test_another_command_replaces_the_instances(self):
        self.apply(3)
        before = {i["pid"] for i in self.settle(3)}
        self.apply(3, env={"COLOUR": self.colour, "VERSION": "2"})
        eventually(lambda: {i["pid"] for i in self.settle(3)}.isdisjoint(before), "other processes")

    def test_a_sick_instance_is_shown_and_recovers(self):
        self.apply(1, zones=ZONES[:1])
        self.settle(1)
        pathlib.Path(self.cwd, "sick").touch()
        eventually(lambda: self.instances("unhealthy"), "unhealthy")
        pathlib.Path(self.cwd, "sick").unlink()
        self.settle(1)

    def test_an_instance_that_ignores_sigterm_is_killed(self):
        pathlib.Path(self.cwd, "deaf").touch()
        self.apply(1, zones=ZONES[:1], stop_grace_ms=300)
        self.settle(1)
        self.apply(0, zones=ZONES[:1], min_per_zone=0, stop_grace_ms=300)
        eventually(lambda: not self.instances(), "an empty fleet")

    def test_mistakes_are_explained(self):
        for wrong in ({"zones": []}, {"command": ""}, {"zones": [{"name": "a", "address_base": "x"}]}):
            with self.assertRaises(RpcError) as refused:
                self.apply(1, **wrong)
            self.assertEqual(refused.exception.code, "invalid_argument")
        self.apply(1, zones=ZONES[:1], cwd="/nowhere")
        eventually(lambda: self.instances("backoff"), "back-off")


if __name__ == "__main__":
    unittest.main(verbosity=2)
