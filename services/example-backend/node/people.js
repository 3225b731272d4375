// Who is online, by the hooks of the node: what a receiver of hooks has to do, in one place.
//
// - An event may come twice, with the same id: the second one changes nothing.
// - An event is answered for after it is stored. If the backend dies before, it comes again.
// - After `gap` events of a partition are missing, so the node is asked who is connected. After `reset` what is known is forgotten; who
//   is connected follows.

import { open, readFile, rename } from "node:fs/promises";

/** Ids that are remembered. More than the events that can be on their way twice: one batch for each partition. */
const IDS_KEPT = 10_000;

/** Who is online. A file takes the place of a database. */
export class People {
  /** Of each connection its user, and the partition whose events tell of it. */
  #connections = new Map();
  #ids = new Set();
  #path;
  #readConnections;
  /** Batches of several partitions come side by side, and are taken one after another. */
  #last = Promise.resolve();

  /** `readConnections()` asks the node for all connections: client ids to users. */
  static async open(path, readConnections) {
    const people = new People();
    people.#path = path;
    people.#readConnections = readConnections;
    try {
      const stored = JSON.parse(await readFile(path, "utf8"));
      people.#connections = new Map(Object.entries(stored.connections));
      people.#ids = new Set(stored.ids);
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
    return people;
  }

  /** The users who have a connection, in the order of the alphabet. */
  online() {
    const users = [...this.#connections.values()].map(({ user }) => user);
    return [...new Set(users.filter((user) => user !== ""))].sort();
  }

  /** Takes a batch, all of it or nothing: after an error the same batch may come again. True if somebody came or went. */
  take(events) {
    const taken = this.#last.then(() => this.#take(events));
    this.#last = taken.catch(() => {});
    return taken;
  }

  async #take(events) {
    const before = this.online();
    const connections = new Map(this.#connections);
    const ids = new Set(this.#ids);
    for (const event of events) {
      if (ids.has(event.id)) continue;
      await this.#apply(event, connections);
      ids.add(event.id);
    }
    // A set keeps the order in which its values came.
    for (const surplus of [...ids].slice(0, Math.max(0, ids.size - IDS_KEPT))) ids.delete(surplus);
    await this.#store(connections, ids);
    this.#connections = connections;
    this.#ids = ids;
    return this.online().join("\n") !== before.join("\n");
  }

  async #apply({ type, client, user = "", partition, scope }, connections) {
    if (type === "connected") {
      connections.set(client, { user, partition });
    } else if (type === "disconnected") {
      // One that is not known was forgotten by a reset, or its `connected` is in a gap.
      connections.delete(client);
    } else if (type === "gap") {
      await this.#closeGap(partition, connections);
    } else if (type === "reset") {
      for (const [known, connection] of [...connections]) {
        if (scope !== "partition" || connection.partition === partition) connections.delete(known);
      }
    }
    // Types that are added one day change nothing here.
  }

  async #closeGap(partition, connections) {
    const there = await this.#readConnections();
    for (const [client, known] of [...connections]) {
      if (known.partition === partition && !there.has(client)) connections.delete(client);
    }
    // Whoever is there and not known was in the gap, or is told of later: then its own event says the partition.
    for (const [client, user] of there) {
      if (!connections.has(client)) connections.set(client, { user, partition });
    }
  }

  async #store(connections, ids) {
    // First beside it and then in its place, so that a crash leaves the old file or the new one.
    const file = await open(`${this.#path}.new`, "w");
    try {
      await file.writeFile(JSON.stringify({ connections: Object.fromEntries(connections), ids: [...ids] }));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${this.#path}.new`, this.#path);
  }
}
