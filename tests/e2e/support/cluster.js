// Three nodes on one Redis behind HAProxy, which sends every request to the next node, whoever makes it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { startNode } from "./node.js";

const NODES = 3;
/** Milliseconds until a daemon accepts. */
const READY_WITHIN = 60_000;

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

async function until(what, holds) {
  const end = Date.now() + READY_WITHIN;
  while (!(await holds().catch(() => false))) {
    if (Date.now() > end) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A Redis or a node that a busy machine suspends for some seconds is not away. */
const PATIENT = { "broker.redis.request_timeout": "20s", "broker.redis.canary_timeout": "20s", "cluster.answer_timeout": "8s" };

/** No connection is kept: each request is one of a new client, for the balancer as for the nodes. */
const balancer = (port, nodes) => `
global
  stats timeout 1s
defaults
  mode http
  option httpclose
  option redispatch
  retries 2
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen nodes
  bind 127.0.0.1:${port}
  balance roundrobin
${nodes.map((node, index) => `  server node${index} 127.0.0.1:${node.port} check inter 200ms fall 1`).join("\n")}
`;

export class Cluster {
  /** `overrides`: settings of all nodes. `ofNode`: further ones of each, by its number. */
  static async start(overrides = {}, ofNode = () => ({})) {
    const cluster = new Cluster();
    try {
      await cluster.#start(overrides, ofNode);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), "gorani-e2e-cluster-"));
    this.daemons = [];
    this.nodes = [];
  }

  async #start(overrides, ofNode) {
    const redis = await freePort();
    this.redis = redis;
    this.#daemon("redis-server", ["--bind", "127.0.0.1", "--port", `${redis}`, "--save", "", "--dir", this.directory]);
    const settings = { "broker.kind": "redis", "broker.redis.url": `redis://127.0.0.1:${redis}`, "http.workers": 1, ...PATIENT, ...overrides };
    for (let node = 0; node < NODES; node += 1) this.nodes.push(await startNode({ ...settings, ...ofNode(node) }));
    const port = await freePort();
    const file = join(this.directory, "haproxy.cfg");
    writeFileSync(file, balancer(port, this.nodes));
    this.#daemon(existsSync("/usr/sbin/haproxy") ? "/usr/sbin/haproxy" : "haproxy", ["-db", "-f", file]);
    this.url = `http://127.0.0.1:${port}`;
    await until("the balancer accepts", async () => (await fetch(`${this.url}/health/ready`)).ok);
  }

  #daemon(program, options) {
    const child = spawn(program, options, { stdio: "ignore" });
    this.daemons.push(child);
    process.once("exit", () => child.kill("SIGKILL"));
  }

  /** How many requests the nodes have forwarded to one another. */
  async forwarded() {
    let sum = 0;
    for (const node of this.nodes) {
      const text = await (await fetch(`${node.url}/metrics`)).text().catch(() => "");
      sum += Number(/^gorani_forwards_total\{outcome="answered"\} (\d+)$/m.exec(text)?.[1] ?? 0);
    }
    return sum;
  }

  /** Whether the node has the session of the transport. */
  async has(node, transport) {
    const text = await (await fetch(`${node.url}/metrics`)).text();
    return Number(new RegExp(`^gorani_connections\\{transport="${transport}"\\} (\\d+)$`, "m").exec(text)?.[1] ?? 0) > 0;
  }

  async stop() {
    for (const node of this.nodes) await node.stop().catch(() => {});
    for (const daemon of this.daemons) daemon.kill("SIGKILL");
    rmSync(this.directory, { recursive: true, force: true });
  }
}
