// The unmodified SDK without WebSocket, and the browser's own EventSource: straight to a node, and through an nginx that
// buffers answers and passes no Upgrade on.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startBrowser } from "./support/browser.js";
import { Clients, collect, next, subscribe } from "./support/client.js";
import { Nginx } from "./support/nginx.js";
import { startNode } from "./support/node.js";
import { sign } from "./support/token.js";

const RECOVER = { recoverable: true, positioned: true };
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const clients = new Clients();
let node;
let nginx;
let browser;
before(async () => {
  node = await startNode({ "development.page": true });
  nginx = await Nginx.to(node.port);
  browser = await startBrowser();
});
after(async () => {
  clients.close();
  await browser?.close();
  await nginx?.close();
  await node?.stop();
});

const endpoints = (url, ...names) => names.map((transport) => ({ transport, endpoint: `${url}/connection/${transport}` }));
const options = (url) => ({ emulationEndpoint: `${url}/emulation` });

async function publishAll(channel, values) {
  for (const value of values) await node.publish(channel, value);
}

for (const via of ["straight", "through nginx"]) {
  const address = () => (via === "straight" ? node.url : nginx.url);

  test(`the SDK over http_stream, ${via}: commands, order, recovery`, async () => {
    const url = address();
    const channel = `open:stream-${via.length}`;
    const client = await clients.connect(endpoints(url, "http_stream"), { ...options(url), token: sign({ sub: `streamer-${via.length}` }) });
    assert.equal(client.identity.transport, "http_stream");
    const sub = await subscribe(client, channel, RECOVER);
    const seen = collect(sub, "publication", ({ data }) => data);
    await sub.publish(1);
    await publishAll(channel, numbers(2, 30));
    await seen.reached(30);
    assert.equal((await sub.history({ limit: 100 })).publications.length, 30);
    const subscribed = next(sub, "subscribed");
    await node.api("disconnect", { user: `streamer-${via.length}`, code: 3011, reason: "force reconnect" });
    await publishAll(channel, numbers(31, 40));
    assert.equal((await subscribed).recovered, true);
    await seen.reached(40);
    assert.deepEqual(seen, numbers(1, 40));
  });

  test(`the browser's EventSource, ${via}: it resumes by itself without loss`, async () => {
    const channel = `open:events-${via.length}`;
    const page = await browser.newPage();
    await page.goto(`${address()}/page.json`);
    const token = sign({ sub: `reader-${via.length}` });
    await page.evaluate(
      ([target]) => {
        window.seen = [];
        window.connects = [];
        window.source = new EventSource(target);
        window.source.onmessage = ({ data }) => {
          const object = JSON.parse(data);
          if (object.connect) window.connects.push(object.connect.subs);
          if (object.pub) window.seen.push(object.pub.data);
        };
      },
      [`/connection/uni_sse?channels=${channel}&token=${token}`],
    );
    await page.waitForFunction(() => window.connects.length === 1);
    await publishAll(channel, numbers(1, 10));
    await page.waitForFunction(() => window.seen.length === 10);
    await node.api("disconnect", { user: `reader-${via.length}`, code: 3011, reason: "force reconnect" });
    await publishAll(channel, numbers(11, 25));
    await page.waitForFunction(() => window.connects.length === 2 && window.seen.length >= 25);
    assert.deepEqual(await page.evaluate(() => window.seen), numbers(1, 25));
    assert.equal((await page.evaluate(() => window.connects[1]))[channel].recovered, true);
    await page.close();
  });

  test(`the SDK over sse in a browser, ${via}`, async () => {
    const channel = `open:sse-${via.length}`;
    const page = await browser.newPage();
    await page.goto(`${address()}/`);
    await page.evaluate(
      async ([channel]) => {
        if (!window.Centrifuge) await import("/centrifuge.js");
        const Centrifuge = window.Centrifuge;
        window.seen = [];
        const client = new Centrifuge([{ transport: "sse", endpoint: `${location.origin}/connection/sse` }], {
          emulationEndpoint: `${location.origin}/emulation`,
        });
        client.on("connected", ({ transport }) => (window.transport = transport));
        const sub = client.newSubscription(channel);
        sub.on("publication", ({ data }) => window.seen.push(data));
        sub.on("subscribed", () => (window.subscribed = true));
        sub.subscribe();
        client.connect();
      },
      [channel],
    );
    await page.waitForFunction(() => window.subscribed);
    assert.equal(await page.evaluate(() => window.transport), "sse");
    await publishAll(channel, numbers(1, 20));
    await page.waitForFunction(() => window.seen.length >= 20);
    assert.deepEqual(await page.evaluate(() => window.seen), numbers(1, 20));
    await page.close();
  });
}

test("the SDK falls back by itself where WebSocket is blocked", async () => {
  const client = await clients.connect(
    [{ transport: "websocket", endpoint: nginx.url.replace("http", "ws") + "/connection/websocket" }, ...endpoints(nginx.url, "http_stream")],
    options(nginx.url),
  );
  assert.equal(client.identity.transport, "http_stream");
  const sub = await subscribe(client, "open:fallback");
  const seen = collect(sub, "publication", ({ data }) => data);
  await publishAll("open:fallback", numbers(1, 5));
  await seen.reached(5);
  assert.deepEqual(seen, numbers(1, 5));
});

test("a refusal that cannot change stops the EventSource", async () => {
  const page = await browser.newPage();
  await page.goto(`${node.url}/page.json`);
  const state = await page.evaluate(
    () =>
      new Promise((resolve) => {
        const source = new EventSource("/connection/uni_sse?channels=unknown:a");
        source.onerror = () => resolve(source.readyState);
      }),
  );
  assert.equal(state, 2, "CLOSED");
  await page.close();
});
