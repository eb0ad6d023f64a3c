#!/usr/bin/python3
"""A small old application for tests: pages with a token that changes each time, and one page that can be made to
notice a gateway. Usage: old_app.py PORT HOST NOTICE_FILE"""
import http.server
import os
import secrets
import sys


class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.split("?")[0]
        body = f"<form><input name=token value='{secrets.token_urlsafe(24)}'></form> page {path}\n"
        if path == "/whoami" and os.path.exists(sys.argv[3]):
            body += f"you come from {self.headers.get('X-Forwarded-For', 'here')}\n"
        status = 200 if path in ("/", "/healthz", "/whoami") or path.startswith("/documents/") else 404
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Set-Cookie", f"csrf={secrets.token_hex(8)}; Path=/; HttpOnly")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer((sys.argv[2], int(sys.argv[1])), Pages).serve_forever()
