// The admin page in Chromium, on data that the tests choose: accessibility, hostile names, narrow windows, and answers that lack something.

import assert from "node:assert/strict";
import { test } from "node:test";

import { VIEWS } from "./support/admin_browser.js";
import { HOSTILE, nodes, tailOf } from "./support/admin_answers.js";
import { fakeAdminSuite } from "./support/admin_fake.js";

const suite = fakeAdminSuite();
const { open } = suite;

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing in any view, ${colorScheme}, and the policy is never violated`, async () => {
    const admin = await open({ colorScheme });
    for (const view of VIEWS) {
      await admin.view(view);
      assert.deepEqual(await admin.audit(), [], view);
    }
    assert.deepEqual(await admin.violations(), []);
    assert.deepEqual(admin.problems, []);
    await admin.close();
  });
}

test("no view scrolls sideways at 360 by 640, in English and in Korean", async () => {
  for (const locale of ["en-US", "ko-KR"]) {
    const admin = await open({ locale, viewport: { width: 360, height: 640 } });
    for (const view of VIEWS) {
      await admin.view(view);
      assert.equal(await admin.overflow(), 0, `${locale} ${view}`);
    }
    await admin.page.click(".menu-button");
    await admin.page.locator("nav a").first().waitFor();
    assert.equal(await admin.overflow(), 0, "with the menu open");
    assert.deepEqual(await admin.audit(), []);
    await admin.close();
  }
});

test("hostile names are text in every view: no dialog, no image, no script, and nothing hidden", async () => {
  const admin = await open();
  for (const view of VIEWS) {
    await admin.view(view);
    const made = await admin.page.evaluate(() => document.querySelectorAll("main img, main script, main iframe, [onerror]").length);
    assert.equal(made, 0, view);
  }
  await admin.view("slow");
  const text = await admin.text();
  for (const name of HOSTILE.filter((each) => each.length < 50 && !/[\u0000\u200b\u202e]/.test(each))) assert.ok(text.includes(name), name);
  for (const name of ["\\u202egnp.exe", "zero\\u0000byte", "a\\u200bb"]) assert.ok(text.includes(name), name);
  const long = admin.page.locator(`[title="${"x".repeat(255)}"]`).first();
  assert.equal((await long.innerText()).length, 48);
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("a long name is copied whole, with the characters that are not seen", async () => {
  suite.fake.answers.slow.result.now = [{ client: "c", user: `${"y".repeat(100)}\u202e`, node: "n1", oldest_ms: 1 }];
  const admin = await open({ view: "slow", permissions: ["clipboard-read", "clipboard-write"] });
  await admin.page.locator("main button.small").first().click();
  await admin.says("main button.small", "Copied");
  assert.equal(await admin.page.evaluate(() => navigator.clipboard.readText()), `${"y".repeat(100)}\u202e`);
  await admin.close();
});

test("links to hostile names lead to the views of those names", async () => {
  const admin = await open();
  for (const name of [HOSTILE[0], "a/b?c#d%", "채널:로비", "100%"]) {
    // The view shows its title before it asks.
    const asked = admin.page.waitForResponse((response) => {
      const { pathname, searchParams } = new URL(response.url());
      return pathname === "/admin/api/channel" && searchParams.get("channel") === name;
    });
    await admin.page.evaluate((channel) => import("./assets/route.js").then(({ go }) => go("channels", channel)), name);
    await admin.says("main h1", name.slice(0, 20));
    assert.equal((await asked).status(), 200);
  }
  await admin.close();
});

test("a page that nobody sees asks nothing for 60 seconds, and asks at once when it is seen again", async () => {
  const admin = await open({ prepare: (page) => page.clock.install() });
  await admin.page.locator("main .numbers").waitFor();
  // A seen page asks again.
  const next = admin.page.waitForRequest(/api\/overview/);
  await admin.page.clock.runFor(2500);
  await next;
  await admin.visibility("hidden");
  const hidden = admin.asked();
  await admin.page.clock.runFor(60_000);
  assert.equal(admin.asked(), hidden);
  const back = admin.page.waitForResponse(/api\/overview/);
  await admin.visibility("visible");
  await back;
  await admin.close();
});

test("a paused page asks nothing, and p pauses and goes on", async () => {
  const admin = await open({ prepare: (page) => page.clock.install() });
  await admin.page.locator("main .numbers").waitFor();
  await admin.page.keyboard.press("p");
  await admin.says("main .note", "Paused");
  const before = admin.asked();
  await admin.page.clock.runFor(30_000);
  assert.equal(admin.asked(), before);
  const back = admin.page.waitForResponse(/api\/overview/);
  await admin.page.keyboard.press("p");
  await back;
  await admin.close();
});

test("lists are asked for on demand: they ask once, and again only when live is pressed", async () => {
  const admin = await open({ view: "disconnects", prepare: (page) => page.clock.install() });
  await admin.shown("disconnects");
  await admin.page.clock.runFor(60_000);
  assert.equal(admin.asked("disconnects"), 1);
  const again = admin.page.waitForResponse(/api\/disconnects/);
  await admin.page.getByRole("button", { name: "Live" }).click();
  await again;
  await admin.close();
});

test("the order of rows stays while the pointer is in the table, and follows the values when it has left", async () => {
  const rows = (values) => ({ ...suite.fake.answers.slow.result, now: values.map(([client, oldest_ms]) => ({ client, user: client, node: "n1", oldest_ms })) });
  suite.fake.answers.slow.result = rows([["one", 30], ["two", 20], ["three", 10]]);
  const admin = await open({ view: "slow", prepare: (page) => page.clock.install() });
  await admin.shown("slow");
  const order = () => admin.page.locator("main table").first().locator("tbody th").allInnerTexts();
  assert.deepEqual(await order(), ["one", "two", "three"]);
  await admin.page.locator("main table").first().hover();
  suite.fake.answers.slow.result = rows([["new", 99], ["three", 50], ["two", 40], ["one", 1]]);
  const next = admin.page.waitForResponse(/api\/slow/);
  await admin.page.clock.runFor(2500);
  await next;
  await admin.says("main table", "50 ms");
  assert.deepEqual(await order(), ["one", "two", "three", "new"]);
  await admin.page.locator("h1").hover();
  await admin.page.waitForFunction(() => document.querySelector("main tbody th").innerText === "new");
  assert.deepEqual(await order(), ["new", "three", "two", "one"]);
  await admin.close();
});

test("what a silent node knows is said to be missing, in every view, and is never zero", async () => {
  const silent = nodes.map((node, index) => ({ ...node, answered: index !== 2 }));
  for (const answer of Object.values(suite.fake.answers)) if (answer.nodes) answer.nodes = silent;
  suite.fake.answers.overview.result = { nodes_up: 2, nodes_expected: 3, connections: null };
  suite.fake.answers.nodes.result[2] = { id: "node-id-3", name: "n3" };
  const admin = await open();
  for (const view of ["overview", "nodes", "slow", "disconnects", "settings", "logs", "connections?transport=websocket"]) {
    await admin.view(view);
    await admin.says("main .notes", "n3 did not answer, its part is missing.");
  }
  await admin.view("overview");
  const numbers = await admin.text("main .numbers");
  assert.match(numbers, /Connections\s+unknown/);
  assert.doesNotMatch(numbers, /\b0\b/);
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("answers of older, newer and broken nodes break no view", async () => {
  const admin = await open();
  const odd = [{}, { result: null }, { result: [] }, { result: {} }, { result: "text", nodes: "none" }, [], { result: { settings: 3, servers: {}, now: null, codes: "x" } }];
  for (const answer of odd) {
    for (const name of Object.keys(suite.fake.answers).filter((each) => !["tail", "action"].includes(each))) suite.fake.answers[name] = answer;
    for (const view of VIEWS) {
      await admin.view(view);
      assert.doesNotMatch(await admin.text("main h1"), /cannot show/, `${view} ${JSON.stringify(answer)}`);
    }
    assert.deepEqual(admin.problems, [], JSON.stringify(answer));
  }
  await admin.close();
});

test("when the node is gone the last answer stays, with the words that it is the last", async () => {
  const admin = await open({ prepare: (page) => page.clock.install() });
  await admin.page.locator("main .numbers").waitFor();
  await admin.page.route(/api\/overview/, (route) => route.abort());
  await admin.page.clock.runFor(2500);
  await admin.says("main .notes", "The node does not answer. Below is the last answer.");
  assert.match(await admin.text("main .numbers"), /120,345/);
  await admin.page.unroute(/api\/overview/);
  await admin.page.clock.runFor(2500);
  await admin.page.locator("main .notes .bad").waitFor({ state: "detached" });
  await admin.close();
});

test("an action says in numbers what it would do, asks for the name above 100, and shows the result by node", async () => {
  const admin = await open({ view: "users/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E" });
  const button = admin.page.locator("main [data-action=disconnect]");
  await button.click();
  await admin.says("dialog #would", "This ends 1,204 connections on 3 nodes.");
  assert.deepEqual(suite.fake.posts.at(-1).body, { user: HOSTILE[0], dry_run: true });
  const confirm = admin.page.locator("dialog button.danger");
  assert.ok(await confirm.isDisabled());
  assert.deepEqual(await admin.audit(), []);
  await admin.page.fill("#field-typed", HOSTILE[0]);
  await confirm.click();
  await admin.says("dialog #done", "Done: 1,204.");
  assert.deepEqual(suite.fake.posts.at(-1).body, { user: HOSTILE[0] });
  assert.equal(suite.fake.posts.at(-1).headers["x-gorani-admin"], "1");
  assert.equal(await admin.page.locator("dialog tbody tr").count(), 3);
  await admin.page.keyboard.press("Escape");
  await admin.page.locator("dialog").waitFor({ state: "detached" });
  assert.equal(await admin.page.evaluate(() => document.activeElement.dataset.action), "disconnect");
  await admin.close();
});

test("a node that does not answer the preview is named, and the name has to be typed", async () => {
  suite.fake.answers.action = { result: { by_node: [{ id: "node-id-1", name: "n1", count: 2 }] }, nodes: nodes.map((node, index) => ({ ...node, answered: index !== 2 })) };
  const admin = await open({ view: "users/user-1" });
  await admin.page.click("main [data-action=disconnect]");
  await admin.says("dialog .note.bad", "n3 did not answer.");
  await admin.says("dialog #would", "unknown");
  assert.ok(await admin.page.locator("dialog button.danger").isDisabled());
  await admin.close();
});

test("data that are no JSON are refused in the dialog, before anything is sent", async () => {
  const admin = await open({ view: "channels/chat:lobby" });
  await admin.page.click("main [data-action=publish]");
  await admin.page.fill("#field-data", "{nope");
  await admin.page.click("dialog button[type=submit]");
  await admin.says("dialog .note.bad", "The data are not JSON.");
  assert.deepEqual(suite.fake.posts, []);
  await admin.page.fill("#field-data", `{"text":"hello"}`);
  await admin.page.click("dialog button[type=submit]");
  await admin.says("dialog #would", "3 subscribers");
  assert.deepEqual(suite.fake.posts.at(-1).body, { channel: "chat:lobby", data: { text: "hello" }, dry_run: true });
  await admin.close();
});

test("a reload says what it changes at once, what waits for a restart", async () => {
  suite.fake.answers["actions/reload"] = (body) => ({
    result: {
      dry_run: Boolean(body.dry_run),
      live: [{ key: "channel.namespaces[chat].history_size", before: 100, after: 200 }, { key: HOSTILE[0], before: null, after: HOSTILE[1] }],
      restart: [{ key: "http.address", before: "0.0.0.0:8000", after: "0.0.0.0:9000" }],
      effects: ["new publications keep 200"],
    },
    nodes: nodes.slice(0, 1),
  });
  const admin = await open({ view: "settings" });
  await admin.page.click("main [data-action=reload]");
  await admin.says("dialog #would", "This changes 3 settings of this node.");
  const text = await admin.text("dialog");
  for (const part of ["channel.namespaces[chat].history_size", "100", "200", HOSTILE[0], "not set", "waits for a restart", "at once", "new publications keep 200"]) assert.ok(text.includes(part), part);
  assert.deepEqual(await admin.audit(), []);
  await admin.page.click("dialog form button.danger");
  await admin.says("dialog #done", "Done.");
  assert.deepEqual(suite.fake.posts.map(({ body }) => body), [{ dry_run: true }, {}]);
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("a reload ends subscriptions that are no longer permitted only where it is ticked, and above 100 only where it is typed", async () => {
  const reload = (count) => (body) => ({
    result: {
      total: 1,
      live: [{ key: "channel.namespaces.chat.allow_subscribe_for_client", before: true, after: false }],
      restart: [],
      effects: [],
      by_node: [{ id: "node-id-1", name: "n1", count: 1 }],
      not_permitted: count,
      ended: body.enforce && !body.dry_run ? count : 0,
    },
    nodes: nodes.slice(0, 1),
  });
  const admin = await open({ view: "settings" });
  const box = admin.page.locator("dialog input[name=enforce]");
  const button = admin.page.locator("dialog form button.danger");
  const typed = admin.page.locator("dialog input[name=typed]");
  for (const [count, needsWord, says] of [[3, false, "End the 3 subscriptions"], [1204, true, "End the 1,204 subscriptions"], [null, true, "did not tell how many"]]) {
    suite.fake.posts.length = 0;
    suite.fake.answers["actions/reload"] = reload(count);
    await admin.page.click("main [data-action=reload]");
    await admin.says("dialog label.check", says);
    assert.equal(await box.isChecked(), false);
    assert.equal(await button.isDisabled(), false, "without it nothing ends");
    await box.check();
    assert.equal(await typed.count(), needsWord ? 1 : 0, `${count}`);
    if (needsWord) {
      assert.equal(await button.isDisabled(), true);
      await typed.fill("enforce");
    }
    assert.deepEqual(await admin.audit(), []);
    await button.click();
    await admin.says("dialog #done", count === null ? "subscriptions end within 20 s" : `${count.toLocaleString("en")} subscriptions end within 20 s`);
    assert.deepEqual(suite.fake.posts.map(({ body }) => body), [{ dry_run: true }, { enforce: true }]);
    await admin.page.keyboard.press("Escape");
    await admin.page.locator("dialog").waitFor({ state: "detached" });
  }
  suite.fake.posts.length = 0;
  suite.fake.answers["actions/reload"] = reload(0);
  await admin.page.click("main [data-action=reload]");
  await admin.says("dialog #would", "This changes 1 settings");
  assert.equal(await box.count(), 0, "there is nothing to end");
  await button.click();
  await admin.says("dialog #done", "Done: 1.");
  assert.deepEqual(suite.fake.posts.map(({ body }) => body), [{ dry_run: true }, {}]);
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("a viewer sees no action and no audit log", async () => {
  suite.fake.session.role = "viewer";
  const admin = await open();
  for (const view of ["nodes", "channels/chat:lobby", "connections/client-1", "users/user-1", "settings"]) {
    await admin.view(view);
    assert.equal(await admin.page.locator("[data-action]").count(), 0, view);
  }
  assert.equal(await admin.page.getByRole("link", { name: "Audit log" }).count(), 0);
  await admin.close();
});

test("who is not logged in gets the login, then the view of the address, and a session that ends asks for it again", async () => {
  suite.fake.session = null;
  const admin = await open({ view: "slow" });
  await admin.page.locator("#field-password").waitFor();
  assert.deepEqual(await admin.audit(), []);
  await admin.page.fill("#field-password", "wrong");
  await admin.page.keyboard.press("Enter");
  await admin.says("main .note.bad", "The login failed.");
  suite.fake.failures.login = { status: 429, code: "too_many_attempts", headers: { "Retry-After": "30" } };
  await admin.page.keyboard.press("Enter");
  await admin.says("main .note.bad", "Try again in 30 s.");
  suite.fake.failures.login = { status: 403, code: "insecure" };
  await admin.page.keyboard.press("Enter");
  await admin.says("main .note.bad", "Use HTTPS");
  suite.fake.failures = {};
  await admin.page.fill("#field-password", "right");
  await admin.page.keyboard.press("Enter");
  await admin.says("main h1", "Slow consumers");
  suite.fake.failures.slow = { status: 401, code: "login_required" };
  await admin.page.locator("#field-password").waitFor();
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("a login by a provider leads there and back to the view that was asked for, and tells why it failed", async () => {
  for (const [locale, button, told] of [["en-US", "Log in with Company <b>", "Your account has no role here."], ["ko-KR", "Company <b>(으)로 로그인", "이 계정에는"]]) {
    suite.fake.reset();
    suite.fake.session = null;
    suite.fake.methods = { password: false, oidc: { name: "Company <b>" } };
    suite.fake.answers.oidc_login = { result: { location: new URL("assets/favicon.svg?provider", suite.fake.url).href } };
    const admin = await open({ view: "slow", locale });
    const leave = admin.page.getByRole("button", { name: button });
    await leave.waitFor();
    assert.equal(await admin.page.locator("#field-password").count(), 0);
    assert.deepEqual(await admin.audit(), []);
    suite.fake.failures.oidc_login = { status: 503, code: "oidc_unavailable" };
    await leave.click();
    await admin.page.locator("main .note.bad").waitFor();
    suite.fake.failures = {};
    await leave.click();
    await admin.page.waitForURL("**/favicon.svg?provider");
    await admin.page.goto(`${suite.fake.url}#/overview?failed=oidc_no_role`);
    await admin.says("main .note.bad", told);
    assert.deepEqual(await admin.audit(), []);
    await leave.click();
    await admin.page.waitForURL("**/favicon.svg?provider");
    suite.fake.session = { name: "minji", role: "operator", contents: false, expires_at: Date.now() + 1000 };
    await admin.page.goto(suite.fake.url);
    await admin.page.waitForURL("**/#/slow");
    suite.fake.answers.logout = { result: { end_session: new URL("assets/favicon.svg?logout", suite.fake.url).href } };
    await admin.page.click("#logout");
    await admin.page.waitForURL("**/favicon.svg?logout");
    assert.deepEqual(admin.problems, []);
    await admin.close();
  }
});

