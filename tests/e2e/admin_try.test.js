// The view that connects as a user: what is sent and received is shown as it travels, and nothing of it is run.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { HOSTILE } from "./support/admin_answers.js";
import { fakeAdminSuite } from "./support/admin_fake.js";

const TOKEN = "header.payload.signature";
const suite = fakeAdminSuite();
beforeEach(() => {
  suite.fake.answers["actions/try"] = ({ user }) => ({ result: { user, token: TOKEN, endpoint: "../connection/websocket", expires_at: Date.now() + 300_000 } });
});

const open = async () => {
  const admin = await suite.open({ view: "try" });
  await admin.page.locator("#field-user").waitFor();
  return admin;
};

const connect = async (admin) => {
  await admin.page.fill("#field-user", "42");
  await admin.page.click("#try-connect button[type=submit]");
};

test("a user's connection is opened with the token of the node, and each frame is a row", async () => {
  const received = [];
  suite.fake.client = (socket, text) => {
    received.push(text);
    const command = JSON.parse(text);
    if (command.connect) socket.send(`{"id":1,"connect":{"client":"c-1","token":"${TOKEN}","ping":25}}\n{}`);
    if (command.subscribe) socket.send(JSON.stringify({ id: command.id, subscribe: {} }));
    if (command.publish) socket.send(JSON.stringify({ push: { channel: command.publish.channel, pub: { data: HOSTILE } } }));
  };
  const admin = await open();
  await connect(admin);
  await admin.says("#try-state", "Connected");
  await admin.page.fill("#field-channel", "chat:lobby");
  await admin.page.click("#try-subscribe button:not([name])");
  await admin.page.fill("#field-to", "chat:lobby");
  await admin.page.click("#try-publish button");
  await admin.says("main table", "zero");
  await admin.page.click("#try-subscribe button[name=unsubscribe]");
  await admin.says("main table", "unsubscribe");
  // The row is there when the frame is sent, not when it has come.
  const giveUp = Date.now() + 60_000;
  while (received.length < 5 && Date.now() < giveUp) await new Promise((resolve) => setTimeout(resolve, 10));
  const commands = received.map((text) => JSON.parse(text));
  assert.deepEqual(commands, [
    { id: 1, connect: { token: TOKEN, name: "gorani-admin" } },
    {},
    { id: 2, subscribe: { channel: "chat:lobby" } },
    { id: 3, publish: { channel: "chat:lobby", data: { text: "hello" } } },
    { id: 4, unsubscribe: { channel: "chat:lobby" } },
  ]);
  assert.ok(!(await admin.page.content()).includes(TOKEN), "the token is shown");
  assert.deepEqual(suite.fake.posts.map(({ name, body }) => [name, body]), [["actions/try", { user: "42" }]]);
  assert.deepEqual(await admin.audit(), []);
  assert.equal(await admin.overflow(), 0);
  // Who leaves the view leaves the connection.
  await admin.page.evaluate(() => (location.hash = "#/slow"));
  await admin.says("main h1", "Slow consumers");
  while (suite.fake.clients.clients.size > 0) await new Promise((resolve) => [...suite.fake.clients.clients][0].once("close", resolve));
  assert.deepEqual(await admin.violations(), []);
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("who leaves the view before the token comes opens no connection", async () => {
  const admin = await open();
  let opened = 0;
  admin.page.on("websocket", () => (opened += 1));
  let answer;
  const mayAnswer = new Promise((resolve) => (answer = resolve));
  await admin.page.route(/actions\/try$/, async (route) => {
    await mayAnswer;
    await route.continue();
  });
  await connect(admin);
  await admin.page.evaluate(() => (location.hash = "#/slow"));
  await admin.says("main h1", "Slow consumers");
  const answered = admin.page.waitForResponse(/actions\/try$/);
  answer();
  await answered;
  // A connection would be opened while this is asked.
  await admin.page.evaluate(() => fetch("api/slow").then((response) => response.json()));
  assert.equal(opened, 0);
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("a node without a secret, a closed connection and data that are no JSON are told in words", async () => {
  const admin = await open();
  suite.fake.failures["actions/try"] = { status: 409, code: "no_token_secret" };
  await connect(admin);
  await admin.says("main .note.bad", "token.hmac_secret");
  suite.fake.failures = {};
  suite.fake.client = (socket, text) => (text.includes("publish") ? socket.close(3500, "invalid token") : socket.send('{"id":1,"connect":{}}'));
  await connect(admin);
  await admin.says("#try-state", "Connected");
  await admin.page.fill("#field-to", "a");
  await admin.page.fill("#field-data", "{");
  await admin.page.click("#try-publish button");
  await admin.says("main .note.bad", "not JSON");
  await admin.page.fill("#field-data", "1");
  await admin.page.click("#try-publish button");
  await admin.says("#try-state", "Not connected");
  await admin.says("main table", "invalid token");
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("a thousand frames keep 500 rows and count the others", async () => {
  suite.fake.client = (socket, text) => {
    if (!text.includes("connect")) return;
    socket.send('{"id":1,"connect":{}}');
    for (let number = 0; number < 1000; number += 1) socket.send(`{"push":{"channel":"a","pub":{"data":${number}}}}`);
  };
  const admin = await open();
  await connect(admin);
  await admin.says("#try-dropped", "502 older");
  assert.equal(await admin.page.locator("main [data-row]").count(), 500);
  await admin.close();
});

test("who may not see contents is told so and connects as nobody", async () => {
  suite.fake.session.contents = false;
  const admin = await suite.open({ view: "try" });
  await admin.says("main .note", "role operator");
  assert.equal(await admin.page.locator("#try-connect").count(), 0);
  await admin.close();
});
