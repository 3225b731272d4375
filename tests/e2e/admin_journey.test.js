// The journey of an operator through the admin page on three nodes, by keyboard alone: from "somebody is slow" to a drained node and a reload.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { AdminWindow } from "./support/admin_browser.js";
import { PASSWORD, picture, press, startAdminCluster, tabTo } from "./support/admin_cluster.js";
import { startBrowser } from "./support/browser.js";
import { Clients, collect, subscribe } from "./support/client.js";
import { Raw } from "./support/raw.js";
import { inSeconds, sign } from "./support/token.js";

const CHANNEL = "open:ticker";
/** Publications of this size fill the buffers of the machine between both ends soon. */
const LARGE = "x".repeat(200_000);
/** More than any kernel keeps for a connection. */
const LARGE_MAX = 400;

let cluster;
let browser;
const clients = new Clients();
const raws = [];

before(async () => {
  cluster = await startAdminCluster({ "drain.grace": "0s", "client.outbox_max_bytes": 300_000, "client.ping_interval": "120s", "client.pong_timeout": "100s" });
  browser = await startBrowser();
});
after(async () => {
  clients.close();
  for (const raw of raws) raw.close();
  await browser?.close();
  await cluster?.stop();
});

const token = (user) => sign({ sub: user, exp: inSeconds(3600) });

/** A client that is subscribed and does not read any more. */
async function silentClient(node, user) {
  const raw = await Raw.open(node.websocket);
  raws.push(raw);
  raw.send({ id: 1, connect: { token: token(user), name: "js", version: "1.0" } });
  await raw.reply((reply) => reply.id === 1);
  raw.send({ id: 2, subscribe: { channel: CHANNEL } });
  await raw.reply((reply) => reply.id === 2);
  raw.socket.pause();
  return raw;
}

/** What the admin API of a node answers to the window's cookie. */
const ask = (admin, path) => admin.page.evaluate((call) => fetch(`api/${call}`).then((answer) => answer.json()), path);

/** Publishes until the user of a client that does not read was ended as slow. The first offset that they did not get at all. */
async function overflow(admin, user) {
  // Another client of that node has each publication before the next one comes: by then the node has handed it out, so that none comes
  // between the one that did not fit and its consequence.
  const witness = await clients.connect(cluster.nodes[0].websocket, { token: token(`witness-${user}`) });
  const seen = collect(await subscribe(witness, CHANNEL), "publication", ({ offset }) => offset);
  for (let count = 0; count < LARGE_MAX; count += 1) {
    const { offset } = await cluster.nodes[0].publish(CHANNEL, { text: LARGE });
    await seen.reached(count + 1);
    const { result } = await ask(admin, "slow");
    if (result.ended.some((row) => row.user === user)) {
      witness.disconnect();
      return offset;
    }
  }
  throw new Error(`${user} was not ended as slow`);
}

const JOURNEYS = [
  { colorScheme: "light", viewport: { width: 1280, height: 820 }, drained: 1, size: 200, at: () => cluster.nodes[0].url },
  // A balancer that sends every request to the next node, as `make up` has one.
  { colorScheme: "dark", viewport: { width: 360, height: 640 }, drained: 2, size: 100, at: () => cluster.url },
];

