"""Notes: a monolith light enough for hundreds of requests a second on one core, for bench/switch.py.

A plain WSGI application over psycopg2, one connection a thread. It knows nothing of Banyan.

  POST /notes?key=K   stores the body, answers 201 and the id; the same key twice makes two rows, so a repeat shows
  GET  /notes/ID      the note
  GET  /notes         the ten newest
  GET  /healthz
"""
import os
import threading

import psycopg2

SCHEMA = """
CREATE TABLE IF NOT EXISTS notes (id bigserial PRIMARY KEY, key text NOT NULL, body text NOT NULL,
                                  written timestamptz NOT NULL DEFAULT now());
CREATE INDEX IF NOT EXISTS notes_key ON notes (key);
"""
_own = threading.local()


def _connection():
    if getattr(_own, "connection", None) is None or _own.connection.closed:
        _own.connection = psycopg2.connect(os.environ["DATABASE_URL"])
        _own.connection.autocommit = True
    return _own.connection


def query(statement, *values):
    """Rows of one statement. A connection that broke is opened anew for the next request; this one fails."""
    with _connection().cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


def answer(environ):
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if path == "/healthz":
        return "200 OK", b"ok"
    if method == "POST" and path == "/notes":
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
        key = environ["QUERY_STRING"].partition("key=")[2]
        return "201 Created", str(query("INSERT INTO notes (key, body) VALUES (%s, %s) RETURNING id", key, body)[0][0]).encode()
    if path == "/notes":
        return "200 OK", "\n".join(row[0] for row in query("SELECT key FROM notes ORDER BY id DESC LIMIT 10")).encode()
    rows = query("SELECT body FROM notes WHERE id = %s", int(path.rpartition("/")[2]))
    return ("200 OK", rows[0][0].encode()) if rows else ("404 Not Found", b"no such note")


def application(environ, start_response):
    status, body = answer(environ)
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
