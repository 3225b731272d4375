// Attacks on the admin page and its API on three live nodes: requests that another site makes, passwords that are tried, hostile names, and roles
// that change under an open page.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { VIEWS } from "./support/admin_browser.js";
import { HOSTILE } from "./support/admin_answers.js";
import { PASSWORD, login, startAdminCluster } from "./support/admin_cluster.js";
import { startBrowser } from "./support/browser.js";
import { Clients, subscribe } from "./support/client.js";
import { inSeconds, sign } from "./support/token.js";

const CHANNEL = "open:hostile";
/** Channels take no control characters; the rest of the hostile names they take. */
const CHANNELS = ["open:<img src=x onerror=alert(1)>", `open:${"y".repeat(250)}`];

let cluster;
let browser;
let url;
const clients = new Clients();

before(async () => {
  // The same password opens another role on the second node; the cookie is good on all of them.
  cluster = await startAdminCluster({ "http.trusted_proxies": ["127.0.0.1"] }, (node) => ({ "admin.password_role": node === 1 ? "viewer" : "operator" }));
  url = `${cluster.nodes[0].url}/admin/`;
  browser = await startBrowser();
});
after(async () => {
  clients.close();
  await browser?.close();
  await cluster?.stop();
});

/** A login by hand; `address`: that of a client behind the trusted proxy. */
async function post(node, call, { headers = {}, body = {}, address } = {}) {
  const from = address ? { "X-Forwarded-For": address } : {};
  const all = { "Content-Type": "application/json", "X-Gorani-Admin": "1", "Sec-Fetch-Site": "same-origin", ...from, ...headers };
  for (const name of Object.keys(all)) if (all[name] === undefined) delete all[name];
  const response = await fetch(`${node.url}/admin/api/${call}`, { method: "POST", headers: all, body: typeof body === "string" ? body : JSON.stringify(body) });
  return { status: response.status, headers: response.headers, code: (await response.json().catch(() => null))?.error?.code };
}

test("a change that another site could make a browser send is refused, and changes nothing", async () => {
  const node = cluster.nodes[0];
  const { headers } = await post(node, "login", { body: { password: PASSWORD }, address: "192.0.2.1" });
  const Cookie = headers.get("set-cookie").split(";")[0];
  const victim = await clients.connect(node.websocket, { token: sign({ sub: "victim", exp: inSeconds(3600) }) });
  const body = { user: "victim" };
  const attempts = {
    "no mark": { headers: { Cookie, "X-Gorani-Admin": undefined }, body },
    "another mark": { headers: { Cookie, "X-Gorani-Admin": "0" }, body },
    "cross-site": { headers: { Cookie, "Sec-Fetch-Site": "cross-site" }, body },
    "same-site": { headers: { Cookie, "Sec-Fetch-Site": "same-site" }, body },
    "typed in": { headers: { Cookie, "Sec-Fetch-Site": "none" }, body },
    "another origin": { headers: { Cookie, "Sec-Fetch-Site": undefined, Origin: "https://evil.example" }, body },
    "no origin": { headers: { Cookie, "Sec-Fetch-Site": undefined, Origin: "null" }, body },
    form: { headers: { Cookie, "Content-Type": "application/x-www-form-urlencoded" }, body: "user=victim" },
    text: { headers: { Cookie, "Content-Type": "text/plain" }, body: JSON.stringify(body) },
  };
  for (const [name, attempt] of Object.entries(attempts)) {
    const { status, code } = await post(node, "actions/disconnect", attempt);
    assert.deepEqual([status, code], [403, "cross_site"], name);
  }
  for (const method of ["GET", "PUT", "DELETE", "PATCH"]) {
    const response = await fetch(`${node.url}/admin/api/actions/disconnect?user=victim`, { method, headers: { Cookie, "X-Gorani-Admin": "1" } });
    assert.equal(response.status, 405, method);
    await response.arrayBuffer();
  }
  const preflight = await fetch(`${node.url}/admin/api/actions/disconnect`, { method: "OPTIONS", headers: { Origin: "https://evil.example", "Access-Control-Request-Method": "POST" } });
  assert.equal(preflight.headers.get("access-control-allow-origin"), null);
  assert.equal(victim.state, "connected");
  // The same request of the page itself is carried out.
  const gone = new Promise((resolve) => victim.once("disconnected", resolve));
  assert.equal((await post(node, "actions/disconnect", { headers: { Cookie }, body })).status, 200);
  await gone;
});

