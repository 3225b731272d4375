// Connecting with the unmodified SDK: who gets in, who does not, and how long a token lasts.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Clients, collect, next, rejection, subscribe } from "./support/client.js";
import { startNode } from "./support/node.js";
import { inSeconds, sign } from "./support/token.js";

const clients = new Clients();
let node;
before(async () => (node = await startNode()));
after(async () => {
  clients.close();
  await node.stop();
});

test("an anonymous client connects where the settings allow it", async () => {
  const client = await clients.connect(node.websocket);
  assert.equal(client.identity.transport, "websocket");
  assert.match(client.identity.client, /^\S{8,}$/);
});

test("every connection has an id of its own", async () => {
  const [a, b] = await Promise.all([clients.connect(node.websocket), clients.connect(node.websocket)]);
  assert.notEqual(a.identity.client, b.identity.client);
});

test("a client with a token is the user of the token, and carries its info", async () => {
  const client = await clients.connect(node.websocket, { token: sign({ sub: "42", info: { name: "Mina" }, exp: inSeconds(60) }) });
  const sub = await subscribe(client, "open:who");
  const { clients: present } = await sub.presence();
  assert.deepEqual(present[client.identity.client].user, "42");
  assert.deepEqual(present[client.identity.client].connInfo, { name: "Mina" });
});

test("a token with a wrong signature ends the connection for good with 3500", async () => {
  const client = clients.make(node.websocket, { token: sign({ sub: "42" }, "another secret, that is long enough too") });
  const disconnected = next(client, "disconnected");
  client.connect();
  assert.equal((await disconnected).code, 3500);
});

test("a token that is no token ends the connection for good with 3500", async () => {
  const client = clients.make(node.websocket, { token: "not-a-token" });
  const disconnected = next(client, "disconnected");
  client.connect();
  assert.equal((await disconnected).code, 3500);
});

test("an expired token is told with 109, and the SDK comes back with a new one", async () => {
  let asked = 0;
  const client = clients.make(node.websocket, {
    token: sign({ sub: "42", exp: inSeconds(-3600) }),
    getToken: async () => {
      asked += 1;
      return sign({ sub: "42", exp: inSeconds(60) });
    },
  });
  const errors = collect(client, "error", ({ error }) => error.code);
  const connected = next(client, "connected");
  client.connect();
  await connected;
  assert.equal(asked, 1);
  assert.ok(errors.includes(109), `errors: ${errors}`);
});

test("a token is refreshed before it expires, on the same connection", async () => {
  let asked = 0;
  let refreshed;
  const twice = new Promise((resolve) => (refreshed = resolve));
  const client = await clients.connect(node.websocket, {
    getToken: async () => {
      asked += 1;
      if (asked === 3) refreshed();
      return sign({ sub: "42", exp: inSeconds(2) });
    },
  });
  const connecting = collect(client, "connecting");
  const sub = await subscribe(client, "open:refresh");
  const publication = next(sub, "publication");
  await twice;
  await node.publish("open:refresh", "still here");
  assert.equal((await publication).data, "still here");
  assert.deepEqual(connecting, []);
  assert.equal((await sub.presence()).clients[client.identity.client].user, "42");
});

test("a refresh with a token of another user is not accepted", async () => {
  let asked = 0;
  const client = await clients.connect(node.websocket, {
    getToken: async () => {
      asked += 1;
      return sign({ sub: asked === 1 ? "42" : "43", exp: inSeconds(2) });
    },
  });
  const { code } = await next(client, "disconnected");
  assert.ok(code >= 3500 && code < 4000, `code ${code}`);
});

test("a client whose new token has expired already comes back with another one", async () => {
  let asked = 0;
  const client = await clients.connect(node.websocket, {
    getToken: async () => {
      asked += 1;
      return sign({ sub: "42", exp: inSeconds(asked === 2 ? -60 : 2) });
    },
  });
  const { code } = await next(client, "connecting");
  assert.equal(code, 3005);
  await next(client, "connected");
});

test("rpc is answered 108 while no backend is wired", async () => {
  const client = await clients.connect(node.websocket);
  assert.equal(await rejection(client.rpc("anything", { a: 1 })), 108);
});

test("a sent message, which no backend takes, ends the client with 3508 and is not lost in silence", async () => {
  const client = await clients.connect(node.websocket);
  const disconnected = next(client, "disconnected");
  await client.send({ hello: "node" });
  assert.equal((await disconnected).code, 3508);
});

test("a payload that nests too deep fails its publish alone", async () => {
  const client = await clients.connect(node.websocket);
  const deep = JSON.parse("[".repeat(200) + "]".repeat(200));
  assert.equal(await rejection(client.publish("open:deep", deep)), 107);
  assert.equal(await rejection(client.rpc("after", {})), 108);
});

test("without a token nobody gets in where the settings do not say so", async (t) => {
  const closed = await startNode({ "client.allow_anonymous": false });
  t.after(() => closed.stop());
  const client = clients.make(closed.websocket);
  const disconnected = next(client, "disconnected");
  client.connect();
  const { code } = await disconnected;
  assert.ok(code === 101 || code === 3500, `code ${code}`);
  const user = await clients.connect(closed.websocket, { token: sign({ sub: "42" }) });
  assert.equal(user.state, "connected");
});
