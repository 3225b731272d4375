// The admin page in Chromium on three nodes with one Redis, behind a balancer that sends every request to the next node.
// `GORANI_PICTURES=1` also makes the pictures of the documents.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { AdminWindow, VIEWS } from "./support/admin_browser.js";
import { HOSTILE } from "./support/admin_answers.js";
import { PASSWORD, login as logIn, picture, startAdminCluster } from "./support/admin_cluster.js";
import { startBrowser } from "./support/browser.js";
import { Clients, subscribe } from "./support/client.js";
import { inSeconds, sign } from "./support/token.js";

/** Clients of the cluster have these users; markup and control characters are allowed in a user. */
const USERS = ["user-1", HOSTILE[0], HOSTILE[3]];
const CHANNEL = "open:lobby";

let cluster;
let browser;
let url;
const clients = new Clients();

before(async () => {
  cluster = await startAdminCluster();
  url = `${cluster.url}/admin/`;
  for (const [index, user] of USERS.entries()) {
    const client = await clients.connect(cluster.nodes[index].websocket, { token: sign({ sub: user, exp: inSeconds(3600) }), name: HOSTILE[1].slice(0, 16) });
    await subscribe(client, CHANNEL);
  }
  for (let count = 1; count <= 3; count += 1) await cluster.nodes[0].publish(CHANNEL, { text: HOSTILE[0], count }, { tags: { kind: HOSTILE[0] } });
  browser = await startBrowser();
});
after(async () => {
  clients.close();
  await browser?.close();
  await cluster?.stop();
});

const login = (options = {}) => logIn(browser, options.url ?? url, options);

/** The views with what is there: the channel, and a client that is connected. */
const liveViews = (client) => VIEWS.map((view) => view.replace("chat:lobby", CHANNEL).replace("connections/client-1", `connections/${client}`));

