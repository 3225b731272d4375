// The published SDK, as an application uses it, and ways to wait for what it tells.

import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

/** Milliseconds that a test waits for one event. */
const WITHIN = 30_000;
/** Milliseconds that the SDK waits for one reply; its own 5 s are for a machine that does nothing else. */
const REPLY_WITHIN = 20_000;

/** The next `event` of `emitter` for which `where` holds; fails after `within` milliseconds. */
export function next(emitter, event, { where = () => true, within = WITHIN } = {}) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      emitter.off(event, listener);
      reject(new Error(`no "${event}" within ${within} ms`));
    }, within);
    const listener = (context) => {
      if (!where(context)) return;
      clearTimeout(timer);
      emitter.off(event, listener);
      resolve(context);
    };
    emitter.on(event, listener);
  });
}

/** All `event`s of `emitter`, as they come; `reached(n)` waits until there are n. */
export function collect(emitter, event, pick = (context) => context) {
  const seen = [];
  emitter.on(event, (context) => seen.push(pick(context)));
  const reached = async (count, within = WITHIN) => {
    const missing = () => new Error(`${seen.length} of ${count} "${event}" within ${within} ms: ${JSON.stringify(seen.slice(-5))}`);
    if (seen.length < count) await next(emitter, event, { where: () => seen.length >= count, within }).catch(() => { throw missing(); });
  };
  // Not enumerable, so that the array still equals a plain one.
  return Object.defineProperty(seen, "reached", { value: reached });
}

/** The clients of one test; `after(() => clients.close())` leaves none behind. */
export class Clients {
  #open = [];
  #Sdk;

  /** `Sdk`: the build of the SDK, with JSON by default. */
  constructor(Sdk = Centrifuge) {
    this.#Sdk = Sdk;
  }

  /** A client that is not yet connecting. */
  make(endpoint, options = {}) {
    const client = new this.#Sdk(endpoint, { websocket: WebSocket, minReconnectDelay: 100, maxReconnectDelay: 1000, timeout: REPLY_WITHIN, ...options });
    // An "error" without a listener ends a Node process; tests that expect one listen themselves.
    client.on("error", () => {});
    this.#open.push(client);
    return client;
  }

  /** A client that is connected. */
  async connect(endpoint, options = {}) {
    const client = this.make(endpoint, options);
    const connected = next(client, "connected");
    client.connect();
    client.identity = await connected;
    return client;
  }

  /** Every client that was made. */
  all() {
    return [...this.#open];
  }

  close() {
    for (const client of this.#open) client.disconnect();
  }
}

/** Subscribes and waits for the answer; `sub.first` is the context of the first "subscribed". */
export async function subscribe(client, channel, options = {}) {
  const sub = client.newSubscription(channel, options);
  sub.on("error", () => {});
  const subscribed = next(sub, "subscribed");
  sub.subscribe();
  sub.first = await subscribed;
  return sub;
}

/** Subscribes and waits for the refusal. */
export async function refused(client, channel, options = {}) {
  const sub = client.newSubscription(channel, options);
  sub.on("error", () => {});
  const unsubscribed = next(sub, "unsubscribed");
  sub.subscribe();
  return unsubscribed;
}

/** The code with which `promise` is rejected. */
export async function rejection(promise) {
  try {
    await promise;
  } catch (error) {
    return error.code;
  }
  throw new Error("it was not refused");
}
