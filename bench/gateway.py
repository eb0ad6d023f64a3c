#!/usr/bin/python3
"""CPU time of the proxy per request, side by side with Debian's nginx and HAProxy.

    bench/gateway.py BANYAN [--rounds N] [--seconds S] [--workloads tiny,10k,...]

One upstream (nginx serving from memory) and one load generator (wrk) share the last core; each proxy in turn has
the first core and one worker, keep-alive on both sides, an access log with the same fields and a traceparent set.
Rounds are paired: in each round every proxy runs, in rotating order, and ratios are taken within the round.
"""
import argparse
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests" / "lib"))
from cluster import eventually, free_port, rpc  # noqa: E402

CONNECTIONS = 64
WORKLOADS = {  # name: (path, body bytes, connections)
    "tiny": ("/tiny", 0, CONNECTIONS),
    "10 KB": ("/10k", 0, CONNECTIONS),
    "POST 10 KB": ("/tiny", 10_000, CONNECTIONS),
    "1 MB": ("/1m", 0, 16),
}
PROXY_CORE, LOAD_CORE = 0, (os.cpu_count() or 1) - 1

UPSTREAM = """worker_processes 1; daemon off; master_process off; pid {dir}/up.pid; error_log {dir}/up.err crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 300s;
  client_body_temp_path {dir}/u1; proxy_temp_path {dir}/u2; fastcgi_temp_path {dir}/u3; uwsgi_temp_path {dir}/u4;
  scgi_temp_path {dir}/u5; client_body_buffer_size 64k; open_file_cache max=10; default_type text/plain;
  server {{ listen 127.0.0.1:{upstream} backlog=4096; root {dir}/files;
    location = /tiny {{ return 200 "{tiny}"; }} }}
}}"""
NGINX = """worker_processes 1; daemon off; master_process off; pid {dir}/ng.pid; error_log {dir}/ng.err crit;
events {{ worker_connections 4096; }}
http {{
  log_format js escape=json '{{"ts":"$time_iso8601","client":"$remote_addr","method":"$request_method",'
    '"host":"$host","path":"$uri","status":$status,"upstream":"$upstream_addr","bytes_in":$request_length,'
    '"bytes_out":$body_bytes_sent,"s":$request_time,"trace":"$request_id"}}';
  access_log {dir}/nginx.log js buffer=128k flush=1s;
  tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 300s; client_max_body_size 0;
  client_body_temp_path {dir}/n1; proxy_temp_path {dir}/n2; fastcgi_temp_path {dir}/n3; uwsgi_temp_path {dir}/n4;
  scgi_temp_path {dir}/n5; {tuning}
  upstream be {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://be; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Request-Id $request_id; proxy_set_header traceparent "00-$request_id-0123456789abcdef-01";
      add_header via "1.1 nginx"; proxy_request_buffering off; }} }}
}}"""
HAPROXY = """global
  nbthread 1
  maxconn 4000
  log stdout format raw local0
defaults
  mode http
  timeout client 300s
  timeout server 300s
  timeout connect 5s
  log global
  log-format '{{"ts":"%[date]","client":"%ci","method":"%HM","path":%{{+Q}}HPO,"status":%ST,"upstream":"%si:%sp","bytes_out":%B,"ms":%Ta,"trace":"%[var(txn.t)]"}}'
frontend f
  bind 127.0.0.1:{port} backlog 4096
  option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-var(txn.t) uuid()
  http-request set-header X-Request-Id %[var(txn.t)]
  http-request set-header traceparent "00-%[var(txn.t)]-0123456789abcdef-01"
  http-response set-header via "1.1 haproxy"
  default_backend b
backend b
  http-reuse always
  server s1 127.0.0.1:{upstream} pool-max-conn 1000 maxconn 4000
"""


def start(core, command, output=subprocess.DEVNULL):
    return subprocess.Popen(["taskset", "-c", str(core), *command], stdout=output, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def running(core, command, output=subprocess.DEVNULL):
    process = start(core, command, output)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(port):
    probe = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True)
    return bool(probe.stdout.strip())


