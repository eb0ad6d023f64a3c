"""Spans of real requests at a real collector: who is whose parent, what is sampled, and that nobody ever waits for them."""
import asyncio
import json
import ssl

from harness import Backend, main, snapshot, until
from tls import Authority

PARENT = "00f067aa0ba902b7"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector(Backend):
    """Takes OTLP/HTTP in its JSON form, as the specification has it."""

    def __init__(self, status=200):
        self.spans, self.services, self.status = [], set(), status
        super().__init__(self.take)

    async def take(self, request, reader, writer):
        assert request.method == "POST" and request.target == "/v1/traces", request.target
        assert request.field("content-type") == "application/json"
        for resource in json.loads(request.body)["resourceSpans"]:
            self.services.add(attributes(resource["resource"])["service.name"])
            for scope in resource["scopeSpans"]:
                self.spans += scope["spans"]
        await self.answer(writer, b"{}", status=self.status)


def attributes(of):
    return {item["key"]: next(iter(item["value"].values())) for item in of["attributes"]}


def traced(gateway, backends, collector, **more):
    out = snapshot(gateway.port, {"b": backends}, 1, routes=[{"id": "all", "methods": [], "path": "/shop/:id", "to": "b"}])
    return out | {"tracing": {"otlp": f"http://{collector}"} | more}


async def counted(gateway, name):
    text = (await gateway.verb("metrics"))["text"]
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith(f"banyan_gateway_{name} ")))


async def spans_join_what_the_backend_saw(gateway):
    async with Collector() as collector, Backend() as backend:
        await gateway.verb("snapshot.put", snapshot=traced(gateway, (backend.address,), collector.address,
                                                           service_name="shop"))
        response = await gateway.get("/shop/7?token=hush", fields=[
            f"traceparent: 00-{TRACE}-{PARENT}-01", "Cookie: s=hush", "Authorization: Bearer hush"])
        assert response.status == 200

        async def exported():
            return len(collector.spans) == 2
        await until(exported, "two spans")
        server = next(span for span in collector.spans if span["kind"] == 2)
        client = next(span for span in collector.spans if span["kind"] == 3)
        assert server["traceId"] == client["traceId"] == TRACE
        assert server["parentSpanId"] == PARENT and client["parentSpanId"] == server["spanId"]
        assert backend.requests[0].field("traceparent") == f"00-{TRACE}-{client['spanId']}-01"
        assert server["name"] == "GET /shop/:id" and collector.services == {"shop"}
        assert attributes(server) == {
            "http.request.method": "GET", "url.scheme": "http", "server.address": "docs.example", "url.path": "/shop/7",
            "http.route": "/shop/:id", "http.response.status_code": "200"}, attributes(server)
        assert attributes(client)["server.address"] == backend.address
        begin, end = int(server["startTimeUnixNano"]), int(server["endTimeUnixNano"])
        assert begin <= int(client["startTimeUnixNano"]) <= int(client["endTimeUnixNano"]) <= end
        assert "hush" not in json.dumps(collector.spans)
        assert await counted(gateway, "spans_exported_total") == 2
        assert (await gateway.get("/shop/%ff\xff")).status in (200, 400)  # no UTF-8
        assert (await gateway.get("/shop/8")).status == 200

        async def next_exported():
            return any(attributes(span).get("url.path") == "/shop/8" for span in collector.spans)
        await until(next_exported, "spans of the next request")


async def every_attempt_has_a_span_of_its_own(gateway):
    async def dies(request, reader, writer):
        return False
    async with Collector() as collector, Backend(dies) as one, Backend(dies) as two:
        await gateway.verb("snapshot.put", snapshot=traced(gateway, (one.address, two.address), collector.address))
        assert (await gateway.get("/shop/1")).status == 502

        async def exported():
            return any(span["kind"] == 2 for span in collector.spans)
        await until(exported, "the spans")
        server = next(span for span in collector.spans if span["kind"] == 2)
        tries = [span for span in collector.spans if span["kind"] == 3]
        seen = [request.field("traceparent").split("-")[2] for request in one.requests + two.requests]
        assert len(tries) >= 2 and "parentSpanId" not in server
        assert {span["spanId"] for span in tries} >= set(seen) and len(set(seen)) == len(seen)
        assert all(span["parentSpanId"] == server["spanId"] for span in tries)
        assert [attributes(span).get("http.request.resend_count") for span in tries] == [
            None, *(str(n) for n in range(1, len(tries)))]
        assert server["status"] == {"code": 2} and "banyan.reason" in attributes(server)


