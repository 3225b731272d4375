// A wire between client and node that a test can cut.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Proxy {
  #pairs = new Set();
  #cut = false;

  /** Forwards to `port` of the loopback. */
  static async to(port) {
    const proxy = new Proxy();
    proxy.server = createServer((near) => proxy.#accept(near, port)).listen(0, "127.0.0.1");
    await once(proxy.server, "listening");
    proxy.port = proxy.server.address().port;
    proxy.url = `http://127.0.0.1:${proxy.port}`;
    proxy.websocket = `ws://127.0.0.1:${proxy.port}/connection/websocket`;
    return proxy;
  }

  #accept(near, port) {
    near.on("error", () => {});
    if (this.#cut) {
      near.resetAndDestroy();
      return;
    }
    const far = connect(port, "127.0.0.1");
    far.on("error", () => {});
    const pair = [near, far];
    this.#pairs.add(pair);
    for (const [from, to] of [[near, far], [far, near]]) {
      from.pipe(to);
      from.on("close", () => {
        to.destroy();
        this.#pairs.delete(pair);
      });
    }
  }

  /** Breaks every connection without a word, and lets none in until `mend`. */
  cut() {
    this.#cut = true;
    for (const [near, far] of this.#pairs) {
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
  }

  mend() {
    this.#cut = false;
  }

  close() {
    this.cut();
    this.server.close();
  }
}
