// Subscriptions that tokens and backends decide: subscription tokens, server-side subscriptions, channels of one user.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Clients, collect, next, refused, subscribe } from "./support/client.js";
import { startNode } from "./support/node.js";
import { inSeconds, sign } from "./support/token.js";

const clients = new Clients();
const as = (user, claims = {}) => ({ token: sign({ sub: user, ...claims }) });
let node;
before(async () => (node = await startNode()));
after(async () => {
  clients.close();
  await node.stop();
});

test("a private channel is refused without a token and open with one", async () => {
  const client = await clients.connect(node.websocket, as("42"));
  assert.equal((await refused(client, "$open:secret")).code, 103);
  const other = await clients.connect(node.websocket, as("42"));
  const sub = await subscribe(other, "$open:secret", { token: sign({ sub: "42", channel: "$open:secret", info: { seat: 7 } }) });
  const publication = next(sub, "publication");
  await node.publish("$open:secret", "for the invited");
  assert.equal((await publication).data, "for the invited");
  assert.deepEqual((await sub.presence()).clients[other.identity.client].chanInfo, { seat: 7 });
});

test("a subscription token opens a channel that the settings keep closed", async () => {
  const client = await clients.connect(node.websocket, as("42"));
  const sub = await subscribe(client, "closed:room", { token: sign({ sub: "42", channel: "closed:room" }) });
  assert.equal(sub.state, "subscribed");
});

test("a subscription token of another user or channel, or with a wrong signature, opens nothing", async () => {
  const attempts = [
    sign({ sub: "43", channel: "$open:mine" }),
    sign({ sub: "42", channel: "$open:other" }),
    sign({ sub: "42", channel: "$open:mine" }, "another secret, that is long enough too"),
  ];
  for (const token of attempts) {
    const client = clients.make(node.websocket, as("42"));
    const sub = client.newSubscription("$open:mine", { token });
    sub.on("error", () => {});
    const subscribed = collect(sub, "subscribed");
    const end = Promise.race([next(sub, "unsubscribed"), next(client, "disconnected")]);
    sub.subscribe();
    client.connect();
    const { code } = await end;
    assert.ok(code === 103 || code === 3500, `code ${code}`);
    assert.deepEqual(subscribed, []);
  }
});

test("an expired subscription token is told with 109, and the SDK asks for a new one", async () => {
  const client = await clients.connect(node.websocket, as("42"));
  let asked = 0;
  const sub = await subscribe(client, "$open:late", {
    token: sign({ sub: "42", channel: "$open:late", exp: inSeconds(-3600) }),
    getToken: async ({ channel }) => {
      asked += 1;
      return sign({ sub: "42", channel });
    },
  });
  assert.equal(sub.state, "subscribed");
  assert.equal(asked, 1);
});

test("a subscription token is refreshed before it expires, without subscribing again", async () => {
  const client = await clients.connect(node.websocket, as("42"));
  let asked = 0;
  let refreshed;
  const thrice = new Promise((resolve) => (refreshed = resolve));
  const sub = await subscribe(client, "$open:refresh", {
    getToken: async ({ channel }) => {
      asked += 1;
      if (asked === 3) refreshed();
      return sign({ sub: "42", channel, exp: inSeconds(2) });
    },
  });
  const again = collect(sub, "subscribing");
  await thrice;
  const publication = next(sub, "publication");
  await node.publish("$open:refresh", "still here");
  await publication;
  assert.deepEqual(again, []);
});

test("a subscription whose new token has expired already is subscribed again with another one", async () => {
  const client = await clients.connect(node.websocket, as("42"));
  let asked = 0;
  const sub = await subscribe(client, "$open:stale", {
    getToken: async ({ channel }) => {
      asked += 1;
      return sign({ sub: "42", channel, exp: inSeconds(asked === 2 ? -60 : 2) });
    },
  });
  const { code } = await next(sub, "subscribing");
  assert.equal(code, 2501);
  await next(sub, "subscribed");
});

test("a subscription that a backend made is recovered when its client returns", async () => {
  const client = await clients.connect(node.websocket, as("returning"));
  const seen = collect(client, "publication", ({ data }) => data);
  const subscribed = next(client, "subscribed");
  await node.api("subscribe", { user: "returning", channel: "forced:returning" });
  await subscribed;
  await node.publish("forced:returning", 1);
  await seen.reached(1);
  client.disconnect();
  await node.publish("forced:returning", 2);
  client.connect();
  await seen.reached(2);
  await node.publish("forced:returning", 3);
  await seen.reached(3);
  assert.deepEqual(seen, [1, 2, 3]);
});

test("channels of the connection token are subscribed by the node", async () => {
  const claims = { channels: ["closed:news"], subs: { "closed:alerts": { info: { seat: 1 } } } };
  const client = clients.make(node.websocket, as("42", claims));
  const subscribed = collect(client, "subscribed", ({ channel }) => channel);
  const seen = collect(client, "publication", ({ channel, data }) => [channel, data]);
  client.connect();
  await subscribed.reached(2);
  assert.deepEqual(subscribed.sort(), ["closed:alerts", "closed:news"]);
  await node.publish("closed:news", 1);
  await node.publish("closed:alerts", 2);
  await seen.reached(2);
  assert.deepEqual(seen.sort(), [["closed:alerts", 2], ["closed:news", 1]]);
});

test("a backend subscribes a user who is connected, and unsubscribes again", async () => {
  const client = await clients.connect(node.websocket, as("moved"));
  const seen = collect(client, "publication", ({ data }) => data);
  const subscribed = next(client, "subscribed");
  await node.api("subscribe", { user: "moved", channel: "closed:pushed" });
  assert.equal((await subscribed).channel, "closed:pushed");
  await node.publish("closed:pushed", "in");
  await seen.reached(1);
  const unsubscribed = next(client, "unsubscribed");
  await node.api("unsubscribe", { user: "moved", channel: "closed:pushed" });
  assert.equal((await unsubscribed).channel, "closed:pushed");
  await node.publish("closed:pushed", "out");
  const again = next(client, "subscribed");
  await node.api("subscribe", { user: "moved", channel: "closed:pushed" });
  await again;
  await node.publish("closed:pushed", "in again");
  await seen.reached(2);
  assert.deepEqual(seen, ["in", "in again"]);
});

test("a backend ends a subscription that the client made itself", async () => {
  const client = await clients.connect(node.websocket, as("watched"));
  const sub = await subscribe(client, "open:watched");
  const unsubscribed = next(sub, "unsubscribed");
  await node.api("unsubscribe", { user: "watched", channel: "open:watched" });
  assert.equal((await unsubscribed).code, 2000);
  assert.equal(sub.state, "unsubscribed");
});

test("a channel of one user is open to that user alone, and addressed by the user's name", async () => {
  const mina = await clients.connect(node.websocket, as("mina"));
  const other = await clients.connect(node.websocket, as("other"));
  assert.equal((await refused(other, "own:orders#mina")).code, 103);
  assert.equal((await refused(await clients.connect(node.websocket), "own:orders#mina")).code, 103);
  const sub = await subscribe(mina, "own:orders#mina");
  const publication = next(sub, "publication");
  await node.api("publish", { user: "mina", channel: "own:orders", data: { order: 7 } });
  assert.deepEqual((await publication).data, { order: 7 });
  const shared = await subscribe(other, "own:pair#mina,other");
  assert.equal(shared.state, "subscribed");
});
