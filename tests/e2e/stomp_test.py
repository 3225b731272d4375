"""STOMP with the unmodified `stomp.py`: 1.0, 1.1 and 1.2 over TCP, and over WebSocket. docs/protocols/stomp.md.

Starts the binary named by GORANI_BIN (default target/debug/gorani) with settings of its own on free ports.
"""

import os
import pathlib
import queue
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request

import stomp

READY_WITHIN_SECONDS = 60
SOON_SECONDS = 60
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

SETTINGS = """
[http]
address = "127.0.0.1:{http}"
workers = 2
[stomp]
heart_beat_send = "1s"
heart_beat_receive = "1s"
[[stomp.users]]
name = "shop"
password = "hush"
[stomp.tcp]
address = "127.0.0.1:{tcp}"
[[channel.namespaces]]
name = "open"
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Listener(stomp.ConnectionListener):
    """Puts what the client hears in line."""

    def __init__(self):
        self.heard = queue.Queue()
        self.beats = 0

    def next(self, kind):
        heard, frame = self.heard.get(timeout=SOON_SECONDS)
        assert heard == kind, f"{heard} instead of {kind}: {frame}"
        return frame

    def on_connected(self, frame):
        self.heard.put(("connected", frame))

    def on_message(self, frame):
        self.heard.put(("message", frame))

    def on_receipt(self, frame):
        self.heard.put(("receipt", frame))

    def on_error(self, frame):
        self.heard.put(("error", frame))

    def on_disconnected(self):
        self.heard.put(("disconnected", None))


class StompTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        binary = os.environ.get("GORANI_BIN", REPOSITORY / "target/debug/gorani")
        cls.http, cls.tcp = free_port(), free_port()
        cls.directory = tempfile.TemporaryDirectory()
        file = pathlib.Path(cls.directory.name, "gorani.toml")
        file.write_text(SETTINGS.format(http=cls.http, tcp=cls.tcp))
        cls.node = subprocess.Popen([binary, "serve", "--config", file], stderr=subprocess.DEVNULL)
        until = time.monotonic() + READY_WITHIN_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{cls.http}/health/ready", timeout=5).close()
                return
            except OSError:
                if time.monotonic() > until:
                    cls.tearDownClass()
                    raise
                time.sleep(0.02)

    @classmethod
    def tearDownClass(cls):
        cls.node.kill()
        cls.node.wait()
        cls.directory.cleanup()

    def connections(self):
        at = {"host_and_ports": [("127.0.0.1", self.tcp)]}
        # The client gives up after one and a half times as long, which a busy machine may be silent where it is a second.
        beats = {"heartbeats": (10_000, 10_000)}
        yield "1.0", stomp.Connection10(**at)
        yield "1.1", stomp.Connection11(**at, **beats)
        yield "1.2", stomp.Connection12(**at, **beats)
        web = [("127.0.0.1", self.http)]
        yield "1.2", stomp.WSStompConnection(host_and_ports=web, ws_path="/stomp", **beats)

    def test_every_version_and_transport_subscribes_sends_and_says_goodbye(self):
        for version, connection in self.connections():
            with self.subTest(version=version, transport=type(connection).__name__):
                listener = Listener()
                connection.set_listener("", listener)
                connection.connect("shop", "hush", wait=True)
                self.assertEqual(listener.next("connected").headers["version"], version)
                connection.subscribe("/topic/open:py", id="7", ack="auto", headers={"receipt": "live"})
                self.assertEqual(listener.next("receipt").headers["receipt-id"], "live")
                connection.send("/topic/open:py", "고라니: deer", content_type="text/plain", headers={"kind": "a"})
                message = listener.next("message")
                self.assertEqual(message.body, "고라니: deer")
                self.assertEqual(message.headers["destination"], "/topic/open:py")
                self.assertEqual(message.headers["kind"], "a")
                self.assertEqual(message.headers["subscription"], "7")
                connection.disconnect(receipt="bye")
                # The client tells its own end before the receipt that brought it.
                listener.next("disconnected")
                self.assertEqual(listener.next("receipt").headers["receipt-id"], "bye")

    def test_a_transaction_is_sent_at_its_commit(self):
        connection = stomp.Connection12([("127.0.0.1", self.tcp)])
        listener = Listener()
        connection.set_listener("", listener)
        connection.connect("shop", "hush", wait=True)
        listener.next("connected")
        connection.subscribe("/topic/open:tx", id="0", headers={"receipt": "live"})
        listener.next("receipt")
        transaction = connection.begin()
        connection.send("/topic/open:tx", "1", transaction=transaction)
        connection.send("/topic/open:tx", "immediate")
        connection.commit(transaction)
        self.assertEqual([listener.next("message").body for _ in range(2)], ["immediate", "1"])
        connection.disconnect()

    def test_a_refusal_is_told(self):
        connection = stomp.Connection12([("127.0.0.1", self.tcp)], reconnect_attempts_max=1)
        listener = Listener()
        connection.set_listener("", listener)
        connection.connect("shop", "wrong")
        self.assertEqual(listener.next("error").headers["message"], "unauthorized")
        listener.next("disconnected")


if __name__ == "__main__":
    unittest.main()
