#!/usr/bin/python3
"""A small application for tests that writes: POST /KEY is a row of `ledger`. A write that its database refuses is
answered 500 and noted in the file `refused`. Usage: writing_app.py PORT HOST DATABASE_URL"""
import http.server
import os
import sys
import threading

import psycopg2

REFUSED = os.environ.get("REFUSED_FILE", "/dev/null")
own = threading.local()


def write(key):
    if not hasattr(own, "connection"):
        own.connection = psycopg2.connect(sys.argv[3])
        own.connection.autocommit = True
    with own.connection.cursor() as cursor:
        cursor.execute("insert into ledger(key) values (%s)", (key,))


class Writer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            write(self.path[1:])
        except psycopg2.Error as error:
            with open(REFUSED, "a", encoding="utf-8") as refused:
                refused.write(f"{sys.argv[1]} {self.path} {error}\n")
            self.answer(500)
        else:
            self.answer(201)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *_):
        pass  # a gateway that was killed


Server((sys.argv[2], int(sys.argv[1])), Writer).serve_forever()
