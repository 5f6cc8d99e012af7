#!/usr/bin/env python3
"""A small imitation of Vault and OpenBao, for the tests of store_vault.c: what KV version 2, logins and tokens
answer, as their API documentation has it.

Lives until its standard input is closed. Prints port=N and "ready". The test steers it by /peer/ paths:

    POST /peer/reset                      everything as at the start
    POST /peer/fail {"method","match","status","skip","times","after","drop","body"}
                                          the next requests that match, but "skip" of them, get that status, before
                                          they take effect or ("after") after it; "drop": the connection is closed
                                          instead of an answer
    POST /peer/edit {"path","data"}       somebody else writes a secret
    POST /peer/race {"path","data"}       the same, right before the next write to that path; before each one while
                                          the peer's race_each_time is set
    POST /peer/delete {"path"}            somebody deletes the newest version
    POST /peer/revoke                     every token but root is gone
    POST /peer/policy {"deny": [[method, part of path], …]}
    POST /peer/clock {"add": seconds}     tokens age
    GET  /peer/log                        [[method, path, namespace, token kind, status], …]
    GET  /peer/dump?path                  {"versions": …, "custom_metadata": …} of a secret, as it is kept
"""
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

ROLE_ID, SECRET_ID, JWT = "role-id-1", "secret-id-1", "kubernetes-jwt-1"
LOCK = threading.Lock()


class Peer:
    def __init__(self):
        self.reset()

    def reset(self):
        self.secrets = {}  # (namespace, path) -> {"versions": {n: {...}}, "current": n, "custom": {}}
        self.tokens = {"root": {"end": None, "ttl": 0, "renewable": False},
                       "given": {"end": 3600.0, "ttl": 3600, "renewable": True}}
        self.now = 0.0
        self.count = 0
        self.failures = []
        self.races = []
        self.race_each_time = False
        self.deny = []
        self.log = []
        self.ttl = 3600
        self.sealed = False


PEER = Peer()


class Answer(Exception):
    def __init__(self, status, body=None, headers=None):
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


def error(status, *words):
    return Answer(status, {"errors": list(words)})


def newest(secret):
    return secret["versions"].get(secret["current"])


def write(key, data, cas):
    secret = PEER.secrets.get(key)
    version = secret["current"] if secret else 0
    if cas is not None and cas != version:
        raise error(400, "check-and-set parameter did not match the current version")
    if secret is None:
        secret = PEER.secrets[key] = {"versions": {}, "current": 0, "custom": None}
    secret["current"] = version + 1
    secret["versions"][version + 1] = {"data": data, "deleted": ""}
    return version + 1


def metadata_of(secret, version):
    entry = secret["versions"][version]
    return {"created_time": "2026-01-01T00:00:00Z", "custom_metadata": secret["custom"],
            "deletion_time": entry["deleted"], "destroyed": False, "version": version}


def do_data(method, key, body):
    secret = PEER.secrets.get(key)
    if method == "GET":
        if secret is None:
            raise error(404)
        entry = newest(secret)
        metadata = metadata_of(secret, secret["current"])
        if entry["deleted"]:
            raise Answer(404, {"data": {"data": None, "metadata": metadata}})
        raise Answer(200, {"data": {"data": entry["data"], "metadata": metadata}})
    if method in ("POST", "PUT"):
        if "data" not in body:
            raise error(400, "no data provided")
        for race in [r for r in PEER.races if r["path"] == key[1]]:
            if not PEER.race_each_time:
                PEER.races.remove(race)
            write(key, race["data"], None)
        version = write(key, body["data"], body.get("options", {}).get("cas"))
        raise Answer(200, {"data": metadata_of(PEER.secrets[key], version)})
    raise error(405, "unsupported operation")


def do_metadata(method, key, body, content_type):
    if method == "DELETE":
        PEER.secrets.pop(key, None)
        raise Answer(204)
    if method == "PATCH":
        if content_type != "application/merge-patch+json":
            raise error(415, "PATCH requires Content-Type of application/merge-patch+json")
        secret = PEER.secrets.get(key)
        if secret is None:
            raise error(404)
        custom = dict(secret["custom"] or {})
        for name, value in (body.get("custom_metadata") or {}).items():
            custom.pop(name, None)
            if value is not None:
                custom[name] = value
        secret["custom"] = custom
        raise Answer(204)
    raise error(405, "unsupported operation")


def grant():
    PEER.count += 1
    token = "hvs.token%d" % PEER.count
    PEER.tokens[token] = {"end": PEER.now + PEER.ttl, "ttl": PEER.ttl, "renewable": True}
    return {"auth": {"client_token": token, "lease_duration": PEER.ttl, "renewable": True,
                     "policies": ["default"], "token_type": "service"}}


def do_login(kind, body):
    if kind == "approle":
        if body.get("role_id") != ROLE_ID or body.get("secret_id") != SECRET_ID:
            raise error(400, "invalid role or secret ID")
    elif body.get("role") != "rotor" or body.get("jwt") != JWT:
        raise error(403, "permission denied")
    raise Answer(200, grant())


