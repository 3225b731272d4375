// The example under services/ in a real browser: what its README promises.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { startBrowser } from "./support/browser.js";
import { directory, Example, Person } from "./support/example.js";
import { binary, freePort } from "./support/node.js";

let browser;
let example;
before(async () => (browser = await startBrowser()));
after(() => browser?.close());
beforeEach(async () => (example = await Example.start()));
afterEach(() => example?.stop());
const comes = (name, options) => Person.comes(browser, example, name, options);

test("what one says the other reads at once, and both see who is there", async () => {
  const [mina, jun] = [await comes("Mina"), await comes("준")];
  await mina.says("hello <b>there</b>");
  await jun.reads("hello <b>there</b>");
  await jun.says("안녕하세요");
  await mina.reads("안녕하세요");
  assert.deepEqual(await mina.texts(), ["hello <b>there</b>", "안녕하세요"]);
  assert.deepEqual(await jun.texts(), await mina.texts());
  await mina.shows("#count", "2");
  await jun.leaves();
  await mina.page.locator("#count", { hasText: /^1$/ }).waitFor({ timeout: 60_000 });
  assert.deepEqual(mina.problems, []);
});

test("a room keeps its messages over a reload, and another room has its own", async () => {
  const mina = await comes("Mina");
  for (const text of ["one", "two", "three"]) {
    await mina.says(text);
    await mina.reads(text);
  }
  await mina.page.reload();
  await mina.isIn();
  await mina.reads("three");
  assert.deepEqual(await mina.texts(), ["one", "two", "three"]);
  await mina.page.click("#rooms button:has-text('garden')");
  await mina.shows("#people", "Mina (you)");
  assert.deepEqual(await mina.texts(), []);
});

test("what is said while a wire is cut arrives when it is mended, once and in order", async () => {
  const [mina, jun] = [await comes("Mina"), await comes("Jun")];
  await jun.says("before");
  await mina.reads("before");
  example.wire.cut();
  await mina.shows("#state", "Connecting");
  // The app is still there, so what is sent is stored, and the sender sees it.
  for (const text of ["missed one", "missed two"]) {
    await jun.says(text);
    await jun.reads(text);
  }
  await mina.says("mine meanwhile");
  await mina.reads("mine meanwhile");
  example.wire.mend();
  await mina.reads("missed two");
  await jun.reads("mine meanwhile");
  const all = ["before", "missed one", "missed two", "mine meanwhile"];
  assert.deepEqual(await mina.texts(), all);
  assert.deepEqual(await jun.texts(), all);
});

test("a browser that goes offline and comes back has missed nothing", async () => {
  const [mina, jun] = [await comes("Mina"), await comes("Jun")];
  await mina.context.setOffline(true);
  await mina.shows("#state", "Connecting");
  await jun.says("while you were away");
  await jun.reads("while you were away");
  await mina.says("cannot be sent");
  await mina.page.locator("#messages .failed").waitFor();
  await mina.context.setOffline(false);
  await mina.reads("while you were away");
  await mina.page.click("#messages .failed button");
  await jun.reads("cannot be sent");
  assert.deepEqual(await mina.texts(), ["while you were away", "cannot be sent"]);
});

test("a restart of the node loses nothing: what is said meanwhile waits in the app", async () => {
  const [mina, jun] = [await comes("Mina"), await comes("Jun")];
  await jun.says("before");
  await mina.reads("before");
  await example.stopNode();
  await mina.shows("#state", "Connecting");
  await jun.says("said to nobody");
  await jun.reads("said to nobody");
  await example.startNode();
  await mina.reads("said to nobody");
  await mina.isIn();
  await mina.says("after");
  await jun.reads("after");
  for (const person of [mina, jun]) assert.deepEqual(await person.texts(), ["before", "said to nobody", "after"]);
});

test("a restart of the app, and a crash before it could publish, lose nothing", async () => {
  const [mina, jun] = [await comes("Mina"), await comes("Jun")];
  await example.stopNode();
  await jun.says("stored and not published");
  await jun.reads("stored and not published");
  await example.stopApp("SIGKILL");
  await jun.says("sent to nobody");
  await jun.page.locator("#messages .failed").waitFor();
  await example.startNode();
  await mina.isIn();
  await example.startApp();
  await mina.reads("stored and not published");
  await jun.page.click("#messages .failed button");
  await mina.reads("sent to nobody");
  // Nobody has to sign in again.
  await mina.page.reload();
  await mina.isIn();
  await mina.reads("sent to nobody");
  assert.deepEqual(await mina.texts(), ["stored and not published", "sent to nobody"]);
  assert.deepEqual(await example.stopApp(), [0, null]);
});

