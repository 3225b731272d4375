// The page at /, in a real browser, on a node that runs with the development settings as `make run` starts it.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, beforeEach, test } from "node:test";
import { promisify } from "node:util";

import { startBrowser, Visitor } from "./support/browser.js";
import { startDevelopmentNode } from "./support/node.js";
import { Proxy } from "./support/proxy.js";

const run = promisify(execFile);
let node;
let browser;
let channel;
let tests = 0;
before(async () => {
  node = await startDevelopmentNode();
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await node?.stop();
});
beforeEach(() => {
  tests += 1;
  channel = `demo:room${tests}`;
});

const visit = (options = {}) => Visitor.open(browser, options.url ?? node.url, { channel, ...options });
const visitSubscribed = async (options) => {
  const visitor = await visit(options);
  await visitor.subscribed();
  return visitor;
};

test("what the page's curl line publishes appears in two browsers", async () => {
  const visitors = [await visitSubscribed(), await visitSubscribed()];
  await visitors[0].page.fill("#data", `{"text": "it's for everybody"}`);
  const line = await visitors[0].page.locator("#curl").textContent();
  const { stdout } = await run("sh", ["-c", `${line} --silent --show-error --fail-with-body`]);
  assert.equal(JSON.parse(stdout).result.offset, 1);
  for (const visitor of visitors) {
    await visitor.sees("it's for everybody");
    assert.deepEqual(await visitor.offsets(), ["#1"]);
    assert.deepEqual(visitor.problems, []);
    await visitor.close();
  }
});

test("the page asks nobody but its own node, and forbids itself to", async () => {
  const visitor = await visitSubscribed();
  const hosts = new Set(visitor.requests.map((url) => new URL(url).host));
  assert.deepEqual([...hosts], [`127.0.0.1:${node.port}`]);
  const { headers } = await fetch(`${node.url}/`);
  const policy = headers.get("content-security-policy") ?? "";
  assert.match(policy, /default-src '(none|self)'/);
  assert.doesNotMatch(policy, /unsafe-/);
  assert.match(headers.get("content-type") ?? "", /^text\/html; charset=utf-8$/i);
  assert.equal(headers.get("x-content-type-options"), "nosniff");
  await visitor.close();
});

test("the page's own box publishes, and says what the node answered", async () => {
  const visitor = await visitSubscribed();
  await visitor.page.fill("#data", "plain words");
  await visitor.page.press("#data", "Control+Enter");
  await visitor.sees("plain words");
  await visitor.says("#outcome", "Published at offset 1");
  await visitor.page.fill("#key", "wrong");
  await visitor.page.click("#publish");
  await visitor.says("#outcome", "Refused");
  assert.deepEqual(await visitor.offsets(), ["#1"]);
  await visitor.close();
});

test("presence shows everybody who is there, and who leaves is gone", async () => {
  const first = await visitSubscribed();
  const second = await visitSubscribed();
  for (const visitor of [first, second]) {
    await visitor.says("#present-count", "2");
    assert.equal(await visitor.page.locator("#present li").count(), 2);
    assert.equal(await visitor.page.locator("#present .you").count(), 1);
  }
  await second.close();
  await first.says("#present-count", "1");
  await first.close();
});

