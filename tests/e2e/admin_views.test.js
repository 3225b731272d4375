// What the views tell of a live cluster: the broker's server, the log, a reload that is refused, clients by SDK and address, a ping, those who come
// back, and an action on many.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { login as logIn, picture, startAdminCluster } from "./support/admin_cluster.js";
import { startBrowser } from "./support/browser.js";
import { Clients, subscribe } from "./support/client.js";
import { Raw } from "./support/raw.js";
import { inSeconds, sign } from "./support/token.js";

const CHANNEL = "open:views";

let cluster;
let browser;
let url;
const clients = new Clients();
const raws = [];

before(async () => {
  cluster = await startAdminCluster();
  url = `${cluster.nodes[0].url}/admin/`;
  browser = await startBrowser();
});
after(async () => {
  clients.close();
  for (const raw of raws) raw.close();
  await browser?.close();
  await cluster?.stop();
});

const login = (options) => logIn(browser, url, options);
const token = (user) => sign({ sub: user, exp: inSeconds(3600) });
const redis = (...words) => execFileSync("redis-cli", ["-p", String(cluster.redis), ...words]).toString();

test("the broker view has a row of each node's server with its role, version, round trip and policy, red unless noeviction", async () => {
  const admin = await login({ view: "broker" });
  const cards = admin.page.locator("main .card");
  await cards.nth(2).filter({ hasText: "noeviction" }).waitFor();
  assert.equal(await cards.count(), 3);
  // Each node asks its server in its own time: the first card may have less than the last one at first.
  const text = await cards.first().filter({ hasText: "noeviction" }).filter({ hasText: /Round trip\s*[\d.]+ ms/ }).innerText();
  for (const part of [`127.0.0.1:${cluster.redis}`, "ready", "master", "replicas: 0", redis("info", "server").match(/redis_version:(\S+)/)[1]]) assert.ok(text.includes(part), `${part}\n${text}`);
  assert.match(text, /Round trip\s+[\d.]+ ms/);
  assert.match(text, /Reconnects\s+0\b/);
  assert.match(text, /Pending requests\s+\d+\s+Pending bytes\s+\d+/);
  redis("config", "set", "maxmemory-policy", "allkeys-lru");
  await cards.first().locator(".state.bad").filter({ hasText: "allkeys-lru: must be noeviction" }).waitFor();
  assert.deepEqual(await admin.audit(), []);
  await picture(admin, "broker");
  redis("config", "set", "maxmemory-policy", "noeviction");
  await admin.close();
});

