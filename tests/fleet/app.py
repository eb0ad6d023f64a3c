"""An application for the fleet: answers /healthz; behaves badly on demand, by files in its directory."""
import http.server
import os
import pathlib
import signal
import sys
import time


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        sick = pathlib.Path("sick").exists() or self.headers["Host"] != "shop.example"
        self.send_response(503 if sick else 200)
        self.end_headers()
        self.wfile.write(os.environ["INSTANCE"].encode())

    def log_message(self, *_):
        pass


def main():
    if pathlib.Path("crash").exists():
        sys.exit("this application always crashes")
    if pathlib.Path("deaf").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:  # a worker, as application servers have
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while True:
            time.sleep(60)
    print("serving", sys.argv[1], os.environ["ZONE"], os.environ["COLOUR"], flush=True)
    http.server.ThreadingHTTPServer((os.environ["HOST"], int(sys.argv[1])), Handler).serve_forever()


main()
