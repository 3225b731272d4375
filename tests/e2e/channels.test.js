// Channels with the unmodified SDK: publications, history, presence, permissions.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Clients, collect, next, refused, rejection, subscribe } from "./support/client.js";
import { startNode } from "./support/node.js";
import { sign } from "./support/token.js";

const clients = new Clients();
const as = (user) => ({ token: sign({ sub: user }) });
let node;
before(async () => (node = await startNode()));
after(async () => {
  clients.close();
  await node.stop();
});

test("what a backend publishes reaches every subscriber as it was", async () => {
  const subs = await Promise.all([1, 2, 3].map(async () => subscribe(await clients.connect(node.websocket), "open:api")));
  const publications = subs.map((sub) => next(sub, "publication"));
  const data = { text: "안녕 \"everybody\"\n", nested: [1, 2.5, null, { deep: true }], empty: {} };
  const { offset, epoch } = await node.publish("open:api", data, { tags: { kind: "greeting" } });
  assert.equal(offset, 1);
  assert.ok(epoch);
  for (const publication of await Promise.all(publications)) {
    assert.deepEqual(publication.data, data);
    assert.equal(publication.channel, "open:api");
    assert.equal(publication.offset, 1);
    assert.deepEqual(publication.tags, { kind: "greeting" });
    assert.equal(publication.info, undefined);
  }
});

test("a channel without history carries no offsets", async () => {
  const sub = await subscribe(await clients.connect(node.websocket), "live:plain");
  const publication = next(sub, "publication");
  await node.publish("live:plain", "text");
  const { data, offset } = await publication;
  assert.equal(data, "text");
  assert.equal(offset, undefined);
});

test("what a client publishes reaches the others and itself, with its name on it", async () => {
  const mina = await clients.connect(node.websocket, as("mina"));
  const other = await clients.connect(node.websocket, as("other"));
  const subs = await Promise.all([subscribe(mina, "open:chat"), subscribe(other, "open:chat")]);
  const publications = subs.map((sub) => next(sub, "publication"));
  await subs[0].publish({ text: "hi" });
  for (const publication of await Promise.all(publications)) {
    assert.deepEqual(publication.data, { text: "hi" });
    assert.equal(publication.info.user, "mina");
    assert.equal(publication.info.client, mina.identity.client);
  }
});

test("every subscriber sees the same order, whoever publishes", async () => {
  const writers = await Promise.all([1, 2, 3].map((n) => clients.connect(node.websocket, as(`writer${n}`))));
  const subs = await Promise.all([...writers, await clients.connect(node.websocket)].map((client) => subscribe(client, "open:order")));
  const seen = subs.map((sub) => collect(sub, "publication", ({ data, offset }) => `${offset} ${data}`));
  const work = [];
  for (let i = 0; i < 50; i += 1) {
    for (const writer of writers) work.push(writer.publish("open:order", `client ${i}`));
    work.push(node.publish("open:order", `api ${i}`));
  }
  await Promise.all(work);
  await Promise.all(seen.map((list) => list.reached(200)));
  for (const list of seen) assert.deepEqual(list, seen[0]);
  assert.deepEqual(seen[0].map((line) => Number(line.split(" ")[0])), Array.from({ length: 200 }, (_, i) => i + 1));
});

test("a publication that excludes a client is not sent to it", async () => {
  const left = await clients.connect(node.websocket);
  const right = await clients.connect(node.websocket);
  const subs = await Promise.all([subscribe(left, "open:exclude"), subscribe(right, "open:exclude")]);
  const seen = subs.map((sub) => collect(sub, "publication", ({ data }) => data));
  await node.publish("open:exclude", "not for left", { exclude_client: left.identity.client });
  await node.publish("open:exclude", "for both");
  await seen[1].reached(2);
  await seen[0].reached(1);
  assert.deepEqual(seen[0], ["for both"]);
  assert.deepEqual(seen[1], ["not for left", "for both"]);
});

test("a publish that is retried with its idempotency key is delivered once", async () => {
  const sub = await subscribe(await clients.connect(node.websocket), "open:once");
  const seen = collect(sub, "publication", ({ data }) => data);
  const first = await node.publish("open:once", "paid", { idempotency_key: "order-7" });
  const second = await node.publish("open:once", "paid", { idempotency_key: "order-7" });
  await node.publish("open:once", "next");
  await seen.reached(2);
  assert.deepEqual(second, first);
  assert.deepEqual(seen, ["paid", "next"]);
});

