"""What real servers with parsers of their own make of what the gateway forwards: for every hostile input, of HTTP/1 and
of HTTP/2, in every desync mode, each takes it for exactly one request if it was forwarded and for none if not, and whoever asks next gets
the answer to what he asked."""
import asyncio
import collections
import contextlib
import json
import pathlib
import tempfile

import hpack

from harness import main, snapshot
from cluster import eventually
from http2_hostile import END_HEADERS, END_STREAM, GOAWAY, Peer, frame
from parsers import Parser

HOST = b"Host: a.example\r\n"
AT_ONCE = 8
MODES = ("monitor", "defensive", "strictest")

LENGTHS = [b"5", b"005", b"5, 5", b"5, 6", b"+5", b"-5", b"0x5", b"5 5", b"", b" ", b"5;", b'"5"', b"5.0", b"5\x0b",
           b"5\r\nContent-Length: 5", b"5\r\nContent-Length: 6", b"0\r\nContent-Length: 5", b"18446744073709551621"]
CODINGS = [b"chunked", b"CHUNKED", b" \t chunked \t", b"chunked, identity", b"identity, chunked", b"gzip, chunked",
           b"xchunked", b"chunked\x0b", b"\x0bchunked", b"chunked;q=1", b'"chunked"', b",chunked", b"chunked,", b"",
           b"chunked\x00", b"chunked\xff", b"identity", b"\r\n chunked", b"chunked\r\nTransfer-Encoding: identity",
           b"chunked\r\nTransfer-Encoding: chunked", b"identity\r\nTransfer-Encoding: chunked", b"cow",
           b"chunked\r\nTransfer-Encoding: cow"]
NAMES = [b"Transfer-Encoding :", b"Transfer-Encoding\t:", b" Transfer-Encoding:", b"\tTransfer-Encoding:",
         b"Transfer_Encoding:", b"Transfer-Encoding", b"X: y\r\n Transfer-Encoding:", b"X: y\rTransfer-Encoding:",
         b"X: y\nTransfer-Encoding:", b"X:\nTransfer-Encoding:", b"\x00Transfer-Encoding:", b"Transfer-Encoding\x00:",
         b"Transfer-Encoding\xa0:", b"Connection: Transfer-Encoding\r\nTransfer-Encoding:", b"transfer-Encoding:"]
CHUNKS = [b"5\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n0\r\n\r\n", b"5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
          b"5;\nhello\r\n0\r\n\r\n", b"5;a\rb\r\nhello\r\n0\r\n\r\n", b"05\r\nhello\r\n000\r\n\r\n",
          b"5\nhello\n0\n\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhelloXX0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n",
          b"0x5\r\nhello\r\n0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n",
          b"-5\r\nhello\r\n0\r\n\r\n", b"10000000000000005\r\nhello\r\n0\r\n\r\n", b"FFFFFFFFFFFFFFFF\r\nhello\r\n",
          b"\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n",
          b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n0\r\nX : y\r\n\r\n",
          b"5\r\nhello\r\n0\r\nX: y\r\n\r\n", b"5\r\nhello\r\n0\r\nX: y\n\r\n", b"5\r\nhello\r\n0\r\n",
          b"5\r\nhello\r\n0;" + b"a" * 300 + b"\r\n\r\n", b"5\r\nhello\r\n0\n\r\n", b"0\r\n\r\n", b"g\r\nhello\r\n0\r\n\r\n"]
TARGETS = [b"/a/..;/b", b"/a%2Fb", b"/a%2fb/%2e%2e/c", b"//a", b"/a\\b", b"/%2e%2e/a", b"/..;/a", b"/%00", b"/a;x=1",
           b"/%", b"/\xff", b"/a#b", b"/a b", b"/a\tb", b"http://a.example/a", b"http://b.example/a", b"HTTP://a.example",
           b"http://a.example@b.example/a", b"https://a.example/a", b"*", b"a", b"?a", b"/a?http://b.example/"]
