// Keys of one letter move between views and rows, not while somebody types, and can be switched off (WCAG 2.1.4).

import { paused, remembered, say, store } from "./base.js";
import { go } from "./route.js";
import { t } from "./text.js";

const KEY = "gorani.admin.keys";
export const keysOn = store(remembered(KEY) !== "off");
export const helpOpen = store(false);

export function switchKeys(on) {
  remembered(KEY, on ? "on" : "off");
  keysOn.set(on);
}

/** After `g`: the view. */
export const VIEW_KEYS = {
  o: "overview",
  n: "nodes",
  c: "channels",
  u: "connections",
  s: "slow",
  d: "disconnects",
  b: "broker",
  t: "settings",
  e: "explain",
  y: "try",
  l: "logs",
  a: "audit",
};
/** Milliseconds between `g` and the letter after it. */
const SECOND_WITHIN = 1500;

let goAt = -Infinity;

/** The focus goes to the link or button of a row, or to the row itself. */
function move(step) {
  const rows = [...document.querySelectorAll("main [data-row]")];
  if (rows.length === 0) return;
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + step))];
  (next.querySelector("a[href]") ?? next).focus();
  next.scrollIntoView({ block: "nearest" });
}

export function pause(on) {
  paused.set(on);
  say(t(on ? "paused" : "resumed"));
}

function search() {
  const field = document.querySelector("main [data-search]");
  if (field) field.focus();
  else go("channels");
  return true;
}

const isField = (element) => element?.closest?.("input, textarea, select, [contenteditable]");

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
  if (event.key === "Escape" && isField(event.target) && !document.querySelector("dialog[open]")) {
    event.target.blur();
    return;
  }
  if (!keysOn.get() || isField(event.target) || document.querySelector("dialog[open]") || !document.querySelector("main")) return;
  const afterGo = event.timeStamp - goAt < SECOND_WITHIN;
  goAt = -Infinity;
  const actions = {
    "/": search,
    g: () => (goAt = event.timeStamp),
    j: () => move(1),
    k: () => move(-1),
    p: () => pause(!paused.get()),
    "?": () => helpOpen.set(true),
  };
  if (afterGo && VIEW_KEYS[event.key]) go(VIEW_KEYS[event.key]);
  else if (Object.hasOwn(actions, event.key)) actions[event.key]();
  else return;
  event.preventDefault();
});
