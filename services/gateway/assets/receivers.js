// The five ways to receive a channel without an SDK, as a browser can use them. Each tells its column what it asks, what comes and
// how it stands, knows how far it has come, and comes back there when its line breaks.

// Milliseconds between two polls that do not wait.
const POLL_MS = 1000;
// Seconds for which a long poll waits.
const WAIT_SECONDS = 25;
// Milliseconds until a broken line is tried again.
const RETRY_MS = 1000;

const encoder = new TextEncoder();
const size = (text) => encoder.encode(text).length;

const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

// The node writes a position as channel.offset.epoch, whatever is no letter or digit as ~ and two hexadecimal digits.
const escaped = (text) =>
  Array.from(encoder.encode(text), (byte) => {
    const letter = String.fromCharCode(byte);
    return /[A-Za-z0-9_-]/.test(letter) ? letter : `~${byte.toString(16).padStart(2, "0")}`;
  }).join("");
const positionOf = (channel, offset, epoch) => `${escaped(channel)}.${offset}.${escaped(epoch)}`;

const address = (path, parameters) => `connection/${path}?${new URLSearchParams(parameters)}`;

/** Where the channel is now. All columns begin there, so that each must see the same. */
export async function present(channel) {
  const response = await fetch(address("poll", { channels: channel, limit: 1 }), { cache: "no-store" });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error?.message || answer.message || `the node answered ${response.status}`);
  return answer.position;
}

// What of a response's head a script may see: nearly all of it, as text of HTTP/1.1.
function headSize(response) {
  let bytes = size(`HTTP/1.1 ${response.status} ${response.statusText}\r\n\r\n`);
  for (const [name, value] of response.headers) bytes += size(`${name}: ${value}\r\n`);
  return bytes;
}

async function asked(path, parameters, column, options) {
  column.request();
  const response = await fetch(address(path, parameters), { cache: "no-store", signal: column.signal, ...options });
  column.received(headSize(response));
  if (response.status >= 400) throw new Error(`the node answered ${response.status}`);
  return response;
}

// Runs `round` again and again until the column ends, and slowly where it fails.
async function rounds(column, round) {
  while (!column.signal.aborted) {
    try {
      await round();
    } catch (error) {
      if (column.signal.aborted) return;
      column.state("bad", `${error.message}, trying again`);
      await pause(RETRY_MS, column.signal);
    }
  }
}

async function polls(channel, start, column, wait) {
  let position = start;
  await rounds(column, async () => {
    if (wait) column.state("good", "a request waits");
    const parameters = { channels: channel, position, ...(wait && { wait }) };
    const response = await asked("poll", parameters, column, { headers: { "If-None-Match": `"${position}"` } });
    const body = response.status === 304 ? "" : await response.text();
    column.received(size(body));
    const answer = body ? JSON.parse(body) : { publications: [], position };
    if (answer.unrecovered) column.lost();
    for (const { pub } of answer.publications) column.message(pub);
    ({ position } = answer);
    if (wait) return;
    column.state("good", `asks every ${POLL_MS / 1000} s`);
    await pause(POLL_MS, column.signal);
  });
}

// What a stream's objects say, whichever way they come.
class Reader {
  constructor(channel, start, column) {
    Object.assign(this, { channel, column, position: start, epoch: "" });
  }

  object(text) {
    const { connect, pub, disconnect } = JSON.parse(text);
    if (connect) {
      const { epoch, offset, recovered, was_recovering: asked } = connect.subs[this.channel];
      this.epoch = epoch;
      if (asked && !recovered) {
        this.column.lost();
        this.position = positionOf(this.channel, offset ?? 0, epoch);
      }
    }
    if (pub) {
      this.column.message(pub);
      this.position = positionOf(this.channel, pub.offset, this.epoch);
    }
    if (disconnect) this.column.state("wait", `${disconnect.reason} (${disconnect.code})`);
  }
}

async function streams(channel, start, column) {
  const reader = new Reader(channel, start, column);
  await rounds(column, async () => {
    const response = await asked("uni_http_stream", { channels: channel, position: reader.position }, column);
    column.state("good", "one response goes on");
    const decoder = new TextDecoder();
    const body = response.body.getReader();
    let rest = "";
    for (let part = await body.read(); !part.done; part = await body.read()) {
      column.received(part.value.length);
      const lines = (rest + decoder.decode(part.value, { stream: true })).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line) reader.object(line);
    }
    throw new Error("the stream ended");
  });
}

function events(channel, start, column) {
  const reader = new Reader(channel, start, column);
  // The browser comes back by itself and tells the last id it saw, which counts more than the position here.
  const source = new EventSource(address("uni_sse", { channels: channel, position: start }));
  column.request();
  let id = "";
  source.addEventListener("open", () => column.state("good", "one response goes on"));
  source.addEventListener("error", () => {
    const over = source.readyState === EventSource.CLOSED;
    if (!over) column.request();
    column.state("bad", over ? "refused" : "broken, trying again");
  });
  source.addEventListener("message", ({ data, lastEventId }) => {
    // The browser tells the event, not the bytes: these are its lines.
    column.received(size(`data: ${data}\n\n`) + (lastEventId === id ? 0 : size(`id: ${lastEventId}\n`)));
    id = lastEventId;
    reader.object(data);
  });
  column.signal.addEventListener("abort", () => source.close(), { once: true });
}

async function frames(channel, start, column) {
  const reader = new Reader(channel, start, column);
  await rounds(column, () =>
    new Promise((resolve, reject) => {
      const url = new URL(address("uni_websocket", { channels: channel, position: reader.position }), location.href);
      const socket = new WebSocket(url.href.replace(/^http/, "ws"));
      column.request();
      socket.addEventListener("open", () => column.state("good", "one connection"));
      socket.addEventListener("message", ({ data }) => {
        const bytes = size(data);
        // The head of a frame: two bytes, and two more for a length above 125.
        column.received(bytes + (bytes > 125 ? 4 : 2));
        for (const line of data.split("\n")) if (line) reader.object(line);
      });
      socket.addEventListener("close", ({ code }) => (column.signal.aborted ? resolve() : reject(new Error(`closed (${code})`))));
      column.signal.addEventListener("abort", () => socket.close(), { once: true });
    }),
  );
}

/** The ways, in the order in which the web found them. */
export const WAYS = [
  {
    name: "polling",
    title: "Polling",
    about: "Request, response, and the same again a second later. Most answers say that nothing is new, and what is new waits for the next question.",
    receive: (channel, start, column) => polls(channel, start, column, 0),
  },
  {
    name: "long-polling",
    title: "Long polling",
    about: "The server holds the request until it has something to say. News comes at once, but each answer costs a new request.",
    receive: (channel, start, column) => polls(channel, start, column, WAIT_SECONDS),
  },
  {
    name: "streaming",
    title: "HTTP streaming",
    about: "One response that does not end: each message is one more line of it. No further request, as long as the line holds.",
    receive: streams,
  },
  {
    name: "sse",
    title: "Server-sent events",
    about: "The same stream, read by the browser itself: EventSource comes back by itself and tells the last event it saw.",
    receive: events,
  },
  {
    name: "websocket",
    title: "WebSocket",
    about: "HTTP only opens the door. Then one connection carries frames of a few bytes' head, and could carry them both ways.",
    receive: frames,
  },
];
