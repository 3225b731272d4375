// The published STOMP client, @stomp/stompjs 7, against the binary. docs/protocols/stomp.md.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Client, Versions } from "@stomp/stompjs";
import SockJS from "sockjs-client";
import WebSocket from "ws";

import { startNode } from "./support/node.js";
import { only } from "./support/sockjs.js";
import { inSeconds, sign } from "./support/token.js";

Object.assign(globalThis, { WebSocket });

/** Milliseconds until something must have happened. */
const SOON = 60_000;

let node;
before(async () => {
  node = await startNode({
    "stomp.heart_beat_send": "1s",
    "stomp.heart_beat_receive": "1s",
    "stomp.users": [{ name: "shop", password: "hush" }],
  });
});
after(() => node.stop());

const url = () => `ws://127.0.0.1:${node.port}/stomp`;

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
  const client = new Client({ brokerURL: url(), reconnectDelay: 0, ...options });
  const open = soon("connected");
  client.onConnect = open.resolve;
  client.activate();
  const frame = await open.promise;
  return { client, frame };
}

/** A subscription that is live, and its messages in order. */
async function subscribed(client, destination, headers = {}) {
  const messages = [];
  let waiting;
  const live = soon("subscribed");
  const receipt = `sub-${Math.random()}`;
  client.watchForReceipt(receipt, live.resolve);
  const subscription = client.subscribe(
    destination,
    (message) => {
      messages.push(message);
      waiting?.resolve();
    },
    { receipt, ...headers },
  );
  await live.promise;
  const next = async () => {
    while (messages.length === 0) {
      waiting = soon(`a message on ${destination}`);
      await waiting.promise;
    }
    return messages.shift();
  };
  return { subscription, next };
}

for (const version of ["1.0", "1.1", "1.2"]) {
  test(`a client of ${version} subscribes, sends and says goodbye`, async () => {
    const { client, frame } = await connected({ stompVersions: new Versions([version]) });
    assert.equal(frame.headers.version, version);
    const { next } = await subscribed(client, "/topic/open:js");
    client.publish({ destination: "/topic/open:js", body: "고라니\nDeer: \\ ", headers: { kind: "a" } });
    const message = await next();
    assert.equal(message.body, "고라니\nDeer: \\ ");
    assert.equal(message.headers.kind, "a");
    // The client takes escapes back in 1.2 alone.
    assert.equal(message.headers.destination, version === "1.1" ? "/topic/open\\cjs" : "/topic/open:js");
    // It resolves once the receipt of the DISCONNECT has come and the socket is closed.
    const closed = soon("closed");
    client.onWebSocketClose = (event) => closed.resolve(event.wasClean);
    await client.deactivate();
    assert.equal(await closed.promise, true);
  });
}

test("headers are escaped both ways in 1.2", async () => {
  const { client } = await connected();
  const { next } = await subscribed(client, "/topic/open:escapes");
  // A backslash before c, n or r would meet the client's own way to unescape, one sign after the other.
  const odd = "a:b\\ \nd\re";
  client.publish({ destination: "/topic/open:escapes", body: "", headers: { odd } });
  assert.equal((await next()).headers.odd, odd);
  await client.deactivate();
});

test("binary bodies and bodies that are split over many messages arrive whole", async () => {
  const { client } = await connected({ splitLargeFrames: true });
  const { next } = await subscribed(client, "/topic/open:large");
  const binary = new Uint8Array([0, 1, 255, 0]);
  client.publish({
    destination: "/topic/open:large",
    binaryBody: binary,
    headers: { "content-type": "application/octet-stream" },
  });
  assert.deepEqual(new Uint8Array((await next()).binaryBody), binary);
  const large = "고".repeat(20_000);
  client.publish({ destination: "/topic/open:large", body: large });
  assert.equal((await next()).body, large);
  await client.deactivate();
});

test("what a backend publishes by HTTP arrives, and with it where it stands", async () => {
  const { client } = await connected();
  const { next } = await subscribed(client, "/topic/open:http");
  await node.publish("open:http", { a: 1 });
  const message = await next();
  assert.deepEqual(JSON.parse(message.body), { a: 1 });
  assert.equal(message.headers["content-type"], "application/json");
  assert.equal(message.headers.offset, "1");
  await client.deactivate();
});

