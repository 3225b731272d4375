// Requests to the backend are signed so that the published library of Standard Webhooks takes them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Centrifuge } from "centrifuge";
import { Webhook } from "standardwebhooks";

import { AskedBackend } from "./support/backend.js";
import { Clients, next } from "./support/client.js";
import { startNode } from "./support/node.js";

const NEW = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const FOREIGN = "whsec_" + Buffer.from("a secret of somebody else").toString("base64");

let backend;
let node;
before(async () => {
  backend = await AskedBackend.start(() => ({ result: { user: "Mina" } }));
  node = await startNode({
    "client.proxy.connect": { enabled: true, endpoint: `${backend.url}/connect`, secrets: [NEW, OLD] },
    "hooks.endpoints": [{ name: "shop", url: `${backend.url}/hooks`, events: ["connected"], secrets: [NEW, OLD] }],
  });
});
after(async () => {
  await node?.stop();
  backend?.stop();
});

/** Waits until the backend has a request of this kind that `where` accepts. */
async function request(kind, where = () => true) {
  for (;;) {
    const found = backend.questions.find((request) => request.kind === kind && where(request.question));
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test("a call and a batch of events are good by the new secret and by the old one, and by no other", async (t) => {
  const clients = new Clients(Centrifuge);
  t.after(() => clients.close());
  const client = clients.make(node.websocket);
  const connected = next(client, "connected");
  client.connect();
  await connected;
  const told = ({ events }) => events.some(({ type }) => type === "connected");
  for (const { body, headers } of [await request("connect"), await request("hooks", told)]) {
    for (const secret of [NEW, OLD]) assert.deepEqual(new Webhook(secret).verify(body, headers), JSON.parse(body));
    assert.throws(() => new Webhook(FOREIGN).verify(body, headers), /signature/);
    assert.throws(() => new Webhook(NEW).verify(`${body} `, headers), /signature/);
  }
});
