// An nginx that speaks TLS for nodes which do not, and sends each request to the next of them, with the headers of deploy/nginx.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { freePort } from "../support/node.js";

const ACCEPTS_WITHIN = 10_000;

const configuration = (directory, port, nodes) => `
daemon off; pid ${directory}/pid; error_log stderr; worker_processes 1; events {}
http {
  access_log off;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${directory}/${name};`).join(" ")}
  upstream nodes { ${nodes.map((node) => `server 127.0.0.1:${node.port};`).join(" ")} }
  server {
    listen 127.0.0.1:${port} ssl;
    ssl_certificate ${directory}/certificate.pem;
    ssl_certificate_key ${directory}/key.pem;
    location / {
      proxy_pass http://nodes;
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }
  }
}`;

export class Balancer {
  /** Answers for `host`, with a certificate that it has signed itself. */
  static async start(host, nodes) {
    const balancer = new Balancer();
    balancer.port = await freePort();
    balancer.directory = mkdtempSync(join(tmpdir(), "gorani-balancer-"));
    const inDirectory = (name) => join(balancer.directory, name);
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", inDirectory("key.pem")];
    execFileSync("openssl", ["req", "-x509", ...key, "-subj", `/CN=${host}`, "-days", "2", "-out", inDirectory("certificate.pem")], { stdio: "ignore" });
    const file = inDirectory("nginx.conf");
    writeFileSync(file, configuration(balancer.directory, balancer.port, nodes));
    balancer.child = spawn("nginx", ["-p", balancer.directory, "-c", file, "-e", "stderr"], { stdio: "ignore" });
    balancer.exited = once(balancer.child, "exit");
    balancer.kill = () => balancer.child.kill("SIGKILL");
    process.once("exit", balancer.kill);
    await balancer.#accepts();
    return balancer;
  }

  async #accepts() {
    const until = Date.now() + ACCEPTS_WITHIN;
    while (Date.now() < until) {
      const socket = connect(this.port, "127.0.0.1");
      const accepted = await new Promise((resolve) => socket.once("connect", () => resolve(true)).once("error", () => resolve(false)));
      socket.destroy();
      if (accepted) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error("nginx does not accept; is it installed?");
  }

  async close() {
    this.child.kill("SIGTERM");
    await this.exited;
    process.removeListener("exit", this.kill);
    rmSync(this.directory, { recursive: true, force: true });
  }
}
