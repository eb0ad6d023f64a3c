"""Real servers whose parsers are not ours: each answers with the target it was asked for and keeps a record of what it
took for a request."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from harness import free_port
from cluster import eventually

NGINX = """
daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/errors;
events {{ worker_connections 512; }}
http {{
  log_format record escape=json '{{"via":"$http_via","trace":"$http_traceparent","method":"$request_method",'
    '"target":"$request_uri","connection":"$connection","status":"$status"}}';
  access_log {dir}/record record;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u;
  scgi_temp_path {dir}/s;
  merge_slashes off;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 $request_uri; }} }}
}}
"""

NODE = """
const fs = require('fs'); let connections = 0;
const record = line => fs.appendFileSync('{dir}/record', JSON.stringify(line) + '\\n');
const server = require('http').createServer((request, response) => {{
  const headers = request.headers;
  record({{via: headers.via, trace: headers.traceparent, method: request.method, target: request.url,
          connection: request.socket.number}});
  request.on('error', () => 0).on('data', () => 0).on('end', () => response.end(request.url));
}});
server.on('connection', socket => {{ socket.number = String(++connections); }});
server.on('clientError', (error, socket) => {{
  const broken = String(error.code).startsWith('HPE') && error.code != 'HPE_INVALID_EOF_STATE';
  if (broken) record({{broken: error.code}});
  socket.destroy();
}});
server.keepAliveTimeout = 60000;
server.listen({port}, '127.0.0.1');
"""

GUNICORN = """
import json
def app(environ, start):
    line = {{"via": environ.get("HTTP_VIA"), "trace": environ.get("HTTP_TRACEPARENT"),
            "method": environ["REQUEST_METHOD"], "target": environ["RAW_URI"]}}
    with open("{dir}/record", "a") as out:
        out.write(json.dumps(line) + "\\n")
    environ["wsgi.input"].read()
    body = environ["RAW_URI"].encode("latin1")
    start("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""

# One thread: of several that write their log at once, one gives its line up.
HAPROXY = """
global
  nbthread 1
  log stdout format raw local0
defaults
  mode http
  timeout client 60s
  timeout http-request 60s
frontend all
  bind 127.0.0.1:{port}
  option http-buffer-request
  log global
  declare capture request len 64
  declare capture request len 64
  http-request capture req.hdr(via) id 0
  http-request capture req.hdr(traceparent) id 1
  log-format '{{"via":"%[capture.req.hdr(0),json('utf8s')]","trace":"%[capture.req.hdr(1),json('utf8s')]","method":"%[capture.req.method]","target":"%[capture.req.uri,json('utf8s')]","status":"%ST"}}'
  http-request return status 200 content-type text/plain lf-string "%[capture.req.uri]"
"""


class Parser:
    """One such server; a context manager that leaves nothing behind."""

    CONFIGURATION = {"nginx": NGINX, "node": NODE, "gunicorn": GUNICORN, "haproxy": HAPROXY}

    def __init__(self, name):
        self.name, self.port = name, free_port()
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"banyan-{self.name}-"))
        file = self.directory / ("app.py" if self.name == "gunicorn" else "configuration")
        file.write_text(self.CONFIGURATION[self.name].format(dir=self.directory, port=self.port))
        self.record = self.directory / "record"
        output = open(self.record if self.name == "haproxy" else self.directory / "output", "ab")
        command = {
            "nginx": ["nginx", "-c", str(file), "-p", str(self.directory), "-e", str(self.directory / "errors")],
            "node": ["node", str(file)],
            "haproxy": ["haproxy", "-db", "-f", str(file)],
            "gunicorn": ["gunicorn", "-k", "gthread", "--threads", "16", "--keep-alive", "60", "-b", self.address,
                         "--worker-tmp-dir", str(self.directory), "app:app"],
        }[self.name]
        environment = os.environ | {"PATH": os.environ["PATH"] + ":/usr/sbin"}
        with output:
            self.process = subprocess.Popen(command, cwd=self.directory, stdout=output, stderr=subprocess.STDOUT,
                                            stdin=subprocess.DEVNULL, env=environment)
        eventually(self._listens, f"{self.name} to listen")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.directory)

    def _listens(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended: {self.output()}")
        return any(f":{self.port:04X} 00000000:0000 0A" in line
                   for line in pathlib.Path("/proc/net/tcp").read_text().splitlines())

    def output(self):
        return "".join(path.read_text(errors="replace") for path in self.directory.glob("*o*t*") if path.is_file())

    def requests(self):
        """What it took for requests since the last call."""
        text = self.record.read_text(errors="replace") if self.record.exists() else ""
        lines = text.split("\n")[:-1]  # the last may be half written
        seen, self._read = getattr(self, "_read", 0), len(lines)
        return [json.loads(line) for line in lines[seen:] if line.startswith("{")]

    def complaints(self):
        """Where it wrote that something was no request at all."""
        return [line for line in self.output().splitlines() if "Invalid request" in line or "Invalid HTTP" in line]
