"""TLS on both sides of the gateway, with real clients: certificates by name, tickets, stapling, reload."""
import asyncio
import contextlib
import datetime
import os
import pathlib
import re
import ssl
import subprocess
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from harness import Backend, RpcError, free_port, main, snapshot, until
from never_drop import ended, upgrade


class Authority:
    """Certificates made by `banyan cert`."""

    def __init__(self, gateway):
        self.binary, self.dir = gateway.binary, tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.dir.name)
        self.run("dev-ca", str(self.folder))
        self.ca = str(self.folder / "ca.pem")

    def run(self, *args):
        subprocess.run([self.binary, "cert", *args], check=True, capture_output=True)

    def issue(self, *names, client=False, days=90):
        self.run("issue", str(self.folder), *names, "--days", str(days), *(["--client"] if client else []))
        stem = str(self.folder / names[0].replace("*", "_"))
        return {"certificate": f"{stem}.pem", "key": f"{stem}-key.pem"}

    def trust(self):
        return ssl.create_default_context(cafile=self.ca)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.dir.cleanup()


def with_tls(gateway, backend, tls, epoch=1, more=None, **options):
    base = snapshot(gateway.port, {"b": [backend.address]}, epoch)
    base["listeners"] = {f"127.0.0.1:{gateway.port}": {"tls": tls, **options}}
    return base | (more or {})