test("heart-beats keep an idle connection open both ways", async () => {
  // Either side tolerates silence of twice as long, which leaves a busy machine some seconds.
  const { client } = await connected({ heartbeatIncoming: 4000, heartbeatOutgoing: 4000 });
  let closed = false;
  client.onWebSocketClose = () => (closed = true);
  // Longer than either side tolerates silence.
  await new Promise((resolve) => setTimeout(resolve, 13_000));
  assert.equal(closed, false);
  const { next } = await subscribed(client, "/topic/open:beats");
  client.publish({ destination: "/topic/open:beats", body: "alive" });
  assert.equal((await next()).body, "alive");
  await client.deactivate();
});

test("a transaction is sent at its commit, and not after its abort", async () => {
  const { client } = await connected();
  const { next } = await subscribed(client, "/topic/open:tx");
  const destination = "/topic/open:tx";
  const aborted = client.begin();
  client.publish({ destination, body: "aborted", headers: { transaction: aborted.id } });
  aborted.abort();
  const committed = client.begin();
  client.publish({ destination, body: "1", headers: { transaction: committed.id } });
  client.publish({ destination, body: "2", headers: { transaction: committed.id } });
  client.publish({ destination, body: "immediate" });
  committed.commit();
  assert.deepEqual([(await next()).body, (await next()).body, (await next()).body], ["immediate", "1", "2"]);
  await client.deactivate();
});

test("after an unsubscribe nothing arrives", async () => {
  const { client } = await connected();
  const gone = await subscribed(client, "/topic/open:gone");
  const stays = await subscribed(client, "/topic/open:gone");
  gone.subscription.unsubscribe();
  client.publish({ destination: "/topic/open:gone", body: "1" });
  assert.equal((await stays.next()).body, "1");
  await assert.rejects(Promise.race([gone.next(), new Promise((_, fail) => setImmediate(() => fail(new Error("nothing"))))]));
  await client.deactivate();
});

test("what is sent to a user reaches that user alone", async () => {
  const of = async (user) => {
    const { client } = await connected({ connectHeaders: { passcode: sign({ sub: user, exp: inSeconds(600) }) } });
    return { client, ...(await subscribed(client, "/user/queue/own:orders")) };
  };
  const [mine, yours] = [await of("42"), await of("43")];
  const { client: shop } = await connected({ connectHeaders: { login: "shop", passcode: "hush" } });
  shop.publish({ destination: "/user/43/queue/own:orders", body: "yours" });
  shop.publish({ destination: "/user/42/queue/own:orders", body: "mine" });
  const message = await mine.next();
  assert.equal(message.body, "mine");
  assert.equal(message.headers.destination, "/user/queue/own:orders");
  assert.equal((await yours.next()).body, "yours");
  await Promise.all([mine.client, yours.client, shop].map((client) => client.deactivate()));
});

test("a refusal is told with its reason before the connection ends", async () => {
  const { client } = await connected();
  const [told, closed] = [soon("an ERROR"), soon("closed")];
  client.onStompError = told.resolve;
  client.onWebSocketClose = closed.resolve;
  client.subscribe("/topic/closed:a", () => {});
  const frame = await told.promise;
  assert.equal(frame.headers.message, "permission denied");
  await closed.promise;
  await client.deactivate();
});

test("bad credentials are refused", async () => {
  const told = soon("an ERROR");
  const client = new Client({ brokerURL: url(), reconnectDelay: 0, connectHeaders: { login: "shop", passcode: "wrong" } });
  client.onStompError = told.resolve;
  client.activate();
  assert.equal((await told.promise).headers.message, "unauthorized");
  await client.deactivate();
});

for (const transport of ["websocket", "xhr-streaming", "xhr-polling"]) {
  test(`over SockJS, ${transport}, a client subscribes, sends and says goodbye`, async () => {
    const webSocketFactory = () => new SockJS(`http://127.0.0.1:${node.port}/stomp/sockjs`, null, only(transport));
    const { client } = await connected({ brokerURL: undefined, webSocketFactory });
    const { next } = await subscribed(client, "/topic/open:sockjs");
    client.publish({ destination: "/topic/open:sockjs", body: "고라니\n\"deer\"" });
    assert.equal((await next()).body, "고라니\n\"deer\"");
    await node.api("publish", { channel: "open:sockjs", b64data: "AP8=" });
    const binary = await next();
    assert.equal(binary.headers.encoding, "base64");
    assert.equal(binary.body, "AP8=");
    const receipt = soon("the receipt of the goodbye");
    client.onDisconnect = receipt.resolve;
    await client.deactivate();
    await receipt.promise;
  });
}
