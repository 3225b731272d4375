// Who is subscribed: asked once when the page subscribes, then kept by joins and leaves.

import { $, element, nameOf, plural, shortId } from "./page.js";

// Clients named in the list; the others are counted.
const MAX_PRESENT = 100;

let present = new Map();
let known = false;
let you = "";
/** Joins and leaves since presence was asked for, one list for each question: the answer may be older than they are. */
const meanwhile = new Set();

/** Tells which client this page is. */
export function setYou(id) {
  you = id;
}

// A face from the client's id: the same client has the same one in every browser.
function face(id) {
  let hash = 0;
  for (const c of id) hash = (hash * 31 + c.codePointAt(0)) >>> 0;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("class", "face");
  svg.setAttribute("aria-hidden", "true");
  const part = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    svg.append(made);
  };
  part("rect", { width: 20, height: 20, rx: 10, fill: `hsl(${hash % 360} 45% 48%)` });
  part("circle", { cx: 7 + (hash % 3), cy: 8.5, r: 1.5, fill: "#fff" });
  part("circle", { cx: 11 + (hash % 3), cy: 8.5, r: 1.5, fill: "#fff" });
  part("path", { d: hash & 8 ? "M7 12.5q3 3 6 0" : "M7.500 13h5", stroke: "#fff", "stroke-width": 1.4, "stroke-linecap": "round", fill: "none" });
  return svg;
}

function showPresent() {
  const clients = [...present.values()].sort((a, b) => (b.client === you) - (a.client === you) || (a.user || "~").localeCompare(b.user || "~"));
  $("present").replaceChildren(...clients.slice(0, MAX_PRESENT).map((info) => {
    const row = element("li");
    row.dataset.client = info.client;
    row.append(face(info.client), element("span", "who", info.user || "anonymous"), element("span", "id", shortId(info.client)));
    if (info.client === you) row.append(element("span", "badge you", "you"));
    return row;
  }));
  $("present-count").hidden = !known;
  $("present-count").textContent = String(present.size);
  $("present-count").title = plural(present.size, "connection");
  if (present.size > MAX_PRESENT) $("present-note").textContent = `and ${present.size - MAX_PRESENT} more`;
}

export function forgetPresent(text) {
  present = new Map();
  known = false;
  $("present-note").textContent = text;
  showPresent();
}

/** Asks the node; `isCurrent` tells whether the answer still matters when it comes. */
export async function askPresence(subscription, isCurrent) {
  const moves = [];
  meanwhile.add(moves);
  try {
    const { clients } = await subscription.presence();
    if (!isCurrent()) return;
    present = new Map(Object.values(clients).map((info) => [info.client, info]));
    for (const [info, here] of moves) move(info, here);
    known = true;
    $("present-note").textContent = "";
    showPresent();
  } catch (error) {
    if (isCurrent()) forgetPresent(`Not shown: ${error.message || "the node did not answer"}.`);
  } finally {
    meanwhile.delete(moves);
  }
}

function move(info, here) {
  if (here) present.set(info.client, info);
  else present.delete(info.client);
}

export function moved(info, here) {
  for (const moves of meanwhile) moves.push([info, here]);
  if (!known) return;
  move(info, here);
  $("present-note").textContent = `${nameOf(info)} ${here ? "came" : "left"}`;
  showPresent();
}