async def the_caller_decides_then_chance(gateway):
    async with Collector() as collector, Backend() as backend:
        await gateway.verb("snapshot.put", snapshot=traced(gateway, (backend.address,), collector.address,
                                                           sample_percent=0))
        for flag in ("00", "01"):
            await gateway.get("/shop/1", fields=[f"traceparent: 00-{TRACE}-{PARENT}-{flag}"])
        await gateway.get("/shop/2")

        async def exported():
            return len(collector.spans) == 2
        await until(exported, "the spans of one request")
        assert [request.field("traceparent")[-2:] for request in backend.requests] == ["00", "01", "00"]
        assert {attributes(span).get("url.path") for span in collector.spans} == {"/shop/1", None}


async def a_collector_that_is_away_or_silent_delays_nobody(gateway):
    async def silent(request, reader, writer):
        await asyncio.Event().wait()
    async with Backend(silent) as collector, Backend() as backend:
        await gateway.verb("snapshot.put", snapshot=traced(gateway, (backend.address,), collector.address))
        async with gateway.client() as client:
            for number in range(3_000):  # more spans than the queue holds, while the first batch hangs
                assert (await client.request(target=f"/shop/{number}")).status == 200
        assert len(backend.requests) == 3_000

        async def dropped():
            return await counted(gateway, "spans_dropped_total") > 0
        await until(dropped, "dropped spans to be counted")
        assert await counted(gateway, "spans_exported_total") == 0
    assert (await gateway.get("/shop/1")).status == 502


async def spans_wait_for_a_collector_that_is_away(gateway):
    async with Collector(status=503) as collector, Backend() as backend:
        await gateway.verb("snapshot.put", snapshot=traced(gateway, (backend.address,), collector.address))
        await gateway.get("/shop/1")

        async def seen():
            return len(collector.spans) >= 2
        await until(seen, "the first try")
        assert await counted(gateway, "spans_dropped_total") == 0
        collector.status, collector.spans = 200, []

        async def again():
            return await counted(gateway, "spans_exported_total") == 2
        await until(again, "the second try")
        assert {attributes(span).get("url.path") for span in collector.spans} == {"/shop/1", None}
        collector.status = 400  # there is no use in saying it again
        await gateway.get("/shop/2")

        async def dropped():
            return await counted(gateway, "spans_dropped_total") == 2
        await until(dropped, "refused spans to be dropped")


async def spans_go_over_tls_to_whom_is_trusted(gateway):
    with Authority(gateway) as authority:
        files = authority.issue("localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files["certificate"], files["key"])
        collector = Collector()
        collector.writers = set()
        server = await asyncio.start_server(collector._serve, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        async with Backend() as backend:
            base = traced(gateway, (backend.address,), "-")
            to = {"otlp": f"https://localhost:{port}"}
            await gateway.verb("snapshot.put", snapshot=base | {"tracing": to})
            await gateway.get("/shop/1")

            async def refused():
                return "spans wait for their collector" in gateway.log_tail(30)
            await until(refused, "a stranger to be refused")
            assert not collector.spans
            await gateway.verb("snapshot.put", snapshot=base | {"epoch": 2, "tracing": to | {"ca": authority.ca}})

            async def exported():
                return len(collector.spans) == 2
            await until(exported, "the spans")
        for writer in list(collector.writers):
            writer.transport.abort()
        server.close()


async def without_tracing_nothing_changes(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        await gateway.get("/x", fields=[f"traceparent: 00-{TRACE}-{PARENT}-00"])
        await gateway.get("/x")
        assert [request.field("traceparent")[-2:] for request in backend.requests] == ["00", "01"]
        for wrong in ("https://", "http://user@c:4318", "https://c:4318/v1", "c:4318", ""):
            bad = snapshot(gateway.port, {"b": (backend.address,)}, 9) | {"tracing": {"otlp": wrong}}
            try:
                await gateway.verb("snapshot.put", snapshot=bad)
            except Exception as error:
                assert "otlp" in str(error), error
            else:
                raise AssertionError(f"{wrong} was taken")


main([spans_join_what_the_backend_saw, every_attempt_has_a_span_of_its_own, the_caller_decides_then_chance,
      a_collector_that_is_away_or_silent_delays_nobody, spans_wait_for_a_collector_that_is_away,
      spans_go_over_tls_to_whom_is_trusted, without_tracing_nothing_changes])
