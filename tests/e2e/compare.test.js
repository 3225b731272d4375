// The page at /compare, in a real browser, on a node with the development settings: every transport receives the same, at its own price.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startBrowser } from "./support/browser.js";
import { startDevelopmentNode, startNode } from "./support/node.js";
import { Proxy } from "./support/proxy.js";

const WAYS = ["polling", "long-polling", "streaming", "sse", "websocket"];
/** Milliseconds within which the browser of a busy machine shows what it was sent. */
const SHOWN_WITHIN = 60_000;

let node;
let browser;
before(async () => {
  node = await startDevelopmentNode();
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await node?.stop();
});

/** Opens the page at `channel`; `problems` are those of the page. */
async function compare(channel, url = node.url) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  const problems = [];
  const hosts = new Set();
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("request", (request) => hosts.add(new URL(request.url()).host));
  page.on("websocket", (socket) => hosts.add(new URL(socket.url()).host));
  await page.goto(`${url}/compare#${channel}`);
  await page.waitForFunction((count) => document.querySelectorAll('.column .state[data-kind="good"]').length === count, WAYS.length, {
    timeout: SHOWN_WITHIN,
  });
  return { page, problems, hosts };
}

/** Waits until every column has counted `messages`. */
const all = (page, messages) =>
  page.waitForFunction(
    (wanted) => [...document.querySelectorAll(".column .counted")].every((cell) => cell.textContent === String(wanted)),
    messages,
    { timeout: SHOWN_WITHIN },
  );

/** What every column shows, by its name. */
const columns = (page) =>
  page.evaluate(() => {
    const read = (card) => {
      const number = (name) => Number.parseFloat(card.querySelector(`.${name}`).textContent.replaceAll(",", ""));
      return {
        requests: number("requests"),
        bytes: number("bytes"),
        last: number("last"),
        median: number("median"),
        arrived: [...card.querySelectorAll(".arrived li span:first-child")].map((span) => span.textContent),
      };
    };
    return Object.fromEntries([...document.querySelectorAll(".column")].map((card) => [card.dataset.way, read(card)]));
  });

const upTo = (last, first = 1) => Array.from({ length: last - first + 1 }, (_, i) => `#${first + i}`);

test("every transport receives every message in order, and those that poll ask again and again", async () => {
  const { page, problems, hosts } = await compare("demo:compared");
  await page.click("#once");
  await all(page, 1);
  await page.click("#often");
  // At five a second, that many take polling through several rounds.
  await page.waitForFunction(() => Number.parseInt(document.getElementById("outcome").textContent, 10) >= 20, undefined, { timeout: SHOWN_WITHIN });
  await page.click("#often");
  // A publication that was on its way when the button was pressed still counts.
  await page.locator('#outcome[aria-busy="false"]').waitFor({ timeout: SHOWN_WITHIN });
  const count = Number.parseInt(await page.locator("#outcome").textContent(), 10);
  await all(page, count);

  const shown = await columns(page);
  assert.deepEqual(Object.keys(shown), WAYS);
  for (const [way, { arrived, bytes, last, median }] of Object.entries(shown)) {
    assert.deepEqual(arrived, upTo(count), way);
    assert.ok(bytes > count * 50, `${way}: ${bytes} bytes for ${count} messages`);
    for (const latency of [last, median]) assert.ok(latency >= 0 && latency < SHOWN_WITHIN, `${way}: ${latency} ms`);
  }
  for (const way of ["streaming", "sse", "websocket"]) assert.equal(shown[way].requests, 1, way);
  for (const way of ["polling", "long-polling"]) assert.ok(shown[way].requests >= 3, `${way}: ${shown[way].requests} requests`);
  assert.deepEqual(problems, []);
  assert.deepEqual([...hosts], [`127.0.0.1:${node.port}`]);
  await page.close();
});

test("polling asks on where nothing is published, and the others are silent", async () => {
  const { page } = await compare("demo:silent");
  await page.waitForFunction(() => Number.parseInt(document.querySelector('[data-way="polling"] .requests').textContent, 10) >= 4, undefined, {
    timeout: SHOWN_WITHIN,
  });
  const shown = await columns(page);
  for (const way of WAYS.slice(1)) assert.ok(shown[way].requests < shown.polling.requests, `${way}: ${shown[way].requests}`);
  await page.close();
});

test("a transport whose line breaks comes back and misses nothing", async (t) => {
  const channel = "demo:broken";
  const proxy = await Proxy.to(node.port);
  t.after(() => proxy.close());
  const { page } = await compare(channel, proxy.url);
  await node.publish(channel, "before");
  await all(page, 1);
  proxy.cut();
  await page.waitForFunction((count) => document.querySelectorAll('.column .state[data-kind="bad"]').length === count, WAYS.length, {
    timeout: SHOWN_WITHIN,
  });
  for (const text of ["one", "two"]) await node.publish(channel, text);
  proxy.mend();
  await all(page, 3);
  for (const [way, { arrived }] of Object.entries(await columns(page))) assert.deepEqual(arrived, upTo(3), way);
  await page.close();
});

test("a channel that is closed is told, and another one begins", async () => {
  const page = await browser.newPage();
  await page.goto(`${node.url}/compare#locked:room`);
  await page.locator("#banner").filter({ hasText: "permission denied" }).waitFor({ timeout: SHOWN_WITHIN });
  await page.fill("#channel", "demo:open");
  await page.press("#channel", "Enter");
  await page.locator('[data-way="websocket"] .state[data-kind="good"]').waitFor({ timeout: SHOWN_WITHIN });
  assert.equal(await page.locator("#banner").isHidden(), true);
  await page.close();
});

test("the page at / leads there, with its channel, and nothing sticks out of a small screen", async () => {
  const page = await browser.newPage({ viewport: { width: 320, height: 640 } });
  await page.goto(`${node.url}/#demo:led`);
  await page.locator('#compare[href="compare#demo%3Aled"]').click({ timeout: SHOWN_WITHIN });
  await page.locator('[data-way="websocket"] .state[data-kind="good"]').waitFor({ timeout: SHOWN_WITHIN });
  assert.equal(await page.inputValue("#channel"), "demo:led");
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320);
  await page.close();
});

test("it is served only with the page, under the same policy", async () => {
  const [there, page] = await Promise.all(["/compare", "/"].map((path) => fetch(node.url + path)));
  assert.equal(there.status, 200);
  const policy = "content-security-policy";
  assert.equal(there.headers.get(policy), page.headers.get(policy));
  const closed = await startNode();
  try {
    for (const path of ["/compare", "/compare.js", "/receivers.js"]) assert.equal((await fetch(closed.url + path)).status, 404, path);
  } finally {
    await closed.stop();
  }
});
