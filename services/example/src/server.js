// The app: a backend on Node's own http, without a framework. It signs users in, makes their tokens, stores messages, publishes them, and
// serves the page. Clients receive from Gorani and send to the app.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";

import { Gorani } from "./gorani.js";
import { Messages } from "./messages.js";
import { cookieFor, userOf, userOfRequest } from "./sessions.js";
import { connectionToken, subscriptionToken } from "./tokens.js";
import { takeUpload, UPLOAD_MAX } from "./uploads.js";

const environment = process.env;
const host = environment.APP_HOST ?? "127.0.0.1";
const port = Number(environment.APP_PORT ?? 3000);
const pushUrl = (environment.PUSH_URL ?? "http://127.0.0.1:8000").replace(/\/$/, "");
/** The node's address for browsers; in production a balancer's name, while the app may take a shorter way. */
const publicPushUrl = (environment.PUSH_PUBLIC_URL ?? pushUrl).replace(/\/$/, "");
const apiKey = secretOf("GORANI__API__KEYS").split(",")[0];
const tokenSecret = secretOf("GORANI__TOKEN__HMAC_SECRET");
const sessionSecret = secretOf("APP_SESSION_SECRET");

/** Channels that users may subscribe to, by the name of the room. */
const ROOMS = { lobby: "chat:lobby", garden: "chat:garden" };
/** The personal channel; see personal_channels in gorani.toml. */
const INBOX = "user:inbox";
const TEXT_MAX = 2000;
const BODY_MAX = 16 * 1024;

function secretOf(name) {
  if (environment[name]) return environment[name];
  console.error(`${name} is not set. run.sh makes it.`);
  process.exit(78);
}

/** An answer other than success. */
class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const gorani = new Gorani(pushUrl, apiKey);
const messages = await Messages.open(environment.APP_DATA ?? "messages.jsonl", ({ key, channel, user, ...message }) =>
  gorani.publish({ channel, user, data: { type: "message", ...message }, idempotency_key: key }),
);

// ---------------------------------------------------------------- what the page is made of

const sdk = createRequire(import.meta.url).resolve("centrifuge").replace(/build\/index\.js$/, "dist/centrifuge.js");
const page = (name) => new URL(`../public/${name}`, import.meta.url);
const files = Object.fromEntries(
  await Promise.all(
    [
      ["/", page("index.html"), "text/html"],
      ["/style.css", page("style.css"), "text/css"],
      ["/favicon.svg", page("favicon.svg"), "image/svg+xml"],
      ...["app.js", "room.js", "inbox.js", "upload.js", "page.js"].map((name) => [`/${name}`, page(name), "text/javascript"]),
      // The SDK as npm brings it.
      ["/centrifuge.js", sdk, "text/javascript"],
    ].map(async ([path, file, type]) => [path, { body: await readFile(file), type: `${type}; charset=utf-8` }]),
  ),
);
// The page may talk to the app and to the node, and to nobody else.
const policy = [
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  `connect-src 'self' ${publicPushUrl} ${publicPushUrl.replace(/^http/, "ws")}`,
].join("; ");

// ---------------------------------------------------------------- requests

async function json(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > BODY_MAX) throw new Refused(413, "the body is too large");
    chunks.push(chunk);
  }
  try {
    return Object(JSON.parse(Buffer.concat(chunks)));
  } catch {
    throw new Refused(400, "the body is no JSON");
  }
}

function roomChannel(room) {
  if (Object.hasOwn(ROOMS, room)) return ROOMS[room];
  throw new Refused(403, "there is no such room for you");
}

function add(user, { text, key }, to) {
  if (typeof text !== "string" || text.trim() === "" || text.length > TEXT_MAX) throw new Refused(400, `a text has 1 to ${TEXT_MAX} characters`);
  if (typeof key !== "string" || !/^[\w-]{8,64}$/.test(key)) throw new Refused(400, "a message has a key of its own");
  // With the user in front, nobody can take another one's key.
  return messages.add({ key: `${user.id}-${key}`, from: user, text: text.trim(), ...to });
}

const after = (query) => Number.parseInt(query.get("after") ?? "0", 10) || 0;

