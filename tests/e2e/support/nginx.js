// An nginx in front of a node, with nothing set that it does not need to run: it buffers answers and passes no Upgrade on.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Milliseconds until it accepts. */
const ACCEPTS_WITHIN = 60_000;

export class Nginx {
  /** Forwards to `port` of the loopback. */
  static async to(port) {
    const nginx = new Nginx();
    const free = createServer().listen(0, "127.0.0.1");
    await once(free, "listening");
    nginx.port = free.address().port;
    free.close();
    await once(free, "close");
    nginx.directory = mkdtempSync(join(tmpdir(), "gorani-nginx-"));
    const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${nginx.directory}/${name};`);
    const file = join(nginx.directory, "nginx.conf");
    writeFileSync(
      file,
      `daemon off; pid ${nginx.directory}/pid; error_log stderr; worker_processes 1; events {}
       http { access_log off; ${paths.join(" ")}
         server { listen 127.0.0.1:${nginx.port}; location / { proxy_pass http://127.0.0.1:${port}; proxy_set_header Host $http_host; } } }`,
    );
    nginx.child = spawn("nginx", ["-p", nginx.directory, "-c", file, "-e", "stderr"], { stdio: "ignore" });
    nginx.exited = once(nginx.child, "exit");
    nginx.url = `http://127.0.0.1:${nginx.port}`;
    await nginx.#accepts();
    return nginx;
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
    rmSync(this.directory, { recursive: true, force: true });
  }
}
