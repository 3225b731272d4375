// The backends of services/example-backend: one of them with its node, or alone, asked and told as a node does.

import { spawn } from "node:child_process";
import { createHmac, randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { freePort, repository, serve } from "./node.js";

export const directory = join(repository, "services/example-backend");
const API_KEY = "example-key";
const PROGRAMS = { python: ["python3", "python/backend.py"], node: [process.execPath, "node/backend.js"] };
/** The languages that it is there in. */
export const KINDS = Object.keys(PROGRAMS);

/** A backend alone. Where it has a node, that is at `nodePort`. */
export class Backend {
  static async start(kind, { sessionSeconds = 3600 } = {}) {
    const backend = new Backend();
    const state = mkdtempSync(join(tmpdir(), "gorani-backend-"));
    const key = randomBytes(32);
    Object.assign(backend, { kind, state, key, sessionSeconds, port: await freePort(), nodePort: await freePort() });
    backend.url = `http://127.0.0.1:${backend.port}`;
    writeFileSync(join(state, "hook.secret"), `whsec_${key.toString("base64")}\n`);
    await backend.begin();
    return backend;
  }

  /** Starts the program, with what it stored before. */
  async begin() {
    const [program, ...rest] = PROGRAMS[this.kind];
    const env = {
      ...process.env,
      GORANI__API__KEYS: API_KEY,
      APP_SESSION_SECRET: "session-secret",
      APP_HOOK_SECRET: `whsec_${this.key.toString("base64")}`,
      APP_PORT: String(this.port),
      APP_DATA: join(this.state, "people.json"),
      APP_SESSION_SECONDS: String(this.sessionSeconds),
      PUSH_URL: `http://127.0.0.1:${this.nodePort}`,
      PYTHONDONTWRITEBYTECODE: "1",
    };
    this.child = spawn(program, rest, { cwd: directory, env, stdio: ["ignore", "pipe", "pipe"] });
    this.output = "";
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on("data", (data) => (this.output = (this.output + data).slice(-20_000)));
    const kill = () => this.child?.kill("SIGKILL");
    process.once("exit", kill);
    this.gone = once(this.child, "exit").then((how) => (process.removeListener("exit", kill), how));
    const listening = new Promise((resolve) => this.child.stdout.on("data", () => this.output.includes("The backend is on") && resolve()));
    await Promise.race([listening, this.gone.then(([code]) => Promise.reject(new Error(`the backend ended with ${code}:\n${this.output}`)))]);
  }

  async end(signal = "SIGTERM") {
    this.child?.kill(signal);
    const how = await this.gone;
    this.child = null;
    return how;
  }

  async stop() {
    if (this.child) await this.end();
    await this.node?.stop();
    rmSync(this.state, { recursive: true, force: true });
  }

  /** Starts the node of the example, with its settings. */
  async startNode() {
    const settings = readFileSync(join(directory, "gorani.toml"), "utf8")
      .replaceAll("127.0.0.1:8000", `127.0.0.1:${this.nodePort}`)
      .replaceAll(":3000", `:${this.port}`)
      .replaceAll('"state/', `"${this.state}/`)
      // Without it a call has 1 s, which a busy backend may miss.
      .replace(/^endpoint = .*$/gm, '$&\ntimeout = "20s"');
    const file = join(this.state, "gorani.toml");
    writeFileSync(file, settings);
    this.node = await serve(file, this.nodePort, API_KEY, { GORANI__API__KEYS: API_KEY });
  }

  async stopNode() {
    await this.node?.stop();
    this.node = null;
  }

  /** The cookie of a user who signs in. */
  async signIn(name) {
    const response = await fetch(`${this.url}/api/login`, { method: "POST", body: JSON.stringify({ name }) });
    if (response.status !== 200) throw new Error(`signing in: ${response.status}`);
    return response.headers.get("set-cookie").split(";")[0];
  }

  /** Headers that sign a body as the node does. */
  signed(body, { key = this.key, at = Math.floor(Date.now() / 1000), id = `msg_${randomUUID()}` } = {}) {
    const signature = createHmac("sha256", key).update(`${id}.${at}.${body}`).digest("base64");
    return { "webhook-id": id, "webhook-timestamp": String(at), "webhook-signature": `v1,${signature}` };
  }

  /** Asks or tells it as the node does: the status and the answer. `sign`: what is otherwise about the signature. */
  async ask(kind, question, { headers = {}, sign = {} } = {}) {
    const body = JSON.stringify(question);
    const response = await fetch(`${this.url}/gorani/${kind}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...this.signed(body, sign), ...headers },
      body,
    });
    return { status: response.status, answer: await response.json() };
  }

  /** Tells it a batch of events. */
  tell(...events) {
    return this.ask("hooks", { batch: randomUUID(), events });
  }

  /** Who is online, as it answers to a question by rpc. */
  async online() {
    const { answer } = await this.ask("rpc", { client: "c", user: "", method: "ask", data: { question: "Who is here?" } });
    return /^Here are (.*)\.$/.exec(answer.result.data.answer)[1].split(", ").filter((name) => name !== "");
  }
}
