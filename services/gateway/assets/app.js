// The page at /: it subscribes with the real Centrifuge SDK, and publishes through the HTTP API as a backend does.
// What the node says of itself (first channel, version, in development an API key) comes from page.json.

import { clearFeed, isEmpty, note, showEmpty, showHistory, showMessage } from "./feed.js";
import { $, element, plural } from "./page.js";
import { askPresence, forgetPresent, moved, setYou } from "./presence.js";
import "./theme.js";
import { endpoints, forgetTravels, watched } from "./travel.js";

// Publications asked of the history when the page opens a channel.
const FIRST_HISTORY = 50;
// Milliseconds for which "Drop" keeps the line cut, so that there is something to recover.
const DROP_MS = 3000;

// ---------------------------------------------------------------- the subscription

let client = null;
let current = null;
let channel = "";

function facts(...parts) {
  $("facts").replaceChildren(...parts.map(([text, kind]) => element("span", kind || "", text)));
}

function showPosition(epoch, offset) {
  $("position").textContent = epoch ? `offset ${offset}, epoch ${epoch}` : "–";
  const fact = $("facts").querySelector(".offset");
  if (fact) fact.textContent = `offset ${offset}`;
}

function subscribe(name) {
  if (current) {
    current.removeAllListeners();
    current.unsubscribe();
    client.removeSubscription(current);
  }
  channel = name;
  $("channel").value = name;
  document.title = `${name} · Gorani`;
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  $("compare").href = `compare${location.hash}`;
  clearFeed();
  forgetPresent("");
  showPosition("", 0);
  showCurl();
  showEmpty("wait", "Subscribing", `Asking for ${name}`);

  const subscription = client.newSubscription(name, { recoverable: true, positioned: true, joinLeave: true });
  current = subscription;
  let epoch = "";
  let recovering = 0;
  let recovered = false;
  let first = true;
  let historyUntil = 0;

  subscription.on("subscribing", () => facts(["subscribing", "wait"]));
  subscription.on("subscribed", (context) => {
    const position = context.streamPosition;
    facts(["subscribed", "good"], [context.recoverable ? "recovers what it misses" : "live only"], [position ? `offset ${position.offset}` : "no history", position ? "offset" : ""]);
    showEmpty("good", "Listening", `Publish something to ${name}: it appears here at once.`);
    if (context.wasRecovering && !context.recovered) {
      note("Back, but what came meanwhile could not be recovered", "bad");
    } else if (context.recovered) {
      // The SDK hands out the recovered publications right after this event, before any other task runs.
      recovered = true;
      recovering = 0;
      setTimeout(() => {
        recovered = false;
        note(recovering === 0 ? "Back: nothing was missed" : `Recovered ${plural(recovering, "message")}`, "good");
      });
    } else if (!first) {
      note("Subscribed again");
    }
    if (position && epoch && position.epoch !== epoch) note("The channel's history began anew", "bad");
    if (position) {
      epoch = position.epoch;
      showPosition(epoch, position.offset);
    }
    if (first && position && position.offset > 0) {
      historyUntil = position.offset;
      askHistory(subscription, historyUntil);
    }
    first = false;
    askPresence(subscription, () => subscription === current);
  });
  subscription.on("publication", (publication) => {
    if (recovered) recovering += 1;
    showMessage(publication, recovered ? "recovered" : "");
    if (publication.offset !== undefined) showPosition(epoch, publication.offset);
  });
  subscription.on("join", ({ info }) => moved(info, true));
  subscription.on("leave", ({ info }) => moved(info, false));
  subscription.on("error", ({ error }) => facts([`${error.message} (${error.code}), trying again`, "wait"]));
  subscription.on("unsubscribed", ({ code, reason }) => {
    facts([`${reason} (${code})`, "bad"]);
    const refused = code === 103 || code === 102;
    showEmpty("bad", code === 103 ? "Permission denied" : code === 102 ? "Unknown channel" : "Not subscribed", refused
      ? `The node's settings do not let this page into ${name}.` : `${reason} (${code})`);
    forgetPresent("Nobody to see without a subscription.");
    if (!isEmpty()) note(`Not subscribed: ${reason}`, "bad");
  });
  subscription.subscribe();
}

// What the channel kept before this page came. Live publications have higher offsets, so nothing shows twice.
async function askHistory(subscription, until) {
  try {
    const { publications } = await subscription.history({ limit: FIRST_HISTORY, reverse: true });
    const old = publications.filter((publication) => publication.offset <= until).reverse();
    if (subscription === current && old.length > 0) showHistory(old);
  } catch {
    // The channel's history is not open to this page; what comes live still is.
  }
}

$("channel-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("channel").value.trim();
  if (name) subscribe(name);
});
addEventListener("hashchange", () => {
  const name = channelOfAddress();
  if (name && name !== channel) subscribe(name);
});

function channelOfAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

// ---------------------------------------------------------------- the connection

let dropTimer = 0;
let failures = 0;

function banner(text) {
  $("banner").textContent = text;
  $("banner").hidden = !text;
}

function showState(state, text, transport = "") {
  $("link").dataset.state = state;
  $("state").textContent = text;
  $("transport").textContent = transport;
  $("drop").disabled = state !== "connected";
}

