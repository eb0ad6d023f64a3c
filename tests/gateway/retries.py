"""Which requests are tried again, on which statuses, and which never are."""
import asyncio
import contextlib
import itertools

from harness import Backend, Request, main, read_head, snapshot


class Script:
    """Answers with the given statuses in turn, then 200; None dies, 0 keeps still."""

    def __init__(self, *statuses, fields=()):
        self.statuses, self.fields = list(statuses), list(fields)

    async def __call__(self, request, reader, writer):
        status = self.statuses.pop(0) if self.statuses else 200
        if status is None:
            return False
        if status == 0:
            await reader.read()
            return False
        return await Backend.answer(writer, b"%d" % status, status, self.fields if status != 200 else ())


async def outcome(gateway, script, retry, method="GET", body=None, backend_rules=(), **rules):
    """The final status and body, and what the backend saw."""
    async with Backend(script) as backend:
        gateway.epoch += 1
        base = snapshot(gateway.port, {"b": [backend.address]}, gateway.epoch,
                        [{"id": "r", "path": "/*", "to": "b", "retry": {"backoff": 0} | retry, **rules}])
        base["backends"]["b"] |= {"eject": {"errors": 0, "failures": 1000}} | dict(backend_rules)
        await gateway.verb("snapshot.put", snapshot=base)
        async with gateway.client() as client:
            answer = await client.request(method, body=body)
        return answer.status, answer.body, backend.requests


async def safe_requests_are_tried_again_on_the_statuses_named(gateway):
    status, _, seen = await outcome(gateway, Script(503, 502), {"on": ["502-503"]})
    assert status == 200 and len(seen) == 3, (status, len(seen))
    status, body, seen = await outcome(gateway, Script(500), {"on": ["502-503"]})
    assert status == 500 and body == b"500" and len(seen) == 1
    status, _, seen = await outcome(gateway, Script(503), {})
    assert status == 503 and len(seen) == 1, "no status is named"


async def the_last_answer_is_passed_on(gateway):
    status, body, seen = await outcome(gateway, Script(503, 502, 503, 200), {"on": ["502", "503"], "attempts": 2})
    assert status == 503 and body == b"503" and len(seen) == 3, (status, body, len(seen))


async def what_may_have_been_done_is_done_again_only_where_the_route_says_so(gateway):
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        status, _, seen = await outcome(gateway, Script(503), {"on": ["503"]}, method, b"pay")
        assert status == 503 and len(seen) == 1, method
    status, _, seen = await outcome(gateway, Script(503), {"on": ["503"], "unsafe": True}, "POST", b"pay")
    assert status == 200 and [r.body for r in seen] == [b"pay", b"pay"]
    status, _, seen = await outcome(gateway, Script(503), {"on": ["503"], "unsafe": True}, "POST", b"x" * 3_000_000)
    assert status == 503 and len(seen) == 1, "a body that went by cannot be sent again"


async def a_death_is_a_reason_only_where_it_is_named(gateway):
    status, _, seen = await outcome(gateway, Script(None), {"on": ["503"]})
    assert status == 502 and len(seen) == 1, (status, len(seen))
    status, _, seen = await outcome(gateway, Script(None), {}, "POST", b"pay")
    assert status == 502 and len(seen) == 1, "it may have been done"


async def a_try_that_takes_too_long_is_made_elsewhere(gateway):
    async with Backend(Script(*[0] * 8), name="silent") as silent, Backend(name="fine") as fine:
        gateway.epoch += 1
        base = snapshot(gateway.port, {"b": [silent.address, fine.address]}, gateway.epoch, [
            {"id": "r", "path": "/*", "to": "b", "retry": {"on": ["timeout"], "per_try_timeout": 300, "backoff": 0}}])
        base["backends"]["b"]["eject"] = {"failures": 1000}
        await gateway.verb("snapshot.put", snapshot=base)
        while not silent.requests:
            answer = await gateway.get()
            assert answer.status == 200 and answer.field("x-backend") == "fine", answer.status


