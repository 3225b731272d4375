// A client of the client protocol by hand, for what the SDK would never do.

import { once } from "node:events";

import WebSocket from "ws";

/** Milliseconds until a test gives up waiting for one reply, or for the end. */
const WITHIN = 60_000;

export class Raw {
  /** Opens a connection; nothing is sent yet. */
  static async open(endpoint) {
    const raw = new Raw(new WebSocket(endpoint));
    await once(raw.socket, "open");
    return raw;
  }

  constructor(socket) {
    this.socket = socket;
    this.replies = [];
    this.closed = once(socket, "close", { signal: AbortSignal.timeout(WITHIN) }).then(([code, reason]) => ({ code, reason: String(reason) }));
    this.closed.catch(() => {});
    socket.on("error", () => {});
    socket.on("message", (data) => {
      for (const line of String(data).split("\n")) this.replies.push(JSON.parse(line));
      socket.emit("replies");
    });
  }

  /** Sends commands in one frame. */
  send(...commands) {
    this.socket.send(commands.map((command) => JSON.stringify(command)).join("\n"));
  }

  /** The first reply or push for which `where` holds, seen already or still to come. */
  async reply(where) {
    const signal = AbortSignal.timeout(WITHIN);
    for (;;) {
      const found = this.replies.find(where);
      if (found) return found;
      await once(this.socket, "replies", { signal });
    }
  }

  close() {
    this.socket.terminate();
  }
}