for (const { colorScheme, viewport, drained, size, at } of JOURNEYS) {
  test(`by keyboard alone, ${colorScheme}, ${viewport.width} pixels wide: from a slow consumer to a drained node and a reload`, async () => {
    const user = `42-${colorScheme}`;
    const node = cluster.nodes[drained];
    const draining = await clients.connect(node.websocket, { token: token(`reader-${colorScheme}`) });
    await subscribe(draining, CHANNEL);
    await silentClient(cluster.nodes[0], user);

    const admin = await AdminWindow.open(browser, `${at()}/admin/`, { colorScheme, viewport });
    const { page } = admin;
    const { keyboard } = page;
    const look = async (name) => {
      assert.deepEqual(await admin.audit(), [], name);
      assert.equal(await admin.overflow(), 0, name);
      if (name === "overview" || viewport.width > 1000) await picture(admin, name);
    };

    // Logs in.
    await tabTo(page, "#field-password");
    await keyboard.type(PASSWORD);
    await press(page, "Enter");
    await page.locator("main .numbers").waitFor();
    await look("overview");

    // Finds the slow consumer by name.
    const offset = await overflow(admin, user);
    await admin.press("s", "Slow consumers");
    const ended = page.locator("main table").nth(1).locator("tbody tr", { hasText: user });
    await ended.waitFor();
    assert.match(await ended.innerText(), /outbox was full/);
    await look("slow");
    await tabTo(page, "main td a", user);
    await press(page, "Enter");
    await admin.says("main h1", `User ${user}`);
    await admin.says("main table", "3008");

    // Explains what they missed.
    await tabTo(page, "main a", "Explain");
    await press(page, "Enter");
    await admin.says("main h1", "Explain");
    await press(page, "/");
    await keyboard.type(CHANNEL);
    await tabTo(page, "#field-offset");
    await keyboard.type(String(offset));
    await press(page, "Enter");
    await page.locator("#answer").waitFor();
    assert.equal(await page.locator("#answer p code").first().innerText(), "overflow");
    await admin.says("#answer", `offset ${offset}`);
    await look("explain");

    // Follows the channel: what is published on another node comes at once.
    await admin.press("c", "Channels");
    await press(page, "/");
    await keyboard.type(CHANNEL);
    await press(page, "Enter");
    await tabTo(page, "#tail");
    const listens = page.waitForResponse((response) => response.url().includes("/api/tail"));
    await press(page, "Enter");
    assert.equal((await listens).status(), 200);
    await cluster.nodes[drained].publish(CHANNEL, { text: "followed" });
    const followed = page.locator("main section.card", { has: page.locator("#tail") });
    await followed.locator("tbody tr", { hasText: "followed" }).waitFor();
    await look("tail");
    await press(page, "Enter");
    await admin.says("#tail", "Start the tail");

    // Drains a node and sees it empty.
    await admin.press("n", "Nodes");
    const row = page.locator("main tbody tr", { hasText: `127.0.0.1:${node.port}` });
    await row.waitFor();
    const position = await page.locator("main tbody tr").evaluateAll((rows, port) => rows.findIndex((each) => each.textContent.includes(port)), String(node.port));
    await press(page, ...Array(position + 1).fill("j"));
    await tabTo(page, "[data-action=drain]");
    assert.ok(await row.evaluate((element) => element.contains(document.activeElement)));
    await press(page, "Enter");
    await admin.says("dialog #would", "This sends 1 connections to other nodes");
    assert.deepEqual(await admin.audit(), [], "drain");
    assert.equal(await admin.overflow(), 0, "drain");
    await tabTo(page, "dialog form button.danger");
    await press(page, "Enter");
    await admin.says("dialog #done", "Done: 1.");
    await press(page, "Escape");
    await row.filter({ hasText: "draining, 0 left" }).waitFor();
    await look("nodes");

    // Reloads an option of a namespace and reads what it changes.
    for (const each of cluster.nodes) writeFileSync(each.file, readFileSync(each.file, "utf8").replace(/history_size = \d+/, `history_size = ${size}`));
    await admin.press("t", "Settings");
    await tabTo(page, "[data-action=reload]");
    await press(page, "Enter");
    await admin.says("dialog #would", "This changes 1 settings on 3 nodes.");
    await admin.says("dialog", "history_size");
    await admin.says("dialog tbody tr", String(size));
    await look("reload");
    await tabTo(page, "dialog form button.danger");
    await press(page, "Enter");
    await admin.says("dialog #done", "Done");
    await press(page, "Escape");
    await admin.says("main dl", "1 changed, 0 wait for a restart");
    assert.deepEqual(await admin.audit(), [], "settings");
    assert.equal(await admin.overflow(), 0, "settings");

    assert.deepEqual(admin.problems, []);
    await admin.close();
  });
}
