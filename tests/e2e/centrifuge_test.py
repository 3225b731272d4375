"""The client protocol with the unmodified `centrifuge-python`, in its JSON and its protobuf form.

Starts the binary named by GORANI_BIN (default target/debug/gorani) with settings of its own on a free port.
Run: python -m venv V && V/bin/pip install -r tests/e2e/requirements.txt && V/bin/python tests/e2e/centrifuge_test.py
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from centrifuge import Client, ClientEventHandler, ReplyError, SubscriptionEventHandler

KEY = "test-key"
SECRET = "test-secret-of-at-least-thirty-two-bytes"
READY_WITHIN_SECONDS = 60
WITHIN_SECONDS = 60
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

SETTINGS = """
[http]
address = "127.0.0.1:{port}"
workers = 2
[api]
keys = ["{key}"]
[token]
hmac_secret = "{secret}"
[client]
allow_anonymous = true
[rpc.proxy]
endpoint = "{backend}/rpc"
timeout = "20s"
[[rpc.namespaces]]
name = "asked"
proxy_enabled = true
[[channel.namespaces]]
name = "open"
history_size = 300
history_ttl = "300s"
presence = true
join_leave = true
allow_positioning = true
allow_recovery = true
allow_subscribe_for_client = true
allow_subscribe_for_anonymous = true
allow_publish_for_subscriber = true
allow_publish_for_anonymous = true
allow_presence_for_subscriber = true
allow_presence_for_anonymous = true
allow_history_for_subscriber = true
allow_history_for_anonymous = true
"""


class Backend(BaseHTTPRequestHandler):
    """Answers an rpc: with the sum, or with an error of its own."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["method"] == "asked:sum":
            answer = {"result": {"data": {"sum": sum(asked["data"])}}}
        else:
            answer = {"error": {"code": 1404, "message": "no such method"}}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        pass


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Connected(ClientEventHandler):
    def __init__(self):
        self.disconnected = asyncio.Queue()

    async def on_disconnected(self, ctx):
        self.disconnected.put_nowait(ctx.code)


class Seen(SubscriptionEventHandler):
    def __init__(self):
        self.publications = asyncio.Queue()
        self.subscribed = asyncio.Queue()
        self.joined = asyncio.Queue()

    async def on_subscribed(self, ctx):
        self.subscribed.put_nowait(ctx)

    async def on_publication(self, ctx):
        self.publications.put_nowait(ctx.pub)

    async def on_join(self, ctx):
        self.joined.put_nowait(ctx.info.client)

    async def take(self, count):
        return [await within(self.publications.get()) for _ in range(count)]


def token(user):
    def encode(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    signed = b".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, {"sub": user}))
    return b".".join((signed, encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()))).decode()


def within(awaitable):
    return asyncio.wait_for(awaitable, WITHIN_SECONDS)