test("a page of another origin cannot read or change anything with the cookie of the browser", async () => {
  const admin = await login(browser, url);
  // Another port of the same host is the same site, so the browser sends the cookie; the node refuses it.
  const other = await admin.context.newPage();
  await other.goto(`${cluster.nodes[2].url}/`);
  const tried = await other.evaluate(async (target) => {
    const outcomes = [];
    const send = async (options) => {
      try {
        const answer = await fetch(`${target}api/actions/reload`, { credentials: "include", ...options });
        outcomes.push(answer.type === "opaque" ? "not readable" : answer.status);
      } catch {
        outcomes.push("refused");
      }
    };
    await send({ method: "POST", headers: { "Content-Type": "application/json", "X-Gorani-Admin": "1" }, body: "{}" });
    await send({ method: "POST", mode: "no-cors", headers: { "Content-Type": "text/plain" }, body: "{}" });
    return outcomes;
  }, url);
  assert.equal(tried[0], "refused");
  assert.ok(["refused", "not readable"].includes(tried[1]), tried[1]);
  const { result } = await admin.page.evaluate(() => fetch("api/settings").then((answer) => answer.json()));
  assert.equal(result.last_reload, null);
  await admin.close();
});

test("passwords that are tried without end get 429 with a time, and the right one from elsewhere still opens", async () => {
  const node = cluster.nodes[2];
  const statuses = [];
  for (let attempt = 0; attempt < 8; attempt += 1) statuses.push((await post(node, "login", { body: { password: `wrong ${attempt}` }, address: "198.51.100.7" })).status);
  assert.deepEqual(statuses.slice(0, 5), [401, 401, 401, 401, 401]);
  assert.deepEqual(statuses.slice(5), [429, 429, 429]);
  const refused = await post(node, "login", { body: { password: PASSWORD }, address: "198.51.100.7" });
  assert.deepEqual([refused.status, refused.code], [429, "too_many_attempts"]);
  assert.ok(Number(refused.headers.get("retry-after")) > 0);
  // A flood of many addresses at once costs turns, and closes nobody out.
  const flood = Array.from({ length: 60 }, (_, index) => post(node, "login", { body: { password: "wrong" }, address: `203.0.113.${index}` }));
  const seen = new Set((await Promise.all(flood)).map(({ status }) => status));
  assert.ok([...seen].every((status) => status === 401 || status === 429), [...seen].join());
  let opened;
  for (let attempt = 0; attempt < 20 && opened?.status !== 200; attempt += 1) {
    opened = await post(node, "login", { body: { password: PASSWORD }, address: "192.0.2.99" });
    if (opened.status === 429) assert.ok(Number(opened.headers.get("retry-after")) <= 2, opened.headers.get("retry-after"));
  }
  assert.equal(opened.status, 200);
  const metrics = await (await fetch(`${node.url}/metrics`)).text();
  assert.match(metrics, /gorani_admin_logins_total\{result="login_failed"\} [1-9]/);
  assert.match(metrics, /gorani_admin_logins_total\{result="too_many_attempts"\} [1-9]/);
  assert.match(metrics, /gorani_admin_logins_total\{result="ok"\} 1\n/);
});

test("the cookie is for this host, unseen by scripts and by other sites, and over TLS has the prefix that browsers check", async () => {
  const plain = await post(cluster.nodes[0], "login", { body: { password: PASSWORD }, address: "192.0.2.2" });
  assert.match(plain.headers.get("set-cookie"), /^gorani_admin=[^;]+; HttpOnly; SameSite=Strict; Path=\/$/);
  const forwarded = await post(cluster.nodes[0], "login", { body: { password: PASSWORD }, address: "192.0.2.2", headers: { "X-Forwarded-Proto": "https" } });
  assert.match(forwarded.headers.get("set-cookie"), /^__Host-gorani_admin=[^;]+; HttpOnly; Secure; SameSite=Strict; Path=\/$/);
});

