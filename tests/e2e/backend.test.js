// What the backend answers, as the unmodified SDK sees it: in JSON and in protobuf.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Centrifuge as JsonSdk } from "centrifuge";
import { Centrifuge as ProtobufSdk } from "centrifuge/build/protobuf";

import { AskedBackend } from "./support/backend.js";
import { Clients, next, rejection } from "./support/client.js";
import { startNode } from "./support/node.js";

/** The answers, by what is asked. */
const answers = {
  connect: ({ data }) => ({ result: { user: data.user, data: { welcome: data.user }, subs: { "asked:all": { data: { n: 1 } } } } }),
  subscribe: ({ channel, data }) => (channel === "asked:closed" ? { error: { code: 1403, message: "closed" } } : { result: { data: { got: data ?? null } } }),
  publish: ({ data, user }) => (data.drop ? { error: { code: 1400, message: "not that" } } : { result: { data: { by: user, was: data } } }),
  rpc: ({ method, data }) => {
    if (method === "sum") return { result: { data: { sum: data.a + data.b } } };
    if (method === "empty") return { result: {} };
    if (method === "away") return { disconnect: { code: 4502, reason: "go away" } };
    return { error: { code: 1404, message: `no ${method}` } };
  },
};

let backend;
let node;
before(async () => {
  backend = await AskedBackend.start((kind, question) => answers[kind](question));
  // Without a time a call has 1 s, in which a busy machine may not come to the backend.
  const endpoint = (kind) => ({ endpoint: `${backend.url}/${kind}`, timeout: "20s" });
  node = await startNode({
    "client.proxy.connect": { enabled: true, ...endpoint("connect") },
    "channel.proxy.subscribe": endpoint("subscribe"),
    "channel.proxy.publish": endpoint("publish"),
    "rpc.proxy": endpoint("rpc"),
    "rpc.without_namespace.proxy_enabled": true,
    "rpc.namespaces": [{ name: "off", proxy_enabled: false }],
    "channel.namespaces": [{ name: "asked", history_size: 10, history_ttl: "60s", subscribe_proxy_enabled: true, publish_proxy_enabled: true }],
  });
});
after(async () => {
  await node?.stop();
  backend?.stop();
});

const FORMS = {
  json: { Sdk: JsonSdk, encode: (value) => value, decode: (value) => value },
  protobuf: {
    Sdk: ProtobufSdk,
    encode: (value) => new TextEncoder().encode(JSON.stringify(value)),
    decode: (bytes) => JSON.parse(new TextDecoder().decode(bytes)),
  },
};

for (const [name, { Sdk, encode, decode }] of Object.entries(FORMS)) {
  test(`the backend answers each command of the SDK in ${name}`, async (t) => {
    const clients = new Clients(Sdk);
    t.after(() => clients.close());
    const client = clients.make(node.websocket, { data: encode({ user: "Mina" }), name: "front", version: "7" });
    const [connected, given] = [next(client, "connected"), next(client, "subscribed")];
    client.connect();
    assert.deepEqual(decode((await connected).data), { welcome: "Mina" });
    const { channel, data } = await given;
    assert.deepEqual([channel, decode(data)], ["asked:all", { n: 1 }]);
    const asked = backend.questions.findLast(({ kind }) => kind === "connect").question;
    assert.deepEqual({ ...asked, client: "" }, { client: "", transport: "websocket", protocol: name, encoding: "json", data: { user: "Mina" }, name: "front", version: "7" });

    const sub = client.newSubscription("asked:room", { data: encode({ key: 1 }) });
    const subscribed = next(sub, "subscribed");
    sub.subscribe();
    assert.deepEqual(decode((await subscribed).data), { got: { key: 1 } });
    const heard = next(sub, "publication");
    await sub.publish(encode({ text: "hello" }));
    assert.deepEqual(decode((await heard).data), { by: "Mina", was: { text: "hello" } });
    assert.equal(await rejection(sub.publish(encode({ drop: true }))), 1400);

    const closed = client.newSubscription("asked:closed");
    const refused = next(closed, "unsubscribed");
    closed.subscribe();
    assert.equal((await refused).code, 1403);

    assert.deepEqual(decode((await client.rpc("sum", encode({ a: 1, b: 2 }))).data), { sum: 3 });
    await client.rpc("empty", encode(null));
    assert.equal(await rejection(client.rpc("nothing", encode({}))), 1404);
    assert.equal(await rejection(client.rpc("off:sum", encode({}))), 108);
    assert.equal(await rejection(client.rpc("unknown:sum", encode({}))), 104);
    const ended = next(client, "disconnected");
    // It ends before the reply comes.
    client.rpc("away", encode({})).catch(() => {});
    const { code, reason } = await ended;
    assert.deepEqual({ code, reason }, { code: 4502, reason: "go away" });
  });
}
