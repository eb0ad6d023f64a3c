"""What /metrics prints is what docs/metrics.md says, and stays bounded however many routes there are."""
import pathlib
import re

from harness import Backend, main, snapshot

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "metrics.md"
ROUTES, SERIES_MAX = 5_000, 1_000


async def text_of(gateway):
    return (await gateway.verb("metrics"))["text"]


async def every_metric_is_documented(gateway):
    async with Backend() as backend:
        await gateway.route_to(backend.address)
        assert (await gateway.get()).status == 200
        text = await text_of(gateway)
    printed = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    documented = dict(re.findall(r"^\| `(banyan_gateway_\w+)` \| (\w+) \|", DOCS.read_text(), re.M))
    assert printed == documented, {"only printed": printed.items() - documented.items(),
                                   "only documented": documented.items() - printed.items()}
    described = set(re.findall(r"^# HELP (\S+) \S", text, re.M))
    assert described == printed.keys(), described ^ printed.keys()


async def routes_beyond_the_bound_are_counted_together(gateway):
    async with Backend() as backend:
        routes = [{"id": f"r{n}", "methods": [], "path": f"/r{n}", "to": "b"} for n in range(ROUTES)]
        await gateway.verb("snapshot.put", snapshot=snapshot(gateway.port, {"b": (backend.address,)}, 1, routes=routes))
        async with gateway.client() as client:
            for n in range(ROUTES):
                assert (await client.request(target=f"/r{n}")).status == 200
        text = await text_of(gateway)
        counts = {route: int(count) for route, count in
                  re.findall(r'^banyan_gateway_requests_total\{route="([^"]*)",code="2xx"\} (\d+)$', text, re.M)}
        assert len(counts) <= SERIES_MAX + 1, len(counts)
        assert counts["r0"] == 1 and counts["(other)"] == ROUTES - (len(counts) - 1), counts["(other)"]
        assert f"banyan_gateway_route_series_max {SERIES_MAX}\n" in text


main([every_metric_is_documented, routes_beyond_the_bound_are_counted_together])
