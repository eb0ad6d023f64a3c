#!/usr/bin/python3
"""CPU time of the proxy per request, side by side with Debian's nginx and HAProxy.

    bench/gateway.py BANYAN [--rounds N] [--seconds S] [--workloads "tiny,TLS tiny,..."]

One upstream (nginx serving from memory) and one load generator share the last core; each proxy in turn has the first
core and one worker, keep-alive on both sides, an access log with the same fields and a traceparent set. TLS is 1.3 with
session tickets and one certificate for all. Generators: wrk (closed loop), h2load (HTTP/2), open_loop.cc (requests leave
on time, whatever became of earlier ones). Rounds are paired: in each round every proxy runs, in rotating order, and
ratios are taken within the round. The whole takes about ten minutes; --workloads chooses.
"""
import argparse
import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests" / "lib"))
from cluster import eventually, free_port, rpc  # noqa: E402

CONNECTIONS = 64
POST = 'wrk.method = "POST"\nwrk.body = string.rep("x", 10000)\n'
MIXED = """local turn, body = 0, string.rep("x", 10000)
request = function()
  turn = (turn + 1) % 10
  if turn < 7 then return wrk.format("GET", "/tiny") end
  if turn < 9 then return wrk.format("GET", "/10k") end
  return wrk.format("POST", "/tiny", nil, body)
end
"""


@dataclasses.dataclass
class Workload:
    path: str
    connections: int = CONNECTIONS
    script: str = ""
    tls: bool = False
    h2: bool = False
    rate: int = 0  # not 0: open loop