test("history is read forwards, backwards, from a position, and as a position only", async () => {
  for (let i = 1; i <= 10; i += 1) await node.publish("open:past", i);
  const sub = await subscribe(await clients.connect(node.websocket), "open:past");
  const read = async (options) => {
    const { publications, offset, epoch } = await sub.history(options);
    assert.equal(offset, 10);
    return { data: publications.map(({ data }) => data), epoch };
  };
  const { data, epoch } = await read({ limit: 3 });
  assert.deepEqual(data, [1, 2, 3]);
  assert.deepEqual((await read({ limit: 3, reverse: true })).data, [10, 9, 8]);
  assert.deepEqual((await read({ limit: 100, since: { offset: 7, epoch } })).data, [8, 9, 10]);
  assert.deepEqual((await read({ limit: 0 })).data, []);
});

test("history from another epoch is refused with 112", async () => {
  await node.publish("open:epoch", 1);
  const sub = await subscribe(await clients.connect(node.websocket), "open:epoch");
  assert.equal(await rejection(sub.history({ limit: 1, since: { offset: 0, epoch: "another" } })), 112);
});

test("presence and its numbers tell who is there", async () => {
  const [a, b, c] = await Promise.all([as("mina"), as("mina"), as("jun")].map((options) => clients.connect(node.websocket, options)));
  const [sub] = await Promise.all([a, b, c].map((client) => subscribe(client, "open:room")));
  const { clients: present } = await sub.presence();
  const users = Object.fromEntries(Object.values(present).map(({ client, user }) => [client, user]));
  assert.deepEqual(users, { [a.identity.client]: "mina", [b.identity.client]: "mina", [c.identity.client]: "jun" });
  assert.deepEqual(await sub.presenceStats(), { numClients: 3, numUsers: 2 });
});

test("those who come and those who leave are told to the others", async () => {
  const watcher = await subscribe(await clients.connect(node.websocket), "open:door", { joinLeave: true });
  const guest = await clients.connect(node.websocket, as("guest"));
  const isGuest = { where: ({ info }) => info.client === guest.identity.client };
  const join = next(watcher, "join", isGuest);
  const sub = await subscribe(guest, "open:door");
  assert.equal((await join).info.user, "guest");
  const leave = next(watcher, "leave", isGuest);
  sub.unsubscribe();
  assert.equal((await leave).info.user, "guest");
  const again = next(watcher, "join", isGuest);
  sub.subscribe();
  await again;
  const gone = next(watcher, "leave", isGuest);
  guest.disconnect();
  await gone;
});

test("a channel that is not open is refused with 103", async () => {
  const client = await clients.connect(node.websocket, as("42"));
  assert.equal((await refused(client, "closed:room")).code, 103);
});

test("a channel of an unknown namespace is refused with 102", async () => {
  const client = await clients.connect(node.websocket);
  assert.equal((await refused(client, "nowhere:room")).code, 102);
});

test("publishing, history and presence are refused with 103 where they are not allowed", async () => {
  const client = await clients.connect(node.websocket, as("42"));
  const sub = await subscribe(client, "live:quiet");
  assert.equal(await rejection(sub.publish("no")), 103);
  const codes = await Promise.all([rejection(client.history("closed:room", { limit: 1 })), rejection(client.presence("closed:room"))]);
  assert.deepEqual(codes, [103, 103]);
});

test("history and presence that a channel does not keep are answered 108", async () => {
  const only = await startNode({
    "channel.namespaces": [{
      name: "bare",
      allow_subscribe_for_client: true,
      allow_subscribe_for_anonymous: true,
      allow_history_for_subscriber: true,
      allow_presence_for_subscriber: true,
    }],
  });
  try {
    const sub = await subscribe(await clients.connect(only.websocket), "bare:room");
    assert.equal(await rejection(sub.history({ limit: 1 })), 108);
    assert.equal(await rejection(sub.presence()), 108);
  } finally {
    await only.stop();
  }
});

test("the same from a client's side and from the API: history and presence agree", async () => {
  const sub = await subscribe(await clients.connect(node.websocket, as("mina")), "open:both");
  await node.publish("open:both", "seen by both");
  const mine = await sub.history({ limit: 10 });
  const theirs = await node.api("history", { channel: "open:both", limit: 10 });
  assert.equal(theirs.epoch, mine.epoch);
  assert.deepEqual(theirs.publications.map(({ data }) => data), mine.publications.map(({ data }) => data));
  const { presence } = await node.api("presence", { channel: "open:both" });
  assert.deepEqual(Object.values(presence).map(({ user }) => user), ["mina"]);
});