def token_state(token):
    state = PEER.tokens.get(token)
    if state is None or (state["end"] is not None and state["end"] <= PEER.now):
        raise error(403, "permission denied", "invalid token")
    return state


def vault(method, path, token, namespace, body, content_type):
    if path == "sys/seal-status":
        raise Answer(200, {"type": "shamir", "initialized": True, "sealed": PEER.sealed})
    if PEER.sealed:
        raise error(503, "Vault is sealed")
    if method == "POST" and path in ("auth/approle/login", "auth/k8s/login"):
        do_login("approle" if path == "auth/approle/login" else "kubernetes", body)
    state = token_state(token)
    if any(method == m and part in path for m, part in PEER.deny):
        raise error(403, "1 error occurred:\n\t* permission denied\n\n")
    if path == "auth/token/lookup-self":
        ttl = 0 if state["end"] is None else int(state["end"] - PEER.now)
        raise Answer(200, {"data": {"ttl": ttl, "renewable": state["renewable"], "id": token}})
    if path == "auth/token/renew-self":
        if not state["renewable"]:
            raise error(400, "lease is not renewable")
        state["end"] = PEER.now + state["ttl"]
        raise Answer(200, {"auth": {"client_token": token, "lease_duration": state["ttl"], "renewable": True}})
    if path == "sys/capabilities-self":
        data = {}
        for asked in body["paths"]:
            denied = [m for m, part in PEER.deny if part in asked]
            able = {"read": "GET", "create": "POST", "update": "POST", "delete": "DELETE", "patch": "PATCH"}
            data[asked] = [c for c, m in able.items() if m not in denied] or ["deny"]
        raise Answer(200, {"data": data, **data})
    mount, kind, rest = (path.split("/", 2) + ["", ""])[:3]
    if mount == "kv1":
        raise Answer(204) if method == "POST" else error(404)
    if mount != "secret" or not rest:
        raise error(404, 'no handler for route "%s". route entry not found.' % path)
    if kind == "data":
        do_data(method, (namespace, rest), body)
    if kind == "metadata":
        do_metadata(method, (namespace, rest), body, content_type)
    raise error(404)


def steer(path, body):
    what, _, query = path.partition("?")
    if what == "reset":
        PEER.reset()
    elif what == "fail":
        PEER.failures.append(body)
    elif what == "edit":
        write((body.get("namespace", ""), body["path"]), body["data"], None)
    elif what == "race":
        PEER.races.append(body)
    elif what == "delete":
        newest(PEER.secrets[("", body["path"])])["deleted"] = "2026-01-01T00:00:00Z"
    elif what == "revoke":
        PEER.tokens = {}
    elif what == "policy":
        PEER.deny = [tuple(rule) for rule in body["deny"]]
    elif what == "clock":
        PEER.now += body["add"]
    elif what == "set":
        for name, value in body.items():
            setattr(PEER, name, value)
    elif what == "log":
        raise Answer(200, PEER.log)
    elif what == "dump":
        secret = PEER.secrets.get(("", unquote(query)))
        raise Answer(200, secret or {})
    raise Answer(200, {})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: the second of two waits for the client's delayed acknowledgement

    def log_message(self, *_):
        pass

    def reply(self, answer):
        text = b"" if answer.body is None else json.dumps(answer.body).encode() if not isinstance(
            answer.body, str) else answer.body.encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if text:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def failure(self, path):
        for failure in PEER.failures:
            if failure["method"] == self.command and failure["match"] in path:
                if failure.get("skip", 0) > 0:
                    failure["skip"] -= 1
                    continue
                failure["times"] = failure.get("times", 1) - 1
                if failure["times"] <= 0:
                    PEER.failures.remove(failure)
                return failure
        return None

    def serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        body = json.loads(raw) if raw else {}
        if self.path.startswith("/peer/"):
            with LOCK:
                try:
                    steer(self.path[len("/peer/"):], body)
                except Answer as answer:
                    self.reply(answer)
            return
        token = self.headers.get("X-Vault-Token", "")
        namespace = self.headers.get("X-Vault-Namespace", "")
        with LOCK:
            path = unquote(self.path[len("/v1/"):])
            failure = self.failure(path)
            answer = None
            if failure is None or failure.get("after"):
                try:
                    vault(self.command, path, token, namespace, body, self.headers.get("Content-Type", ""))
                except Answer as given:
                    answer = given
            if failure is not None:
                if failure.get("drop"):
                    PEER.log.append([self.command, path, namespace, token, 0])
                    self.close_connection = True
                    return
                answer = Answer(failure["status"], failure.get("body", {"errors": ["as asked"]}),
                                failure.get("headers"))
            PEER.log.append([self.command, path, namespace, token, answer.status])
        self.reply(answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("port=%d" % server.server_address[1])
    print("ready", flush=True)
    sys.stdin.read()


main()