test("all is reached by keyboard: find a user, explain, disconnect, and the keys can be switched off", async () => {
  const admin = await open();
  const { keyboard } = admin.page;
  await admin.page.locator("main .numbers").waitFor();
  await admin.press("u", "Connections");
  await keyboard.press("/");
  await keyboard.type("user-1gso/?p");
  await keyboard.press("Enter");
  await admin.says("main h1", "User user-1gso/?p");
  await admin.page.locator("main tbody tr").first().waitFor();
  await keyboard.press("j");
  await keyboard.press("j");
  await keyboard.press("k");
  await keyboard.press("Enter");
  await admin.says("main h1", "Connection client-1");
  await admin.page.goBack();
  await admin.says("main h1", "User user-1gso/?p");
  await admin.page.getByRole("link", { name: "Explain" }).nth(1).focus();
  await keyboard.press("Enter");
  await admin.says("main h1", "Explain");
  await admin.page.locator("#field-channel").focus();
  await keyboard.type("chat:lobby");
  await keyboard.press("Enter");
  await admin.says("#answer", "not received when published");
  await admin.page.goBack();
  await admin.page.goBack();
  await admin.says("main h1", "User user-1gso/?p");
  await admin.page.locator("[data-action=disconnect]").focus();
  await keyboard.press("Enter");
  await admin.says("dialog #would", "This ends 3 connections");
  await admin.page.locator("dialog button.danger").focus();
  await keyboard.press("Enter");
  await admin.says("dialog #done", "Done: 3.");
  await keyboard.press("Escape");
  await keyboard.press("?");
  await admin.page.locator("dialog input[type=checkbox]").focus();
  await keyboard.press("Space");
  await keyboard.press("Escape");
  await admin.page.locator("dialog").waitFor({ state: "detached" });
  await keyboard.press("g");
  await keyboard.press("o");
  assert.match(admin.page.url(), /users/);
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

/** The element with the focus in the very turn in which `selector` is in the page, before the browser paints or hears a key. */
const focusWith = (page, selector) =>
  page.evaluate((wanted) => {
    const focused = () => (document.querySelector(wanted) ? document.activeElement.id || document.activeElement.closest("dialog")?.localName || document.activeElement.localName : null);
    globalThis.focusedWith = new Promise((done) => {
      const observer = new MutationObserver(() => {
        if (focused() === null) return;
        observer.disconnect();
        done(focused());
      });
      observer.observe(document, { subtree: true, childList: true, characterData: true });
    });
  }, selector);

test("a view and a dialog have the focus as soon as they are seen, so that no key is lost", async () => {
  const admin = await open();
  const { page } = admin;
  await page.locator("main .numbers").waitFor();
  await focusWith(page, "main form.search #field-offset");
  await admin.press("e", "Explain");
  assert.equal(await page.evaluate(() => globalThis.focusedWith), "title");

  await admin.view("users/user-1");
  const button = page.locator("[data-action=disconnect]");
  await button.focus();
  await focusWith(page, "dialog");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => globalThis.focusedWith), "dialog");
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("the tail keeps at most 500 rows, counts the rest, and ends when nobody sees the page", async () => {
  suite.fake.answers.tail = tailOf(5000, 7);
  const admin = await open({ view: "channels/chat:lobby" });
  await admin.page.click("#tail");
  await admin.says("#tail-skipped", "Skipped by the nodes: 350. Above 500 rows and dropped here: 4,500.");
  assert.equal(await admin.page.locator("main section.card", { has: admin.page.locator("#tail") }).locator("tbody tr").count(), 500);
  await admin.visibility("hidden");
  await admin.says("#tail", "Start the tail");
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("language and colours are chosen on the page and stay", async () => {
  const admin = await open({ colorScheme: "light" });
  await admin.page.locator("main .numbers").waitFor();
  await admin.page.locator(".tools select").selectOption("ko");
  await admin.says("main h1", "개요");
  assert.equal(await admin.page.evaluate(() => document.documentElement.lang), "ko");
  await admin.page.getByRole("button", { name: "어둡게" }).click();
  await admin.page.reload();
  await admin.says("main h1", "개요");
  assert.equal(await admin.page.evaluate(() => document.documentElement.dataset.theme), "dark");
  assert.deepEqual(await admin.audit(), []);
  await admin.close();
});

test("the page asks nobody but its own node", async () => {
  const admin = await open();
  for (const view of VIEWS) await admin.view(view);
  assert.deepEqual([...new Set(admin.requests.map((url) => new URL(url).origin))], [new URL(suite.fake.url).origin]);
  await admin.close();
});
