"""Who is online, by the hooks of the node: what a receiver of hooks has to do, in one place.

- An event may come twice, with the same id: the second one changes nothing.
- An event is answered for after it is stored. If the backend dies before, it comes again.
- After `gap` events of a partition are missing, so the node is asked who is connected. After `reset` what is known is forgotten; who
  is connected follows.
"""

import json
import os
import threading

# Ids that are remembered. More than the events that can be on their way twice: one batch for each partition.
IDS_KEPT = 10_000


class People:
    """Who is online. A file takes the place of a database."""

    def __init__(self, path, read_connections):
        """`read_connections()` asks the node for all connections: client ids to users."""
        self._path = path
        self._read_connections = read_connections
        # Of each connection its user, and the partition whose events tell of it.
        self._connections = {}
        # In the order in which they came; the values say nothing.
        self._ids = {}
        # Batches of several partitions come side by side, and are taken one after another.
        self._lock = threading.Lock()
        try:
            with open(path, encoding="utf-8") as file:
                stored = json.load(file)
            self._connections, self._ids = stored["connections"], dict.fromkeys(stored["ids"])
        except FileNotFoundError:
            pass

    def online(self):
        """The users who have a connection, in the order of the alphabet."""
        return sorted({connection["user"] for connection in self._connections.values() if connection["user"]})

    def take(self, events):
        """Takes a batch, all of it or nothing: after an exception the same batch may come again. True if somebody came or went."""
        with self._lock:
            before = self.online()
            connections, ids = dict(self._connections), dict(self._ids)
            for event in events:
                if event["id"] not in ids:
                    self._apply(event, connections)
                    ids[event["id"]] = None
            for surplus in list(ids)[: max(0, len(ids) - IDS_KEPT)]:
                del ids[surplus]
            self._store(connections, ids)
            self._connections, self._ids = connections, ids
            return self.online() != before

    def _apply(self, event, connections):
        kind, partition = event["type"], event.get("partition")
        if kind == "connected":
            connections[event["client"]] = {"user": event.get("user", ""), "partition": partition}
        elif kind == "disconnected":
            # One that is not known was forgotten by a reset, or its `connected` is in a gap.
            connections.pop(event["client"], None)
        elif kind == "gap":
            self._close_gap(partition, connections)
        elif kind == "reset":
            is_all = event.get("scope") != "partition"
            for client in [client for client, known in connections.items() if is_all or known["partition"] == partition]:
                del connections[client]
        # Types that are added one day change nothing here.

    def _close_gap(self, partition, connections):
        there = self._read_connections()
        for client in [client for client, known in connections.items() if known["partition"] == partition]:
            if client not in there:
                del connections[client]
        # Whoever is there and not known was in the gap, or is told of later: then its own event says the partition.
        for client, user in there.items():
            connections.setdefault(client, {"user": user, "partition": partition})

    def _store(self, connections, ids):
        # First beside it and then in its place, so that a crash leaves the old file or the new one.
        with open(f"{self._path}.new", "w", encoding="utf-8") as file:
            json.dump({"connections": connections, "ids": list(ids)}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{self._path}.new", self._path)
