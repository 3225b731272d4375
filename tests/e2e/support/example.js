// The example under services/: its node, its app, and what a visitor of its page sees. Node and app end and start again one by one.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { freePort, repository, serve } from "./node.js";
import { Proxy } from "./proxy.js";

export const directory = join(repository, "services/example");
const API_KEY = "example-key";
/** Milliseconds until a thing is to be seen: the SDK of the page waits up to 20 s until it connects again. */
const WITHIN = 60_000;

export class Example {
  static async start() {
    const example = new Example();
    example.state = mkdtempSync(join(tmpdir(), "gorani-example-"));
    [example.port, example.nodePort] = [await freePort(), await freePort()];
    example.url = `http://127.0.0.1:${example.port}`;
    // Browsers reach the node over a wire that can be cut; the app has its own.
    example.wire = await Proxy.to(example.nodePort);
    await example.startNode();
    await example.startApp();
    return example;
  }

  #secrets() {
    return { GORANI__API__KEYS: API_KEY, GORANI__TOKEN__HMAC_SECRET: "example-secret-of-at-least-thirty-two-bytes", APP_SESSION_SECRET: "another-secret" };
  }

  async startNode() {
    this.node = await serve(join(directory, "gorani.toml"), this.nodePort, API_KEY, {
      ...this.#secrets(),
      GORANI__HTTP__ADDRESS: `127.0.0.1:${this.nodePort}`,
      GORANI__CLIENT__ALLOWED_ORIGINS: this.url,
    });
  }

  async stopNode() {
    await this.node?.stop();
    this.node = null;
  }

  async startApp() {
    const env = {
      ...process.env,
      ...this.#secrets(),
      APP_PORT: String(this.port),
      APP_DATA: join(this.state, "messages.jsonl"),
      PUSH_URL: `http://127.0.0.1:${this.nodePort}`,
      PUSH_PUBLIC_URL: this.wire.url,
    };
    this.app = spawn(process.execPath, ["src/server.js"], { cwd: directory, env, stdio: ["ignore", "pipe", "pipe"] });
    this.output = "";
    for (const stream of [this.app.stdout, this.app.stderr]) stream.on("data", (data) => (this.output = (this.output + data).slice(-20_000)));
    const kill = () => this.app?.kill("SIGKILL");
    process.once("exit", kill);
    this.gone = once(this.app, "exit").then((how) => (process.removeListener("exit", kill), how));
    const listening = new Promise((resolve) => this.app.stdout.on("data", () => this.output.includes("The app is on") && resolve()));
    await Promise.race([listening, this.gone.then(([code]) => Promise.reject(new Error(`the app ended with ${code}:\n${this.output}`)))]);
  }

  /** Ends the app as an operator does; with SIGKILL as a crash does. */
  async stopApp(signal = "SIGTERM") {
    this.app?.kill(signal);
    const how = await this.gone;
    this.app = null;
    return how;
  }

  async stop() {
    if (this.app) await this.stopApp();
    await this.stopNode();
    this.wire.close();
    rmSync(this.state, { recursive: true, force: true });
  }
}

/** Somebody with a browser window of their own, signed in. */
export class Person {
  static async comes(browser, example, name, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ...options });
    const person = new Person(context, await context.newPage(), name);
    await person.page.goto(example.url);
    await person.page.fill("#name", name);
    await person.page.click("#login button");
    await person.isIn();
    return person;
  }

  constructor(context, page, name) {
    Object.assign(this, { context, page, name, problems: [] });
    page.setDefaultTimeout(WITHIN);
    page.on("pageerror", (error) => this.problems.push(String(error)));
    page.on("console", (message) => message.type() === "error" && this.problems.push(message.text()));
  }

  /** Another window of the same person. */
  async opensAnother(example) {
    const other = new Person(this.context, await this.context.newPage(), this.name);
    await other.page.goto(example.url);
    await other.isIn();
    return other;
  }

  async shows(selector, text) {
    await this.page.locator(selector).filter({ hasText: text }).first().waitFor({ timeout: WITHIN });
  }

  /** Waits until the page is connected, and knows who is there. */
  async isIn() {
    await this.shows("#state", "Connected over");
    await this.shows("#people", `${this.name} (you)`);
  }

  async says(text) {
    await this.page.fill("#text", text);
    await this.page.press("#text", "Enter");
  }

  /** Waits for a message of the room that is stored. */
  reads(text) {
    return this.shows("#messages li:not(.pending):not(.failed)", text);
  }

  /** The room's texts, from the top. */
  texts() {
    return this.page.locator("#messages li").evaluateAll((lines) => lines.map((line) => line.childNodes[1].textContent.trim()));
  }

  inbox() {
    return this.page.locator("#inbox li").evaluateAll((lines) => lines.map((line) => line.childNodes[1].textContent.trim()));
  }

  leaves() {
    return this.context.close();
  }
}
