// A backend that a node asks: it answers by a function, and keeps what it was asked.

import { once } from "node:events";
import { createServer } from "node:http";

export class AskedBackend {
  /** `answer`: the last part of the path and the question to the answer. */
  static async start(answer) {
    const backend = new AskedBackend();
    backend.questions = [];
    backend.server = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const body = Buffer.concat(chunks).toString();
      const question = JSON.parse(body);
      const kind = request.url.slice(1);
      backend.questions.push({ kind, question, body, headers: request.headers });
      const answered = JSON.stringify(await answer(kind, question));
      response.writeHead(200, { "Content-Type": "application/json" });
      response.end(answered);
    }).listen(0, "127.0.0.1");
    await once(backend.server, "listening");
    backend.url = `http://127.0.0.1:${backend.server.address().port}`;
    return backend;
  }

  stop() {
    this.server.close();
    this.server.closeAllConnections();
  }
}
