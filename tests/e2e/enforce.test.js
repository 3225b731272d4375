// Published clients when a reload ends subscriptions that the settings no longer permit: the SDK asks once more, is refused, and stays
// away; a STOMP client is told and ends. Over WebSocket, and over SockJS with its published client.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { Client } from "@stomp/stompjs";
import SockJS from "sockjs-client";

import { Clients, collect, next, subscribe } from "./support/client.js";
import { binary, startNode } from "./support/node.js";
import { only } from "./support/sockjs.js";
import { sign } from "./support/token.js";

/** The 20 s over which subscriptions end, and more for a busy machine. */
const ENFORCED = 90_000;
const OPEN = 'name = "live", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true';

/** Both kinds of SockJS: over its own WebSocket, and a streaming answer with requests beside it. */
const OVER_SOCKJS = ["websocket", "xhr-streaming"];

const clients = new Clients();
const stomp = [];
const as = (user) => ({ token: sign({ sub: user }) });
let node;
before(async () => (node = await startNode({ "admin.enabled": true, "admin.keys": [{ name: "reader", key: "reader-key-of-the-tests-0123456789" }] })));
after(async () => {
  clients.close();
  for (const client of stomp) await client.deactivate({ force: true });
  await node.stop();
});

/** `gorani reload` with the settings of the node; its report. */
function reload(...more) {
  const output = execFileSync(binary, ["reload", "--json", ...more, "--config", node.file]).toString();
  return JSON.parse(output).report;
}

/** Opens the namespace to all users, or closes it. */
function permit(open) {
  const good = readFileSync(node.file, "utf8");
  const [from, to] = open ? ['name = "live" ', `${OPEN} `] : [`${OPEN} `, 'name = "live" '];
  assert.ok(good.includes(from), good);
  writeFileSync(node.file, good.replace(from, to));
}

/** An SDK over SockJS: a subscription by the rules, another one by a token, and what they were told. */
async function overSockjs(transport) {
  const endpoint = [{ transport: "sockjs", endpoint: `${node.url}/connection/sockjs` }];
  const client = await clients.connect(endpoint, { ...as("42"), sockjs: SockJS, sockjsOptions: only(transport) });
  assert.equal(client.identity.transport, `sockjs-${transport}`);
  const byRule = await subscribe(client, "live:a");
  const byToken = await subscribe(client, "live:token", { token: sign({ sub: "42", channel: "live:token" }) });
  const [subscribing, ended, stayed] = [collect(byRule, "subscribing"), collect(byRule, "unsubscribed"), collect(byToken, "subscribing")];
  return { client, byRule, byToken, subscribing, ended, stayed };
}

/** A STOMP client over SockJS, subscribed by the rules; `told` is the message of its ERROR. */
async function stompOverSockjs(transport) {
  const webSocketFactory = () => new SockJS(`${node.url}/stomp/sockjs`, null, only(transport));
  const client = new Client({ webSocketFactory, connectHeaders: { passcode: sign({ sub: "42" }) }, reconnectDelay: 0 });
  stomp.push(client);
  const told = new Promise((resolve) => (client.onStompError = ({ headers }) => resolve(headers.message)));
  const closed = new Promise((resolve) => (client.onWebSocketClose = resolve));
  const connected = new Promise((resolve) => (client.onConnect = resolve));
  client.activate();
  await connected;
  await new Promise((resolve) => {
    client.watchForReceipt("subscribed", resolve);
    client.subscribe("/topic/live:a", () => {}, { receipt: "subscribed" });
  });
  return { told, closed };
}

test("a subscription by the rules is told 2500, is refused with 103 when the SDK asks again, and ends there; others go on", async () => {
  const client = await clients.connect(node.websocket, as("42"));
  const byRule = await subscribe(client, "live:a");
  const byToken = await subscribe(client, "live:token", { token: sign({ sub: "42", channel: "live:token" }) });
  const other = await clients.connect(node.websocket, as("43"));
  const another = await subscribe(other, "live:b");
  const [subscribing, ended, stayed] = [collect(byRule, "subscribing"), collect(byRule, "unsubscribed"), collect(byToken, "subscribing")];
  const gone = next(byRule, "unsubscribed", { within: ENFORCED });
  const alsoGone = next(another, "unsubscribed", { within: ENFORCED });

  permit(false);
  assert.deepEqual([reload("--enforce", "--dry-run").not_permitted, byRule.state], [2, "subscribed"]);
  const { not_permitted, enforced } = reload("--enforce");
  assert.deepEqual([not_permitted, enforced], [2, true]);
  assert.equal((await gone).code, 103);
  assert.equal((await alsoGone).code, 103);
  assert.deepEqual(subscribing.map(({ code, reason }) => [code, reason]), [[2500, "no longer permitted"]]);

  // A round trip of each command comes after what the SDK would send by itself at once.
  await client.rpc("none", {}).catch(() => {});
  const publication = next(byToken, "publication");
  await node.publish("live:token", "for those with a token");
  assert.equal((await publication).data, "for those with a token");
  assert.deepEqual([byRule.state, byToken.state, client.state], ["unsubscribed", "subscribed", "connected"]);
  assert.deepEqual([subscribing.length, ended.length, stayed.length], [1, 1, 0]);
});

test("over SockJS a subscription by the rules ends in the same way, with its own WebSocket and with streaming; others go on", async () => {
  permit(true);
  reload();
  const sdks = [];
  const ends = [];
  for (const transport of OVER_SOCKJS) {
    sdks.push(await overSockjs(transport));
    ends.push(await stompOverSockjs(transport));
  }

  permit(false);
  const { not_permitted, enforced } = reload("--enforce");
  assert.deepEqual([not_permitted, enforced], [4, true]);
  for (const { ended, subscribing } of sdks) {
    await ended.reached(1, ENFORCED);
    assert.deepEqual(subscribing.map(({ code, reason }) => [code, reason]), [[2500, "no longer permitted"]]);
    assert.equal(ended[0].code, 103);
  }
  for (const { told, closed } of ends) {
    assert.equal(await told, "no longer permitted");
    await closed;
  }

  for (const { client, byRule, byToken, subscribing, ended, stayed } of sdks) {
    await client.rpc("none", {}).catch(() => {});
    const publication = next(byToken, "publication");
    await node.publish("live:token", "for those with a token");
    assert.equal((await publication).data, "for those with a token");
    assert.deepEqual([byRule.state, byToken.state, client.state], ["unsubscribed", "subscribed", "connected"]);
    assert.deepEqual([subscribing.length, ended.length, stayed.length], [1, 1, 0]);
  }
});
