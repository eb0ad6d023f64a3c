"""Which requests are tried again, on which statuses, and which never are."""
from harness import Backend, main, snapshot


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
          retries_on_statuses_have_the_same_budget], args=("--workers", "1"))