/** Requests of users who are signed in: `(user, query, request)` to the JSON of the answer. */
const routes = {
  "GET /api/me": (user) => ({ user, rooms: Object.keys(ROOMS), inbox: INBOX, push: publicPushUrl }),
  "GET /api/token": (user) => ({ token: connectionToken(user, tokenSecret) }),
  "GET /api/room-token": (user, query) => {
    const channel = roomChannel(query.get("room"));
    return { channel, token: subscriptionToken(user, channel, tokenSecret) };
  },
  "GET /api/messages": (_, query) => messages.read({ channel: roomChannel(query.get("room")), after: after(query) }),
  "POST /api/messages": async (user, _, request) => {
    const body = await json(request);
    return add(user, body, { channel: roomChannel(body.room) });
  },
  "GET /api/inbox": (user, query) => messages.read({ channel: INBOX, user: user.id, after: after(query) }),
  "POST /api/inbox": async (user, _, request) => {
    const body = await json(request);
    if (typeof body.to !== "string" || !/^[0-9a-f]{12}$/.test(body.to)) throw new Refused(400, "to is the id of a user");
    return add(user, body, { channel: INBOX, user: body.to });
  },
  "POST /api/uploads": async (user, query, request) => {
    const upload = { id: (query.get("id") ?? "").slice(0, 64), name: (query.get("name") ?? "").slice(0, 200) };
    if (Number(request.headers["content-length"]) > UPLOAD_MAX) throw new Refused(413, "the file is too large");
    const taken = await takeUpload(request, upload, (progress, isLast) =>
      // Progress on the way is soon out of date, so the history does not keep it. The end is kept, for tabs that were away.
      gorani.publish({ user: user.id, channel: INBOX, data: { type: "progress", ...progress }, skip_history: !isLast }),
    );
    if (!taken) throw new Refused(413, "the file is too large");
    return taken;
  },
};

async function answer(request, response) {
  const url = new URL(request.url, "http://app");
  const file = files[url.pathname];
  if (file && (request.method === "GET" || request.method === "HEAD")) {
    response.writeHead(200, { "Content-Type": file.type, "Content-Length": file.body.length, "Content-Security-Policy": policy });
    response.end(request.method === "HEAD" ? undefined : file.body);
    return;
  }
  // Pages of other sites may not send in a user's name.
  const { origin } = request.headers;
  if (origin && origin !== `http://${request.headers.host}` && origin !== `https://${request.headers.host}`) throw new Refused(403, "from another site");
  const wanted = `${request.method} ${url.pathname}`;
  if (wanted === "POST /api/login") {
    const user = userOf((await json(request)).name);
    if (!user) throw new Refused(400, "a name has 1 to 24 characters");
    send(response, 200, user, { "Set-Cookie": cookieFor(user, sessionSecret) });
  } else if (wanted === "POST /api/logout") {
    send(response, 200, {}, { "Set-Cookie": cookieFor(null) });
  } else if (Object.hasOwn(routes, wanted)) {
    const user = userOfRequest(request, sessionSecret);
    // Nobody is an answer too, so that the page need not cause an error to learn it.
    if (!user && wanted === "GET /api/me") return send(response, 200, { user: null });
    if (!user) throw new Refused(401, "sign in first");
    send(response, 200, await routes[wanted](user, url.searchParams, request));
  } else {
    throw new Refused(404, "there is nothing here");
  }
}

function send(response, status, value, headers = {}) {
  response.writeHead(status, { "Content-Type": "application/json", "Cache-Control": "no-store", ...headers });
  response.end(JSON.stringify(value));
}

const server = createServer((request, response) => {
  response.setHeader("X-Content-Type-Options", "nosniff");
  answer(request, response).catch((error) => {
    if (response.headersSent) return response.destroy();
    const status = error.status ?? 503;
    if (!error.status) console.error(`${request.method} ${request.url.split("?")[0]} failed: ${error.message}`);
    // What is left of a body that nobody reads is not to be taken for the next request.
    send(response, status, { error: error.status ? error.message : "not now; try again" }, request.complete ? {} : { Connection: "close" });
  });
});

server.on("error", (error) => {
  console.error(`The app cannot listen on ${host}:${port}: ${error.code}.`);
  process.exit(1);
});
server.listen(port, host, () => console.log(`The app is on http://${host}:${server.address().port}`));

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, async () => {
    server.close();
    server.closeIdleConnections();
    await messages.close();
    process.exit(0);
  });
}