async def https(gateway, context, name="shop.example", request=b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"):
    """The certificate's names and the answer's first bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=context, server_hostname=name)
    try:
        names = [value for _, value in writer.get_extra_info("peercert").get("subjectAltName", ())]
        writer.write(request)
        return names, await reader.readuntil(b"\r\n\r\n"), writer.get_extra_info("ssl_object").version()
    finally:
        writer.close()


def s_client(gateway, *args, name="shop.example", send=""):
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{gateway.port}", "-servername", name, *args],
                          input=send, capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr


async def names_choose_the_certificate(gateway):
    with Authority(gateway) as authority:
        async with Backend() as backend:
            certificates = [authority.issue(n) for n in ("first.example", "*.shop.example", "api.shop.example")]
            await gateway.verb("snapshot.put", snapshot=with_tls(gateway, backend, {"certificates": certificates}))
            for asked, got in (("first.example", "first.example"), ("www.shop.example", "*.shop.example"),
                               ("api.shop.example", "api.shop.example")):
                names, head, version = await https(gateway, authority.trust(), asked)
                assert names == [got], (asked, names)
                assert head.startswith(b"HTTP/1.1 200") and version == "TLSv1.3", (head, version)
            out = await asyncio.to_thread(s_client, gateway, name="unknown.example")
            assert "CN = first.example" in out, out
            assert backend.requests[0].field("x-forwarded-proto") == "https"


async def only_tls_1_2_and_1_3_are_spoken(gateway):
    with Authority(gateway) as authority:
        async with Backend() as backend:
            tls = {"certificates": [authority.issue("shop.example")]}
            await gateway.verb("snapshot.put", snapshot=with_tls(gateway, backend, tls))
            assert "Protocol  : TLSv1.2" in await asyncio.to_thread(s_client, gateway, "-tls1_2")
            for old in ("-tls1_1", "-tls1"):
                out = await asyncio.to_thread(s_client, gateway, old, "-cipher", "DEFAULT@SECLEVEL=0")
                assert "alert protocol version" in out or "no protocols available" in out, out
            assert "ALPN protocol: http/1.1" in await asyncio.to_thread(s_client, gateway, "-alpn", "http/1.1,spdy/1")


async def sessions_resume_by_ticket(gateway):
    with Authority(gateway) as authority:
        async with Backend() as backend:
            tls = {"certificates": [authority.issue("shop.example")]}
            await gateway.verb("snapshot.put", snapshot=with_tls(gateway, backend, tls))
            for version in ("-tls1_2", "-tls1_3"):
                kept = str(authority.folder / f"session{version}")
                ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                out = await asyncio.to_thread(s_client, gateway, version, "-ign_eof", "-sess_out", kept, send=ask)
                assert "New, TLSv1" in out, out
                gateway.epoch = 2
                out = await asyncio.to_thread(s_client, gateway, version, "-ign_eof", "-sess_in", kept, send=ask)
                assert "Reused, TLSv1" in out, out


def ocsp_answer(authority, files, revoked=False, hours=24):
    """A file in which the authority says that the certificate is good, or revoked; negative hours: until then."""
    def pem(path):
        return x509.load_pem_x509_certificate(pathlib.Path(path).read_bytes())
    ca, now = pem(authority.ca), datetime.datetime.utcnow()
    key = serialization.load_pem_private_key((authority.folder / "ca-key.pem").read_bytes(), None)
    status, when, why = ((ocsp.OCSPCertStatus.REVOKED, now, x509.ReasonFlags.key_compromise) if revoked else
                         (ocsp.OCSPCertStatus.GOOD, None, None))
    made = ocsp.OCSPResponseBuilder().add_response(
        pem(files["certificate"]), ca, hashes.SHA1(), status, now - datetime.timedelta(days=2),
        now + datetime.timedelta(hours=hours), when, why).responder_id(ocsp.OCSPResponderEncoding.HASH, ca)
    out = authority.folder / "ocsp.der"
    out.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))
    return str(out)


async def ocsp_answers_are_stapled_while_they_are_true(gateway):
    with Authority(gateway) as authority:
        async with Backend() as backend:
            files, other = authority.issue("shop.example"), authority.issue("other.example")

            async def take(answer):
                gateway.epoch += 1
                tls = {"certificates": [files | {"ocsp": answer}]}
                await gateway.verb("snapshot.put", snapshot=with_tls(gateway, backend, tls, epoch=gateway.epoch))
                return await asyncio.to_thread(s_client, gateway, "-status")

            out = await take(ocsp_answer(authority, files))
            assert "OCSP Response Status: successful" in out and "Cert Status: good" in out, out
            left = re.search(r"ocsp_expires_seconds\{.*?\} (\d+)", (await gateway.verb("metrics"))["text"])
            assert 80_000 < int(left[1]) <= 86_400, left[0]
            assert "Cert Status: revoked" in await take(ocsp_answer(authority, files, revoked=True))
            assert "certificate is revoked" in gateway.log_tail(30)
            assert "OCSP response: no response sent" in await take(ocsp_answer(authority, files, hours=-1))
            ocsp_answer(authority, other)
            for answer, why in ((str(authority.folder / "ocsp.der"), "another certificate"),
                                (files["key"], "no successful answer")):
                try:
                    await take(answer)
                    raise AssertionError(f"{answer} was taken")
                except RpcError as error:
                    assert why in str(error), error


async def sessions_outlive_an_upgrade_and_not_a_change_of_who_is_trusted(gateway):
    ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with Authority(gateway) as authority:
        async with Backend() as backend:
            person, ca = authority.issue("anna", client=True), authority.folder / "clients.pem"
            ca.write_text(pathlib.Path(authority.ca).read_text())
            tls = {"certificates": [authority.issue("shop.example")], "client_certificates": "optional",
                   "client_ca": str(ca)}
            await gateway.verb("snapshot.put", snapshot=with_tls(gateway, backend, tls))

            async def connect(version, way):
                shown = ["-cert", person["certificate"], "-key", person["key"]]
                kept = str(authority.folder / f"session{version}")
                return await asyncio.to_thread(s_client, gateway, version, "-ign_eof", way, kept, *shown, send=ask)

            versions = ("-tls1_2", "-tls1_3")
            for version in versions:
                assert "New, TLSv1" in await connect(version, "-sess_out")
            former = await upgrade(gateway)
            await ended(former)
            for version in versions:
                assert "Reused, TLSv1" in await connect(version, "-sess_in")
                assert backend.requests[-1].field("x-client-cert-subject") == "CN=anna"
            ca.write_text(ca.read_text() * 2)  # trusts the same: it is not looked into

            async def begins_anew():
                return "New, TLSv1" in await connect("-tls1_3", "-sess_in")
            await until(begins_anew, "the sessions to be forgotten")


async def client_certificates_are_verified_and_forwarded(gateway):
    with Authority(gateway) as authority:
        async with Backend() as backend:
            server, person = authority.issue("shop.example"), authority.issue("anna", client=True)
            tls = {"certificates": [server], "client_certificates": "optional", "client_ca": authority.ca}
            await gateway.verb("snapshot.put", snapshot=with_tls(gateway, backend, tls))
            spoof = (b"GET / HTTP/1.1\r\nHost: a\r\nX-Client-Cert-Subject: CN=root\r\n"
                     b"x_client_cert_sha256: 00\r\nX-Client-Cert: x\r\n\r\n")
            await https(gateway, authority.trust(), request=spoof)
            names = {name.lower().replace("_", "-") for name, _ in backend.requests[-1].fields}
            assert not any(name.startswith("x-client-cert") for name in names), names
            known = authority.trust()
            known.load_cert_chain(person["certificate"], person["key"])
            await https(gateway, known, request=spoof)
            assert backend.requests[-1].all("x-client-cert-subject") == ["CN=anna"]
            assert re.fullmatch("[0-9a-f]{64}", backend.requests[-1].field("x-client-cert-sha256"))
            tls["client_certificates"] = "required"
            await gateway.verb("snapshot.put", snapshot=with_tls(gateway, backend, tls, epoch=2))
            served = len(backend.requests)
            with contextlib.suppress(ssl.SSLError, OSError, asyncio.IncompleteReadError):
                await https(gateway, authority.trust())
            assert len(backend.requests) == served, "served without a certificate"
            assert (await https(gateway, known))[1].startswith(b"HTTP/1.1 200")


async def changed_files_are_taken_and_bad_ones_refused(gateway):
    with Authority(gateway) as authority:
        async with Backend() as backend:
            files = authority.issue("shop.example", days=10)
            await gateway.verb("snapshot.put", snapshot=with_tls(gateway, backend, {"certificates": [files]}))

            async def expiry_days():
                text = (await gateway.verb("metrics"))["text"]
                return int(re.search(r"certificate_expires_seconds\{.*?\} (\d+)", text)[1]) // 86400

            assert await expiry_days() in (9, 10)
            # A client that is connected stays on the certificate it has seen.
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=authority.trust(),
                                                           server_hostname="shop.example")
            pathlib.Path(files["key"]).write_text("nonsense")

            async def refused():
                return "certificates_refused_total 1" in (await gateway.verb("metrics"))["text"]

            await until(refused, "the bad key to be refused")
            assert (await https(gateway, authority.trust()))[1].startswith(b"HTTP/1.1 200")
            authority.issue("shop.example", days=80)

            async def renewed():
                return await expiry_days() in (79, 80)

            await until(renewed, "the new certificate")
            assert (await https(gateway, authority.trust()))[1].startswith(b"HTTP/1.1 200")
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            writer.close()
            try:
                broken = {"certificates": [{"certificate": "/nonexistent.pem", "key": files["key"]}]}
                await gateway.verb("snapshot.put", snapshot=with_tls(gateway, backend, broken, epoch=5))
                raise AssertionError("a snapshot without its certificate was taken")
            except RpcError as error:
                assert "/nonexistent.pem" in str(error), error


async def plain_requests_are_sent_to_https(gateway):
    with Authority(gateway) as authority:
        async with Backend() as backend:
            plain = free_port()
            base = with_tls(gateway, backend, {"certificates": [authority.issue("shop.example")]}, hsts_s=600)
            base["listen"].append(f"127.0.0.1:{plain}")
            base["listeners"][f"127.0.0.1:{plain}"] = {"redirect_https_port": 8443}
            await gateway.verb("snapshot.put", snapshot=base)
            reader, writer = await asyncio.open_connection("127.0.0.1", plain)
            for _ in range(2):  # the connection is kept
                writer.write(b"GET /a?b=%2F HTTP/1.1\r\nHost: shop.example:8080\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                assert b" 308 " in head and b"location: https://shop.example:8443/a?b=%2F\r\n" in head, head
            writer.close()
            assert not backend.requests
            for path in (b"/", b"/%zz"):  # the backend's answer, and the gateway's own
                _, head, _ = await https(gateway, authority.trust(),
                                         request=b"GET %s HTTP/1.1\r\nHost: shop.example\r\n\r\n" % path)
                assert head.count(b"strict-transport-security: max-age=600\r\n") == 1, head


async def large_bodies_pass_through_tls(gateway):
    with Authority(gateway) as authority:
        async with Backend() as backend:
            tls = {"certificates": [authority.issue("shop.example")]}
            await gateway.verb("snapshot.put", snapshot=with_tls(gateway, backend, tls))
            body = os.urandom(3_000_000)
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=authority.trust(),
                                                           server_hostname="shop.example")
            for _ in range(3):
                writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(len(body)) == body
            writer.close()


async def a_silent_handshake_ends_at_its_deadline(gateway):
    with Authority(gateway) as authority:
        async with Backend() as backend:
            tls = {"certificates": [authority.issue("shop.example")]}
            more = {"limits": {"head_ms": 300}}
            await gateway.verb("snapshot.put", snapshot=with_tls(gateway, backend, tls, more=more))
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(b"\x16\x03")
            assert await asyncio.wait_for(reader.read(), 30) == b""
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")  # no TLS at all
            with contextlib.suppress(OSError):
                assert b"200" not in await asyncio.wait_for(reader.read(), 30)
            writer.close()
            assert not backend.requests


async def upstream_certificates_are_verified(gateway):
    with Authority(gateway) as authority, Authority(gateway) as other:
        files = authority.issue("backend.example")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files["certificate"], files["key"])
        backend = Backend()
        server = await asyncio.start_server(backend._serve, "127.0.0.1", 0, ssl=context)
        backend.writers = set()
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

        async def status(epoch, ca, name, body=b"x" * 100_000):
            base = snapshot(gateway.port, {"b": [address]}, epoch)
            base["backends"]["b"]["tls"] = {"ca": ca, "server_name": name}
            await gateway.verb("snapshot.put", snapshot=base)
            async with gateway.client() as client:
                for _ in range(3):
                    answer = await client.request("POST", body=body)
                    if answer.status != 200:
                        break
                    assert answer.body == body
                return answer.status

        assert await status(1, authority.ca, "backend.example") == 200
        assert backend.connections == 1, "the connection was not kept"
        assert await status(2, other.ca, "backend.example") == 502
        assert await status(3, authority.ca, "other.example") == 502
        assert await status(4, authority.ca, "backend.example") == 200
        for writer in list(backend.writers):
            writer.transport.abort()
        server.close()


async def an_idle_tls_connection_is_small(gateway):
    with Authority(gateway) as authority:
        async with Backend() as backend:
            tls = {"certificates": [authority.issue("shop.example")]}
            await gateway.verb("snapshot.put", snapshot=with_tls(gateway, backend, tls))

            def resident():
                return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{gateway.process.pid}/status").read_text())[1])

            context, kept = authority.trust(), []

            async def connect(count):
                for _ in range(count):
                    kept.append(await asyncio.open_connection("127.0.0.1", gateway.port, ssl=context,
                                                              server_hostname="shop.example"))
                    kept[-1][1].write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    await kept[-1][0].readuntil(b"\r\n\r\n")

            await connect(100)
            before = resident()
            await connect(400)
            each = (resident() - before) / 400
            print(f"        {each:.1f} KB per idle TLS connection")
            # The bar is 14, measured by the benchmark; a sanitizer's own memory is not the gateway's.
            assert each <= 20 or {"ASAN_OPTIONS", "TSAN_OPTIONS"} & os.environ.keys(), each
            for _, writer in kept:
                writer.transport.abort()


if __name__ == "__main__":
    main([names_choose_the_certificate, only_tls_1_2_and_1_3_are_spoken, sessions_resume_by_ticket,
          ocsp_answers_are_stapled_while_they_are_true, sessions_outlive_an_upgrade_and_not_a_change_of_who_is_trusted, client_certificates_are_verified_and_forwarded,
          changed_files_are_taken_and_bad_ones_refused, plain_requests_are_sent_to_https, large_bodies_pass_through_tls,
          a_silent_handshake_ends_at_its_deadline, upstream_certificates_are_verified, an_idle_tls_connection_is_small])
