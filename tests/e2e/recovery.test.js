// Recovery with the unmodified SDK: whatever happens to the connection, no publication is lost and none comes twice.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Clients, collect, next, subscribe } from "./support/client.js";
import { startNode } from "./support/node.js";
import { Proxy } from "./support/proxy.js";
import { sign } from "./support/token.js";

const RECOVER = { recoverable: true, positioned: true };
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const clients = new Clients();
let node;
before(async () => (node = await startNode()));
after(async () => {
  clients.close();
  await node.stop();
});

async function publishAll(channel, values) {
  for (const value of values) await node.publish(channel, value);
}

test("after a disconnect by the API the client comes back and has everything, once", async () => {
  const client = await clients.connect(node.websocket, { token: sign({ sub: "bounced" }), minReconnectDelay: 300 });
  const sub = await subscribe(client, "open:bounce", RECOVER);
  const seen = collect(sub, "publication", ({ data }) => data);
  await publishAll("open:bounce", numbers(1, 5));
  await seen.reached(5);
  const connecting = next(client, "connecting");
  await node.api("disconnect", { user: "bounced", code: 3011, reason: "force reconnect" });
  assert.equal((await connecting).code, 3011);
  const subscribed = next(sub, "subscribed");
  await publishAll("open:bounce", numbers(6, 25));
  const { wasRecovering, recovered } = await subscribed;
  assert.deepEqual({ wasRecovering, recovered }, { wasRecovering: true, recovered: true });
  await publishAll("open:bounce", numbers(26, 30));
  await seen.reached(30);
  assert.deepEqual(seen, numbers(1, 30));
});

test("a disconnect with a terminal code keeps the client away", async () => {
  const client = await clients.connect(node.websocket, { token: sign({ sub: "thrown-out" }) });
  const disconnected = next(client, "disconnected");
  await node.api("disconnect", { user: "thrown-out", code: 3503, reason: "force disconnect" });
  assert.equal((await disconnected).code, 3503);
});

test("after a cut wire everything is recovered, also where the settings and not the client ask for it", async (t) => {
  const proxy = await Proxy.to(node.port);
  t.after(() => proxy.close());
  const client = await clients.connect(proxy.websocket);
  const subs = [await subscribe(client, "open:wire", RECOVER), await subscribe(client, "forced:wire")];
  const seen = subs.map((sub) => collect(sub, "publication", ({ data, offset }) => [data, offset]));
  for (const sub of subs) await publishAll(sub.channel, numbers(1, 3));
  await Promise.all(seen.map((list) => list.reached(3)));
  const connecting = next(client, "connecting");
  proxy.cut();
  await connecting;
  for (const sub of subs) await publishAll(sub.channel, numbers(4, 60));
  const subscribed = subs.map((sub) => next(sub, "subscribed"));
  proxy.mend();
  for (const { recovered } of await Promise.all(subscribed)) assert.equal(recovered, true);
  await Promise.all(seen.map((list) => list.reached(60)));
  for (const list of seen) assert.deepEqual(list, numbers(1, 60).map((n) => [n, n]));
});

test("a wire that is cut again and again under load loses nothing and repeats nothing", async (t) => {
  const proxy = await Proxy.to(node.port);
  t.after(() => proxy.close());
  const client = await clients.connect(proxy.websocket, { minReconnectDelay: 20, maxReconnectDelay: 60 });
  const sub = await subscribe(client, "open:storm", RECOVER);
  const seen = collect(sub, "publication", ({ data }) => data);
  const unrecovered = collect(sub, "subscribed", ({ recovered }) => recovered);
  for (let cut = 0; cut < 5; cut += 1) {
    const connecting = next(client, "connecting");
    const publishing = publishAll("open:storm", numbers(cut * 40 + 1, cut * 40 + 40));
    await next(sub, "publication");
    proxy.cut();
    await connecting;
    const subscribed = next(sub, "subscribed");
    proxy.mend();
    await Promise.all([publishing, subscribed]);
  }
  await seen.reached(200);
  assert.deepEqual(seen, numbers(1, 200));
  assert.deepEqual(unrecovered.filter((recovered) => !recovered), []);
});

test("a client that was away longer than the history reaches is told so", async (t) => {
  const proxy = await Proxy.to(node.port);
  t.after(() => proxy.close());
  const client = await clients.connect(proxy.websocket);
  const sub = await subscribe(client, "short:gap", RECOVER);
  const seen = collect(sub, "publication", ({ data }) => data);
  await node.publish("short:gap", 1);
  await seen.reached(1);
  const connecting = next(client, "connecting");
  proxy.cut();
  await connecting;
  await publishAll("short:gap", numbers(2, 20));
  const subscribed = next(sub, "subscribed");
  proxy.mend();
  const { wasRecovering, recovered, streamPosition } = await subscribed;
  assert.deepEqual({ wasRecovering, recovered }, { wasRecovering: true, recovered: false });
  assert.equal(streamPosition.offset, 20);
  await node.publish("short:gap", 21);
  await seen.reached(2);
  assert.deepEqual(seen, [1, 21]);
});

test("a client that kept its position from an earlier life recovers with its first subscribe", async () => {
  const { offset, epoch } = await node.publish("open:since", 1);
  await publishAll("open:since", [2, 3]);
  const client = await clients.connect(node.websocket);
  const sub = client.newSubscription("open:since", { ...RECOVER, since: { offset, epoch } });
  const seen = collect(sub, "publication", ({ data }) => data);
  sub.subscribe();
  await seen.reached(2);
  assert.deepEqual(seen, [2, 3]);
});

test("a server-side subscription recovers too", async (t) => {
  const proxy = await Proxy.to(node.port);
  t.after(() => proxy.close());
  const client = clients.make(proxy.websocket, { token: sign({ sub: "served", channels: ["forced:served"] }) });
  const seen = collect(client, "publication", ({ data }) => data);
  const subscribed = next(client, "subscribed");
  client.connect();
  await subscribed;
  await publishAll("forced:served", [1, 2]);
  await seen.reached(2);
  const connecting = next(client, "connecting");
  proxy.cut();
  await connecting;
  await publishAll("forced:served", [3, 4, 5]);
  const back = next(client, "subscribed");
  proxy.mend();
  const { wasRecovering, recovered } = await back;
  assert.deepEqual({ wasRecovering, recovered }, { wasRecovering: true, recovered: true });
  await node.publish("forced:served", 6);
  await seen.reached(6);
  assert.deepEqual(seen, numbers(1, 6));
});
