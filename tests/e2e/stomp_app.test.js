// The published STOMP client, @stomp/stompjs 7, calls a backend's methods as it calls those of a Spring application.
// services/gateway/docs/protocols/stomp.md, 14.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { Client } from "@stomp/stompjs";
import SockJS from "sockjs-client";
import WebSocket from "ws";

import { startNode } from "./support/node.js";
import { inSeconds, sign } from "./support/token.js";

Object.assign(globalThis, { WebSocket });

/** Milliseconds until something must have happened. */
const SOON = 60_000;

/** Answers of the backend, by method. */
const methods = {
  greet: ({ user, data }) => ({ result: { data: { text: `hello ${data.name}`, user } } }),
  config: () => ({ result: { data: { rooms: ["lobby"] } } }),
  refuse: () => ({ error: { code: 404, message: "no such order" } }),
  ban: () => ({ disconnect: { code: 4501, reason: "banned" } }),
};

let node;
let backend;
before(async () => {
  backend = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = JSON.parse(Buffer.concat(parts).toString());
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(methods[body.method](body)));
  });
  await new Promise((resolve) => backend.listen(0, "127.0.0.1", resolve));
  node = await startNode({
    "rpc.proxy.endpoint": `http://127.0.0.1:${backend.address().port}/rpc`,
    // Without it a call has 1 s, in which a busy machine may not come to the backend.
    "rpc.proxy.timeout": "20s",
    "rpc.without_namespace.proxy_enabled": true,
    "channel.defaults.allow_user_limited_channels": true,
  });
});
after(async () => {
  await node.stop();
  backend.closeAllConnections();
  backend.close();
});

/** What resolves when `resolve` is called, or fails in time. */
function soon(what) {
  let resolve;
  const promise = new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`not in time: ${what}`)), SOON);
    resolve = (value) => {
      clearTimeout(timer);
      done(value);
    };
  });
  return { promise, resolve };
}

/** A client that is connected. */
async function connected(options = {}) {
  const brokerURL = `ws://127.0.0.1:${node.port}/stomp`;
  const client = new Client({ brokerURL, reconnectDelay: 0, ...options });
  const open = soon("connected");
  client.onConnect = open.resolve;
  client.activate();
  await open.promise;
  return client;
}

/** The first message of a destination, and its subscription once it is live. */
async function first(client, destination) {
  const message = soon(`a message on ${destination}`);
  const live = soon(`subscribed to ${destination}`);
  const receipt = `sub-${Math.random()}`;
  client.watchForReceipt(receipt, live.resolve);
  const subscription = client.subscribe(destination, message.resolve, { receipt });
  await live.promise;
  return { message: message.promise, subscription };
}

const ways = {
  WebSocket: () => ({}),
  SockJS: () => ({ webSocketFactory: () => new SockJS(`http://127.0.0.1:${node.port}/stomp/sockjs`) }),
};
for (const [way, options] of Object.entries(ways)) {
  test(`a method of the backend is called and answers over ${way}`, async () => {
    const client = await connected({ connectHeaders: { passcode: sign({ sub: "ann", exp: inSeconds(600) }) }, ...options() });
    const { message } = await first(client, "/user/queue/greet");
    const done = soon("the receipt");
    client.watchForReceipt("g", done.resolve);
    client.publish({
      destination: "/app/greet",
      body: JSON.stringify({ name: "Gorani" }),
      headers: { "content-type": "application/json", "correlation-id": "7", receipt: "g" },
    });
    const reply = await message;
    assert.deepEqual(JSON.parse(reply.body), { text: "hello Gorani", user: "ann" });
    assert.equal(reply.headers["correlation-id"], "7");
    assert.equal(reply.headers["content-type"], "application/json");
    await done.promise;
    await client.deactivate();
  });
}

test("a subscription to /app is answered once and given back without an error", async () => {
  const client = await connected();
  let errors = 0;
  client.onStompError = () => (errors += 1);
  const { message, subscription } = await first(client, "/app/config");
  const reply = await message;
  assert.deepEqual(JSON.parse(reply.body), { rooms: ["lobby"] });
  assert.equal(reply.headers.subscription, subscription.id);
  subscription.unsubscribe();
  const closed = soon("closed");
  client.onWebSocketClose = (event) => closed.resolve(event.wasClean);
  await client.deactivate();
  assert.deepEqual([await closed.promise, errors], [true, 0]);
});

test("an error of the application comes to the queue of errors, and the client stays connected", async () => {
  const client = await connected();
  const { message } = await first(client, "/user/queue/errors");
  client.publish({ destination: "/app/refuse", body: "{}", headers: { receipt: "r" } });
  const error = await message;
  assert.equal(error.headers["error-code"], "404");
  assert.equal(error.headers.message, "no such order");
  assert.equal(error.headers["receipt-id"], "r");
  assert.equal(JSON.parse(error.body).destination, "/app/refuse");
  assert.equal(client.connected, true);
  await client.deactivate();
});

test("a backend that disconnects a client ends its connection", async () => {
  const client = await connected();
  const error = soon("an ERROR");
  client.onStompError = error.resolve;
  const closed = soon("closed");
  client.onWebSocketClose = (event) => closed.resolve(event.code);
  client.publish({ destination: "/app/ban", body: "{}" });
  assert.equal((await error.promise).headers.message, "banned");
  assert.equal(await closed.promise, 4501);
  await client.deactivate();
});