async def a_long_retry_after_is_the_clients_to_wait_for(gateway):
    status, _, seen = await outcome(gateway, Script(503, fields=["Retry-After: 3600"]), {"on": ["503"]})
    assert status == 503 and len(seen) == 1
    status, _, seen = await outcome(gateway, Script(503, fields=["Retry-After: 1"]), {"on": ["503"]})
    assert status == 200 and len(seen) == 2
    status, _, seen = await outcome(gateway, Script(503, fields=["Retry-After: 9"]), {"on": ["503"]}, timeout=8000)
    assert status == 503 and len(seen) == 1, "there is no time for it"


class Faulty:
    """Fails in the way told; `heard`: requests whose head and body arrived."""

    def __init__(self, way):
        self.way, self.heard = way, []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.address = "127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]
        if self.way == "refuses":
            self.server.close()
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def _serve(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            for number in itertools.count():
                if (head := await read_head(reader)) is None:
                    break
                request = Request(*head, number)
                await Backend.read_body(request, reader)
                self.heard.append(request)
                if self.way == "closes a kept connection" and number == 0:
                    await Backend.answer(writer, b"kept")
                    continue
                if self.way == "half a head":
                    writer.write(b"HTTP/1.1 2")
                if self.way == "half a body":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
                break
        writer.close()


SAFE, UNSAFE = ("GET", "HEAD", "OPTIONS", "TRACE"), ("POST", "PUT", "PATCH", "DELETE", "PROPFIND")
# What fails: for whom it is tried again, and what the others hear; None: a body that is cut off.
WAYS = {"refuses": (SAFE + UNSAFE, None), "closes": (SAFE, 502), "half a head": ((), 502), "half a body": ((), None),
        "closes a kept connection": (SAFE, 502)}


async def exactly_what_cannot_be_done_twice_is_tried_again(gateway):
    for (way, (again, otherwise)), method in itertools.product(WAYS.items(), SAFE + UNSAFE):
        bodies = [None] if method in SAFE else [None, b"pay", b"x" * 3_000_000]
        for body in bodies:
            case = (way, method, body and len(body))
            async with Faulty(way) as bad, Backend(name="good") as good:
                gateway.epoch += 1
                base = snapshot(gateway.port, {"b": [bad.address, good.address]}, gateway.epoch)
                base["backends"]["b"]["endpoints"][1]["backup"] = True  # asked when the first one was
                base["backends"]["b"] |= {"eject": {"failures": 1000}, "backoff": 0}
                await gateway.verb("snapshot.put", snapshot=base)
                async with gateway.client() as client:
                    if way == "closes a kept connection":
                        assert (await client.request()).body == b"kept"
                    before = len(bad.heard)
                    try:
                        answer = await client.request(method, body=body)
                        status = answer and answer.status
                    except asyncio.IncompleteReadError:
                        status = None
                heard = len(bad.heard) - before
                if method == "HEAD" and way == "half a body":
                    assert (status, heard) == (200, 1), case  # it has no body to be cut
                elif method in again:
                    assert status == 200 and heard + len(good.requests) == (1 if way == "refuses" else 2), (case, status)
                else:
                    assert (status, heard, len(good.requests)) == (otherwise, 1, 0), (case, status, heard)


async def retries_on_statuses_have_the_same_budget(gateway):
    none = {"retry_budget": {"percent": 0, "at_least": 0}}
    status, _, seen = await outcome(gateway, Script(503), {"on": ["503"]}, backend_rules=none)
    assert status == 503 and len(seen) == 1
    text = (await gateway.verb("metrics"))["text"]
    assert 'banyan_gateway_backend_retries_refused_total{backend="b"} 1' in text


if __name__ == "__main__":
    main([safe_requests_are_tried_again_on_the_statuses_named, the_last_answer_is_passed_on,
          what_may_have_been_done_is_done_again_only_where_the_route_says_so, a_death_is_a_reason_only_where_it_is_named,
          a_try_that_takes_too_long_is_made_elsewhere, a_long_retry_after_is_the_clients_to_wait_for,
          retries_on_statuses_have_the_same_budget, exactly_what_cannot_be_done_twice_is_tried_again], args=("--workers", "1"))