def cpu_ns(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            total += int(pathlib.Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return total


class Bench:
    def __init__(self, binary, directory, seconds):
        self.binary, self.dir, self.seconds = os.path.abspath(binary), directory, seconds
        self.upstream = free_port()
        files = directory / "files"
        files.mkdir()
        (files / "10k").write_bytes(b"x" * 10_000)
        (files / "1m").write_bytes(b"x" * 1_000_000)

    def write(self, name, text, **values):
        path = self.dir / name
        path.write_text(text.format(dir=self.dir, upstream=self.upstream, **values))
        return str(path)

    def upstream_server(self):
        return running(LOAD_CORE, ["nginx", "-c", self.write("up.conf", UPSTREAM, tiny="x" * 100)])

    @contextlib.contextmanager
    def nginx(self, port, tuning=""):
        with running(PROXY_CORE, ["nginx", "-c", self.write("ng.conf", NGINX, port=port, tuning=tuning)]) as process:
            yield process

    def nginx_tuned(self, port):
        return self.nginx(port, "proxy_buffers 64 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 256k;")

    @contextlib.contextmanager
    def haproxy(self, port):
        with open(self.dir / "haproxy.log", "wb") as log:
            with running(PROXY_CORE, ["haproxy", "-f", self.write("ha.cfg", HAPROXY, port=port)], log) as process:
                yield process

    @contextlib.contextmanager
    def banyan(self, port):
        state = pathlib.Path(tempfile.mkdtemp(dir=self.dir))
        role = str(state / "socket")
        command = [self.binary, "gateway", "--socket", role, "--state-dir", str(state), "--workers", "1"]
        with running(PROXY_CORE, command) as process:
            eventually(lambda: os.path.exists(role), "the gateway")
            rpc(role, "snapshot.put", {"snapshot": {
                "epoch": 1, "listen": [f"127.0.0.1:{port}"], "public_host": None,
                "access_log": str(self.dir / "banyan.log"),
                "backends": {"b": {"endpoints": [{"address": f"127.0.0.1:{self.upstream}", "zone": ""}]}},
                "routes": [{"id": "all", "methods": [], "path": "/*", "to": "b"}]}})
            yield process

    def load(self, port, workload, seconds):
        path, body, connections = WORKLOADS[workload]
        script = self.dir / "post.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {body})\n')
        command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
        command += (["-s", str(script)] if body else []) + [f"http://127.0.0.1:{port}{path}"]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in out or "Socket errors" in out:
            raise RuntimeError(f"{workload}: failed requests\n{out}")
        p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", out)
        scale = {"us": 1e-3, "ms": 1, "s": 1e3}[p99[2]]
        return int(re.search(r"(\d+) requests in", out)[1]), float(p99[1]) * scale

    def measure(self, proxy, workload):
        port = free_port()
        with getattr(self, proxy)(port) as process:
            eventually(lambda: listens(port), proxy)
            self.load(port, workload, 1)
            before, began = cpu_ns(process.pid), time.monotonic()
            requests, p99_ms = self.load(port, workload, self.seconds)
            spent, took = cpu_ns(process.pid) - before, time.monotonic() - began
        for log in self.dir.glob("*.log"):
            log.unlink()
        return {"cpu_us": spent / 1e3 / requests, "rps": requests / took, "p99_ms": p99_ms}


def idle_memory(bench, proxy, count=2000):
    """Bytes of the proxy's memory for each of `count` connections that were served once and keep still."""
    port = free_port()
    with getattr(bench, proxy)(port) as process:
        eventually(lambda: listens(port), proxy)

        def resident():
            pages = int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGESIZE")
        open_now, sizes = [], []
        for size in (count, 2 * count):  # the first half pays for what is there only once
            while len(open_now) < size:
                client = socket.create_connection(("127.0.0.1", port))
                client.sendall(b"GET /tiny HTTP/1.1\r\nHost: a\r\n\r\n")
                client.recv(4096)
                open_now.append(client)
            sizes.append(resident())
        for client in open_now:
            client.close()
    return (sizes[1] - sizes[0]) / count


def reload_cpu_ms(bench, routes=5000, times=5):
    """CPU time of the gateway for one snapshot with so many routes, median: received, checked, stored, in force."""
    with bench.banyan(free_port()) as process:
        spent = []
        path = max(bench.dir.glob("*/socket"), key=lambda found: found.stat().st_mtime)
        snapshot = rpc(str(path), "snapshot.get")["snapshot"]
        for epoch in range(2, times + 2):
            snapshot["epoch"] = epoch
            snapshot["routes"] = [{"id": f"r{n}", "methods": ["GET"], "path": f"/s{n % 100}/:id/p{n}-{epoch}",
                                   "to": "b"} for n in range(routes)]
            before = cpu_ns(process.pid)
            rpc(str(path), "snapshot.put", {"snapshot": snapshot})
            spent.append((cpu_ns(process.pid) - before) / 1e6)
        return statistics.median(spent)


def plot(path, workloads, results):
    """Banyan's CPU time per request as a share of each peer's, with the spread of the rounds."""
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(8, 4))
    peers = ["nginx", "nginx_tuned", "haproxy"]
    for place, peer in enumerate(peers):
        ratios = [[ours["cpu_us"] / theirs["cpu_us"] for ours, theirs in
                   zip(results[workload, "banyan"], results[workload, peer])] for workload in workloads]
        middle = [statistics.median(found) for found in ratios]
        spread = [[m - min(found) for m, found in zip(middle, ratios)],
                  [max(found) - m for m, found in zip(middle, ratios)]]
        axes.bar([at + 0.27 * place for at in range(len(workloads))], middle, 0.25, yerr=spread, capsize=3,
                 label=peer.replace("_", " "))
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks([at + 0.27 for at in range(len(workloads))], workloads)
    axes.set_ylabel("Banyan's CPU time per request / the peer's")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def print_table(workloads, proxies, results):
    print("| workload | proxy | CPU µs/request | requests/s | p99 ms | Banyan uses, of its CPU |")
    print("|---|---|---:|---:|---:|---:|")
    for workload in workloads:
        for proxy in proxies:
            rounds = results[workload, proxy]
            middle = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
            ratios = [ours["cpu_us"] / theirs["cpu_us"]
                      for ours, theirs in zip(results[workload, "banyan"], rounds)]
            ratio = "" if proxy == "banyan" else f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            print(f"| {workload} | {proxy.replace('_', ' ')} | {middle['cpu_us']:.1f} | {middle['rps']:.0f} "
                  f"| {middle['p99_ms']:.2f} | {ratio} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("banyan")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--plot", help="write the ratios there, as SVG")
    options = parser.parse_args()
    for tool in ("nginx", "haproxy", "wrk"):
        if shutil.which(tool) is None and not os.path.exists(f"/usr/sbin/{tool}"):
            sys.exit(f"{tool} is missing: apt-get install {tool}")
    os.environ["PATH"] += ":/usr/sbin"
    workloads, proxies = options.workloads.split(","), ["banyan", "nginx", "nginx_tuned", "haproxy"]
    results = {}
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as directory:
        os.chmod(directory, 0o755)
        bench = Bench(options.banyan, pathlib.Path(directory), options.seconds)
        with bench.upstream_server():
            eventually(lambda: listens(bench.upstream), "the upstream")
            for round_number in range(options.rounds):
                shift = round_number % len(proxies)
                for workload in workloads:
                    for proxy in proxies[shift:] + proxies[:shift]:
                        results.setdefault((workload, proxy), []).append(bench.measure(proxy, workload))
            memory = {proxy: idle_memory(bench, proxy) for proxy in ("banyan", "nginx", "haproxy")}
            reload_ms = reload_cpu_ms(bench)
    print(f"\nMedian of {options.rounds} paired rounds of {options.seconds} s, one worker each, keep-alive, access log "
          "and traceparent on.\n")
    print_table(workloads, proxies, results)
    print("\nMemory per idle connection: " + ", ".join(f"{name} {size:.0f} bytes" for name, size in memory.items()))
    print(f"A table of 5,000 routes in force: {reload_ms:.0f} ms of CPU")
    if options.plot:
        plot(options.plot, workloads, results)


if __name__ == "__main__":
    main()
