// The backends of services/example-backend without a node: what they answer, and how they keep count of who is online.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { Backend, KINDS } from "./support/example_backend.js";

const common = { client: "c1", transport: "websocket", protocol: "json", encoding: "json" };
/** An event of a partition; every one has an id of its own. */
let number = 0;
const event = (type, partition, more) => ({ id: `${partition}-1-${(number += 1)}`, type, partition, time_ms: 1, node: "n", ...more });
const came = (client, user, partition = 0) => event("connected", partition, { client, user, seq: 1, user_sessions: 1 });
const went = (client, user, partition = 0) => event("disconnected", partition, { client, user, seq: 2, user_sessions: 0, code: 3000 });

for (const kind of KINDS) {
  test(`in ${kind}`, async (t) => {
    let backend;
    before(async () => (backend = await Backend.start(kind)));
    after(() => backend?.stop());

    await t.test("a client with the cookie of its page is that user, and another one is sent away for good", async () => {
      const cookie = await backend.signIn("Mina");
      const { status, answer } = await backend.ask("connect", common, { headers: { Cookie: `other=1; ${cookie}` } });
      assert.equal(status, 200);
      assert.equal(answer.result.user, "Mina");
      assert.deepEqual(answer.result.subs["people:all"], { data: { online: [] } });
      assert.ok(answer.result.expire_at > Date.now() / 1000 + 3000);
      for (const headers of [{}, { Cookie: "person=TWluYQ.0000" }, { Cookie: cookie.replace(/.$/, (last) => (last === "0" ? "1" : "0")) }]) {
        const refused = await backend.ask("connect", common, { headers });
        assert.deepEqual(refused, { status: 200, answer: { disconnect: { code: 4501, reason: "sign in first" } } });
      }
    });

    await t.test("it says who may enter, what is published, and how long both last", async () => {
      const asked = async (kind, question) => (await backend.ask(kind, { ...common, ...question })).answer;
      assert.deepEqual(await asked("subscribe", { user: "Jun", channel: "room:lobby" }), { result: {} });
      assert.equal((await asked("subscribe", { user: "Jun", channel: "room:staff" })).error.code, 403);
      assert.ok((await asked("subscribe", { user: "Mina", channel: "room:staff" })).result.expire_at > 0);
      assert.deepEqual(await asked("sub_refresh", { user: "Jun", channel: "room:staff" }), { result: { expired: true } });
      assert.ok((await asked("refresh", { user: "Jun" })).result.expire_at > 0);
      assert.deepEqual(await asked("refresh", { user: "" }), { result: { expired: true } });
      const published = await asked("publish", { user: "Jun", channel: "room:lobby", data: { text: " hello ", from: "Mina" } });
      assert.deepEqual(published, { result: { data: { from: "Jun", text: "hello" } } });
      for (const data of [undefined, null, 1, "text", [], {}, { text: 1 }, { text: " " }, { text: "a".repeat(501) }]) {
        assert.equal((await asked("publish", { user: "Jun", channel: "room:lobby", data })).error.code, 400, JSON.stringify(data));
      }
      for (const [question, code] of [[{ method: "other" }, 404], [{}, 404], [{ method: "ask" }, 422], [{ method: "ask", data: "who" }, 422]]) {
        assert.equal((await asked("rpc", { user: "Jun", ...question })).error.code, code, JSON.stringify(question));
      }
      assert.match((await asked("rpc", { user: "Jun", method: "ask", data: { question: "what TIME is it" } })).result.data.answer, /^It is \d\d:\d\d\.$/);
    });

    await t.test("it reads nothing whose signature is wrong, late or missing", async () => {
      const now = Math.floor(Date.now() / 1000);
      for (const sign of [{ key: Buffer.from("another key") }, { at: now - 310 }, { at: now + 310 }]) {
        assert.equal((await backend.ask("hooks", { events: [came("x", "Eve")] }, { sign })).status, 401);
      }
      const missing = { "webhook-signature": "" };
      assert.equal((await backend.ask("connect", common, { headers: missing })).status, 401);
      for (const value of ["v1", "v1,", "v2,AAAA", "v1,%%%", "v1,AAAA"]) {
        assert.equal((await backend.ask("connect", common, { headers: { "webhook-signature": value } })).status, 401, value);
      }
      // While a secret is replaced there are two signatures.
      const body = JSON.stringify({ ...common, user: "Jun", channel: "room:lobby" });
      const signed = backend.signed(body);
      signed["webhook-signature"] = `v1,AAAA ${signed["webhook-signature"]}`;
      const response = await fetch(`${backend.url}/gorani/subscribe`, { method: "POST", headers: signed, body });
      assert.equal(response.status, 200);
      assert.deepEqual(await backend.online(), []);
    });

    await t.test("a batch that comes twice counts once, also after a restart", async () => {
      const [first, second] = [came("a", "Mina"), came("b", "Jun")];
      assert.deepEqual(await backend.tell(first, second), { status: 200, answer: { result: {} } });
      assert.deepEqual(await backend.online(), ["Jun", "Mina"]);
      const end = went("b", "Jun");
      await backend.tell(end);
      assert.deepEqual(await backend.online(), ["Mina"]);
      await backend.end("SIGKILL");
      await backend.begin();
      assert.deepEqual(await backend.online(), ["Mina"]);
      await backend.tell(second, end);
      await backend.tell(second);
      assert.deepEqual(await backend.online(), ["Mina"]);
    });

    await t.test("a user is online while one connection is left, and an unknown type changes nothing", async () => {
      await backend.tell(came("a2", "Mina"), event("danced", 0, { client: "a2" }));
      await backend.tell(went("a", "Mina"));
      assert.deepEqual(await backend.online(), ["Mina"]);
      await backend.tell(went("a2", "Mina"), went("never-known", "Eve"));
      assert.deepEqual(await backend.online(), []);
    });

    await t.test("a reset of a partition forgets that partition, and one of the node forgets all", async () => {
      await backend.tell(came("p", "Mina", 1), came("q", "Jun", 2));
      await backend.tell(event("reset", 1, { scope: "partition" }), came("r", "Ara", 1));
      assert.deepEqual(await backend.online(), ["Ara", "Jun"]);
      await backend.tell(event("reset", 1, { scope: "node" }), came("s", "Jun", 1));
      assert.deepEqual(await backend.online(), ["Jun"]);
      await backend.tell(went("s", "Jun", 1));
    });

    await t.test("after a gap it asks the node who is there; while the node does not answer, the batch comes again", async () => {
      await backend.tell(came("x", "Mina", 1), came("y", "Jun", 2));
      // The `disconnected` of x and the `connected` of z are lost.
      const batch = [event("gap", 1, { dropped: 2, since_ms: 1 }), came("w", "Ara", 1)];
      assert.equal((await backend.tell(...batch)).status, 503);
      assert.deepEqual(await backend.online(), ["Jun", "Mina"]);
      const pages = [{ connections: { y: { user: "Jun" } }, next_cursor: "y" }, { connections: { z: { user: "Bo" }, w: { user: "Ara" } } }];
      const node = createServer(async (request, response) => {
        let body = "";
        for await (const chunk of request) body += chunk;
        const page = request.url === "/api/connections" ? pages[JSON.parse(body).cursor === "y" ? 1 : 0] : {};
        response.end(JSON.stringify({ result: page }));
      }).listen(backend.nodePort, "127.0.0.1");
      await once(node, "listening");
      assert.equal((await backend.tell(...batch)).status, 200);
      node.closeAllConnections();
      node.close();
      assert.deepEqual(await backend.online(), ["Ara", "Bo", "Jun"]);
      await backend.tell(event("reset", 0, { scope: "endpoint" }));
    });

    await t.test("what is no batch and what is too large is refused, and the next request is taken", async () => {
      for (const question of [{}, { events: 1 }, []]) assert.equal((await backend.ask("hooks", question)).status, 400, JSON.stringify(question));
      assert.equal((await backend.ask("nothing", {})).status, 404);
      const body = "[" + "1,".repeat(700_000) + "1]";
      const large = await fetch(`${backend.url}/gorani/hooks`, { method: "POST", headers: backend.signed(body), body }).then(
        (response) => response.status,
        // It may have closed the connection before all was sent.
        () => 413,
      );
      assert.equal(large, 413);
      assert.deepEqual(await backend.online(), []);
    });

    await t.test("it ends when it is told to", async () => {
      assert.deepEqual(await backend.end(), [0, null]);
      await backend.begin();
    });
  });
}