test("hostile names of users, channels, tags, clients, payloads and reasons are text in every view", async () => {
  const [node] = cluster.nodes;
  let last;
  for (const [index, name] of HOSTILE.entries()) {
    const client = await clients.connect(node.websocket, { token: sign({ sub: name.slice(0, 255), exp: inSeconds(3600) }), name: name.slice(0, 16), version: HOSTILE[0].slice(0, 16) });
    await subscribe(client, CHANNEL);
    for (const channel of index === 0 ? CHANNELS : []) await subscribe(client, channel);
    await node.publish(CHANNEL, { text: name, [name]: name }, { tags: { kind: name.slice(0, 200) } });
    last = client;
  }
  const admin = await login(browser, url);
  const gone = new Promise((resolve) => last.once("disconnected", resolve));
  const ended = await admin.page.evaluate(
    ([user, reason]) => fetch("api/actions/disconnect", { method: "POST", headers: { "Content-Type": "application/json", "X-Gorani-Admin": "1" }, body: JSON.stringify({ user, reason, code: 4500 }) }).then((answer) => answer.status),
    [HOSTILE.at(-1).slice(0, 255), HOSTILE[0]],
  );
  assert.equal(ended, 200);
  await gone;
  const { result } = await admin.page.evaluate((channel) => fetch(`api/subscribers?channel=${encodeURIComponent(channel)}`).then((answer) => answer.json()), CHANNEL);
  const [{ client }] = result;
  const views = VIEWS.map((view) => view.replace("chat:lobby", CHANNEL).replace("connections/client-1", `connections/${client}`).replace("users/user-1", `users/${encodeURIComponent(HOSTILE[0])}`));
  for (const view of [...views, ...CHANNELS.map((channel) => `channels/${encodeURIComponent(channel)}`)]) {
    await admin.view(view);
    const made = await admin.page.evaluate(() => document.querySelectorAll("main img, main script, main iframe, [onerror]").length);
    assert.equal(made, 0, view);
    const hidden = await admin.page.evaluate(() => /[\u0000\u200b\u202e\u2066-\u2069]/.test(document.querySelector("main").innerText));
    assert.equal(hidden, false, view);
  }
  await admin.view(`channels/${CHANNEL}`);
  const text = await admin.text();
  assert.ok(text.includes(HOSTILE[0]), "a payload with markup is shown as it is");
  await admin.view("disconnects");
  await admin.says("main", "4500");
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("a role that changes under an open page is told, and the action is not carried out", async () => {
  const admin = await login(browser, url);
  await admin.view("settings");
  await admin.page.locator("[data-action=reload]").waitFor();
  const other = await admin.context.newPage();
  other.setDefaultTimeout(90_000);
  await other.goto(`${cluster.nodes[1].url}/admin/#/settings`);
  // The cookie is that of the first tab; the second one logs out and in again where the password opens less.
  await other.locator("main tbody tr").first().waitFor();
  await other.click("#logout");
  await other.fill("#field-password", PASSWORD);
  await other.keyboard.press("Enter");
  await other.locator("main tbody tr").first().waitFor();
  assert.equal(await other.locator("[data-action]").count(), 0);
  assert.equal(await other.getByRole("link", { name: "Audit log" }).count(), 0);
  await admin.page.click("[data-action=reload]");
  await admin.says("dialog .note.bad", "Your role does not allow this.");
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("a live page that nobody sees asks nothing for 60 seconds", async () => {
  const admin = await login(browser, url, { prepare: (page) => page.clock.install() });
  for (const view of ["overview", "nodes", "slow", "broker"]) {
    await admin.view(view);
    await admin.visibility("hidden");
    const before = admin.requests.length;
    await admin.page.clock.runFor(60_000);
    assert.equal(admin.requests.length, before, view);
    const back = admin.page.waitForResponse(/admin\/api\//);
    await admin.visibility("visible");
    await back;
  }
  assert.deepEqual(admin.problems, []);
  await admin.close();
});