function open(token) {
  forgetTravels();
  const ways = endpoints($("way").value);
  $("endpoint").textContent = ways[0].endpoint;
  client = new globalThis.Centrifuge(ways, { ...watched, name: "gorani-page", ...(token && { token }) });
  client.on("connecting", ({ code, reason }) => {
    showState("connecting", failures > 0 || code > 1 ? "Reconnecting" : "Connecting", code > 1 ? `${reason} (${code})` : "");
    forgetPresent("Not known while the line is cut.");
  });
  client.on("connected", ({ client: id, transport }) => {
    failures = 0;
    banner("");
    $("client").textContent = id;
    setYou(id);
    $("endpoint").textContent = ways.find((way) => way.transport === transport).endpoint;
    showState("connected", "Connected", transport);
  });
  client.on("error", ({ error }) => {
    failures += 1;
    if (failures > 1) banner(`The node cannot be reached (${error.message}). This page keeps trying.`);
    if (client.state === "connecting") showState("connecting", "Reconnecting", `attempt ${failures + 1}`);
  });
  client.on("disconnected", ({ code, reason }) => {
    $("client").textContent = "–";
    forgetPresent("");
    if (dropTimer) return;
    showState("disconnected", "Disconnected", `${reason} (${code})`);
    if (code === 0) return;
    banner(`The node closed the connection for good: ${reason} (${code}). A connection token may help: see “Connection”.`);
    $("access").open = true;
    showEmpty("bad", "Disconnected", `${reason} (${code})`);
    facts(["not connected", "bad"]);
  });
  client.connect();
}

$("drop").addEventListener("click", () => {
  const end = Date.now() + DROP_MS;
  const tick = () => {
    const left = end - Date.now();
    if (left > 0) {
      showState("connecting", `Cut off, back in ${Math.ceil(left / 1000)} s`);
      dropTimer = setTimeout(tick, Math.min(left, 250));
    } else {
      dropTimer = 0;
      client.connect();
    }
  };
  dropTimer = setTimeout(tick);
  client.disconnect();
});

$("way").addEventListener("change", () => $("token-form").requestSubmit());
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(dropTimer);
  dropTimer = 0;
  failures = 0;
  banner("");
  client.removeAllListeners();
  client.disconnect();
  current = null;
  open($("token").value.trim());
  subscribe(channel);
});

// ---------------------------------------------------------------- publish

// What is typed, as JSON: JSON stays as it is, byte for byte; anything else is sent as a string.
function typed() {
  const text = $("data").value;
  try {
    JSON.parse(text);
    return { json: text.trim(), kind: "JSON" };
  } catch {
    return { json: JSON.stringify(text), kind: /^\s*[[{]/.test(text) ? "text (not valid JSON)" : "text" };
  }
}

const publishBody = () => `{"channel":${JSON.stringify(channel)},"data":${typed().json}}`;
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function showCurl() {
  $("kind").textContent = typed().kind;
  $("curl").textContent = [
    `curl ${location.origin}/api/publish`,
    `  -H 'Content-Type: application/json'`,
    `  -H ${quoted(`X-API-Key: ${$("key").value.trim() || "YOUR-API-KEY"}`)}`,
    `  -d ${quoted(publishBody())}`,
  ].join(" \\\n");
}

function outcome(kind, text) {
  $("outcome").dataset.kind = kind;
  $("outcome").textContent = text;
}

async function publish() {
  const key = $("key").value.trim();
  if (!key) {
    outcome("bad", "Publishing needs an API key.");
    $("key").focus();
    return;
  }
  $("publish").disabled = true;
  outcome("", "");
  const start = performance.now();
  try {
    const response = await fetch("api/publish", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-API-Key": key },
      body: publishBody(),
    });
    const answer = await response.json().catch(() => ({}));
    const error = answer.error || (response.ok ? null : { code: response.status, message: response.statusText || "refused" });
    if (error) {
      outcome("bad", `Refused: ${error.message} (${error.code})`);
    } else {
      const took = Math.max(1, Math.round(performance.now() - start));
      outcome("good", `Published${answer.result?.offset ? ` at offset ${answer.result.offset}` : ""} in ${took} ms`);
    }
  } catch {
    outcome("bad", "The node did not answer.");
  } finally {
    $("publish").disabled = false;
  }
}

async function copyCurl() {
  const text = $("curl").textContent;
  let copied = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard outside of a secure context: select it, so that a key press copies it.
    getSelection().selectAllChildren($("curl"));
    copied = document.execCommand("copy");
  }
  $("copy").textContent = copied ? "Copied" : "Selected";
  setTimeout(() => ($("copy").textContent = "Copy"), 1600);
}

$("publish-form").addEventListener("submit", (event) => {
  event.preventDefault();
  publish();
});
$("data").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    publish();
  }
});
$("data").addEventListener("input", showCurl);
$("key").addEventListener("input", showCurl);
$("copy").addEventListener("click", copyCurl);

// ---------------------------------------------------------------- start

async function start() {
  let page = {};
  try {
    page = await (await fetch("page.json", { cache: "no-store" })).json();
  } catch {
    banner("The node did not say how it is set up; the page goes on without.");
  }
  $("version").textContent = page.version ? `v${page.version}` : "";
  $("key").value = page.api_key || "";
  $("token").value = page.token || "";
  open(page.token || "");
  subscribe(channelOfAddress() || page.channel || "demo:lobby");
}

start();