test("a private message is seen by all windows of one person, and by nobody else", async () => {
  const [mina, jun, sora] = [await comes("Mina"), await comes("Jun"), await comes("Sora")];
  const second = await jun.opensAnother(example);
  await mina.page.click("#people button:has-text('Jun')");
  await mina.page.fill("#whisper", "only for you");
  await mina.page.press("#whisper", "Enter");
  await mina.shows("#private-outcome", "Sent to Jun");
  for (const window of [jun, second]) await window.shows("#inbox", "only for you");
  // What comes to everybody after it shows that it did not come to the others.
  await mina.says("for all");
  await sora.reads("for all");
  assert.deepEqual(await sora.inbox(), []);
  assert.deepEqual(await mina.inbox(), []);
  await sora.page.reload();
  await sora.isIn();
  await sora.reads("for all");
  assert.deepEqual(await sora.inbox(), []);
  await jun.page.reload();
  await jun.shows("#inbox", "only for you");
  assert.deepEqual(await jun.inbox(), ["only for you"]);
});

test("an upload's progress reaches 100 % in every window of its user, and in no other", async () => {
  const [mina, jun] = [await comes("Mina"), await comes("Jun")];
  const second = await mina.opensAnother(example);
  await second.page.evaluate(() => {
    window.seen = [];
    const note = () => document.querySelector("progress") && window.seen.push(document.querySelector("progress").value);
    new MutationObserver(note).observe(document.getElementById("uploads"), { subtree: true, childList: true, characterData: true });
  });
  await mina.page.setInputFiles("#file", { name: "pictures.zip", mimeType: "application/zip", buffer: Buffer.alloc(20 << 20, "x") });
  for (const window of [mina, second]) await window.shows("#uploads", "pictures.zip 100 %");
  const seen = await second.page.evaluate(() => window.seen);
  assert.ok(seen.some((value) => value < 100), `on the way: ${seen}`);
  assert.deepEqual(seen, [...seen].sort((one, other) => one - other));
  assert.equal(await jun.page.locator("#uploads li").count(), 0);
});

test("without signing in there is no token, and a room that is not there has none", async () => {
  for (const path of ["token", "room-token?room=lobby", "messages?room=lobby", "inbox"]) {
    assert.equal((await fetch(`${example.url}/api/${path}`)).status, 401, path);
  }
  assert.deepEqual(await (await fetch(`${example.url}/api/me`)).json(), { user: null });
  const forged = { headers: { Cookie: `session=${Buffer.from("Mina").toString("base64url")}.x` } };
  assert.equal((await fetch(`${example.url}/api/token`, forged)).status, 401);
  const mina = await comes("Mina");
  const status = (path, options) => mina.page.evaluate(async ([path, options]) => (await fetch(path, options)).status, [path, options]);
  assert.equal(await status("/api/room-token?room=cellar"), 403);
  assert.equal(await status("/api/room-token?room=toString"), 403);
  assert.equal(await status("/api/messages", { method: "POST", body: "{" }), 400);
  assert.equal(await status("/api/messages", { method: "POST", body: "x".repeat(20_000) }), 413);
  assert.equal(await status("/api/messages", { method: "POST", body: JSON.stringify({ room: "lobby", text: "no key" }) }), 400);
  const foreign = await fetch(`${example.url}/api/login`, { method: "POST", headers: { Origin: "http://elsewhere.example" }, body: '{"name":"x"}' });
  assert.equal(foreign.status, 403);
});

test("the page forbids itself what it does not need, and fits a small screen, by day and by night", async () => {
  const { headers } = await fetch(`${example.url}/`);
  const policy = headers.get("content-security-policy");
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe-|\*/);
  for (const [width, colorScheme, dark] of [[320, "light", false], [360, "dark", true], [768, "light", false]]) {
    const person = await comes(`A rather long name ${width}`, { viewport: { width, height: 640 }, colorScheme });
    await person.says(`x`.repeat(1500));
    await person.reads("xxx");
    assert.equal(await person.page.evaluate(() => document.documentElement.scrollWidth), width);
    const colour = await person.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.equal(Number(/\d+/.exec(colour)[0]) < 100, dark, colour);
    assert.deepEqual(person.problems, []);
    await person.leaves();
  }
});

test("the script of `make run-example` starts both, says where, and ends both on Ctrl-C", async (t) => {
  const state = mkdtempSync(join(tmpdir(), "gorani-run-"));
  const [app, push] = [await freePort(), await freePort()];
  const env = { ...process.env, APP_STATE: state, APP_PORT: String(app), PUSH_PORT: String(push) };
  const script = spawn("./run.sh", [binary], { cwd: directory, env, stdio: ["ignore", "pipe", "pipe"] });
  t.after(() => {
    script.kill("SIGTERM");
    rmSync(state, { recursive: true, force: true });
  });
  let output = "";
  for (const stream of [script.stdout, script.stderr]) stream.on("data", (data) => (output += data));
  const gone = once(script, "exit");
  await Promise.race([
    new Promise((resolve) => script.stdout.on("data", () => output.includes("The app is on") && resolve())),
    gone.then(() => Promise.reject(new Error(output))),
  ]);
  const url = /The app is on (\S+)/.exec(output)[1];
  const mina = await Person.comes(browser, { url }, "Mina");
  await mina.says("hello");
  await mina.reads("hello");
  script.kill("SIGINT");
  assert.deepEqual(await gone, [0, null], output);
  for (const port of [app, push]) await assert.rejects(fetch(`http://127.0.0.1:${port}/`));
});
