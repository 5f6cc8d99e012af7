#!/usr/bin/env python3
"""A web service with a key, for the tests of target_http.c.

Lives until its standard input is closed. Prints port=N and "ready".

    PUT or POST /key            sets the key: {"user":…, "key":…} as JSON, or user=…&key=… as a form; with
                                "Authorization: Bearer admin"
    GET /me                     200 if "Authorization: Basic" or X-Api-Key has the key, else 401
    /status/N                   answers N
    /drop                       closes the connection instead of an answer
    /redirect                   302 to /key
    GET /peer/last              {"method","path","headers","body","count"} of the last request but these
"""
import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

STATE = {"user": None, "key": None, "last": {}, "count": 0}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: the second of two waits for the client's delayed acknowledgement

    def log_message(self, *_):
        pass

    def reply(self, status, body=None):
        text = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/key")
        if status == 429:
            self.send_header("Retry-After", "3")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def set_key(self, body):
        if self.headers.get("Authorization") != "Bearer admin":
            return self.reply(403)
        if self.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
            values = {k: v[0] for k, v in parse_qs(body, strict_parsing=True).items()}
        else:
            values = json.loads(body)
        STATE["user"], STATE["key"] = values["user"], values["key"]
        return self.reply(204)

    def log_in(self):
        plain = "%s:%s" % (STATE["user"], STATE["key"])
        basic = "Basic " + base64.b64encode(plain.encode()).decode()
        good = self.headers.get("Authorization") == basic or self.headers.get("X-Api-Key") == STATE["key"]
        return self.reply(200 if good and STATE["key"] else 401)

    def serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if self.path == "/peer/last":
            return self.reply(200, STATE["last"])
        STATE["count"] += 1
        STATE["last"] = {"method": self.command, "path": self.path, "body": body, "headers": dict(self.headers),
                         "count": STATE["count"]}
        if self.path == "/key":
            return self.set_key(body)
        if self.path == "/me":
            return self.log_in()
        if self.path.startswith("/status/"):
            status = int(self.path[len("/status/"):])
            return self.reply(status, None if status == 204 else {"echo": body})
        if self.path == "/redirect":
            return self.reply(302)
        self.close_connection = True
        return None

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve


SERVER = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
SERVER.daemon_threads = True
threading.Thread(target=SERVER.serve_forever, daemon=True).start()
print("port=%d" % SERVER.server_address[1])
print("ready", flush=True)
sys.stdin.read()
