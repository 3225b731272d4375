// SockJS with its published client: in Node, and in Chromium over the transports that only browsers have. And the SDK over it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

import SockJS from "sockjs-client";

import { startBrowser } from "./support/browser.js";
import { Clients, collect, subscribe } from "./support/client.js";
import { startNode } from "./support/node.js";
import { tryTransport, UNICODE, WITHIN } from "./support/sockjs.js";

const library = readFileSync(createRequire(import.meta.url).resolve("sockjs-client/dist/sockjs.min.js"));
const clients = new Clients();
let site;
let node;
let browser;

before(async () => {
  // A page of another origin, which also serves the client library for the hidden frames.
  site = createServer((request, response) => {
    const isLibrary = request.url.startsWith("/sockjs.min.js");
    response.setHeader("Content-Type", isLibrary ? "text/javascript" : "text/html");
    response.end(isLibrary ? library : "<!doctype html><title>site</title><script src='/sockjs.min.js'></script>");
  }).listen(0, "127.0.0.1");
  await once(site, "listening");
  site.url = `http://127.0.0.1:${site.address().port}`;
  node = await startNode({
    "development.sockjs_conformance": true,
    "sockjs.client_url": `${site.url}/sockjs.min.js`,
    "client.allowed_origins": ["*"],
  });
  browser = await startBrowser();
});
after(async () => {
  clients.close();
  await browser?.close();
  await node?.stop();
  site?.close();
  site?.closeAllConnections();
});

for (const transport of ["websocket", "xhr-streaming", "xhr-polling"]) {
  test(`sockjs-client in Node runs its cases over ${transport}`, async () => {
    assert.deepEqual(await tryTransport({ SockJS, url: node.url, transport, unicode: UNICODE, within: WITHIN }), []);
  });
}

/** Runs the cases in a page of Chromium. */
async function inBrowser(page, transport) {
  const run = `(${tryTransport})({ SockJS, url: ${JSON.stringify(node.url)}, transport: ${JSON.stringify(transport)},
    unicode: ${JSON.stringify(UNICODE)}, within: ${WITHIN} })`;
  return page.evaluate(run);
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
  test(`sockjs-client in a page of another origin runs its cases over ${transport}`, async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(site.url);
    assert.deepEqual(await inBrowser(page, transport), []);
    await context.close();
  });
}

for (const transport of ["htmlfile", "jsonp-polling", "eventsource"]) {
  test(`sockjs-client in a page of the same origin runs its cases over ${transport}`, async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(`${node.url}/echo/iframe.html`);
    assert.deepEqual(await inBrowser(page, transport), []);
    await context.close();
  });
}

for (const transport of ["websocket", "xhr-streaming", "xhr-polling"]) {
  test(`the SDK subscribes, publishes and receives in order over SockJS's ${transport}`, async () => {
    const endpoint = [{ transport: "sockjs", endpoint: `${node.url}/connection/sockjs` }];
    const client = await clients.connect(endpoint, { sockjs: SockJS, sockjsOptions: { transports: [transport] } });
    assert.equal(client.identity.transport, `sockjs-${transport}`);
    const sub = await subscribe(client, `open:sockjs-${transport}`);
    const offsets = collect(sub, "publication", ({ offset }) => offset);
    await sub.publish({ text: "from a client </script>\u2028" });
    for (let number = 0; number < 20; number += 1) await node.publish(`open:sockjs-${transport}`, { number });
    await offsets.reached(21);
    assert.deepEqual(offsets, Array.from({ length: 21 }, (_, index) => index + 1));
  });
}
