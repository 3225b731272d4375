// The page at /compare: the same channel over every transport at once, with what each costs. It publishes through the HTTP API,
// and its publications tell when, so that each column knows how long they took.

import { $, element } from "./page.js";
import { present, WAYS } from "./receivers.js";
import "./theme.js";

// Milliseconds between the publications of "5 a second".
const OFTEN_MS = 200;
// Messages that a column shows.
const SHOWN = 100;
// Latencies from which the median is taken: the latest ones.
const LATENCIES = 1000;

// Tells this page's publications from those of others, whose clocks it does not know.
const page = crypto.getRandomValues(new Uint32Array(2)).join("-");
const now = () => performance.timeOrigin + performance.now();

const numbers = (n) => n.toLocaleString("en");
const milliseconds = (ms) => (ms === undefined ? "–" : `${ms.toLocaleString("en", { maximumFractionDigits: ms < 100 ? 1 : 0 })} ms`);

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : sorted.length ? (sorted[half - 1] + sorted[half]) / 2 : undefined;
}

const COUNTERS = [
  ["requests", "Requests"],
  ["bytes", "Bytes received"],
  ["counted", "Messages"],
  ["last", "Latency, last"],
  ["median", "Latency, median"],
];

class Column {
  constructor(way) {
    this.way = way;
    this.card = element("section", "card column");
    this.card.dataset.way = way.name;
    this.standing = element("p", "state");
    this.list = element("ol", "arrived");
    this.list.tabIndex = 0;
    this.list.setAttribute("aria-label", `${way.title}: messages, the newest last`);
    const pairs = element("dl", "pairs");
    this.cells = Object.fromEntries(
      COUNTERS.map(([name, label]) => {
        const cell = element("dd", name, "–");
        pairs.append(element("dt", "", label), cell);
        return [name, cell];
      }),
    );
    this.card.append(element("h2", "", way.title), element("p", "about", way.about), this.standing, pairs, this.list);
  }

  /** Ends what it receives, and begins anew with a channel at a position. */
  begin(channel, start) {
    this.end();
    this.ending = new AbortController();
    const { signal } = this.ending;
    Object.assign(this, { requests: 0, bytes: 0, counted: 0, last: undefined, latencies: [] });
    this.list.replaceChildren();
    this.show();
    const told = (act) => (...words) => signal.aborted || act(...words);
    const column = {
      signal,
      request: told(() => (this.requests += 1) && this.show()),
      received: told((bytes) => (this.bytes += bytes) && this.show()),
      message: told((publication) => this.message(publication)),
      lost: told(() => this.line("bad", "some were missed", "")),
      state: told((kind, text) => this.state(kind, text)),
    };
    column.state("wait", "connecting");
    this.way.receive(channel, start, column);
  }

  end() {
    this.ending?.abort();
  }

  state(kind, text) {
    this.standing.dataset.kind = kind;
    this.standing.textContent = text;
  }

  message({ data, offset }) {
    this.counted += 1;
    let took;
    if (data?.page === page) {
      took = Math.max(0, now() - data.sent);
      this.last = took;
      this.latencies = [...this.latencies.slice(1 - LATENCIES), took];
    }
    this.line("", `#${offset}`, took === undefined ? "" : milliseconds(took));
    this.show();
  }

  line(kind, ...words) {
    const line = element("li", kind);
    line.append(...words.map((word) => element("span", "", word)));
    this.list.append(line);
    while (this.list.childElementCount > SHOWN) this.list.firstElementChild.remove();
    this.list.scrollTop = this.list.scrollHeight;
  }

  // Once for each picture that the browser paints, however much came.
  show() {
    this.painting ??= requestAnimationFrame(() => {
      this.painting = undefined;
      for (const name of ["requests", "bytes", "counted"]) this.cells[name].textContent = numbers(this[name]);
      this.cells.last.textContent = milliseconds(this.last);
      this.cells.median.textContent = milliseconds(median(this.latencies));
    });
  }
}

const columns = WAYS.map((way) => new Column(way));
$("columns").append(...columns.map(({ card }) => card));

function banner(text) {
  $("banner").textContent = text;
  $("banner").hidden = !text;
}

let channel = "";
let beginning = 0;

async function begin(name) {
  beginning += 1;
  const turn = beginning;
  channel = name;
  $("channel").value = name;
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  $("back").href = `./${location.hash}`;
  banner("");
  for (const column of columns) column.end();
  try {
    const start = await present(name);
    if (turn !== beginning) return;
    for (const column of columns) column.begin(name, start);
  } catch (error) {
    if (turn !== beginning) return;
    for (const column of columns) column.state("bad", "not begun");
    banner(`${name} cannot be received here: ${error.message}.`);
  }
}

// ---------------------------------------------------------------- publish

let published = 0;
let timer = 0;

function outcome(kind, text) {
  $("outcome").dataset.kind = kind;
  $("outcome").textContent = text;
}

function often(on) {
  clearInterval(timer);
  timer = on ? setInterval(publish, OFTEN_MS) : 0;
  $("often").setAttribute("aria-pressed", String(on));
  $("often").textContent = on ? "Stop publishing" : "Publish 5 a second";
}

async function publish() {
  // One at a time: a slow node is asked less often.
  if ($("outcome").ariaBusy === "true") return;
  $("outcome").ariaBusy = "true";
  const n = published + 1;
  try {
    const response = await fetch("api/publish", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-API-Key": $("key").value.trim() },
      body: JSON.stringify({ channel, data: { page, n, sent: now() } }),
    });
    const { error } = await response.json().catch(() => ({}));
    if (error || !response.ok) throw new Error(error ? `${error.message} (${error.code})` : response.status);
    published = n;
    outcome("good", `${numbers(n)} published`);
  } catch (error) {
    often(false);
    outcome("bad", `Not published: ${error.message}`);
  } finally {
    $("outcome").ariaBusy = "false";
  }
}

$("once").addEventListener("click", publish);
$("often").addEventListener("click", () => often(!timer));
$("again").addEventListener("click", () => begin(channel));
$("channel-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("channel").value.trim();
  if (name) begin(name);
});

// ---------------------------------------------------------------- start

function channelOfAddress() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}
addEventListener("hashchange", () => {
  const name = channelOfAddress();
  if (name && name !== channel) begin(name);
});

async function start() {
  let about = {};
  try {
    about = await (await fetch("page.json", { cache: "no-store" })).json();
  } catch {
    // The page goes on without: the visitor names the channel's key.
  }
  $("version").textContent = about.version ? `v${about.version}` : "";
  $("key").value = about.api_key || "";
  begin(channelOfAddress() || about.channel || "demo:lobby");
}

start();
