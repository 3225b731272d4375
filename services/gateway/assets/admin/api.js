// Requests to the admin API, and data that a view keeps fresh while somebody sees it.

import { known, paused, session, useCallback, useEffect, useRef, useState, useStore } from "./base.js";

const base = new URL("api/", document.baseURI);
/** Milliseconds that an answer may take. */
const TIMEOUT = 15_000;

/** A refusal of the node, or no answer (`status` 0). */
export class ApiError extends Error {
  constructor(status, code, message, retryAfter) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }
}

/** What a failed answer says. A body that is no JSON comes from something between the page and the node. */
async function refusal(response) {
  const body = await response.json().catch(() => null);
  const error = body?.error ?? {};
  const seconds = Number(response.headers.get("retry-after"));
  return new ApiError(response.status, error.code ?? "http_error", error.message ?? "", seconds > 0 ? seconds : undefined);
}

export function address(path, params = {}) {
  const url = new URL(path, base);
  for (const [name, value] of Object.entries(params)) if (known(value) && value !== "") url.searchParams.set(name, value);
  return url;
}

async function request(url, options, signal) {
  const limit = AbortSignal.timeout(TIMEOUT);
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin", ...options, signal: signal ? AbortSignal.any([signal, limit]) : limit });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "no_answer", String(error.message ?? error));
  }
  if (!response.ok) {
    const error = await refusal(response);
    if (error.code === "login_required") session.set(null);
    throw error;
  }
  try {
    return await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(response.status, "no_json", String(error.message ?? error));
  }
}

export const get = (path, params, signal) => request(address(path, params), {}, signal);

export const post = (path, body, signal) =>
  request(
    address(path),
    { method: "POST", headers: { "Content-Type": "application/json", "X-Gorani-Admin": "1" }, body: JSON.stringify(body) },
    signal,
  );

const isVisible = () => document.visibilityState === "visible";

/**
 * The answer of `path`, asked again `every` milliseconds after the last one, once without. A hidden or paused page asks nothing.
 * `path` null: nothing is asked. The last answer stays when a later request fails.
 */
export function useData(path, params = {}, every = null) {
  const [state, setState] = useState({});
  const key = path === null ? null : address(path, params).href;
  const isPaused = useStore(paused);
  const current = useRef({});
  const [turn, setTurn] = useState(0);

  useEffect(() => {
    if (key === null) {
      current.current = {};
      setState({});
      return undefined;
    }
    if (current.current.key !== key) {
      current.current = { key };
      setState({ key, loading: true });
    }
    let timer;
    let running;
    const again = () => {
      clearTimeout(timer);
      // A pause may come in the same frame as the time to ask.
      if (every !== null && isVisible() && !paused.get()) timer = setTimeout(() => paused.get() || ask(), every);
    };
    async function ask() {
      running?.abort();
      const own = new AbortController();
      running = own;
      try {
        const answer = await request(new URL(key), {}, own.signal);
        // Another question may have taken its place.
        if (own.signal.aborted) return;
        current.current.asked = true;
        setState({ key, answer, at: Date.now() });
      } catch (error) {
        if (own.signal.aborted) return;
        current.current.asked = true;
        setState((before) => ({ ...before, key, loading: false, error }));
        if (error.status === 401) return;
      }
      again();
    }
    const wake = () => {
      if (!isVisible()) {
        clearTimeout(timer);
        running?.abort();
      } else if (!current.current.asked || (every !== null && !paused.get())) ask();
    };
    document.addEventListener("visibilitychange", wake);
    if (isVisible() && (!current.current.asked || current.current.turn !== turn || (every !== null && !isPaused))) ask();
    current.current.turn = turn;
    return () => {
      document.removeEventListener("visibilitychange", wake);
      clearTimeout(timer);
      running?.abort();
    };
  }, [key, every, isPaused, turn]);

  const reload = useCallback(() => setTurn((value) => value + 1), []);
  // An answer to another question is none to this one.
  const own = state.key === key ? state : { loading: key !== null };
  return { ...own, result: own.answer?.result, reload };
}

/** A list in pages: what was read so far, and `more` for the next page. Another question begins anew. */
export function usePages(path, params = {}, every = null) {
  const first = useData(path, params, every);
  const [later, setLater] = useState({ of: null, pages: [] });
  const key = path === null ? null : address(path, params).href;
  const pages = later.of === key ? later.pages : [];
  const last = pages.at(-1) ?? first.answer;
  const cursor = last?.cursor ?? null;
  const answers = [first.answer, ...pages].filter(Boolean);

  const more = async () => {
    const asked = key;
    setLater((before) => ({ of: asked, pages: before.of === asked ? before.pages : [], loading: true }));
    try {
      const answer = await get(path, { ...params, cursor });
      setLater((before) => (before.of === asked ? { of: asked, pages: [...before.pages, answer] } : before));
    } catch (error) {
      setLater((before) => (before.of === asked ? { ...before, loading: false, error } : before));
    }
  };
  return { ...first, answers, error: later.of === key && later.error ? later.error : first.error, cursor, more: cursor ? more : null };
}
