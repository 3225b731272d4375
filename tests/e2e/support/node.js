// A node under test: the real binary with settings of its own, on a free port. It ends with the test, or with the test's process.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const API_KEY = "test-key";
export const HMAC_SECRET = "test-secret-of-at-least-thirty-two-bytes";

export const repository = fileURLToPath(new URL("../../../", import.meta.url));
export const binary = process.env.GORANI_BIN || join(repository, "target/debug/gorani");

/** Milliseconds until `/health/ready` answers 200; a debug build on a busy machine is slow. */
const READY_WITHIN = 60_000;
/** Milliseconds from SIGTERM until the node must be gone. */
const GONE_WITHIN = 30_000;

/** Everything a channel can do, for everybody. */
const open = {
  history_size: 300,
  history_ttl: "300s",
  presence: true,
  join_leave: true,
  allow_positioning: true,
  allow_recovery: true,
  allow_subscribe_for_client: true,
  allow_subscribe_for_anonymous: true,
  allow_publish_for_subscriber: true,
  allow_publish_for_client: true,
  allow_publish_for_anonymous: true,
  allow_presence_for_subscriber: true,
  allow_presence_for_client: true,
  allow_presence_for_anonymous: true,
  allow_history_for_subscriber: true,
  allow_history_for_client: true,
  allow_history_for_anonymous: true,
};

/** The namespaces that every test node has. */
const namespaces = [
  { name: "open", ...open },
  // Positions and recovery without the client asking.
  { name: "forced", ...open, force_positioning: true, force_recovery: true },
  // Forgets quickly.
  { name: "short", ...open, history_size: 5 },
  // Nothing is kept.
  { name: "live", allow_subscribe_for_client: true, allow_subscribe_for_anonymous: true },
  // Only for the users in the channel's name.
  { name: "own", history_size: 10, history_ttl: "300s", allow_user_limited_channels: true },
  // Closed: nothing is allowed unless a token says so.
  { name: "closed", history_size: 10, history_ttl: "300s", presence: true },
];

const settings = (port, overrides) => ({
  "http.address": `127.0.0.1:${port}`,
  "http.workers": 2,
  "broker.kind": "memory",
  "api.keys": [API_KEY],
  "token.hmac_secret": HMAC_SECRET,
  "client.allow_anonymous": true,
  "channel.namespaces": namespaces,
  ...overrides,
});

/** A value as TOML; what is written here is numbers, strings, booleans, lists and tables of those. */
function toml(value) {
  if (Array.isArray(value)) return `[${value.map(toml).join(", ")}]`;
  if (typeof value === "object") return `{ ${Object.entries(value).map(([key, inner]) => `${key} = ${toml(inner)}`).join(", ")} }`;
  return JSON.stringify(value);
}

/** A port of the loopback that nobody listens on. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Starts a node and waits until it is ready. `overrides`: dotted setting names to values. */
export async function startNode(overrides = {}) {
  const port = await freePort();
  const directory = mkdtempSync(join(tmpdir(), "gorani-e2e-"));
  const file = join(directory, "gorani.toml");
  writeFileSync(file, Object.entries(settings(port, overrides)).map(([key, value]) => `${key} = ${toml(value)}\n`).join(""));
  return serve(file, port, API_KEY, {}, directory);
}

/** Starts a node as `make run` does, but on a free port. */
export async function startDevelopmentNode() {
  const port = await freePort();
  const file = join(repository, "deploy/gorani.dev.toml");
  return serve(file, port, "dev", { GORANI__HTTP__ADDRESS: `127.0.0.1:${port}` });
}

/** Starts a node with a settings file and waits until it is ready. `directory`: what is removed when it stops. */
export async function serve(file, port, key, environment, directory) {
  if (!existsSync(binary)) throw new Error(`no binary at ${binary}: build it, or name it in GORANI_BIN`);
  const env = { ...process.env, ...environment };
  const child = spawn(binary, ["serve", "--config", file], { stdio: ["ignore", "pipe", "pipe"], env });
  const node = new Node(child, port, key, directory);
  await node.ready();
  return node;
}

class Node {
  constructor(child, port, key, directory) {
    this.child = child;
    this.key = key;
    this.directory = directory;
    this.file = directory && join(directory, "gorani.toml");
    this.url = `http://127.0.0.1:${port}`;
    this.port = port;
    this.websocket = `ws://127.0.0.1:${port}/connection/websocket`;
    this.output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (this.output = (this.output + data).slice(-20_000)));
    this.exited = once(child, "exit");
    this.kill = () => child.kill("SIGKILL");
    process.once("exit", this.kill);
  }

  async ready() {
    const until = Date.now() + READY_WITHIN;
    while (this.child.exitCode === null && Date.now() < until) {
      const response = await fetch(`${this.url}/health/ready`).catch(() => null);
      if (response?.ok) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    this.kill();
    throw new Error(`the node did not become ready (exit code ${this.child.exitCode}):\n${this.output}`);
  }

  /** Ends the node as an operator does, and fails if it does not go. */
  async stop() {
    this.child.kill("SIGTERM");
    const timer = setTimeout(this.kill, GONE_WITHIN);
    const [, signal] = this.child.exitCode === null && this.child.signalCode === null ? await this.exited : [0, null];
    clearTimeout(timer);
    process.removeListener("exit", this.kill);
    if (this.directory) rmSync(this.directory, { recursive: true, force: true });
    if (signal === "SIGKILL") throw new Error(`the node did not end within ${GONE_WITHIN} ms of SIGTERM:\n${this.output}`);
  }

  /** One call of the HTTP API, with its status. */
  async call(method, params, key = this.key) {
    const response = await fetch(`${this.url}/api/${method}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-API-Key": key },
      body: JSON.stringify(params),
    });
    return { status: response.status, body: await response.json() };
  }

  /** One call of the HTTP API that must succeed; its result. */
  async api(method, params) {
    const { status, body } = await this.call(method, params);
    if (status !== 200 || body.error) throw new Error(`api/${method} ${JSON.stringify(params)}: ${status} ${JSON.stringify(body)}`);
    return body.result;
  }

  publish(channel, data, more = {}) {
    return this.api("publish", { channel, data, ...more });
  }
}
