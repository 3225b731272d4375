// What a node does with connections that do not do their part: no pong, no reading, no new token; and with its own end.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import WebSocket from "ws";

import { Clients, collect, next, subscribe } from "./support/client.js";
import { startNode } from "./support/node.js";
import { Raw } from "./support/raw.js";
import { inSeconds, sign } from "./support/token.js";

const clients = new Clients();
let node;
before(async () => {
  // A pong has as long as a busy machine may need.
  node = await startNode({
    "client.ping_interval": "5s",
    "client.pong_timeout": "4s",
    "client.expiry_grace": "1s",
  });
});
after(async () => {
  clients.close();
  await node.stop();
});

/** A WebSocket for the SDK that a test can reach. */
function reachable() {
  const sockets = [];
  class Reachable extends WebSocket {
    constructor(...parameters) {
      super(...parameters);
      sockets.push(this);
    }
  }
  return { sockets, websocket: Reachable };
}

test("pings keep a quiet connection alive", async () => {
  const { sockets, websocket } = reachable();
  const client = await clients.connect(node.websocket, { websocket });
  const connecting = collect(client, "connecting");
  let pings = 0;
  await next(sockets[0], "message", { where: (data) => String(data) === "{}" && (pings += 1) === 3 });
  assert.equal(client.state, "connected");
  assert.deepEqual(connecting, []);
});

test("a client that answers no ping is told 3012", async (t) => {
  const hasty = await startNode({ "client.ping_interval": "1s", "client.pong_timeout": "500ms" });
  t.after(() => hasty.stop());
  const raw = await Raw.open(hasty.websocket);
  raw.send({ id: 1, connect: {} });
  const { connect } = await raw.reply(({ id }) => id === 1);
  assert.equal(connect.ping, 1);
  assert.equal(connect.pong, true);
  assert.equal((await raw.closed).code, 3012);
});

test("a connection whose token is not refreshed is ended with 3005", async () => {
  const raw = await Raw.open(node.websocket);
  raw.socket.on("message", (data) => String(data) === "{}" && raw.send({}));
  raw.send({ id: 1, connect: { token: sign({ sub: "42", exp: inSeconds(5) }) } });
  const { connect } = await raw.reply(({ id }) => id === 1);
  assert.equal(connect.expires, true);
  assert.ok(connect.ttl >= 1 && connect.ttl <= 5, `ttl ${connect.ttl}`);
  assert.equal((await raw.closed).code, 3005);
});

test("a subscription whose token is not refreshed is ended with 2501", async () => {
  const raw = await Raw.open(node.websocket);
  raw.socket.on("message", (data) => String(data) === "{}" && raw.send({}));
  const token = sign({ sub: "42", channel: "$open:brief", exp: inSeconds(5) });
  raw.send({ id: 1, connect: { token: sign({ sub: "42" }) } }, { id: 2, subscribe: { channel: "$open:brief", token } });
  const { subscribe: result } = await raw.reply(({ id }) => id === 2);
  assert.equal(result.expires, true);
  const { push } = await raw.reply(({ push: one }) => one?.unsubscribe);
  assert.equal(push.channel, "$open:brief");
  assert.equal(push.unsubscribe.code, 2501);
  raw.close();
});

test("a slow consumer is sent away, comes back and has everything; its neighbours notice nothing", async (t) => {
  // With the default settings: a client that reads nothing is found by its outbox, long before a pong is missed.
  const usual = await startNode();
  t.after(() => usual.stop());
  const { sockets, websocket } = reachable();
  const slow = await clients.connect(usual.websocket, { websocket, token: sign({ sub: "slow" }) });
  const quick = await clients.connect(usual.websocket, { token: sign({ sub: "quick" }) });
  const options = { recoverable: true, positioned: true, joinLeave: true };
  const slowSub = await subscribe(slow, "open:flood", options);
  const quickSub = await subscribe(quick, "open:flood", options);
  const ofSlow = collect(slowSub, "publication", ({ data }) => data.n);
  const ofQuick = collect(quickSub, "publication", ({ data }) => data.n);
  const quickBroken = collect(quick, "connecting");
  const left = next(quickSub, "leave", { where: ({ info }) => info.user === "slow", within: 30_000 });

  sockets[0].pause();
  const filling = "x".repeat(40_000);
  for (let n = 1; n <= 250; n += 1) await usual.publish("open:flood", { n, filling });
  await left;
  await ofQuick.reached(250);
  assert.deepEqual(quickBroken, []);

  const back = next(slowSub, "subscribed", { within: 30_000 });
  sockets[0].resume();
  const { recovered } = await back;
  assert.equal(recovered, true);
  await ofSlow.reached(250, 30_000);
  const all = Array.from({ length: 250 }, (_, i) => i + 1);
  assert.deepEqual(ofSlow, all);
  assert.deepEqual(ofQuick, all);
  slow.disconnect();
  quick.disconnect();
});

test("a node that is told to stop says so to its clients, and they try again", async () => {
  const ending = await startNode();
  const client = await clients.connect(ending.websocket);
  const connecting = next(client, "connecting");
  const [, { code }] = await Promise.all([ending.stop(), connecting]);
  assert.equal(code, 3001);
  client.disconnect();
});
