"""How backends are spoken to and found alive: HTTP/2 and TLS from banyan.yaml on, checks by HTTP, TCP and gRPC."""
import asyncio
import concurrent.futures
import contextlib
import pathlib
import subprocess
import tempfile

import grpc

from grpc_e2e import GUARD_S, Echo, channel, code_of
from harness import Backend, free_port, main, snapshot, until
from tls import Authority

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
SPEC = """banyan: 1
name: upstreams
gateway: {{ listen: 127.0.0.1:{port} }}
services:
  shop:
    endpoints: [ {{ address: "127.0.0.1:{shop}" }} ]
    traffic:
      protocol: grpc
      tls: {{ ca: {tls}/ca.pem, server_name: {name}, verify: {verify},
             certificate: {tls}/gateway.example.pem, key: {tls}/gateway.example-key.pem }}
    health: {{ interval: 50ms, rise: 1 }}
routes: [ {{ match: /*, to: shop }} ]
"""


class Health(Echo):
    """A real gRPC server's health service."""

    def __init__(self, *names):
        super().__init__()
        self.status, self.asked, self.names = SERVING, [], names

    def service(self, details):
        if details.method == "/grpc.health.v1.Health/Check":
            return grpc.unary_unary_rpc_method_handler(self.check)
        return super().service(details)

    def check(self, request, context):
        self.asked.append(request)
        if request and request[2:].decode() not in self.names:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return self.status


@contextlib.contextmanager
def served(handler, credentials=None):
    pool = concurrent.futures.ThreadPoolExecutor(8)
    server = grpc.server(pool, handlers=[handler])
    port = server.add_secure_port("127.0.0.1:0", credentials) if credentials else server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()
        pool.shutdown()


async def publish(gateway, backends, routes=None, **more):
    """`backends`: name -> (port, rules)."""
    gateway.epoch += 1
    base = snapshot(gateway.port, {name: [f"127.0.0.1:{port}"] for name, (port, _) in backends.items()},
                    gateway.epoch, routes, **more)
    for name, (_, rules) in backends.items():
        base["backends"][name] |= rules
    await gateway.verb("snapshot.put", snapshot=base)


async def is_healthy(gateway, name="b"):
    backend = next(b for b in (await gateway.status())["backends"] if b["name"] == name)
    return backend["endpoints"][0]["healthy"]


async def the_spec_says_how_a_backend_is_spoken_to(gateway):
    with Authority(gateway) as authority, tempfile.TemporaryDirectory(prefix="banyan-up-") as folder:
        files = authority.issue("shop.example")
        authority.issue("gateway.example", client=True)
        read = {name: pathlib.Path(path).read_bytes() for name, path in (files | {"ca": authority.ca}).items()}
        credentials = grpc.ssl_server_credentials([(read["key"], read["certificate"])], read["ca"], True)
        health, directory, port = Health(), pathlib.Path(folder), free_port()

        def banyan(*words):
            return subprocess.run([gateway.binary, "--yes", *words], cwd=directory, capture_output=True, text=True,
                                  stdin=subprocess.DEVNULL)

        def write(**change):
            given = {"port": port, "tls": authority.folder, "name": "shop.example", "verify": "full"} | change
            (directory / "banyan.yaml").write_text(SPEC.format(**given))

        def call():
            with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_retries", 0)]) as to:
                with contextlib.suppress(grpc.RpcError):
                    return to.unary_unary("/demo.Echo/Unary")(b"over tls", timeout=GUARD_S)

        async def answers(expected):
            await until(lambda: asyncio.to_thread(lambda: call() == expected), f"{expected} from {SPEC}")

        with served(health, credentials) as shop:
            write(shop=shop)
            supervisor = subprocess.Popen([gateway.binary, "up"], cwd=directory, stdout=subprocess.DEVNULL,
                                          stderr=subprocess.DEVNULL)
            try:
                control = directory / ".banyan" / "run" / "control.sock"
                await until(lambda: asyncio.sleep(0, control.exists()), "banyan up")
                for change, expected in (({}, b"over tls"), ({"name": "other.example"}, None),
                                         ({"name": "other.example", "verify": "ca"}, b"over tls")):
                    write(shop=shop, **change)
                    done = await asyncio.to_thread(banyan, "apply")
                    assert done.returncode == 0, done.stdout + done.stderr
                    await answers(expected)
                assert b"" in health.asked, "the check goes the same way as the requests"
                write(shop=shop, verify="some")
                done = await asyncio.to_thread(banyan, "validate")
                said = done.stdout + done.stderr
                assert "traffic.tls.verify" in said and "banyan.yaml:9:" in said and done.returncode != 0, said
            finally:
                supervisor.terminate()
                supervisor.wait()


async def http_over_tls_goes_to_http1_backends_too(gateway):
    with Authority(gateway) as authority:
        import ssl
        files = authority.issue("shop.example")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(files["certificate"], files["key"])
        backend = Backend()
        server = await asyncio.start_server(lambda r, w: backend._serve(r, w), "127.0.0.1", 0, ssl=context)
        backend.writers, port = set(), server.sockets[0].getsockname()[1]
        for tls, status in (({"ca": authority.ca, "server_name": "shop.example"}, 200), ({"ca": authority.ca}, 502),
                            ({"verify": "none"}, 200), ({"server_name": "shop.example"}, 502)):
            await publish(gateway, {"b": (port, {"tls": tls})})
            assert (await gateway.get()).status == status, tls
        server.close()


