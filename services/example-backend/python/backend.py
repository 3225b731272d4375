"""The backend: HTTP with the standard library alone. It answers what the node asks (`/gorani/connect`, ...), takes what the node tells
(`/gorani/hooks`), signs users in and serves the page. `../node/backend.js` is the same in JavaScript.
"""

import json
import os
import signal
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from answers import PEOPLE, Answers
from people import People
from sessions import cookie_for, name_of, user_of
from standard_webhooks import BadSignature, key_of, verify

HOST = os.environ.get("APP_HOST", "127.0.0.1")
PORT = int(os.environ.get("APP_PORT", "3000"))
PUSH_URL = os.environ.get("PUSH_URL", "http://127.0.0.1:8000").rstrip("/")
# The node's address for browsers; in production a balancer's name.
PUSH_PUBLIC_URL = os.environ.get("PUSH_PUBLIC_URL", PUSH_URL).rstrip("/")
# Seconds until the node asks whether a connection goes on.
SESSION_SECONDS = int(os.environ.get("APP_SESSION_SECONDS", "3600"))
API_TIMEOUT = 5
# Above hooks.endpoints.batch_max_bytes of the node.
BODY_MAX = 1024 * 1024
HERE = Path(__file__).resolve().parent.parent
FILES = {
    "/": (HERE / "public/index.html", "text/html"),
    "/app.js": (HERE / "public/app.js", "text/javascript"),
    "/style.css": (HERE / "public/style.css", "text/css"),
    # The published SDK, which the node has for its own page.
    "/centrifuge.js": (HERE / "../gateway/assets/centrifuge.js", "text/javascript"),
}


def secret_of(name):
    if not os.environ.get(name):
        sys.exit(f"{name} is not set. run.sh makes it.")
    return os.environ[name]


def call(method, params):
    """Calls the HTTP API of the node."""
    headers = {"Content-Type": "application/json", "X-API-Key": secret_of("GORANI__API__KEYS")}
    request = urllib.request.Request(f"{PUSH_URL}/api/{method}", json.dumps(params).encode(), headers)
    with urllib.request.urlopen(request, timeout=API_TIMEOUT) as response:
        answer = json.load(response)
    # An error of a call is 200 with "error" by default (api.error_mode).
    if "error" in answer:
        raise RuntimeError(f"{method}: {answer['error']['message']}")
    return answer["result"]


def read_connections():
    """All connections of the cluster: client ids to users."""
    there, cursor = {}, ""
    while True:
        page = call("connections", {"cursor": cursor, "limit": 1000})
        there.update((client, view.get("user", "")) for client, view in page["connections"].items())
        cursor = page.get("next_cursor", "")
        if not cursor:
            return there


class Announcer(threading.Thread):
    """Tells all clients who is online. The node that told the backend need not wait for it."""

    def __init__(self):
        super().__init__(daemon=True)
        self._wanted = threading.Event()

    def announce(self):
        self._wanted.set()

    def run(self):
        while True:
            self._wanted.wait()
            self._wanted.clear()
            try:
                call("publish", {"channel": PEOPLE, "data": {"online": PEOPLE_ONLINE.online()}})
            except (OSError, RuntimeError) as problem:
                print(f"Nobody is told who is online: {problem}", file=sys.stderr, flush=True)


PEOPLE_ONLINE = People(os.environ.get("APP_DATA", "people.json"), read_connections)
SESSION_SECRET = secret_of("APP_SESSION_SECRET")
HOOK_KEY = key_of(secret_of("APP_HOOK_SECRET"))
ANSWERS = Answers(PEOPLE_ONLINE, SESSION_SECRET, SESSION_SECONDS)
ANNOUNCER = Announcer()


class Handler(BaseHTTPRequestHandler):
    """One connection. The node keeps its connections open and uses them again."""

    protocol_version = "HTTP/1.1"
    # Without it head and body leave in two packets, and the second may wait for the first to be confirmed.
    wbufsize = -1
    disable_nagle_algorithm = True
    # Seconds without a request after which a connection ends.
    timeout = 60

    def do_GET(self):
        path = self.path.split("?")[0]
        if path in FILES:
            file, kind = FILES[path]
            self._send(200, file.read_bytes(), f"{kind}; charset=utf-8")
        elif path == "/api/me":
            self._answer(200, {"user": user_of(self.headers.get("Cookie", ""), SESSION_SECRET), "push": PUSH_PUBLIC_URL})
        else:
            self._answer(404, {"error": "there is nothing here"})

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_MAX:
            # What is left of the body is not to be taken for the next request.
            self.close_connection = True
            return self._answer(413, {"error": "the body is too large"})
        body = self.rfile.read(int(length))
        try:
            if self.path == "/api/login":
                self._sign_in(json.loads(body))
            elif self.path.startswith("/gorani/"):
                self._take_from_node(self.path.removeprefix("/gorani/"), body)
            else:
                self._answer(404, {"error": "there is nothing here"})
        except BadSignature as problem:
            self._answer(401, {"error": str(problem)})
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            self._answer(400, {"error": f"not understood: {problem!r}"})
        except (OSError, RuntimeError) as problem:
            # The node asks again, or tells again.
            print(f"{self.path} failed: {problem}", file=sys.stderr, flush=True)
            self._answer(503, {"error": "not now"})

    def _sign_in(self, body):
        name = name_of(body["name"])
        if name is None:
            return self._answer(400, {"error": "a name has 1 to 24 characters"})
        self._answer(200, {"user": name}, {"Set-Cookie": cookie_for(name, SESSION_SECRET)})

    def _take_from_node(self, kind, body):
        verify(HOOK_KEY, self.headers, body)
        if kind == "hooks":
            if PEOPLE_ONLINE.take(json.loads(body)["events"]):
                ANNOUNCER.announce()
            return self._answer(200, {"result": {}})
        if kind not in ("connect", "refresh", "subscribe", "sub_refresh", "publish", "rpc"):
            return self._answer(404, {"error": "there is nothing here"})
        # Only 200 is an answer for the node, also where it refuses.
        self._answer(200, getattr(ANSWERS, kind)(json.loads(body), self.headers))

    def _answer(self, status, value, headers=None):
        self._send(status, json.dumps(value).encode(), "application/json", headers)

    def _send(self, status, body, kind, headers=None):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(body), "Cache-Control": "no-store", **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        """Nothing: a line for each question would be too many."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    # Waiting connections; the default of 5 is too few for a node that begins many at once.
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A connection that breaks is nothing special; anything else is a mistake of this program."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


if __name__ == "__main__":
    server = Server((HOST, PORT), Handler)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    ANNOUNCER.start()
    print(f"The backend is on http://{HOST}:{PORT}", flush=True)
    server.serve_forever()
