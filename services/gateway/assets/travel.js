// How the page's client reaches the node, and what travels: the SDK's own WebSocket, fetch and EventSource, watched.

import { $, element, plural } from "./page.js";

// Lines of the record that are kept, and characters of each.
const LINES = 40;
const CHARACTERS = 400;

let requests = 0;
let received = 0;
let sent = 0;

function show(direction, text) {
  const bytes = new TextEncoder().encode(text).length;
  if (direction === "←") received += bytes;
  else sent += bytes;
  const short = text.length > CHARACTERS ? `${text.slice(0, CHARACTERS)}…` : text;
  $("travel").append(element("li", direction === "←" ? "in" : "out", `${direction} ${short}`));
  while ($("travel").childElementCount > LINES) $("travel").firstElementChild.remove();
  showTotals();
}

function showTotals() {
  $("travelled").textContent = `${plural(requests, "request")}, ${plural(sent, "byte")} out, ${plural(received, "byte")} in`;
}

function request(what) {
  requests += 1;
  $("travel").append(element("li", "request", what));
  showTotals();
}

/** Begins the record anew. */
export function forgetTravels() {
  requests = received = sent = 0;
  $("travel").replaceChildren();
  showTotals();
}

class WatchedSocket extends WebSocket {
  constructor(...wanted) {
    super(...wanted);
    request(`GET ${new URL(this.url).pathname}, Upgrade: websocket`);
    this.addEventListener("message", ({ data }) => show("←", data));
  }

  send(data) {
    show("→", data);
    super.send(data);
  }
}

class WatchedEvents extends EventSource {
  constructor(...wanted) {
    super(...wanted);
    request(`GET ${new URL(this.url).pathname}`);
    this.addEventListener("message", ({ data }) => show("←", data));
  }
}

async function watchedFetch(input, init) {
  request(`${init?.method ?? "GET"} ${new URL(input, location.href).pathname}`);
  if (init?.body) show("→", init.body);
  const response = await fetch(input, init);
  // A 204 has nothing to watch, though browsers give it a stream.
  if (response.status !== 200) return response;
  const decoder = new TextDecoder();
  const watch = new TransformStream({
    transform(chunk, controller) {
      const text = decoder.decode(chunk, { stream: true });
      if (text.trim()) show("←", text.trimEnd());
      controller.enqueue(chunk);
    },
  });
  return new Response(response.body.pipeThrough(watch), { status: response.status, headers: response.headers });
}

const TRANSPORTS = ["websocket", "http_stream", "sse"];

/** Where a transport is reached; `""` is all of them, in the order in which the SDK tries them. */
export function endpoints(chosen) {
  const address = (transport) => {
    const origin = transport === "websocket" ? location.origin.replace(/^http/, "ws") : location.origin;
    return { transport, endpoint: `${origin}/connection/${transport}` };
  };
  return TRANSPORTS.filter((transport) => !chosen || transport === chosen).map(address);
}

/** Options of the SDK with which everything that travels is shown. */
export const watched = {
  websocket: WatchedSocket,
  eventsource: WatchedEvents,
  fetch: watchedFetch,
  emulationEndpoint: `${location.origin}/emulation`,
};
