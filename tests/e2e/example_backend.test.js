// The example of a backend that is asked and told, with its node: what its README promises, with the SDK and in a real browser.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import WebSocket from "ws";

import { startBrowser, Visitor } from "./support/browser.js";
import { Clients, next, rejection } from "./support/client.js";
import { Backend, directory, KINDS } from "./support/example_backend.js";
import { binary, freePort } from "./support/node.js";

/** Seconds that a connection lasts before the node asks again. */
const SESSION_SECONDS = 2;

/** A WebSocket that brings the cookie of the page, as a browser does. */
const withCookie = (cookie) =>
  class extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols, { headers: { Cookie: cookie } });
    }
  };

let browser;
before(async () => (browser = await startBrowser()));
after(() => browser?.close());

for (const kind of KINDS) {
  test(`the SDK and the backend in ${kind}`, async (t) => {
    const clients = new Clients();
    const backend = await Backend.start(kind, { sessionSeconds: SESSION_SECONDS });
    t.after(async () => {
      clients.close();
      await backend.stop();
    });
    await backend.startNode();
    const connect = async (name) => clients.connect(backend.node.websocket, { websocket: withCookie(await backend.signIn(name)) });

    await t.test("connect: the cookie says who it is, and nobody without one is let in", async () => {
      const stranger = clients.make(backend.node.websocket);
      const disconnected = next(stranger, "disconnected");
      stranger.connect();
      const { code, reason } = await disconnected;
      assert.deepEqual({ code, reason }, { code: 4501, reason: "sign in first" });
    });

    await t.test("subscribe, publish and rpc are answered by the backend", async () => {
      const [mina, jun] = [await connect("Mina"), await connect("Jun")];
      const [hers, his] = [mina, jun].map((client) => client.newSubscription("room:lobby"));
      for (const sub of [hers, his]) {
        const subscribed = next(sub, "subscribed");
        sub.subscribe();
        await subscribed;
      }
      const heard = next(hers, "publication");
      await his.publish({ text: " hello ", from: "Mina" });
      assert.deepEqual((await heard).data, { from: "Jun", text: "hello" });
      assert.equal(await rejection(his.publish({ text: "" })), 400);
      assert.match((await jun.rpc("ask", { question: "What time is it?" })).data.answer, /^It is \d\d:\d\d\.$/);
      assert.equal(await rejection(jun.rpc("ask", { question: "Why?" })), 422);
      assert.equal(await rejection(jun.rpc("other", {})), 404);
      const staff = jun.newSubscription("room:staff");
      const refused = next(staff, "unsubscribed");
      staff.subscribe();
      assert.deepEqual([(await refused).code], [403]);
      mina.disconnect();
      jun.disconnect();
    });

    await t.test("refresh and sub_refresh: connection and subscription go on for as long as the backend says", async () => {
      const mina = await connect("Mina");
      const ended = [];
      mina.on("disconnected", (context) => ended.push(context));
      const staff = mina.newSubscription("room:staff");
      staff.on("unsubscribed", (context) => ended.push(context));
      const subscribed = next(staff, "subscribed");
      staff.subscribe();
      await subscribed;
      // Twice as long as each of them lasts by itself.
      const until = Date.now() + 2 * SESSION_SECONDS * 1000 + 1000;
      while (Date.now() < until) await mina.rpc("ask", { question: "time" });
      assert.deepEqual([ended, staff.state], [[], "subscribed"]);
      mina.disconnect();
    });

    await t.test("hooks: who came is online, and who went is not", async () => {
      const mina = await connect("Mina");
      const names = () => mina.rpc("ask", { question: "who" }).then(({ data }) => data.answer);
      const seen = async (answer) => {
        const until = Date.now() + 60_000;
        while ((await names()) !== answer) assert.ok(Date.now() < until, `${await names()} is not ${answer}`);
      };
      await seen("Here are Mina.");
      const jun = await connect("Jun");
      await seen("Here are Jun, Mina.");
      jun.disconnect();
      await seen("Here are Mina.");
      mina.disconnect();
    });
  });

  test(`the page and the backend in ${kind}`, async (t) => {
    const backend = await Backend.start(kind);
    t.after(() => backend.stop());
    await backend.startNode();
    const comes = async (name) => {
      const context = await browser.newContext({ viewport: { width: 900, height: 900 } });
      const visitor = new Visitor(context, await context.newPage());
      await visitor.page.goto(backend.url);
      await visitor.page.fill("#name", name);
      await visitor.page.click("#login button");
      await visitor.says("#state", "Connected");
      return visitor;
    };
    const isAlone = (visitor) => visitor.page.waitForFunction(() => document.querySelectorAll("#online li").length === 1, null, { timeout: 60_000 });

    const mina = await comes("Mina");
    await mina.says("#online", "Mina");
    const jun = await comes("준 <b>");
    // Both see both: by the hooks, and by what came with the subscription.
    for (const visitor of [mina, jun]) for (const name of ["Mina", "준 <b>"]) await visitor.says("#online li", name);

    await jun.page.fill("#question", "Who is here?");
    await jun.page.click("#ask button");
    await jun.says("#answer", "Here are Mina, 준 <b>.");
    await jun.page.fill("#question", "Why?");
    await jun.page.click("#ask button");
    await jun.says("#answer", "Refused: ask who is here, or what time it is (422)");

    await jun.says("#room", "You are in the room: lobby");
    await mina.says("#room", "You are in the room: lobby");
    await jun.page.fill("#text", "hello <b>there</b>");
    await jun.page.click("#say button");
    await mina.says("#messages li", "준 <b>: hello <b>there</b>");

    await jun.page.click("[data-room=staff]");
    await jun.says("#room", "Refused: the staff room is for staff (403)");
    await mina.page.click("[data-room=staff]");
    await mina.says("#room", "You are in the room: staff");

    // The backend is away: nobody is dropped, and it is told later who went.
    await backend.end();
    await jun.close();
    await backend.begin();
    await isAlone(mina);
    // The node dies, and with it what it would have told: the backend hears of a reset.
    backend.node.child.kill("SIGKILL");
    await backend.node.exited;
    backend.node = null;
    await backend.startNode();
    await mina.says("#state", "Connected");
    await isAlone(mina);
    assert.deepEqual(mina.problems.filter((problem) => !/WebSocket connection to|ERR_CONNECTION_REFUSED/.test(problem)), []);
    await mina.close();
  });

  test(`run.sh with ${kind} starts both, and Ctrl-C ends both`, async (t) => {
    const state = mkdtempSync(join(tmpdir(), "gorani-backend-run-"));
    const [port, pushPort] = [await freePort(), await freePort()];
    const env = { ...process.env, APP_PORT: String(port), PUSH_PORT: String(pushPort), APP_STATE: state, PYTHONDONTWRITEBYTECODE: "1" };
    const script = spawn("./run.sh", [binary, kind], { cwd: directory, env, stdio: ["ignore", "pipe", "pipe"] });
    t.after(() => {
      script.kill("SIGTERM");
      rmSync(state, { recursive: true, force: true });
    });
    let output = "";
    for (const stream of [script.stdout, script.stderr]) stream.on("data", (data) => (output += data));
    const gone = once(script, "exit");
    await Promise.race([
      new Promise((resolve) => script.stdout.on("data", () => output.includes("The page is on") && resolve())),
      gone.then(() => Promise.reject(new Error(output))),
    ]);
    assert.equal((await fetch(`http://127.0.0.1:${port}/`)).status, 200);
    assert.equal((await fetch(`http://127.0.0.1:${pushPort}/health/ready`)).status, 200);
    script.kill("SIGINT");
    assert.deepEqual(await gone, [0, null], output);
    await assert.rejects(fetch(`http://127.0.0.1:${port}/`));
    await assert.rejects(fetch(`http://127.0.0.1:${pushPort}/health/live`));
  });
}
