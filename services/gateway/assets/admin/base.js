// What every part of the page uses: markup, state that several parts share, and what the browser remembers.

import { h, Fragment, render } from "./vendor/preact.js";
import { useEffect, useState } from "./vendor/hooks.js";
import htm from "./vendor/htm.js";

export { Fragment, render };
export * from "./vendor/hooks.js";
export const html = htm.bind(h);

/** A value that several components show; each renders again when it changes. */
export function store(value) {
  const listeners = new Set();
  return {
    get: () => value,
    set(next) {
      if (Object.is(value, next)) return;
      value = next;
      for (const listener of [...listeners]) listener(next);
    },
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

export function useStore(shared) {
  const [, again] = useState(0);
  const rendered = shared.get();
  useEffect(() => {
    const stop = shared.listen(() => again((count) => count + 1));
    // The value may have changed between rendering and this effect.
    if (!Object.is(rendered, shared.get())) again((count) => count + 1);
    return stop;
  }, [shared]);
  return rendered;
}

/** Reads or writes what the browser keeps. A browser that keeps nothing still shows the page. */
export function remembered(name, value) {
  try {
    if (value !== undefined) localStorage.setItem(name, value);
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

/** The session of the operator: `undefined` until it is known, `null` without one. */
export const session = store(undefined);
/** True while the page asks nothing by itself. */
export const paused = store(false);
/** What the live region says. */
export const spoken = store("");

export const say = (text) => spoken.set(text);
export const isOperator = () => session.get()?.role === "operator";
export const list = (value) => (Array.isArray(value) ? value : []);
export const known = (value) => value !== undefined && value !== null;
