// The address of a view, after the `#`: its name, what it shows, and its filters.

import { store } from "./base.js";

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // A hand-made address with a lone %.
  }
}

function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [view, ...rest] = path.split("/");
  return { hash, view: view || "overview", item: rest.length > 0 ? decoded(rest.join("/")) : null, query: Object.fromEntries(new URLSearchParams(query)) };
}

/** Channels keep their `:` readable. */
const encoded = (text) => encodeURIComponent(text.toWellFormed?.() ?? text).replaceAll("%3A", ":");

export function link(view, item, query = {}) {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const end = pairs.length > 0 ? `?${new URLSearchParams(pairs)}` : "";
  return `#/${view}${item === null || item === undefined ? "" : `/${encoded(String(item))}`}${end}`;
}

export const route = store(parse(location.hash));
addEventListener("hashchange", () => route.set(parse(location.hash)));

export const go = (view, item, query) => {
  location.hash = link(view, item, query);
};
