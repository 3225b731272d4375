// A real Keycloak on a free port of the loopback, with its data in memory. It ends with the test, or with the test's process.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { freePort } from "../support/node.js";

const home = process.env.KEYCLOAK_HOME ?? "";
const ADMIN = { username: "admin", password: "password-of-the-admin" };
/** Milliseconds until it answers: it builds itself first. */
const READY_WITHIN = 600_000;
const GONE_WITHIN = 30_000;
/** It runs for minutes: to begin soon is worth more than to be fast later. */
const JAVA = "-XX:TieredStopAtLevel=1";

export class Keycloak {
  static async start() {
    if (!existsSync(join(home, "bin/kc.sh"))) throw new Error(`no Keycloak in KEYCLOAK_HOME (${home}): make test-keycloak fetches one`);
    const keycloak = new Keycloak();
    keycloak.port = await freePort();
    // Another host than that of the nodes, so that the browser comes back from another site.
    keycloak.url = `http://localhost:${keycloak.port}`;
    keycloak.directory = mkdtempSync(join(tmpdir(), "gorani-keycloak-"));
    keycloak.output = "";
    const environment = {
      KC_BOOTSTRAP_ADMIN_USERNAME: ADMIN.username,
      KC_BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password,
      KC_DB: "dev-mem",
      KC_CACHE: "local",
      JAVA_OPTS_APPEND: `-Xmx768m ${JAVA}`,
    };
    const options = { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...environment }, detached: true };
    keycloak.child = spawn(join(home, "bin/kc.sh"), ["start-dev", "--http-host=127.0.0.1", `--http-port=${keycloak.port}`], options);
    for (const stream of [keycloak.child.stdout, keycloak.child.stderr]) {
      stream.on("data", (data) => (keycloak.output = (keycloak.output + data).slice(-20_000)));
    }
    keycloak.exited = once(keycloak.child, "exit");
    process.once("exit", keycloak.kill);
    // By itself a signal ends the process without that.
    for (const name of ["SIGINT", "SIGTERM"]) process.once(name, () => process.exit(1));
    await keycloak.#ready();
    return keycloak;
  }

  /** Such as `Keycloak - Version 26.7.3`. */
  static version() {
    return readFileSync(join(home, "version.txt"), "utf8").trim();
  }

  /** The script starts Java: both are one group of processes. */
  #signal(name) {
    try {
      process.kill(-this.child.pid, name);
    } catch (error) {
      if (error.code !== "ESRCH") throw error;
    }
  }

  kill = () => this.#signal("SIGKILL");

  async #ready() {
    const until = Date.now() + READY_WITHIN;
    while (this.child.exitCode === null && Date.now() < until) {
      const response = await fetch(`${this.url}/realms/master/.well-known/openid-configuration`).catch(() => null);
      if (response?.ok) return;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    this.kill();
    throw new Error(`Keycloak did not become ready (exit code ${this.child.exitCode}):\n${this.output}`);
  }

  async stop() {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.#signal("SIGTERM");
      const timer = setTimeout(this.kill, GONE_WITHIN);
      await this.exited;
      clearTimeout(timer);
    }
    process.removeListener("exit", this.kill);
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Runs commands of the documents, with `kcadm.sh` on the path; what they print. */
  async shell(commands) {
    const environment = { PATH: `${join(home, "bin")}:${process.env.PATH}`, KC_CLI_PASSWORD: ADMIN.password, KC_OPTS: `-Duser.home=${this.directory} ${JAVA}` };
    const options = { env: { ...process.env, ...environment }, cwd: this.directory };
    const { stdout } = await promisify(execFile)("bash", ["-euo", "pipefail", "-c", commands], options);
    return stdout;
  }

  /** One call of its admin API; what it answers. */
  async admin(method, path, body) {
    const form = new URLSearchParams({ grant_type: "password", client_id: "admin-cli", ...ADMIN });
    const answered = await fetch(`${this.url}/realms/master/protocol/openid-connect/token`, { method: "POST", body: form });
    const { access_token: token } = await answered.json();
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const response = await fetch(`${this.url}/admin/realms/company${path}`, { method, headers, body: body && JSON.stringify(body) });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text && JSON.parse(text);
  }

  /** Changes a client by what `change` makes of it. */
  async changeClient(clientId, change) {
    const [client] = await this.admin("GET", `/clients?clientId=${clientId}`);
    await this.admin("PUT", `/clients/${client.id}`, change(client));
  }

  /** Adds a key of its own kind with a priority above those that are there. */
  addKey(name, providerId, config) {
    const values = Object.entries({ priority: "200", enabled: "true", active: "true", ...config }).map(([key, value]) => [key, [value]]);
    return this.admin("POST", "/components", { name, providerId, providerType: "org.keycloak.keys.KeyProvider", config: Object.fromEntries(values) });
  }
}