def expired(authority, name):
    """Files of a certificate that was over yesterday, which `banyan cert` does not make."""
    files = {kind: str(authority.folder / f"{kind}.pem") for kind in ("request", "key", "certificate")}
    for command in (["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                     files["key"], "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-out",
                     files["request"]],
                    ["x509", "-req", "-in", files["request"], "-CA", authority.ca, "-CAkey",
                     str(authority.folder / "ca-key.pem"), "-days", "-1", "-copy_extensions", "copy", "-out",
                     files["certificate"]]):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    return files


async def why_a_certificate_is_refused_is_found_and_logged(gateway):
    with Authority(gateway) as authority:
        import ssl
        async def listen(files):
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(files["certificate"], files["key"])
            return await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0, ssl=context)
        good = await listen(authority.issue("shop.example"))
        old = await listen(expired(authority, "old.example"))
        plain = await asyncio.start_server(lambda r, w: w.write(b"HTTP/1.1 200 OK\r\n\r\n"), "127.0.0.1", 0)
        cases = [(good, {"server_name": "shop.example"}, "certificate"),
                 (good, {"ca": authority.ca, "server_name": "other.example"}, "hostname mismatch"),
                 (old, {"ca": authority.ca, "server_name": "old.example"}, "certificate has expired"),
                 (plain, {"ca": authority.ca}, "wrong version number")]
        for number, (server, tls, why) in enumerate(cases):
            port = server.sockets[0].getsockname()[1]
            for protocol in ("http1", "h2"):
                await publish(gateway, {f"b{number}{protocol}": (port, {"tls": tls, "protocol": protocol})},
                              access_log=f"{gateway.directory}/access.log")
                answer = await gateway.get(fields=[f"X-Request-Id: r{number}{protocol}"])
                assert answer.status == 502 and b"tls" not in answer.body, (why, answer.status, answer.body)
                (line,) = (await gateway.verb("request.find", id=f"r{number}{protocol}"))["requests"]
                assert why in line["reason"] and "tls: " in line["reason"], line
                said = [line for line in gateway.log_tail(1000).splitlines() if f'"b{number}{protocol}"' in line]
                assert said and all("endpoint cannot be connected to" in line and why in line for line in said), said
        for server in (good, old, plain):
            server.close()


async def grpc_checks_believe_only_serving(gateway):
    health = Health("shop.v1")
    with served(health) as port:
        rules = {"protocol": "grpc", "health": {"service": "shop.v1", "interval": 20, "rise": 1, "fall": 2}}
        await publish(gateway, {"b": (port, rules)})
        await until(lambda: asyncio.sleep(0, len(health.asked) > 3), "checks")
        assert await is_healthy(gateway) and set(health.asked) == {b"\x0a\x07shop.v1"}, health.asked
        for status, expected in ((NOT_SERVING, False), (SERVING, True), (b"", False), (SERVING, True)):
            health.status = status

            async def seen(expected=expected):
                return await is_healthy(gateway) == expected
            await until(seen, f"health {expected}")
        rules["health"]["service"] = "another"
        await publish(gateway, {"b": (port, rules)})
        await until(lambda: not_healthy(gateway), "the unknown service to be noticed")


async def not_healthy(gateway):
    return not await is_healthy(gateway)


async def tcp_checks_want_a_connection_and_http_checks_a_status(gateway):
    async def busy(request, reader, writer):
        await Backend.answer(writer, b"", 503)

    async with Backend(busy) as backend:
        every = {"interval": 20, "rise": 1, "fall": 1}
        await publish(gateway, {"b": (backend.port, {"health": every | {"path": "/busy", "expect": ["200", "503"]}})})
        await until(lambda: asyncio.sleep(0, len(backend.requests) > 2), "checks")
        assert await is_healthy(gateway)
        await publish(gateway, {"b": (backend.port, {"health": every | {"path": "/busy", "expect": ["200-299"]}})})
        await until(lambda: not_healthy(gateway), "503 to count as bad")
        await publish(gateway, {"b": (backend.port, {"health": every | {"kind": "tcp"}})})
        await until(lambda: is_healthy(gateway), "a connection to be enough")
        backend.server.close()
        await until(lambda: not_healthy(gateway), "the closed port to be noticed")


async def the_gateway_is_a_grpc_health_service_where_a_route_says_so(gateway):
    health = Health()
    with served(health) as port:
        rules = {"protocol": "grpc", "health": {"interval": 20, "rise": 1, "fall": 1}, "panic_percent": 0}
        routes = [{"id": "health", "path": "/grpc.health.v1.Health/Check", "respond": {"grpc_health": True}},
                  {"id": "all", "path": "/*", "to": "shop"}]
        await publish(gateway, {"shop": (port, rules)}, routes)

        def ask(service=b""):
            request = b"\x0a" + bytes([len(service)]) + service if service else b""
            with channel(gateway) as to:
                return to.unary_unary("/grpc.health.v1.Health/Check")(request, timeout=GUARD_S)

        assert await asyncio.to_thread(ask) == SERVING and await asyncio.to_thread(ask, b"shop") == SERVING
        health.status = NOT_SERVING
        await until(lambda: asyncio.to_thread(lambda: ask(b"shop") == NOT_SERVING), "the backend's health")
        assert await asyncio.to_thread(ask) == SERVING, "the gateway itself serves"
        code, _ = await asyncio.to_thread(code_of, lambda: ask(b"nobody"))
        assert code == grpc.StatusCode.NOT_FOUND, code


if __name__ == "__main__":
    main([the_spec_says_how_a_backend_is_spoken_to, http_over_tls_goes_to_http1_backends_too,
          why_a_certificate_is_refused_is_found_and_logged,
          grpc_checks_believe_only_serving, tcp_checks_want_a_connection_and_http_checks_a_status,
          the_gateway_is_a_grpc_health_service_where_a_route_says_so])
