// The unmodified SDK's protobuf build against a node, beside the JSON build on the same channels: over WebSocket and over
// http_stream with emulation.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Centrifuge as Protobuf } from "centrifuge/build/protobuf";
import WebSocket from "ws";

import { Clients, collect, next, rejection, subscribe } from "./support/client.js";
import { Cluster } from "./support/cluster.js";
import { startNode } from "./support/node.js";
import { Proxy } from "./support/proxy.js";
import { inSeconds, sign } from "./support/token.js";

const RECOVER = { recoverable: true, positioned: true };
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const bytes = (value) => new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
const text = (data) => new TextDecoder().decode(data);
const value = (data) => JSON.parse(text(data));
const protobuf = new Clients(Protobuf);
const json = new Clients();
let node;
before(async () => {
  node = await startNode({ "client.expiry_grace": "5s" });
});
after(async () => {
  protobuf.close();
  json.close();
  await node?.stop();
});

async function publishAll(channel, values) {
  for (const number of values) await node.publish(channel, number);
}

const ways = [
  { name: "WebSocket", connect: (options) => protobuf.connect(node.websocket, options) },
  {
    name: "http_stream",
    connect: (options) =>
      protobuf.connect([{ transport: "http_stream", endpoint: `${node.url}/connection/http_stream` }], {
        emulationEndpoint: `${node.url}/emulation`,
        ...options,
      }),
  },
];

for (const way of ways) {
  test(`over ${way.name}: commands, history, presence, errors, and the API knows the protocol`, async () => {
    const channel = `open:commands-${way.name}`;
    const client = await way.connect({ token: sign({ sub: `user-${way.name}`, info: { a: 1 } }) });
    const sub = await subscribe(client, channel, { ...RECOVER, joinLeave: true });
    const seen = collect(sub, "publication", ({ data, offset, info }) => [value(data), offset, info?.user]);
    await sub.publish(bytes({ n: 1 }));
    await node.publish(channel, { n: 2 });
    await seen.reached(2);
    assert.deepEqual(seen, [[{ n: 1 }, 1, `user-${way.name}`], [{ n: 2 }, 2, undefined]]);
    const page = await sub.history({ limit: 10 });
    assert.deepEqual(page.publications.map(({ data }) => value(data)), [{ n: 1 }, { n: 2 }]);
    assert.equal(page.offset, 2);
    assert.equal((await sub.history({ limit: 10, since: { offset: 1, epoch: page.epoch } })).publications.length, 1);
    const { clients } = await sub.presence();
    assert.deepEqual(Object.values(clients).map(({ user, connInfo }) => [user, value(connInfo)]), [[`user-${way.name}`, { a: 1 }]]);
    assert.deepEqual(await sub.presenceStats(), { numClients: 1, numUsers: 1 });
    assert.equal(await rejection(client.publish("closed:a", bytes("1"))), 103);
    assert.equal(await rejection(client.rpc("nothing", bytes("1"))), 108);
    const { connections } = await node.api("connections", { user: `user-${way.name}` });
    assert.deepEqual(Object.values(connections).map(({ protocol }) => protocol), ["protobuf"]);
    const unsubscribed = next(sub, "unsubscribed");
    sub.unsubscribe();
    await unsubscribed;
    const joined = next(await subscribe(client, `${channel}-2`, { joinLeave: true }), "join", { where: ({ info }) => info.user === "other" });
    const other = await json.connect(node.websocket, { token: sign({ sub: "other" }) });
    await subscribe(other, `${channel}-2`);
    await joined;
  });

  test(`over ${way.name}: what a client of either form publishes reaches the other as what it is`, async () => {
    const channel = `open:mixed-${way.name}`;
    const [binary, textual] = [await way.connect(), await json.connect(node.websocket)];
    const subs = [await subscribe(binary, channel), await subscribe(textual, channel)];
    const raw = collect(subs[0], "publication", ({ data }) => Buffer.from(data));
    const shown = collect(subs[1], "publication", ({ data }) => data);
    await subs[1].publish({ from: "json" });
    await subs[0].publish(bytes({ from: "protobuf" }));
    await subs[0].publish(bytes("plain 한글"));
    await subs[0].publish(new Uint8Array([0xff, 0x00, 0xfe]));
    await Promise.all([raw.reached(4), shown.reached(4)]);
    assert.deepEqual(raw.slice(0, 3).map(text), ['{"from":"json"}', '{"from":"protobuf"}', "plain 한글"]);
    assert.deepEqual(raw[3], Buffer.from([0xff, 0x00, 0xfe]));
    assert.deepEqual(shown, [{ from: "json" }, { from: "protobuf" }, "plain 한글", Buffer.from([0xff, 0x00, 0xfe]).toString("base64")]);
  });

  test(`over ${way.name}: recovery after a reconnect loses nothing and repeats nothing`, async () => {
    const channel = `open:recover-${way.name}`;
    const client = await way.connect({ token: sign({ sub: `again-${way.name}` }) });
    const sub = await subscribe(client, channel, RECOVER);
    const seen = collect(sub, "publication", ({ data }) => value(data));
    await publishAll(channel, numbers(1, 20));
    await seen.reached(20);
    const subscribed = next(sub, "subscribed");
    await node.api("disconnect", { user: `again-${way.name}`, code: 3011, reason: "force reconnect" });
    await publishAll(channel, numbers(21, 40));
    assert.equal((await subscribed).recovered, true);
    await seen.reached(40);
    assert.deepEqual(seen, numbers(1, 40));
  });

  test(`over ${way.name}: server-side subscriptions, and the tokens are refreshed`, async () => {
    const channel = `forced:served-${way.name}`;
    let refreshed = 0;
    const claims = () => ({ sub: `served-${way.name}`, channels: [channel], exp: inSeconds(refreshed ? 600 : 3) });
    const client = await way.connect({
      token: sign(claims()),
      getToken: async () => {
        refreshed += 1;
        return sign(claims());
      },
    });
    const seen = collect(client, "publication", ({ data }) => value(data));
    await node.publish(channel, 1);
    await seen.reached(1);
    while (!refreshed) await new Promise((resolve) => setTimeout(resolve, 50));
    await node.publish(channel, 2);
    await seen.reached(2);
    assert.equal(client.state, "connected");
    const unsubscribed = next(client, "unsubscribed");
    await node.api("unsubscribe", { user: `served-${way.name}`, channel });
    assert.equal((await unsubscribed).channel, channel);
    const disconnected = next(client, "disconnected");
    await node.api("disconnect", { user: `served-${way.name}`, code: 4500, reason: "bye" });
    const { code, reason } = await disconnected;
    assert.deepEqual([code, reason], [4500, "bye"]);
  });
}