class Forms:
    """The tests; each form runs them."""

    use_protobuf = False

    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        backend = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
        threading.Thread(target=backend.serve_forever, daemon=True).start()
        cls.addClassCleanup(backend.server_close)
        cls.addClassCleanup(backend.shutdown)
        settings = tempfile.NamedTemporaryFile("w", suffix=".toml")
        cls.addClassCleanup(settings.close)
        settings.write(SETTINGS.format(port=cls.port, key=KEY, secret=SECRET, backend=f"http://127.0.0.1:{backend.server_port}"))
        settings.flush()
        binary = os.environ.get("GORANI_BIN", str(REPOSITORY / "target/debug/gorani"))
        node = subprocess.Popen([binary, "serve", "--config", settings.name], stderr=subprocess.DEVNULL)
        cls.addClassCleanup(node.wait)
        cls.addClassCleanup(node.terminate)
        until = time.monotonic() + READY_WITHIN_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{cls.port}/health/ready").close()
                break
            except OSError:
                if node.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("the node did not become ready")
                time.sleep(0.02)

    def client(self, **options):
        address = f"ws://127.0.0.1:{self.port}/connection/websocket"
        return Client(address, use_protobuf=self.use_protobuf, proxy=None, timeout=WITHIN_SECONDS, **options)

    async def connected(self, **options):
        client = self.client(**options)
        await client.connect()
        await within(client.ready())
        self.addAsyncCleanup(client.disconnect)
        return client

    def encode(self, value):
        return json.dumps(value).encode() if self.use_protobuf else value

    def decode(self, data):
        return json.loads(data) if self.use_protobuf else data

    async def call(self, method, **params):
        def post():
            headers = {"Content-Type": "application/json", "X-API-Key": KEY}
            body = json.dumps(params).encode()
            request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/{method}", body, headers)
            with urllib.request.urlopen(request) as response:
                return json.load(response)["result"]

        return await asyncio.to_thread(post)

    async def subscribed(self, client, channel, **options):
        seen = Seen()
        sub = client.new_subscription(channel, seen, **options)
        await sub.subscribe()
        await within(sub.ready())
        await within(seen.subscribed.get())
        return sub, seen

    async def test_publish_history_and_presence(self):
        client = await self.connected()
        sub, seen = await self.subscribed(client, "open:a", join_leave=True)
        await sub.publish(self.encode({"n": 1}))
        await self.call("publish", channel="open:a", data={"n": 2}, tags={"k": "v"})
        publications = await seen.take(2)
        self.assertEqual([(self.decode(p.data), p.offset) for p in publications], [({"n": 1}, 1), ({"n": 2}, 2)])
        self.assertEqual(publications[1].tags, {"k": "v"})
        page = await sub.history(limit=10)
        self.assertEqual(([self.decode(p.data) for p in page.publications], page.offset), ([{"n": 1}, {"n": 2}], 2))
        self.assertEqual(len((await sub.presence()).clients), 1)
        stats = await sub.presence_stats()
        self.assertEqual((stats.num_clients, stats.num_users), (1, 1))
        other = await self.connected()
        await self.subscribed(other, "open:a")
        joined = {await within(seen.joined.get()) for _ in range(2)}
        self.assertEqual(len(joined), 2)

    async def test_a_refused_command_has_its_code(self):
        client = await self.connected()
        with self.assertRaises(ReplyError) as raised:
            await client.publish("nowhere:a", self.encode(1))
        self.assertEqual(raised.exception.code, 102)
        with self.assertRaises(ReplyError) as raised:
            await client.rpc("nothing", self.encode(1))
        self.assertEqual(raised.exception.code, 108)

    async def test_a_backend_answers_an_rpc(self):
        client = await self.connected()
        result = await client.rpc("asked:sum", self.encode([1, 2, 3]))
        self.assertEqual(self.decode(result.data), {"sum": 6})
        with self.assertRaises(ReplyError) as raised:
            await client.rpc("asked:nothing", self.encode([]))
        self.assertEqual((raised.exception.code, raised.exception.message), (1404, "no such method"))

    async def test_what_was_missed_is_recovered(self):
        client = await self.connected(token=token("again"), min_reconnect_delay=0.5, max_reconnect_delay=1)
        channel = "open:recovery"
        _, seen = await self.subscribed(client, channel, recoverable=True, positioned=True)
        for number in range(10):
            await self.call("publish", channel=channel, data=number)
        before = await seen.take(10)
        await self.call("disconnect", user="again", disconnect={"code": 3011, "reason": "force reconnect"})
        for number in range(10, 20):
            await self.call("publish", channel=channel, data=number)
        after = await seen.take(10)
        self.assertEqual([self.decode(p.data) for p in before + after], list(range(20)))

    async def test_the_protocol_is_told_and_a_terminal_code_ends_the_client(self):
        events = Connected()
        await self.connected(token=token("told"), events=events)
        connections = (await self.call("connections", user="told"))["connections"]
        expected = "protobuf" if self.use_protobuf else "json"
        self.assertEqual([connection["protocol"] for connection in connections.values()], [expected])
        await self.call("disconnect", user="told", disconnect={"code": 4500, "reason": "bye"})
        self.assertEqual(await within(events.disconnected.get()), 4500)


class JsonTest(Forms, unittest.IsolatedAsyncioTestCase):
    pass


class ProtobufTest(Forms, unittest.IsolatedAsyncioTestCase):
    use_protobuf = True


if __name__ == "__main__":
    unittest.main()