test("a wrong password is refused, a right one opens every node, and the logout ends the old cookie", async () => {
  const admin = await AdminWindow.open(browser, url);
  await admin.page.locator("#field-password").waitFor();
  await picture(admin, "login");
  await admin.page.fill("#field-password", "wrong");
  await admin.page.keyboard.press("Enter");
  await admin.says("main .note.bad", "The login failed.");
  await admin.page.fill("#field-password", PASSWORD);
  await admin.page.keyboard.press("Enter");
  await admin.page.locator("main .numbers").waitFor();
  const [cookie] = await admin.context.cookies();
  assert.equal(cookie.httpOnly, true);
  assert.equal(cookie.sameSite, "Strict");
  assert.equal(cookie.path, "/");
  assert.equal(await admin.page.evaluate(() => document.cookie), "");
  const ask = (node) => fetch(`${node.url}/admin/api/session`, { headers: { Cookie: `${cookie.name}=${cookie.value}` } });
  for (const node of cluster.nodes) assert.equal((await ask(node)).status, 200);
  await admin.page.click("#logout");
  await admin.page.locator("#field-password").waitFor();
  for (const node of cluster.nodes) assert.equal((await ask(node)).status, 401);
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("every view shows the live cluster: no violation, no other origin, nothing for axe, no sideways scrolling at 360", async () => {
  for (const [colorScheme, viewport] of [["light", { width: 1280, height: 820 }], ["dark", { width: 360, height: 640 }]]) {
    const admin = await login({ colorScheme, viewport });
    await admin.view("users/user-1");
    await admin.page.locator("main tbody tr").first().waitFor();
    const client = (await admin.page.locator("main tbody th a").first().getAttribute("title")) ?? "";
    assert.notEqual(client, "");
    for (const view of liveViews(client)) {
      await admin.view(view);
      assert.deepEqual(await admin.audit(), [], view);
      if (viewport.width === 360) assert.equal(await admin.overflow(), 0, view);
      const failed = await admin.page.locator("main h1").filter({ hasText: "cannot show" }).count();
      assert.equal(failed, 0, view);
      const name = { [`channels/${CHANNEL}`]: "channel", [`connections/${client}`]: "connection" }[view];
      if (name && viewport.width > 1000) await picture(admin, name);
    }
    assert.deepEqual(await admin.violations(), []);
    assert.deepEqual([...new Set(admin.requests.map((request) => new URL(request).origin))], [cluster.url]);
    assert.deepEqual(admin.problems, []);
    await admin.close();
  }
});

test("names of clients, tags and payloads that hold markup are text", async () => {
  const admin = await login();
  await admin.view(`channels/${CHANNEL}`);
  await admin.says("main", HOSTILE[0]);
  assert.equal(await admin.page.evaluate(() => document.querySelectorAll("main img, main script").length), 0);
  await admin.page.getByRole("button", { name: "List the subscribers" }).click();
  await admin.says("main", "\\u202egnp.exe");
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("the numbers of nodes, channels and subscribers are those of the cluster", async () => {
  const admin = await login();
  await admin.says("main .numbers", "3 of 3");
  await admin.view("nodes");
  assert.equal(await admin.page.locator("main tbody tr").count(), 3);
  await admin.view("channels?prefix=open:");
  await admin.page.locator("main tbody tr", { hasText: CHANNEL }).waitFor();
  assert.match(await admin.page.locator("main tbody tr", { hasText: CHANNEL }).innerText(), /\b3\b/);
  await admin.close();
});

test("by keyboard: find a user, explain, disconnect", async () => {
  const admin = await login();
  const { keyboard } = admin.page;
  await admin.page.locator("main .numbers").waitFor();
  await admin.press("u", "Connections");
  await keyboard.press("/");
  await keyboard.type("user-1");
  await keyboard.press("Enter");
  await admin.says("main h1", "User user-1");
  await admin.page.locator("main tbody tr").first().waitFor();
  const subscription = admin.page.locator("main td a", { hasText: "Explain" }).first();
  await subscription.focus();
  await keyboard.press("Enter");
  await admin.says("main h1", "Explain");
  await admin.page.locator("#answer").waitFor();
  await admin.page.goBack();
  await admin.says("main h1", "User user-1");
  const gone = new Promise((resolve) => {
    for (const client of clients.all()) client.once("disconnected", resolve);
  });
  await admin.page.locator("[data-action=disconnect]").first().focus();
  await keyboard.press("Enter");
  await admin.says("dialog #would", "This ends 1 connections");
  await admin.page.locator("dialog button.danger").focus();
  await keyboard.press("Enter");
  await admin.says("dialog #done", "Done: 1.");
  await gone;
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("a logout in one tab brings the other to the login", async () => {
  const admin = await login();
  const other = await admin.context.newPage();
  other.setDefaultTimeout(90_000);
  await other.goto(`${url}#/nodes`);
  await other.locator("main tbody tr").first().waitFor();
  await admin.page.click("#logout");
  await other.locator("#field-password").waitFor();
  await admin.close();
});

test("a node is drained from the page: it says how many connections go, and shows that it drains or is gone", async () => {
  const admin = await login({ url: `${cluster.nodes[0].url}/admin/` });
  await admin.view("nodes");
  const rows = admin.page.locator("main tbody tr");
  await rows.nth(1).locator("[data-action=drain]").click();
  await admin.says("dialog #would", "and the node takes no new ones");
  await admin.page.locator("dialog form button.danger").click();
  await admin.page.locator("dialog #done").waitFor();
  await admin.page.keyboard.press("Escape");
  await admin.page.waitForFunction(() => document.querySelectorAll("main tbody tr").length < 3 || /draining|missing/.test(document.querySelector("main").innerText));
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("a node that is killed while the view is open is said to be missing, and the view goes on", async () => {
  const admin = await login({ url: `${cluster.nodes[0].url}/admin/` });
  await admin.view("nodes");
  assert.equal(await admin.page.locator("main tbody tr").count(), 3);
  cluster.nodes[2].kill();
  await admin.says("main .notes", "did not answer, its part is missing.");
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("after five wrong passwords the page says when the next one may come", async () => {
  const admin = await AdminWindow.open(browser, `${cluster.nodes[1].url}/admin/`);
  for (let attempt = 0; attempt < 6; attempt += 1) {
    await admin.page.fill("#field-password", `wrong ${attempt}`);
    // While an answer is under way the button is off, and then Enter does nothing.
    await admin.page.locator("main form button.primary:enabled").waitFor();
    const answered = admin.page.waitForResponse(/api\/login$/);
    await admin.page.keyboard.press("Enter");
    await answered;
  }
  await admin.says("main .note.bad", "Too many attempts. Try again in");
  assert.deepEqual(admin.problems, []);
  await admin.close();
});