LINES = [b"{m} {t} HTTP/1.1\n", b" {m} {t} HTTP/1.1\r\n", b"{m}  {t} HTTP/1.1\r\n", b"{m}\t{t}\tHTTP/1.1\r\n",
         b"{m} {t} HTTP/1.1 \r\n", b"{m} {t} http/1.1\r\n", b"{m} {t} HTTP/1.2\r\n", b"{m} {t} HTTP/1.0\r\n",
         b"{m} {t}\r\n", b"{m} {t} HTTP/2.0\r\n", b"\r\n{m} {t} HTTP/1.1\r\n", b"\n{m} {t} HTTP/1.1\r\n",
         b"{m} {t} HTTP/1.1\rX: y\r\n", b"{m}\x00 {t} HTTP/1.1\r\n", b"{m} {t} HTTP/1.1\r\n \r\n"]
FIELDS = [b"X: a\r\n b\r\n", b"X: a\r\n\tb\r\n", b"X: a\nY: b\r\n", b"X: a\rY: b\r\n", b"X: a\x00b\r\n", b"X : a\r\n",
          b": a\r\n", b"X\r\n", b"X: a\r\n\nY: b\r\n", b"X: \xe9\r\n", b"X\xe9: a\r\n", b"X@: a\r\n", b"X_Y: a\r\n",
          b"X_Forwarded_For: 6.6.6.6\r\n", b"Content_Length: 5\r\n", b"Host: b.example\r\n", b"Connection: Host\r\n",
          b"Connection: close, Content-Length\r\n", b"Expect: 100-continue\r\n", b"Expect: no\r\n",
          b"Proxy-Connection: keep-alive\r\n", b"TE: trailers\r\n", b"Trailer: Content-Length\r\n",
          b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"Connection: Upgrade\r\nUpgrade: cow\r\n",
          b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"]


def target(number, path=b"/case"):
    return path + b"?n=%dn" % number


def corpus():
    """(number, bytes): each input's targets carry its number."""
    inputs = []

    def add(make):
        inputs.append((len(inputs), make(len(inputs))))

    def head(number, fields, method=b"POST", path=b"/case"):
        return method + b" " + target(number, path) + b" HTTP/1.1\r\n" + HOST + fields + b"\r\n"

    def smuggled(number):
        return head(number, b"", b"GET", b"/smuggled")

    for method in (b"POST", b"GET"):
        for value in LENGTHS:
            add(lambda n: head(n, b"Content-Length: " + value + b"\r\n", method) + b"hello" + smuggled(n))
        for value in CODINGS:
            for length in (b"", b"Content-Length: 5\r\n", b"Content-Length: 200\r\n"):
                add(lambda n: head(n, length + b"Transfer-Encoding: " + value + b"\r\n", method) +
                    b"0\r\n\r\n" + smuggled(n))
        for name in NAMES:
            for length in (b"", b"Content-Length: 5\r\n"):
                add(lambda n: head(n, length + name + b" chunked\r\n", method) + b"0\r\n\r\n" + smuggled(n))
    for chunks in CHUNKS:
        add(lambda n: head(n, b"Transfer-Encoding: chunked\r\n") + chunks + smuggled(n))
        add(lambda n: head(n, b"Transfer-Encoding: chunked\r\n") + chunks)
    for path in TARGETS:
        add(lambda n: b"GET " + path + b"?n=%dn HTTP/1.1\r\n" % n + HOST + b"\r\n" + smuggled(n))
    for line in LINES:
        add(lambda n: line.replace(b"{m}", b"GET").replace(b"{t}", target(n)) + HOST + b"\r\n" + smuggled(n))
    for field in FIELDS:
        add(lambda n: head(n, field, b"GET") + smuggled(n))
        add(lambda n: head(n, field + b"Content-Length: 5\r\n") + b"hello" + smuggled(n))
    add(lambda n: head(n, b"Content-Length: %d\r\n" % len(smuggled(n))) + smuggled(n))
    add(lambda n: head(n, b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"GET") + b"\x81\x05hello" + smuggled(n))
    add(lambda n: smuggled(n) * 5)
    return inputs


# What HTTP/2 can say and a line of HTTP/1 cannot (or would say as something else), and where it may stand.
BREAKS = [b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\r\nTransfer-Encoding: chunked\r\n"]
PLACES = [b":method", b":scheme", b":path", b":authority", b"cookie", b"content-length", b"x", None]  # None: the name
H2_FIELDS = [(b"content-length", value) for value in LENGTHS] + [
    (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"identity"), (b"transfer_encoding", b"chunked"),
    (b"content_length", b"9"), (b"connection", b"close"), (b"connection", b"content-length"), (b"keep-alive", b"5"),
    (b"proxy-connection", b"close"), (b"upgrade", b"h2c"), (b"upgrade", b"websocket"), (b"http2-settings", b"AAMAAABk"),
    (b"te", b"gzip"), (b"te", b"trailers"), (b"host", b"b.example"), (b"host", b"a.example"), (b"expect", b"no"),
    (b"X", b"y"), (b"", b"y"), (b"x", b" y"), (b"x", b"y "), (b"x:y", b"z"), (b":x", b"y"), (b":path", b"/other"),
    (b"x_forwarded_for", b"6.6.6.6"), (b"trailer", b"content-length"), (b"\xe9", b"y"), (b"x", b"\xe9")]
H2_PSEUDO = [(b":method", b"CONNECT"), (b":method", b"GET /x HTTP/1.1"), (b":method", b""), (b":scheme", b""),
             (b":scheme", b"http://b.example/?"), (b":authority", b""), (b":authority", b"a@b.example"),
             (b":authority", b"a.example:99999"), (b":authority", b"a.example/x"), (b":path", b"")]


def h2_corpus():
    """(number, head, trailers): each a request of HTTP/2 with a body of 5 bytes."""
    inputs = []

    def add(changed=(), more=(), trailers=()):
        number = len(inputs)
        head = {b":method": b"POST", b":scheme": b"http", b":authority": b"a.example", b":path": target(number)}
        inputs.append((number, [*(head | dict(changed)).items(), *more], list(trailers)))

    for text in BREAKS:
        smuggled = b"a" + text + b"GET /smuggled HTTP/1.1"
        for place in PLACES:
            if place and place.startswith(b":"):
                add(changed=[(place, smuggled if place != b":path" else target(len(inputs)) + text + b"HTTP/1.1")])
            else:
                add(more=[(place or b"x" + text + b"transfer-encoding", smuggled)])
                add(trailers=[(place or b"x" + text + b"transfer-encoding", smuggled)])
    for field in H2_FIELDS:
        add(more=[field])
        add(trailers=[field])
    for field in H2_PSEUDO:
        add(changed=[field])
    for path in TARGETS:
        add(changed=[(b":path", path + b"?n=%dn" % len(inputs))])
    return inputs


async def converse_h2(gateway, number, head, trailers):
    """What is answered is an answer to this input; or its stream is reset, or its connection ends."""
    def block(fields):
        return hpack.Encoder().encode(fields, huffman=False)
    async with Peer(gateway) as peer:
        with contextlib.suppress(OSError):
            peer.writer.write(frame(1, END_HEADERS, 1, block(head)) + frame(0, 0 if trailers else END_STREAM, 1, b"hello"))
            if trailers:
                peer.writer.write(frame(1, END_HEADERS | END_STREAM, 1, block(trailers)))
            fields, body = {}, b""
            async for kind, flags, _, payload in peer.frames():
                fields |= dict(hpack.Decoder().decode(payload)) if kind == 1 else {}
                body += payload if kind == 0 else b""
                if kind in (3, GOAWAY) or (kind in (0, 1) and flags & END_STREAM):
                    break
            assert fields.get(":status") != "200" or b"n=%dn" % number in body, (number, head, body)


async def converse(gateway, number, data):
    """Sends one input; what is answered 200 is an answer to this input."""
    async with gateway.client() as client:
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
            await client.send(data)
            client.writer.write_eof()
            while response := await client.response():
                if response.status == 200:
                    assert b"n=%dn" % number in response.body, (number, data, response.body)


async def follow(gateway, number):
    """Somebody else's requests, on connections that may have carried the input."""
    async with gateway.client() as client:
        for _ in range(2):
            response = await client.request(target=f"/follow?n={number}n")
            assert (response.status, response.body) == (200, b"/follow?n=%dn" % number), (number, response.body)


async def run(gateway, talk, inputs):
    turns = asyncio.Semaphore(AT_ONCE)
    async def one(number, *said):
        async with turns:
            await talk(gateway, number, *said)
            await follow(gateway, number)
    await asyncio.gather(*(one(*of_one) for of_one in inputs))


def trace_of(request):
    return request["trace"].split("-")[1]


def compare(name, mode, forwarded, taken):
    """`forwarded`: the gateway's log, by trace; `taken`: the server's record."""
    times = collections.Counter()
    last = {}
    refused = [request for request in taken if request.get("status") == "400"]  # by the server: each was forwarded
    theirs = sum(line["status"] == 400 and "reason" not in line for line in forwarded.values())
    broken = sum(line["status"] == 0 or "reason" in line for line in forwarded.values())  # off, by client or gateway
    assert theirs <= len(refused) <= theirs + broken, (name, mode, refused)
    for request in taken:
        if request in refused:
            continue
        assert request.get("via") == "1.1 banyan", (name, mode, "not written by the gateway", request)
        trace = trace_of(request)
        assert trace in forwarded, (name, mode, "never forwarded", request)
        line = forwarded[trace]
        times[trace] += 1
        assert times[trace] <= 1 + line.get("retries", 0), (name, mode, "taken twice", request)
        assert request["method"] == line["method"], (name, mode, request, line)
        if line["path"].startswith("/"):
            assert request["target"].partition("?")[0] == line["path"], (name, mode, request, line)
        if mode != "monitor" and (connection := request.get("connection")):
            assert connection not in last, (name, mode, "connection used again after", last[connection], request)
            if line.get("desync") == "ambiguous":
                last[connection] = line
    for trace, line in forwarded.items():
        assert line["status"] != 200 or times[trace] >= 1, (name, mode, "answered but not taken", line)
        assert mode != "strictest" or "desync" not in line, (name, mode, "forwarded", line)


def record(server, forwarded):
    """What the server took. It writes that once its answer has left: perhaps after the answer was read here."""
    taken = []
    def whole():
        taken.extend(server.requests())
        recorded = {trace_of(request) for request in taken if request.get("trace")}
        return all(trace in recorded for trace, line in forwarded.items() if line["status"] == 200)
    with contextlib.suppress(TimeoutError):  # what is missing then is named by compare()
        eventually(whole, "the record", timeout_s=10)
    return taken


async def against(gateway, name):
    inputs, of_http2 = corpus(), h2_corpus()
    if name == "gunicorn":  # version 20 spins for ever in a body that breaks off between chunks
        of_http2 = [(number, head, trailers) for number, head, trailers in of_http2 if not trailers]
    with tempfile.TemporaryDirectory(prefix="banyan-differential-") as folder, Parser(name) as server:
        for mode in MODES:
            log = pathlib.Path(folder) / mode
            gateway.epoch += 1
            await gateway.verb("snapshot.put", snapshot=snapshot(
                gateway.port, {"b": [server.address]}, gateway.epoch, access_log=str(log)) | {"desync": mode})
            await run(gateway, converse, inputs)
            await run(gateway, converse_h2, of_http2)
            with contextlib.suppress(Exception):  # writes out what the log still keeps in memory
                await gateway.verb("request.find", id="none")
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            forwarded = {line["trace"]: line for line in lines if "upstream" in line}
            taken = record(server, forwarded)
            compare(name, mode, forwarded, taken)
            assert not server.complaints(), server.complaints()
            classes = collections.Counter(line.get("desync", "compliant") for line in lines)
            print(f"  {name} {mode}: {len(inputs)} + {len(of_http2)} inputs, {len(lines)} requests, {len(forwarded)} forwarded, "
                  f"{len(taken)} taken, {dict(classes)}")


async def nginx(gateway):
    await against(gateway, "nginx")


async def node(gateway):
    await against(gateway, "node")


async def gunicorn(gateway):
    await against(gateway, "gunicorn")


async def haproxy(gateway):
    await against(gateway, "haproxy")


if __name__ == "__main__":
    main([nginx, node, gunicorn, haproxy])
