// SockJS with its published client: in Node, and in Chromium over the transports that only browsers have; at one node, and at
// three behind a balancer that sends each request to another one. And the SDK over it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

import SockJS from "sockjs-client";

import { startBrowser } from "./support/browser.js";
import { Clients, collect, subscribe } from "./support/client.js";
import { Cluster } from "./support/cluster.js";
import { startNode } from "./support/node.js";
import { only, tryTransport, UNICODE, WITHIN } from "./support/sockjs.js";

const library = readFileSync(createRequire(import.meta.url).resolve("sockjs-client/dist/sockjs.min.js"));
const clients = new Clients();
let site;
let node;
let cluster;
let browser;
/** Where the client's cases run. */
const PLACES = [
  { place: "one node", url: () => node.url },
  { place: "three nodes, each request at another", url: () => cluster.url },
];

before(async () => {
  // A page of another origin, which also serves the client library for the hidden frames.
  site = createServer((request, response) => {
    const isLibrary = request.url.startsWith("/sockjs.min.js");
    response.setHeader("Content-Type", isLibrary ? "text/javascript" : "text/html");
    response.end(isLibrary ? library : "<!doctype html><title>site</title><script src='/sockjs.min.js'></script>");
  }).listen(0, "127.0.0.1");
  await once(site, "listening");
  site.url = `http://127.0.0.1:${site.address().port}`;
  const settings = {
    "development.sockjs_conformance": true,
    "sockjs.client_url": `${site.url}/sockjs.min.js`,
    "client.allowed_origins": ["*"],
  };
  node = await startNode(settings);
  cluster = await Cluster.start(settings);
  browser = await startBrowser();
});
after(async () => {
  clients.close();
  await browser?.close();
  await node?.stop();
  await cluster?.stop();
  site?.close();
  site?.closeAllConnections();
});

/** Runs the cases in a page of Chromium that was loaded from `from`. */
async function inBrowser(from, url, transport) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(from);
  const run = `(${tryTransport})({ SockJS, url: ${JSON.stringify(url)}, transport: ${JSON.stringify(transport)},
    unicode: ${JSON.stringify(UNICODE)}, within: ${WITHIN} })`;
  const problems = await page.evaluate(run);
  await context.close();
  return problems;
}

for (const { place, url } of PLACES) {
  for (const transport of ["websocket", "xhr-streaming", "xhr-polling"]) {
    test(`sockjs-client in Node runs its cases over ${transport} at ${place}`, async () => {
      assert.deepEqual(await tryTransport({ SockJS, url: url(), transport, unicode: UNICODE, within: WITHIN }), []);
    });
  }

  for (const transport of [
    "websocket",
    "xhr-streaming",
    "xhr-polling",
    "eventsource",
    "jsonp-polling",
    "iframe-eventsource",
    "iframe-htmlfile",
    "iframe-xhr-polling",
  ]) {
    test(`sockjs-client in a page of another origin runs its cases over ${transport} at ${place}`, async () => {
      assert.deepEqual(await inBrowser(site.url, url(), transport), []);
    });
  }

  for (const transport of ["htmlfile", "jsonp-polling", "eventsource"]) {
    test(`sockjs-client in a page of the same origin runs its cases over ${transport} at ${place}`, async () => {
      assert.deepEqual(await inBrowser(`${url()}/echo/iframe.html`, url(), transport), []);
    });
  }
}

test("the balancer spread the requests, and the nodes took them to their sessions", async () => {
  assert.ok((await cluster.forwarded()) > 100);
});

for (const transport of ["websocket", "xhr-streaming", "xhr-polling"]) {
  test(`the SDK subscribes, publishes and receives in order over SockJS's ${transport}`, async () => {
    const endpoint = [{ transport: "sockjs", endpoint: `${node.url}/connection/sockjs` }];
    const client = await clients.connect(endpoint, { sockjs: SockJS, sockjsOptions: only(transport) });
    assert.equal(client.identity.transport, `sockjs-${transport}`);
    const sub = await subscribe(client, `open:sockjs-${transport}`);
    const offsets = collect(sub, "publication", ({ offset }) => offset);
    await sub.publish({ text: "from a client </script>\u2028" });
    for (let number = 0; number < 20; number += 1) await node.publish(`open:sockjs-${transport}`, { number });
    await offsets.reached(21);
    assert.deepEqual(offsets, Array.from({ length: 21 }, (_, index) => index + 1));
  });
}
