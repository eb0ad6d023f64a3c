#!/usr/bin/env python3
"""`banyan init --from` writes a spec that validates and explains itself, and never over one that is there."""
import json
import os
import subprocess
import sys
import tempfile

NGINX = """http {
  upstream app { server 127.0.0.1:8000 weight=2; server 127.0.0.1:8001 backup; }
  server {
    listen 8080;
    location / { proxy_pass http://app; proxy_set_header Host $host; }
    location /api/ { proxy_pass http://127.0.0.1:9000/v1/; }
    location ~ [.]php$ { fastcgi_pass 127.0.0.1:9001; }
  }
}
"""
HAPROXY = """defaults
  mode http
frontend web
  bind :8080
  acl api path_beg /api/
  use_backend api if api
  default_backend app
backend app
  server a 127.0.0.1:8000 check
backend api
  stick-table type ip size 1m
  server a 127.0.0.1:9000
"""
binary = os.path.abspath(sys.argv[1])


def banyan(*args, code=0):
    done = subprocess.run([binary, *args], capture_output=True, text=True)
    assert done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
    return done.stdout


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    for name, text, line in (("nginx.conf", NGINX, "nginx.conf:7"), ("haproxy.cfg", HAPROXY, "haproxy.cfg:11")):
        spec = name + ".yaml"
        with open(name, "w") as file:
            file.write(text)
        out = json.loads(banyan("--json", "init", "--from", name, "-o", spec))
        assert out["routes"] == 2 and out["services"] == 2, out
        assert line in [left["where"] for left in out["left"]] and all(left["do"] for left in out["left"]), out
        banyan("-f", spec, "validate")
        explained = json.loads(banyan("--json", "-f", spec, "route", "explain", "GET", "/api/x"))
        assert explained["action"] in ("goes to api", "goes to 127-0-0-1-9000"), explained
        banyan("init", "--from", name, "-o", spec, code=3)
    banyan("init", "-o", "plain.yaml")
    banyan("-f", "plain.yaml", "validate")
    with open("broken.conf", "w") as file:
        file.write("http {\n server {\n")
    assert not os.path.exists("broken.yaml")
    banyan("init", "--from", "broken.conf", "-o", "broken.yaml", code=1)
    assert not os.path.exists("broken.yaml")
print("ok")