test("a reload that is refused is told with its reason, and its line is in the logs of that node", async () => {
  const [, node] = cluster.nodes;
  const good = readFileSync(node.file, "utf8");
  const admin = await logIn(browser, `${node.url}/admin/`, { view: "settings" });
  await admin.says("main .card", "There was no reload since the start.");
  writeFileSync(node.file, good.replace(/history_size = \d+/, "history_size = 'many'"));
  await admin.page.click("[data-action=reload]");
  await admin.says("dialog", "history_size");
  await admin.page.locator("dialog form button.danger").click();
  await admin.page.locator("dialog #done").waitFor();
  await admin.page.keyboard.press("Escape");
  await admin.says("main .card dl", "history_size");
  assert.match(await admin.text("main .card dl"), /Succeeded\s+no/);
  await admin.view("logs");
  await admin.says("main tbody tr", "settings not reloaded");
  const line = await admin.page.locator("main tbody tr", { hasText: "settings not reloaded" }).first().innerText();
  assert.match(line, /error/);
  assert.match(line, /gorani::server::reload/);
  assert.deepEqual(await admin.audit(), []);
  writeFileSync(node.file, good);
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("connections are found by SDK and by address, and a ping shows the round trip of a client that is there", async () => {
  const client = await clients.connect(cluster.nodes[2].websocket, { token: token("pinged"), name: "swift", version: "7.3" });
  await subscribe(client, CHANNEL);
  const admin = await login();
  for (const query of ["sdk=swift", "address=127.0.0.1", "user=pinged"]) {
    await admin.view(`connections?${query}`);
    const row = admin.page.locator("main tbody tr", { hasText: "pinged" });
    await row.waitFor();
    assert.match(await row.innerText(), /swift\s+7\.3[\s\S]*127\.0\.0\.1/);
  }
  await admin.view("connections?sdk=nobody");
  assert.equal(await admin.page.locator("main tbody tr").count(), 0);
  await admin.view("connections?user=pinged");
  await admin.page.locator("main tbody th a").first().click();
  await admin.says("main h1", "Connection");
  await admin.page.click("main [data-action=ping]");
  await admin.says("dialog #would", "This sends a ping to 1 connections.");
  await admin.page.locator("dialog form button.danger").click();
  await admin.says("dialog #done", "The answer took");
  await admin.page.keyboard.press("Escape");
  // One that does not read does not answer: somebody is connected, and nobody is there.
  const raw = await Raw.open(cluster.nodes[2].websocket);
  raws.push(raw);
  raw.send({ id: 1, connect: { token: token("deaf") } });
  const { connect } = await raw.reply((reply) => reply.id === 1);
  raw.socket.pause();
  await admin.view(`connections/${connect.client}`);
  await admin.page.click("main [data-action=ping]");
  await admin.says("dialog #would", "1 connections");
  await admin.page.locator("dialog form button.danger").click();
  await admin.says("dialog", "no pong came");
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("a list of channels tells position, history and presence, and one channel where its options come from", async () => {
  const client = await clients.connect(cluster.nodes[1].websocket, { token: token("listed") });
  await subscribe(client, "open:listed");
  for (let count = 0; count < 3; count += 1) await cluster.nodes[0].publish("open:listed", { count });
  const admin = await login({ view: "channels?prefix=open:listed" });
  const row = admin.page.locator("main tbody tr", { hasText: "open:listed" });
  await row.waitFor();
  let cells = await row.locator("td .cell").allInnerTexts();
  // What the broker does not tell within a second is unknown: then the list is asked for again.
  for (let tries = 1; tries < 20 && cells.includes("unknown"); tries += 1) {
    await admin.view("channels");
    await admin.view("channels?prefix=open:listed");
    await row.waitFor();
    cells = await row.locator("td .cell").allInnerTexts();
  }
  // Subscribers, nodes, offset, epoch, history, bytes, presence.
  assert.deepEqual([cells[0], cells[2], cells[4], cells[6]], ["1", "3", "3", "1"], cells.join("|"));
  assert.match(cells[5], /^[1-9][\d.,]* K?i?B$/, cells.join("|"));
  await admin.view("channels/open:listed");
  assert.match(await admin.text(), /Size of the history\s+[1-9]/);
  assert.match(await admin.text(), /history_size[\s\S]*300[\s\S]*file/);
  await admin.close();
});

test("the disconnects tell that a user came back, after how long and where", async () => {
  const client = await clients.connect(cluster.nodes[2].websocket, { token: token("returner") });
  await subscribe(client, CHANNEL);
  const admin = await login();
  const back = new Promise((resolve) => client.once("connected", resolve));
  const status = await admin.page.evaluate(() =>
    fetch("api/actions/disconnect", { method: "POST", headers: { "Content-Type": "application/json", "X-Gorani-Admin": "1" }, body: JSON.stringify({ user: "returner", code: 4000, reason: "try again" }) }).then((answer) => answer.status),
  );
  assert.equal(status, 200);
  await back;
  await admin.view("disconnects");
  // The view is asked once, and a node may note the return a moment after the client has heard of it.
  await admin.page.getByRole("button", { name: "Live" }).click();
  const row = admin.page.locator("main tbody tr", { hasText: "returner" });
  await row.filter({ hasText: /after .*, on / }).waitFor();
  assert.match(await row.innerText(), /4000[\s\S]*try again/);
  await picture(admin, "disconnects");
  await admin.close();
});

test("an action on more than a hundred connections of several nodes asks for the name, and shows its result by node", async () => {
  const ended = [];
  for (let count = 0; count < 102; count += 1) {
    const raw = await Raw.open(cluster.nodes[count % 3].websocket);
    raws.push(raw);
    ended.push(new Promise((resolve) => raw.socket.once("close", resolve)));
    // A pong: on a busy machine the first ones would be missed before the last one has connected.
    raw.socket.on("message", (data) => String(data) === "{}" && raw.send({}));
    raw.send({ id: 1, connect: { token: token("crowd") } });
    await raw.reply((reply) => reply.id === 1);
  }
  const admin = await login({ view: "users/crowd" });
  await admin.page.locator("main tbody tr").first().waitFor();
  await admin.page.locator("main [data-action=disconnect]").first().click();
  await admin.says("dialog #would", "This ends 102 connections on 3 nodes.");
  const confirm = admin.page.locator("dialog form button.danger");
  assert.ok(await confirm.isDisabled());
  await admin.page.fill("#field-typed", "crowd");
  await confirm.click();
  await admin.says("dialog #done", "Done: 102.");
  const rows = await admin.page.locator("dialog tbody tr td:nth-child(2) .cell").allInnerTexts();
  assert.deepEqual(rows, ["34", "34", "34"]);
  await Promise.all(ended);
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("a setting that was changed and waits for a restart is marked after a reload, and no other is", async () => {
  const [node] = cluster.nodes;
  const good = readFileSync(node.file, "utf8");
  const admin = await login({ view: "settings" });
  writeFileSync(node.file, good.replace("admin.password_contents = true", "admin.password_contents = false"));
  await admin.page.click("[data-action=reload]");
  await admin.says("dialog tbody tr", "admin.password_contents");
  await admin.page.locator("dialog form button.danger").click();
  await admin.page.locator("dialog #done").waitFor();
  await admin.page.keyboard.press("Escape");
  await admin.says("main .card dl", "0 changed, 1 wait for a restart");
  const mark = admin.page.locator(".state.bad", { hasText: "waits for a restart" });
  const marked = admin.page.locator("main tbody tr", { has: mark });
  assert.equal(await marked.count(), 1);
  assert.match(await marked.innerText(), /admin\.password_contents/);
  writeFileSync(node.file, good);
  await admin.close();
});