test("a wire that is cut again and again under load loses nothing and repeats nothing", async (t) => {
  const proxy = await Proxy.to(node.port);
  t.after(() => proxy.close());
  const client = await protobuf.connect(proxy.websocket, { minReconnectDelay: 20, maxReconnectDelay: 60 });
  const sub = await subscribe(client, "open:storm", RECOVER);
  const seen = collect(sub, "publication", ({ data }) => value(data));
  for (let cut = 0; cut < 3; cut += 1) {
    const connecting = next(client, "connecting");
    const publishing = publishAll("open:storm", numbers(cut * 40 + 1, cut * 40 + 40));
    await next(sub, "publication");
    proxy.cut();
    await connecting;
    const subscribed = next(sub, "subscribed");
    proxy.mend();
    assert.equal((await Promise.all([subscribed, publishing]))[0].recovered, true);
  }
  await seen.reached(120);
  assert.deepEqual(seen, numbers(1, 120));
});

test("the form is chosen by subprotocol or query, and the subprotocol wins", async () => {
  const open = (query, subprotocols) =>
    new Promise((resolve) => {
      const socket = new WebSocket(`${node.websocket}${query}`, subprotocols);
      socket.on("open", () => {
        const asked = socket.protocol;
        socket.on("close", (code) => resolve([asked, code]));
        // A pong that nobody asked for in JSON; in protobuf a frame of text.
        socket.send("{}");
      });
      socket.on("unexpected-response", (_, response) => resolve([response.statusCode]));
    });
  assert.deepEqual(await open("", []), ["", 3501]);
  assert.deepEqual(await open("", ["centrifuge-json"]), ["centrifuge-json", 3501]);
  assert.deepEqual(await open("", ["centrifuge-protobuf"]), ["centrifuge-protobuf", 3506]);
  assert.deepEqual(await open("?format=protobuf", []), ["", 3506]);
  assert.deepEqual(await open("?cf_protocol=protobuf", []), ["", 3506]);
  assert.deepEqual(await open("?format=protobuf", ["centrifuge-json"]), ["centrifuge-json", 3501]);
  assert.deepEqual(await open("", ["unknown"]), [400]);
});

test("over http_stream of a cluster, commands reach their session through any node", async (t) => {
  const cluster = await Cluster.start();
  t.after(() => cluster.stop());
  const client = await protobuf.connect([{ transport: "http_stream", endpoint: `${cluster.url}/connection/http_stream` }], {
    emulationEndpoint: `${cluster.url}/emulation`,
  });
  const sub = await subscribe(client, "open:anywhere", RECOVER);
  const seen = collect(sub, "publication", ({ data }) => value(data));
  for (const number of numbers(1, 12)) await sub.publish(bytes(number));
  await seen.reached(12);
  assert.deepEqual(seen, numbers(1, 12));
  assert.equal((await sub.history({ limit: 100 })).publications.length, 12);
  client.disconnect();
});
