// The list of messages: bounded, written once per frame, read aloud in sentences that a listener can follow.

import { $, element, nameOf, plural } from "./page.js";

// Rows kept; older ones leave, so that a fast channel cannot fill the browser.
const MAX_ROWS = 500;
// Characters and lines from which a message is folded.
const FOLD_CHARS = 700;
const FOLD_LINES = 9;
// Milliseconds between two sentences for screen readers: a fast channel would never let them finish.
const SPEAK_MS = 1500;

const feed = $("messages");
let waiting = []; // Rows for the next frame.
let received = 0;
let unread = 0;
let frame = 0;
let spoken = { count: 0, last: "", timer: 0 };

const atEnd = () => feed.scrollHeight - feed.scrollTop - feed.clientHeight < 48;
const toEnd = () => {
  feed.scrollTop = feed.scrollHeight;
  unread = 0;
  $("newest").hidden = true;
};

function queueRow(row) {
  waiting.push(row);
  // A hidden page gets no frames: what would leave the feed at once need not be kept for it.
  if (waiting.length > MAX_ROWS) waiting.splice(0, waiting.length - MAX_ROWS);
  if (!frame) frame = requestAnimationFrame(showRows);
}

function showRows() {
  frame = 0;
  const follow = atEnd();
  const rows = waiting;
  waiting = [];
  feed.append(...rows.map((row) => row()));
  while (feed.childElementCount > MAX_ROWS) feed.firstElementChild.remove();
  if (follow) toEnd();
  else if (unread > 0) {
    $("newest").textContent = `${plural(unread, "new message")} below`;
    $("newest").hidden = false;
  }
  showCount();
}

function showCount() {
  const shown = feed.querySelectorAll(".message").length;
  const all = received > shown && shown > 0 ? `${plural(received, "message")}, the last ${shown} shown` : plural(received, "message");
  $("count").textContent = received === 0 ? "No messages yet" : all;
  $("clear").hidden = feed.childElementCount === 0;
  $("empty").hidden = feed.childElementCount > 0;
}

export function clearFeed() {
  waiting = [];
  received = 0;
  unread = 0;
  feed.replaceChildren();
  $("newest").hidden = true;
  showCount();
}

export function showEmpty(kind, title, text) {
  $("empty").dataset.kind = kind;
  $("empty-title").textContent = title;
  $("empty-text").textContent = text;
}

export const note = (text, kind = "") => queueRow(() => element("li", `note ${kind}`, text));

function wordsOf(data) {
  if (typeof data === "string") return { text: data, plain: true };
  const line = JSON.stringify(data);
  if (line === undefined) return { text: "", plain: true };
  return { text: line.length > 90 ? JSON.stringify(data, null, 2) : line, plain: false };
}

const senderOf = (publication) => (publication.info ? nameOf(publication.info) : "API");

// A row for one publication; `tag` says how it came when it did not come live.
function messageRow(publication, tag, time) {
  const row = element("li", tag ? "message" : "message fresh");
  const offset = element("span", "offset", publication.offset === undefined ? "·" : `#${publication.offset}`);
  offset.title = publication.offset === undefined ? "This channel keeps no history" : `Offset ${publication.offset}`;
  const meta = element("div", "meta");
  if (time) {
    const clock = element("time", "", time.toLocaleTimeString([], { hour12: false }));
    clock.dateTime = time.toISOString();
    meta.append(clock);
  }
  const sender = senderOf(publication);
  const from = element("span", "from", sender);
  from.title = sender;
  meta.append(from);
  if (tag) meta.append(element("span", "tag", tag));
  const body = element("div", "body");
  const { text, plain } = wordsOf(publication.data);
  const pre = element("pre", plain ? "plain" : "", text);
  body.append(pre);
  const lines = text.split("\n").length;
  if (text.length > FOLD_CHARS || lines > FOLD_LINES) {
    const whole = lines > FOLD_LINES ? plural(lines, "line") : plural(text.length, "character");
    const unfold = element("button", "text");
    unfold.type = "button";
    const fold = (folded) => {
      pre.classList.toggle("folded", folded);
      unfold.setAttribute("aria-expanded", String(!folded));
      unfold.textContent = folded ? `Show all ${whole}` : "Show less";
    };
    unfold.addEventListener("click", () => fold(unfold.getAttribute("aria-expanded") === "true"));
    fold(true);
    body.append(unfold);
  }
  row.append(offset, meta, body);
  return row;
}

export function showMessage(publication, tag) {
  received += 1;
  if (!atEnd()) unread += 1;
  // Only what came live has a time of its own here: the SDK tells no other.
  const time = tag ? null : new Date();
  queueRow(() => messageRow(publication, tag, time));
  speak(`${senderOf(publication)}: ${wordsOf(publication.data).text.slice(0, 200)}`);
}

/** Puts what the channel kept before the page came above everything else; oldest first. */
export function showHistory(publications) {
  received += publications.length;
  const follow = atEnd();
  const rows = publications.map((publication) => messageRow(publication, "history", null));
  feed.prepend(...rows, element("li", "note", `${plural(publications.length, "message")} from before`));
  if (follow) toEnd();
  showCount();
}

export const isEmpty = () => feed.childElementCount + waiting.length === 0;

function speak(text) {
  spoken.count += 1;
  spoken.last = text;
  if (spoken.timer) return;
  spoken.timer = setTimeout(() => {
    $("spoken").textContent = spoken.count === 1 ? spoken.last : `${plural(spoken.count, "new message")}. The last: ${spoken.last}`;
    spoken = { count: 0, last: "", timer: 0 };
  }, SPEAK_MS);
}

feed.addEventListener("scroll", () => {
  if (atEnd()) {
    unread = 0;
    $("newest").hidden = true;
  }
}, { passive: true });
$("newest").addEventListener("click", () => {
  toEnd();
  feed.focus();
});
$("clear").addEventListener("click", () => {
  clearFeed();
  feed.focus();
});