WORKLOADS = {
    "tiny": Workload("/tiny"),
    "10 KB": Workload("/10k"),
    "POST 10 KB": Workload("/tiny", script=POST),
    "1 MB": Workload("/1m", connections=16),
    "mixed": Workload("/tiny", script=MIXED),
    "TLS tiny": Workload("/tiny", tls=True),
    "TLS 10 KB": Workload("/10k", tls=True),
    "TLS 1 MB": Workload("/1m", connections=16, tls=True),
    "h2c tiny": Workload("/tiny", connections=16, h2=True),
    "open 10k/s": Workload("/tiny", rate=10_000),
    "open 20k/s": Workload("/tiny", rate=20_000),
    "open 40k/s": Workload("/tiny", rate=40_000),
}
PROXIES = ["banyan", "nginx", "nginx_tuned", "haproxy"]
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
  server {{ listen 127.0.0.1:{port} backlog=4096; listen 127.0.0.1:{h2} http2; listen 127.0.0.1:{tls} ssl;
    http2_max_concurrent_streams 128; ssl_protocols TLSv1.3; ssl_certificate {certificate}; ssl_certificate_key {key};
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
  bind 127.0.0.1:{h2} proto h2
  bind 127.0.0.1:{tls} ssl crt {both} ssl-min-ver TLSv1.3 alpn http/1.1
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
        self.make_certificate()
        self.open_loop = directory / "open_loop"
        source = pathlib.Path(__file__).with_name("open_loop.cc")
        subprocess.run(["clang++-19", "-std=c++23", "-O2", "-o", self.open_loop, source], check=True)

    def make_certificate(self):
        for words in (["dev-ca", str(self.dir)], ["issue", str(self.dir), "bench.example"]):
            subprocess.run([self.binary, "cert", *words], check=True, stdout=subprocess.DEVNULL)
        self.certificate, self.key = self.dir / "bench.example.pem", self.dir / "bench.example-key.pem"
        self.both = self.dir / "both.pem"
        self.both.write_bytes(self.certificate.read_bytes() + self.key.read_bytes())

    def ports(self, port):
        """The addresses of a proxy besides the plain one, and what TLS needs."""
        self.tls, self.h2 = free_port(), free_port()
        return {"port": port, "tls": self.tls, "h2": self.h2, "certificate": self.certificate, "key": self.key,
                "both": self.both}

    def write(self, name, text, **values):
        path = self.dir / name
        path.write_text(text.format(dir=self.dir, upstream=self.upstream, **values))
        return str(path)

    def upstream_server(self):
        return running(LOAD_CORE, ["nginx", "-c", self.write("up.conf", UPSTREAM, tiny="x" * 100)])

    @contextlib.contextmanager
    def nginx(self, port, tuning=""):
        with running(PROXY_CORE, ["nginx", "-c", self.write("ng.conf", NGINX, **self.ports(port), tuning=tuning)]) as process:
            yield process

    def nginx_tuned(self, port):
        return self.nginx(port, "proxy_buffers 64 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 256k;")

    @contextlib.contextmanager
    def haproxy(self, port):
        with open(self.dir / "haproxy.log", "wb") as log:
            with running(PROXY_CORE, ["haproxy", "-f", self.write("ha.cfg", HAPROXY, **self.ports(port))], log) as process:
                yield process

    @contextlib.contextmanager
    def banyan(self, port):
        state = pathlib.Path(tempfile.mkdtemp(dir=self.dir))
        self.ports(port)
        role = str(state / "socket")
        command = [self.binary, "gateway", "--socket", role, "--state-dir", str(state), "--workers", "1"]
        with running(PROXY_CORE, command) as process:
            eventually(lambda: os.path.exists(role), "the gateway")
            rpc(role, "snapshot.put", {"snapshot": {
                "epoch": 1, "listen": [f"127.0.0.1:{each}" for each in (port, self.tls, self.h2)], "public_host": None,
                "listeners": {f"127.0.0.1:{self.tls}": {"tls": {"certificates": [
                    {"certificate": str(self.certificate), "key": str(self.key)}]}}},
                "access_log": str(self.dir / "banyan.log"),
                "backends": {"b": {"endpoints": [{"address": f"127.0.0.1:{self.upstream}", "zone": ""}]}},
                "routes": [{"id": "all", "methods": [], "path": "/*", "to": "b"}]}})
            yield process

    def load(self, port, name, seconds):
        """Requests answered, and percentiles in ms."""
        workload = WORKLOADS[name]
        generate = self.open if workload.rate else self.h2load if workload.h2 else self.wrk
        return generate(port, workload, seconds)

    @staticmethod
    def generator(*command):
        done = subprocess.run(["taskset", "-c", str(LOAD_CORE), *map(str, command)], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{command}\n{done.stdout}{done.stderr}")
        return done.stdout

    def wrk(self, port, workload, seconds):
        script = self.dir / "load.lua"
        script.write_text(workload.script)
        url = f"https://127.0.0.1:{self.tls}" if workload.tls else f"http://127.0.0.1:{port}"
        out = self.generator("wrk", "-t1", f"-c{workload.connections}", f"-d{seconds}s", "--latency",
                             *(["-s", script] if workload.script else []), url + workload.path)
        if "Non-2xx" in out or "Socket errors" in out:
            raise RuntimeError(f"failed requests\n{out}")
        scale = {"us": 1e-3, "ms": 1, "s": 1e3}
        at = {share: float(value) * scale[unit] for share, value, unit in re.findall(r"(\d+)%\s+([\d.]+)(us|ms|s)", out)}
        return {"requests": int(re.search(r"(\d+) requests in", out)[1]), "p50_ms": at["50"], "p99_ms": at["99"]}

    def h2load(self, _, workload, seconds):
        log = self.dir / "h2load.tsv"
        log.unlink(missing_ok=True)
        out = self.generator("h2load", "-t1", f"-c{workload.connections}", "-m8", f"-D{seconds}", f"--log-file={log}",
                             f"http://127.0.0.1:{self.h2}{workload.path}")
        if (bad := re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", out)).groups() != ("0", "0", "0"):
            raise RuntimeError(f"{bad[0]}\n{out}")
        took = sorted(int(line.split()[2]) / 1e3 for line in log.read_text().splitlines())
        log.unlink()
        return {"requests": int(re.search(r"(\d+) succeeded", out)[1]), "p50_ms": took[len(took) // 2],
                "p99_ms": took[int(len(took) * 0.99)]}

    def open(self, port, workload, seconds):
        out = self.generator(self.open_loop, port, workload.path, workload.rate, seconds, workload.connections)
        due, answered, failed, p50, p99 = (int(number) for number in re.findall(r" (\d+)", out))
        if failed:
            raise RuntimeError(f"failed requests: {out}")
        return {"requests": answered, "p50_ms": p50 / 1e3, "p99_ms": p99 / 1e3, "answered": answered / due}

    def measure(self, proxy, workload):
        port = free_port()
        with getattr(self, proxy)(port) as process:
            eventually(lambda: listens(port), proxy)
            self.load(port, workload, 1)
            before, began = cpu_ns(process.pid), time.monotonic()
            done = self.load(port, workload, self.seconds)
            spent, took = cpu_ns(process.pid) - before, time.monotonic() - began
        for log in self.dir.glob("*.log"):
            log.unlink()
        return {"cpu_us": spent / 1e3 / done["requests"], "rps": done["requests"] / took} | done


def idle_memory(bench, proxy, tls=False, count=1000):
    """Bytes of the proxy's memory for each of `count` connections that were served once and keep still."""
    port = free_port()
    with getattr(bench, proxy)(port) as process:
        eventually(lambda: listens(port), proxy)

        def resident():
            pages = int(pathlib.Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGESIZE")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        open_now, sizes = [], []
        for size in (count, 2 * count):  # the first half pays for what is there only once
            while len(open_now) < size:
                client = socket.create_connection(("127.0.0.1", bench.tls if tls else port))
                if tls:
                    client = context.wrap_socket(client)
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


def proxies_of(workload):
    """nginx is tuned by its buffers, which open loops of tiny answers do not fill."""
    return [proxy for proxy in PROXIES if not (WORKLOADS[workload].rate and proxy == "nginx_tuned")]


def plot(path, workloads, results):
    """Banyan's CPU time per request as a share of each peer's, with the spread of the rounds."""
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(10, 4))
    peers = ["nginx", "nginx_tuned", "haproxy"]
    for place, peer in enumerate(peers):
        at = [number for number, workload in enumerate(workloads) if (workload, peer) in results]
        ratios = [[ours["cpu_us"] / theirs["cpu_us"] for ours, theirs in
                   zip(results[workloads[n], "banyan"], results[workloads[n], peer])] for n in at]
        middle = [statistics.median(found) for found in ratios]
        spread = [[m - min(found) for m, found in zip(middle, ratios)],
                  [max(found) - m for m, found in zip(middle, ratios)]]
        axes.bar([number + 0.27 * place for number in at], middle, 0.25, yerr=spread, capsize=3,
                 label=peer.replace("_", " "))
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks([number + 0.27 for number in range(len(workloads))], workloads, rotation=20)
    axes.set_ylabel("Banyan's CPU time per request / the peer's")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def print_table(workloads, results):
    print("| workload | proxy | CPU µs/request | requests/s | p50 ms | p99 ms | Banyan uses, of its CPU |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for workload in workloads:
        for proxy in proxies_of(workload):
            rounds = results[workload, proxy]
            middle = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
            ratios = [ours["cpu_us"] / theirs["cpu_us"]
                      for ours, theirs in zip(results[workload, "banyan"], rounds)]
            ratio = "" if proxy == "banyan" else f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            share = f" ({middle['answered']:.0%} of them)" if "answered" in middle else ""
            print(f"| {workload} | {proxy.replace('_', ' ')} | {middle['cpu_us']:.1f} | {middle['rps']:.0f}{share} "
                  f"| {middle['p50_ms']:.2f} | {middle['p99_ms']:.2f} | {ratio} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("banyan")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="some of: %(default)s")
    parser.add_argument("--plot", help="write the ratios there, as SVG")
    options = parser.parse_args()
    for tool in ("nginx", "haproxy", "wrk", "h2load"):
        if shutil.which(tool) is None and not os.path.exists(f"/usr/sbin/{tool}"):
            sys.exit(f"{tool} is missing: apt-get install {tool}")
    os.environ["PATH"] += ":/usr/sbin"
    workloads = options.workloads.split(",")
    if unknown := set(workloads) - set(WORKLOADS):
        parser.error(f"there is no workload {', '.join(sorted(unknown))}; there are: {', '.join(WORKLOADS)}")
    results, load_before = {}, os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="banyan-bench-") as directory:
        os.chmod(directory, 0o755)
        bench = Bench(options.banyan, pathlib.Path(directory), options.seconds)
        with bench.upstream_server():
            eventually(lambda: listens(bench.upstream), "the upstream")
            for round_number in range(options.rounds):
                for workload in workloads:
                    proxies = proxies_of(workload)
                    shift = round_number % len(proxies)
                    for proxy in proxies[shift:] + proxies[:shift]:
                        results.setdefault((workload, proxy), []).append(bench.measure(proxy, workload))
            memory = {(proxy, tls): idle_memory(bench, proxy, tls) for proxy in ("banyan", "nginx", "haproxy")
                      for tls in (False, True)}
            reload_ms = reload_cpu_ms(bench)
    print(f"\nMedian of {options.rounds} paired rounds of {options.seconds} s, one worker each, keep-alive, access log "
          "and traceparent on.\n")
    print_table(workloads, results)
    print("\nMemory per idle connection: " + ", ".join(
        f"{name}{' with TLS' if tls else ''} {size:.0f} bytes" for (name, tls), size in memory.items()))
    print(f"Load average before {load_before:.1f}, after {os.getloadavg()[0]:.1f}")
    print(f"A table of 5,000 routes in force: {reload_ms:.0f} ms of CPU")
    if options.plot:
        plot(options.plot, workloads, results)


if __name__ == "__main__":
    main()
