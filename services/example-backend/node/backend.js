// The backend: HTTP with what Node brings. It answers what the node asks (`/gorani/connect`, ...), takes what the node tells
// (`/gorani/hooks`), signs users in and serves the page. `../python/backend.py` is the same in Python.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

import { answersOf, PEOPLE } from "./answers.js";
import { People } from "./people.js";
import { cookieFor, nameOf, userOf } from "./sessions.js";
import { isSigned, keyOf } from "./standard_webhooks.js";

const environment = process.env;
const host = environment.APP_HOST ?? "127.0.0.1";
const port = Number(environment.APP_PORT ?? 3000);
const pushUrl = (environment.PUSH_URL ?? "http://127.0.0.1:8000").replace(/\/$/, "");
/** The node's address for browsers; in production a balancer's name. */
const publicPushUrl = (environment.PUSH_PUBLIC_URL ?? pushUrl).replace(/\/$/, "");
/** Seconds until the node asks whether a connection goes on. */
const sessionSeconds = Number(environment.APP_SESSION_SECONDS ?? 3600);
const sessionSecret = secretOf("APP_SESSION_SECRET");
const hookKey = keyOf(secretOf("APP_HOOK_SECRET"));
const apiKey = secretOf("GORANI__API__KEYS");
const API_TIMEOUT = 5000;
/** Above hooks.endpoints.batch_max_bytes of the node. */
const BODY_MAX = 1024 * 1024;

const file = (path) => new URL(path, import.meta.url);
const files = {
  "/": [file("../public/index.html"), "text/html"],
  "/app.js": [file("../public/app.js"), "text/javascript"],
  "/style.css": [file("../public/style.css"), "text/css"],
  // The published SDK, which the node has for its own page.
  "/centrifuge.js": [file("../../gateway/assets/centrifuge.js"), "text/javascript"],
};

function secretOf(name) {
  if (environment[name]) return environment[name];
  console.error(`${name} is not set. run.sh makes it.`);
  process.exit(78);
}

/** Calls the HTTP API of the node. */
async function call(method, params) {
  const response = await fetch(`${pushUrl}/api/${method}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-API-Key": apiKey },
    body: JSON.stringify(params),
    signal: AbortSignal.timeout(API_TIMEOUT),
  });
  // An error of a call is 200 with "error" by default (api.error_mode).
  const { result, error } = await response.json();
  if (error) throw new Error(`${method}: ${error.message}`);
  return result;
}

/** All connections of the cluster: client ids to users. */
async function readConnections() {
  const there = new Map();
  for (let cursor = "", more = true; more; more = cursor !== "") {
    const page = await call("connections", { cursor, limit: 1000 });
    for (const [client, { user = "" }] of Object.entries(page.connections)) there.set(client, user);
    cursor = page.next_cursor ?? "";
  }
  return there;
}

const people = await People.open(environment.APP_DATA ?? "people.json", readConnections);
const answers = answersOf(people, sessionSecret, sessionSeconds);

let announced = Promise.resolve();
/** Tells all clients who is online. The node that told the backend need not wait for it. */
function announce() {
  announced = announced
    .then(() => call("publish", { channel: PEOPLE, data: { online: people.online() } }))
    .catch((error) => console.error(`Nobody is told who is online: ${error.message}`));
}

// ---------------------------------------------------------------- requests

/** An answer other than success. */
class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function bodyOf(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > BODY_MAX) throw new Refused(413, "the body is too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parsed(body) {
  try {
    return Object(JSON.parse(body));
  } catch {
    throw new Refused(400, "the body is no JSON");
  }
}

async function takeFromNode(kind, request) {
  const body = await bodyOf(request);
  if (!isSigned(hookKey, request.headers, body)) throw new Refused(401, "no signature is right");
  if (kind === "hooks") {
    const { events } = parsed(body);
    if (!Array.isArray(events)) throw new Refused(400, "a batch has events");
    if (await people.take(events)) announce();
    return { result: {} };
  }
  if (!Object.hasOwn(answers, kind)) throw new Refused(404, "there is nothing here");
  return answers[kind](parsed(body), request.headers);
}

async function answer(request, response) {
  const path = request.url.split("?")[0];
  const wanted = `${request.method} ${path}`;
  if (request.method === "GET" && Object.hasOwn(files, path)) {
    const [from, type] = files[path];
    response.writeHead(200, { "Content-Type": `${type}; charset=utf-8` });
    response.end(await readFile(from));
  } else if (wanted === "GET /api/me") {
    send(response, 200, { user: userOf(request.headers.cookie, sessionSecret), push: publicPushUrl });
  } else if (wanted === "POST /api/login") {
    const name = nameOf(parsed(await bodyOf(request)).name);
    if (name === null) throw new Refused(400, "a name has 1 to 24 characters");
    send(response, 200, { user: name }, { "Set-Cookie": cookieFor(name, sessionSecret) });
  } else if (wanted.startsWith("POST /gorani/")) {
    // Only 200 is an answer for the node, also where it refuses.
    send(response, 200, await takeFromNode(path.slice("/gorani/".length), request));
  } else {
    throw new Refused(404, "there is nothing here");
  }
}

function send(response, status, value, headers = {}) {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": body.length, "Cache-Control": "no-store", ...headers });
  response.end(body);
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    if (response.headersSent) return response.destroy();
    // After 503 the node asks again, or tells again.
    if (!error.status) console.error(`${request.url} failed: ${error.message}`);
    send(response, error.status ?? 503, { error: error.status ? error.message : "not now" }, request.complete ? {} : { Connection: "close" });
  });
});
server.on("error", (error) => {
  console.error(`The backend cannot listen on ${host}:${port}: ${error.code}.`);
  process.exit(1);
});
server.listen(port, host, () => console.log(`The backend is on http://${host}:${port}`));

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
  });
}
