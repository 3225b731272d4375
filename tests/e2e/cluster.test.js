// The unmodified SDKs over HTTP through a balancer that sends each request to another node, keep-alive off, no sticky sessions.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { EventSource } from "eventsource";
import SockJS from "sockjs-client";

import { Clients, collect, next, subscribe } from "./support/client.js";
import { Cluster } from "./support/cluster.js";
import { only } from "./support/sockjs.js";
import { sign } from "./support/token.js";

const RECOVER = { recoverable: true, positioned: true };
const WITHIN = { within: 60_000 };
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const clients = new Clients();
let cluster;
before(async () => (cluster = await Cluster.start()));
after(async () => {
  clients.close();
  await cluster?.stop();
});

/** How a client comes in; `label`: what its node counts it as. */
const WAYS = [
  { name: "http_stream", path: "/connection/http_stream", transport: "http_stream", label: "http_stream" },
  { name: "sse", path: "/connection/sse", transport: "sse", label: "sse" },
  { name: "SockJS xhr_streaming", path: "/connection/sockjs", transport: "sockjs", label: "sockjs_xhr_streaming", sockjs: "xhr-streaming" },
  { name: "SockJS xhr", path: "/connection/sockjs", transport: "sockjs", label: "sockjs_xhr", sockjs: "xhr-polling" },
];

function connect(way, user, { url } = cluster, more = {}) {
  const options = { ...more, emulationEndpoint: `${url}/emulation`, eventsource: EventSource, sockjs: SockJS, token: sign({ sub: user }) };
  if (way.sockjs) options.sockjsOptions = only(way.sockjs);
  return clients.connect([{ transport: way.transport, endpoint: url + way.path }], options);
}

async function publishAll(channel, values) {
  for (const value of values) await cluster.nodes.at(-1).publish(channel, value);
}

for (const way of WAYS) {
  test(`the SDK over ${way.name}: commands, order, and recovery of everything`, async () => {
    const user = `user-${way.label}`;
    const channel = `open:${way.label}`;
    const before = await cluster.forwarded();
    const client = await connect(way, user);
    const sub = await subscribe(client, channel, RECOVER);
    const seen = collect(sub, "publication", ({ data }) => data);
    for (const value of numbers(1, 15)) await sub.publish(value);
    await publishAll(channel, numbers(16, 40));
    await seen.reached(40, 30_000);
    assert.equal((await sub.history({ limit: 100 })).publications.length, 40);
    const subscribed = next(sub, "subscribed", WITHIN);
    await cluster.nodes[0].api("disconnect", { user, code: 3011, reason: "force reconnect" });
    await publishAll(channel, numbers(41, 50));
    assert.equal((await subscribed).recovered, true);
    await seen.reached(50, 30_000);
    assert.deepEqual(seen, numbers(1, 50));
    assert.ok((await cluster.forwarded()) > before + 5, "its requests went to other nodes too");
    client.disconnect();
  });
}

for (const way of WAYS.filter(({ label }) => label !== "sse")) {
  test(`a node is killed under a client over ${way.name}: it comes back elsewhere and has everything`, async () => {
    // sockjs-client in Node, unlike in browsers, does not see that a response breaks off: there the missing pings tell.
    const own = await Cluster.start({ "client.ping_interval": "5s", "client.pong_timeout": "4s" });
    try {
      const client = await connect(way, "survivor", own, { maxServerPingDelay: 5000 });
      const sub = await subscribe(client, "open:survivor", RECOVER);
      const seen = collect(sub, "publication", ({ data }) => data);
      let owner;
      for (const node of own.nodes) if (await own.has(node, way.label)) owner = node;
      const other = own.nodes.find((node) => node !== owner);
      for (const value of numbers(1, 10)) await other.publish("open:survivor", value);
      await seen.reached(10, 30_000);
      const subscribed = next(sub, "subscribed", WITHIN);
      owner.kill();
      for (const value of numbers(11, 30)) await other.publish("open:survivor", value);
      assert.equal((await subscribed).recovered, true);
      await seen.reached(30, 30_000);
      assert.deepEqual(seen, numbers(1, 30));
      client.disconnect();
    } finally {
      await own.stop();
    }
  });
}
