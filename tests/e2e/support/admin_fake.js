// A node that only has the admin page: its real files and policy, and data that a test chooses. For states that a real cluster does not reach at will.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { after, before, beforeEach } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { WebSocketServer } from "ws";

import { AdminWindow, SLOW } from "./admin_browser.js";
import { answers } from "./admin_answers.js";
import { startBrowser } from "./browser.js";

const assets = fileURLToPath(new URL("../../../services/gateway/assets/admin/", import.meta.url));
const source = readFileSync(fileURLToPath(new URL("../../../services/gateway/src/admin/files.rs", import.meta.url)), "utf8");
/** The policy that the node sends, read from its source, so that both cannot differ. */
export const POLICY = /CONTENT_SECURITY_POLICY: &str = "([^"]+)";/.exec(source)[1].replace(/\\\n\s*/g, "");

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

export class FakeAdmin {
  static async start() {
    const fake = new FakeAdmin();
    fake.server = createServer((request, response) => fake.#serve(request, response));
    // The endpoint of the client protocol, for a view that connects; a test says what it answers.
    fake.clients = new WebSocketServer({ server: fake.server, path: "/connection/websocket" });
    fake.clients.on("connection", (socket) => socket.on("message", (data) => fake.client(socket, String(data))));
    fake.server.listen(0, "127.0.0.1");
    await once(fake.server, "listening");
    fake.url = `http://127.0.0.1:${fake.server.address().port}/admin/`;
    return fake;
  }

  constructor() {
    this.reset();
  }

  /** As at the start: an operator is logged in, and every view has data. */
  reset() {
    this.session = { name: "ops", role: "operator", contents: true, expires_at: Date.now() + 3_600_000 };
    this.methods = { password: true, oidc: null };
    this.answers = answers();
    this.failures = {};
    this.client = () => null;
    this.requests = [];
    this.posts = [];
  }

  #serve(request, response) {
    const url = new URL(request.url, "http://node");
    const path = url.pathname.replace(/^\/admin\//, "");
    if (path.startsWith("api/")) this.#data(path.slice(4), url, request, response);
    else this.#file(path === "" ? "index.html" : normalize(path.replace(/^assets\//, "")), response);
  }

  #file(name, response) {
    try {
      const body = readFileSync(join(assets, name));
      response.writeHead(200, { "Content-Type": `${TYPES[extname(name)]}; charset=utf-8`, "Content-Security-Policy": POLICY }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  }

  async #data(name, url, request, response) {
    if (SLOW > 0) await sleep(20 * SLOW * Math.random());
    const reply = (status, body, headers = {}) => response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(JSON.stringify(body));
    this.requests.push(`${name}${url.search}`);
    const failure = this.failures[name];
    if (failure) return reply(failure.status, { error: { code: failure.code, message: failure.message ?? "" } }, failure.headers);
    if (name === "tail") return this.answers.tail(response);
    if (request.method === "GET") {
      if (name === "session") return this.session ? reply(200, { result: this.session }) : reply(401, { error: { code: "login_required", message: "" } });
      if (name === "login_methods") return reply(200, { result: this.methods });
      const answer = this.answers[name];
      if (!answer) return reply(404, { error: { code: "not_found", message: "no such method" } });
      return reply(200, typeof answer === "function" ? answer(url.searchParams) : answer);
    }
    let text = "";
    request.on("data", (data) => (text += data));
    return request.on("end", () => {
      const body = JSON.parse(text);
      this.posts.push({ name, body, headers: request.headers });
      if (name === "login") {
        if (body.password !== "right") return reply(401, { error: { code: "login_failed", message: "" } });
        this.session = { name: "ops", role: "operator", contents: false, expires_at: Date.now() + 1000 };
        return reply(200, { result: this.session });
      }
      const answer = this.answers[name] ?? this.answers.action;
      return reply(200, typeof answer === "function" ? answer(body) : answer);
    });
  }

  async stop() {
    for (const socket of this.clients.clients) socket.terminate();
    this.clients.close();
    this.server.closeAllConnections();
    this.server.close();
  }
}

/** For the tests of one file: a node of their own (`suite.fake`), which is as at the start before each test, and windows of one browser. */
export function fakeAdminSuite() {
  const suite = { open: (options) => AdminWindow.open(suite.browser, suite.fake.url, options) };
  before(async () => {
    suite.fake = await FakeAdmin.start();
    suite.browser = await startBrowser();
  });
  after(async () => {
    await suite.browser?.close();
    await suite.fake?.stop();
  });
  beforeEach(() => suite.fake.reset());
  return suite;
}
