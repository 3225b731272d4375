// The view of traces in Chromium, on data that the tests choose: a trace is begun, shown with all that it has noted, and ended.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fakeAdminSuite } from "./support/admin_fake.js";

const ID = "0123456789abcdef";

const suite = fakeAdminSuite();
const open = (view) => suite.open({ view });
const sent = () => suite.fake.posts.filter(({ name }) => name === "actions/trace").map(({ body }) => body);

async function act(admin, action, would) {
  await admin.page.click(`[data-action=${action}]`);
  await admin.says("#would", would);
  await admin.page.locator("dialog form button.danger").click();
  await admin.page.locator("dialog #done").waitFor();
}

test("a trace of a channel and of a user is begun in their views, and the dialog says how it ends", async () => {
  for (const [view, body] of [["channels/chat:lobby", { channel: "chat:lobby" }], ["users/user-1", { user: "user-1" }]]) {
    suite.fake.posts = [];
    const admin = await open(view);
    await act(admin, "trace", "on 3 nodes for 10 minutes");
    assert.deepEqual(sent(), [{ ...body, dry_run: true }, body]);
    assert.deepEqual(admin.problems, []);
    await admin.close();
  }
});

test("the list names who began each trace, and leads to what it has noted by node", async () => {
  const admin = await open("traces");
  await admin.page.locator("main tbody tr").nth(2).waitFor();
  assert.match(await admin.page.locator("main tbody tr", { hasText: "traceparent" }).innerText(), /4bf92f3577b34da6a3ce929d0e0e4736/);
  await admin.page.locator("main tbody a.name", { hasText: ID }).click();
  await admin.page.locator("main tbody tr", { hasText: "held_back" }).first().waitFor();
  const row = (text) => admin.page.locator("main .card").nth(1).locator("tbody tr", { hasText: text }).first().innerText();
  assert.match(await row("written"), /client-3/);
  assert.match(await row("overflow"), /client-2/);
  const joined = await admin.page.locator("main .card").first().locator("tbody tr", { hasText: "n3" }).innerText();
  assert.doesNotMatch(joined, /12/, "a node that takes no part has no numbers");
  assert.match(joined, /unknown/);
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("a trace is ended in its view, and one that has ended is said to be gone", async () => {
  const admin = await open(`traces/${ID}`);
  await act(admin, "trace_end", "This ends the trace on 3 nodes.");
  assert.deepEqual(sent(), [{ end: ID, dry_run: true }, { end: ID }]);
  suite.fake.failures.traces = { status: 404, code: "not_found", message: "there is no such trace; one that has ended is forgotten" };
  await admin.page.keyboard.press("Escape");
  await admin.page.locator("main .note.bad").first().waitFor();
  await admin.close();
});

test("where there are 16 traces another one is refused with words", async () => {
  const admin = await open("users/user-1");
  await admin.page.locator("[data-action=trace]").waitFor();
  suite.fake.failures["actions/trace"] = { status: 429, code: "too_many_traces" };
  await admin.page.click("[data-action=trace]");
  await admin.says("dialog .note.bad", "There are 16 traces already.");
  await admin.close();
});
