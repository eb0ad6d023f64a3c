#!/usr/bin/python3
"""The proof that the gateway changes nothing is made over TLS and at every address that can be asked.

Real: an application, certificates of a local authority, and `banyan up` with every role. No database moves.
"""
import json
import os
import pathlib
import shutil
import ssl
import subprocess
import sys
import tempfile
import unittest
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from cluster import eventually, free_port  # noqa: E402

BANYAN = os.path.abspath(sys.argv.pop(1))
SPEC = """banyan: 1
name: small
source: {{ app: {{ listen: "127.0.0.1:{app}", health: {{ path: /healthz }} }} }}
gateway:
  public_host: shop.example
  access_log: access.log
{gateway}
services: {{ web: {{ endpoints: [ {{ address: "127.0.0.1:{app}" }} ] }} }}
routes: [ {{ match: /*, to: web, default: source }} ]
migrations: {{ lift: {{ move: {{ routes: all }} }} }}
"""
TLS = "tls: { certificates: [ { certificate: tls/shop.example.pem, key: tls/shop.example-key.pem } ]"


class AdoptTls(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="banyan-adopt-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.app, self.ports = free_port(), [free_port() for _ in range(4)]
        app = subprocess.Popen(["/usr/bin/python3", HERE / "old_app.py", str(self.app), "127.0.0.1",
                                self.directory / "notice"])
        self.addCleanup(app.wait)
        self.addCleanup(app.kill)
        for words in (("dev-ca", "tls"), ("issue", "tls", "shop.example")):
            self.assertEqual(self.banyan("cert", *words), 0, self.printed)

    def banyan(self, *words):
        done = subprocess.run([BANYAN, *words], cwd=self.directory, capture_output=True, text=True, timeout=200,
                              stdin=subprocess.DEVNULL)
        self.printed = done.stdout + done.stderr
        return done.returncode

    def begin(self, listeners):
        text = "  listeners:\n" + "".join(f"    - {{ listen: \"127.0.0.1:{port}\", {rest} }}\n"
                                          for port, rest in zip(self.ports, listeners))
        (self.directory / "banyan.yaml").write_text(SPEC.format(app=self.app, gateway=text))
        self.addCleanup(self.banyan, "down")
        for words in (("up", "--detach"), ("apply",)):
            self.assertEqual(self.banyan(*words), 0, self.printed)

    def adoption(self):
        self.assertEqual(self.banyan("migrate", "create", "lift", "--detach"), 0, self.printed)
        self.assertEqual(self.banyan("migrate", "status", "lift", "--json"), 0, self.printed)
        return json.loads(self.printed)["adoption"]

    def serves(self, port):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:{port}/healthz", context=context, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def test_an_only_listener_with_tls_is_asked_over_tls(self):
        self.begin([f"{TLS} }}, hsts_s: 60"])
        eventually(lambda: self.serves(self.ports[0]), "the gateway")
        found = self.adoption()
        self.assertEqual((found["equal"], found["wanted"], found["different"]), (20, 20, []))

    def test_every_address_that_can_be_asked_is(self):
        certificate = f"{TLS}, client_certificates: required, client_ca: tls/ca.pem }}"
        self.begin([f"redirect_https_port: {self.ports[1]}", f"{TLS} }}", certificate, "hsts_s: 0"])
        eventually(lambda: self.serves(self.ports[1]), "the gateway")
        found = self.adoption()
        self.assertEqual((found["equal"], found["wanted"], found["different"]), (20, 20, []))

    def test_where_no_address_can_be_asked_that_is_said(self):
        self.begin(["redirect_https_port: 443"])
        self.assertNotEqual(self.banyan("migrate", "create", "lift", "--detach"), 0)
        self.assertIn("no address of the gateway can be compared", self.printed)


if __name__ == "__main__":
    unittest.main()