test("who comes or goes while the answer about presence is on its way is not forgotten", async () => {
  const leaves = await visitSubscribed();
  let release;
  const asked = new Promise((resolve) => (release = resolve));
  const prepare = (page) =>
    page.routeWebSocket(/connection\/websocket/, (socket) => {
      const server = socket.connectToServer();
      server.onMessage((message) => (/"presence":\{/.test(message) ? release(() => socket.send(message)) : socket.send(message)));
    });
  const late = await visit({ prepare });
  const answer = await asked;
  const comes = await visitSubscribed();
  await leaves.close();
  await comes.says("#present-count", "2");
  // It comes after join and leave.
  await node.publish(channel, "after both");
  await late.sees("after both");
  answer();
  await late.says("#present-count", "2");
  const shown = (visitor) => visitor.page.locator("#present li").evaluateAll((rows) => rows.map((row) => row.dataset.client).sort());
  assert.deepEqual(await shown(late), await shown(comes));
  for (const visitor of [late, comes]) await visitor.close();
});

test("what was published before the page came is shown from the history", async () => {
  for (const text of ["one", "two", "three"]) await node.publish(channel, text);
  const visitor = await visitSubscribed();
  await visitor.sees("3 messages from before");
  await node.publish(channel, "four");
  await visitor.sees("four");
  assert.deepEqual(await visitor.offsets(), ["#1", "#2", "#3", "#4"]);
  await visitor.close();
});

test("what is published while the page is cut off is recovered, nothing lost and nothing twice", async (t) => {
  // The page comes back by itself after 3 s: the wire keeps it away until all is published, however long that takes.
  const proxy = await Proxy.to(node.port);
  t.after(() => proxy.close());
  const visitor = await visitSubscribed({ url: proxy.url });
  await node.publish(channel, "before");
  await visitor.sees("before");
  await visitor.page.evaluate(() => {
    const state = document.getElementById("state");
    const note = () => state.textContent.startsWith("Cut off") && (globalThis.wasCutOff = true);
    new MutationObserver(note).observe(state, { subtree: true, childList: true, characterData: true });
  });
  await visitor.page.click("#drop");
  proxy.cut();
  await visitor.page.waitForFunction(() => globalThis.wasCutOff);
  for (const text of ["missed one", "missed two", "missed three"]) await node.publish(channel, text);
  proxy.mend();
  await visitor.sees("Recovered 3 messages");
  await node.publish(channel, "after");
  await visitor.sees("after");
  assert.deepEqual(await visitor.offsets(), ["#1", "#2", "#3", "#4", "#5"]);
  await visitor.close();
});

test("a wire that breaks is told, and its messages are recovered when it is mended", async (t) => {
  const proxy = await Proxy.to(node.port);
  t.after(() => proxy.close());
  const visitor = await visitSubscribed({ url: proxy.url });
  await node.publish(channel, "before");
  await visitor.sees("before");
  proxy.cut();
  await visitor.says("#state", "Reconnecting");
  await node.publish(channel, "missed");
  proxy.mend();
  await visitor.sees("Recovered 1 message");
  await visitor.says("#state", "Connected");
  assert.equal(await visitor.page.locator("#banner").isHidden(), true);
  assert.deepEqual(await visitor.offsets(), ["#1", "#2"]);
  await visitor.close();
});

test("a channel that is closed is shown as such, and another one still opens", async () => {
  const visitor = await visit({ channel: "locked:room" });
  await visitor.says("#empty-title", "Permission denied");
  await visitor.says("#facts", "103");
  await visitor.page.fill("#channel", "nowhere:room");
  await visitor.page.press("#channel", "Enter");
  await visitor.says("#empty-title", "Unknown channel");
  await visitor.page.fill("#channel", channel);
  await visitor.page.press("#channel", "Enter");
  await visitor.subscribed();
  await visitor.says("#empty-title", "Listening");
  await visitor.close();
});

test("a visitor chooses the transport, and sees which one is used and what travels", async () => {
  for (const [way, path] of [["http_stream", "POST /connection/http_stream"], ["sse", "GET /connection/sse"], ["", "Upgrade: websocket"]]) {
    const { page, ...visitor } = await visitSubscribed();
    await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
    if (way) await page.selectOption("#way", way);
    await page.locator("#transport").filter({ hasText: way || "websocket" }).waitFor({ timeout: 60_000 });
    await page.locator("#facts").filter({ hasText: "subscribed" }).waitFor({ timeout: 60_000 });
    await node.publish(channel, { text: `over ${way || "websocket"}` });
    await page.locator("#messages > li").filter({ hasText: `over ${way || "websocket"}` }).waitFor({ timeout: 60_000 });
    await page.locator("#travel .request").filter({ hasText: path }).first().waitFor({ timeout: 60_000 });
    await page.locator("#travel .in").filter({ hasText: `over ${way || "websocket"}` }).waitFor({ timeout: 60_000 });
    assert.deepEqual(visitor.problems, []);
    await visitor.context.close();
  }
});

test("light and dark follow the system, and the button changes them", async () => {
  const light = await visitSubscribed({ colorScheme: "light" });
  const dark = await visitSubscribed({ colorScheme: "dark" });
  assert.ok((await light.brightness()) > 200, "light is bright");
  assert.ok((await dark.brightness()) < 70, "dark is dark");
  await dark.page.click("#theme");
  assert.ok((await dark.brightness()) > 200, "changed to light");
  await dark.page.reload();
  await dark.subscribed();
  assert.ok((await dark.brightness()) > 200, "and kept");
  await light.close();
  await dark.close();
});

test("nothing sticks out of a small screen, however long a message is", async () => {
  await node.publish(channel, "x".repeat(3000));
  await node.publish(channel, { "a-long-key-without-any-place-to-break-it-in-two": "y".repeat(300) });
  for (const width of [320, 360, 768]) {
    const visitor = await visitSubscribed({ viewport: { width, height: 640 } });
    await visitor.sees("Show all 3,000 characters");
    assert.equal(await visitor.page.evaluate(() => document.documentElement.scrollWidth), width);
    await visitor.close();
  }
});

test("thousands of messages leave the feed bounded and in order", async () => {
  const visitor = await visitSubscribed();
  const commands = Array.from({ length: 1200 }, (_, i) => ({ publish: { channel, data: i } }));
  for (let i = 0; i < commands.length; i += 300) await node.api("batch", { commands: commands.slice(i, i + 300) });
  await node.publish(channel, "the last one");
  await visitor.sees("the last one");
  const offsets = (await visitor.offsets()).map((text) => Number(text.slice(1)));
  assert.ok(offsets.length <= 500, `${offsets.length} rows`);
  assert.equal(offsets.at(-1), 1201);
  assert.deepEqual(offsets, Array.from(offsets, (_, i) => 1201 - offsets.length + 1 + i));
  await visitor.close();
});
