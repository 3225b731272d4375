"""The HTTP push API with the unmodified `cent`, the Python library of the Centrifuge world.

Starts the binary named by GORANI_BIN (default target/debug/gorani) with settings of its own on a free port.
Run: python -m venv V && V/bin/pip install -r tests/e2e/requirements.txt && V/bin/python tests/e2e/cent_test.py
"""

import asyncio
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request

from cent import (
    AsyncClient,
    BatchRequest,
    BoolValue,
    BroadcastRequest,
    CentApiResponseError,
    CentTransportError,
    CentUnauthorizedError,
    ChannelOptionsOverride,
    ChannelsRequest,
    Client,
    ConnectionsRequest,
    Disconnect,
    DisconnectRequest,
    HistoryRemoveRequest,
    HistoryRequest,
    InfoRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    RefreshRequest,
    StreamPosition,
    SubscribeRequest,
    UnsubscribeRequest,
)

KEY = "test-key"
READY_WITHIN_SECONDS = 60
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

SETTINGS = """
[http]
address = "127.0.0.1:{port}"
workers = 2
[api]
keys = ["{key}"]
[[channel.namespaces]]
name = "open"
history_size = 300
history_ttl = "300s"
presence = true
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class CentTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        cls.url = f"http://127.0.0.1:{cls.port}"
        settings = tempfile.NamedTemporaryFile("w", suffix=".toml")
        cls.addClassCleanup(settings.close)
        settings.write(SETTINGS.format(port=cls.port, key=KEY))
        settings.flush()
        binary = os.environ.get("GORANI_BIN", str(REPOSITORY / "target/debug/gorani"))
        node = subprocess.Popen([binary, "serve", "--config", settings.name], stderr=subprocess.DEVNULL)
        cls.addClassCleanup(node.wait)
        cls.addClassCleanup(node.terminate)
        until = time.monotonic() + READY_WITHIN_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{cls.url}/health/ready").close()
                break
            except OSError:
                if node.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("the node did not become ready")
                time.sleep(0.02)
        cls.client = Client(f"{cls.url}/api", KEY, timeout=60)
        cls.addClassCleanup(cls.client.close)

    def test_publish_and_history(self):
        first = self.client.publish(PublishRequest(channel="open:a", data={"text": "안녕"}, tags={"k": "v"}))
        self.assertEqual(first.offset, 1)
        second = self.client.publish(PublishRequest(channel="open:a", data=None, b64data="AAEC", skip_history=False))
        self.assertEqual((second.offset, second.epoch), (2, first.epoch))
        page = self.client.history(HistoryRequest(channel="open:a", limit=10))
        self.assertEqual([(p.offset, p.data, p.tags) for p in page.publications], [(1, {"text": "안녕"}, {"k": "v"}), (2, "AAEC", None)])
        since = StreamPosition(offset=1, epoch=first.epoch)
        page = self.client.history(HistoryRequest(channel="open:a", limit=10, since=since))
        self.assertEqual([p.offset for p in page.publications], [2])
        page = self.client.history(HistoryRequest(channel="open:a", limit=1, reverse=True))
        self.assertEqual([p.offset for p in page.publications], [2])
        self.client.history_remove(HistoryRemoveRequest(channel="open:a"))
        self.assertEqual(self.client.history(HistoryRequest(channel="open:a", limit=10)).publications, [])

    def test_a_limit_beyond_a_page_of_history_is_that_of_a_page(self):
        self.client.publish(PublishRequest(channel="open:n", data=1))
        for limit in (5000, -2):
            page = self.client.history(HistoryRequest(channel="open:n", limit=limit))
            self.assertEqual([p.data for p in page.publications], [1])

    def test_an_idempotency_key_answers_the_same_again(self):
        request = PublishRequest(channel="open:i", data=1, idempotency_key="once")
        self.assertEqual(self.client.publish(request), self.client.publish(request))

    def test_broadcast_tells_results_and_errors(self):
        result = self.client.broadcast(BroadcastRequest(channels=["open:b", "nowhere:b"], data=[1]))
        self.assertEqual(result.responses[0].result.offset, 1)
        self.assertEqual(result.responses[1].error.code, 102)

    def test_batch_in_order_and_in_parallel(self):
        for parallel in (False, True):
            requests = [
                PublishRequest(channel=f"open:c{parallel}", data=1),
                BroadcastRequest(channels=[f"open:c{parallel}"], data=2),
                PresenceStatsRequest(channel="open:c"),
                InfoRequest(),
            ]
            replies = self.client.batch(BatchRequest(requests=requests, parallel=parallel)).replies
            self.assertEqual(replies[0].offset, 1)
            self.assertEqual(replies[1].responses[0].result.offset, 2)
            self.assertEqual(replies[2].num_clients, 0)
            self.assertEqual(len(replies[3].nodes), 1)

    def test_orders_for_a_user(self):
        self.client.subscribe(SubscribeRequest(user="42", channel="open:s", info={"a": 1}, data=[1], recover_since=StreamPosition(offset=1, epoch="e")))
        self.client.unsubscribe(UnsubscribeRequest(user="42", channel="open:s", client="c"))
        self.client.refresh(RefreshRequest(user="42", expired=False, expire_at=2_000_000_000))
        later = int(time.time()) + 60
        override = ChannelOptionsOverride(presence=BoolValue(value=False), force_recovery=BoolValue(value=True))
        self.client.subscribe(SubscribeRequest(user="42", channel="open:s", b64info="eyJhIjoxfQ==", b64data="AAEC", session="s", override=override))
        self.client.unsubscribe(UnsubscribeRequest(user="42", channel="open:s", session="s"))
        self.client.refresh(RefreshRequest(user="42", session="s", expire_at=later))
        self.client.disconnect(DisconnectRequest(user="42", session="s"))
        self.client.disconnect(DisconnectRequest(user="42", whitelist=["c"], disconnect=Disconnect(code=4000, reason="bye")))

    def test_questions(self):
        self.assertEqual(self.client.presence(PresenceRequest(channel="open:p")).presence, {})
        self.assertEqual(self.client.presence_stats(PresenceStatsRequest(channel="open:p")).num_users, 0)
        self.assertEqual(self.client.channels(ChannelsRequest(pattern="open:*")).channels, {})
        self.assertEqual(self.client.connections(ConnectionsRequest(user="", expression="")).connections, {})
        node = self.client.info(InfoRequest()).nodes[0]
        self.assertTrue(node.uid and node.version)

    def test_errors_have_their_codes(self):
        for channel, code in (("nowhere:a", 102), ("", 107)):
            with self.assertRaises(CentApiResponseError) as raised:
                self.client.publish(PublishRequest(channel=channel, data=1))
            self.assertEqual(raised.exception.code, code)
        with self.assertRaises(CentApiResponseError) as raised:
            self.client.presence(PresenceRequest(channel="none"))
        self.assertEqual(raised.exception.code, 108)
        with Client(f"{self.url}/api", "wrong") as stranger, self.assertRaises(CentUnauthorizedError):
            stranger.publish(PublishRequest(channel="a", data=1))

    def test_a_large_body_is_told_so_and_not_cut_off(self):
        # More than the sockets' buffers hold, so that the answer comes while the body is still on its way.
        for megabytes in (2, 20):
            with self.assertRaises(CentTransportError) as raised:
                self.client.publish(PublishRequest(channel="a", data="x" * (megabytes << 20)))
            self.assertEqual(raised.exception.status_code, 413)

    def test_pipelined_calls_are_answered_in_order(self):
        def call(n):
            body = json.dumps({"channel": "open:pipe", "data": n})
            return f"POST /api/publish HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {len(body)}\r\n\r\n{body}"

        def answer(file):
            length = 0
            while line := file.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            return json.loads(file.read(length))

        with socket.create_connection(("127.0.0.1", self.port)) as connection, connection.makefile("rb") as file:
            connection.sendall("".join(map(call, range(50))).encode())
            offsets = [answer(file)["result"]["offset"] for _ in range(50)]
        self.assertEqual(offsets, list(range(1, 51)))

    def test_the_asynchronous_client(self):
        async def publish():
            async with AsyncClient(f"{self.url}/api", KEY, timeout=60) as client:
                results = await asyncio.gather(*(client.publish(PublishRequest(channel="open:async", data=n)) for n in range(20)))
                return sorted(result.offset for result in results)

        self.assertEqual(asyncio.run(publish()), list(range(1, 21)))


if __name__ == "__main__":
    unittest.main()
