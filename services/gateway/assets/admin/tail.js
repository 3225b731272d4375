// The live tail of a channel, while the view is open and seen. The last rows stay, the others are counted.

import { html, known, list, paused, session, useEffect, useRef, useState } from "./base.js";
import { address } from "./api.js";
import { Card, Failure, Name, Time } from "./parts.js";
import { Table } from "./table.js";
import { number, t, visible } from "./text.js";

/** Rows that are kept; a busy channel would fill the browser. */
const ROWS = 500;
/** Milliseconds between two drawings. */
const DRAW_EVERY = 250;
/** Characters that one line may have. */
const LINE_MAX = 1_000_000;
const RATE = 100;

/** Hands each line of the answer to `take` until it ends or `signal` says so. */
async function readLines(url, take, signal) {
  const response = await fetch(url, { credentials: "same-origin", headers: { Accept: "application/x-ndjson" }, signal });
  if (!response.ok || !response.body) {
    const body = await response.json().catch(() => null);
    throw Object.assign(new Error(body?.error?.message ?? ""), { status: response.status, code: body?.error?.code ?? "http_error" });
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    if (rest.length > LINE_MAX) throw Object.assign(new Error(), { status: 0, code: "line_too_long" });
    for (const line of lines) {
      if (line.trim() === "") continue;
      try {
        take(JSON.parse(line));
      } catch {
        take({ kind: "unreadable" });
      }
    }
  }
}

const matched = (value) =>
  typeof value === "number" ? number(value) : Object.entries(value ?? {}).map(([node, count]) => `${visible(node)} ${known(count) ? number(count) : "?"}`).join(", ");

/** The user who published, or the client where it is anonymous; nothing for a backend. */
const publisher = (by) => (typeof by === "object" ? by?.user || by?.client : by);

export function Tail({ channel }) {
  const [on, setOn] = useState(false);
  const [view, setView] = useState({ rows: [], skipped: 0, dropped: 0 });
  const [error, setError] = useState(null);
  const state = useRef({ rows: [], skipped: 0, dropped: 0, next: 0 });

  useEffect(() => {
    if (!on) return undefined;
    const own = new AbortController();
    const all = state.current;
    Object.assign(all, { rows: [], skipped: 0, dropped: 0, changed: true });
    const take = (line) => {
      all.changed = true;
      if (known(line.skipped)) all.skipped += Number(line.skipped) || 0;
      if (line.kind !== undefined && line.kind !== "publication") return;
      if (!known(line.offset) && !known(line.at)) return;
      all.rows.push({ ...line, index: all.next++ });
      if (all.rows.length > ROWS) all.dropped += all.rows.splice(0, all.rows.length - ROWS).length;
    };
    const draw = () => {
      // Paused, the rows stand still; what comes meanwhile is there afterwards, as far as it fits.
      if (!all.changed || paused.get()) return;
      all.changed = false;
      setView({ rows: [...all.rows], skipped: all.skipped, dropped: all.dropped });
    };
    const timer = setInterval(draw, DRAW_EVERY);
    const stop = () => document.visibilityState === "hidden" && setOn(false);
    document.addEventListener("visibilitychange", stop);
    setError(null);
    readLines(address("tail", { channel, rate: RATE, contents: session.get()?.contents ? 1 : null }), take, own.signal)
      .catch((failure) => !own.signal.aborted && setError({ status: failure.status ?? 0, code: failure.code ?? "no_answer", message: failure.message }))
      .finally(() => {
        draw();
        if (!own.signal.aborted) setOn(false);
      });
    return () => {
      own.abort();
      clearInterval(timer);
      document.removeEventListener("visibilitychange", stop);
    };
  }, [on, channel]);

  const columns = [
    { key: "offset", render: (row) => (known(row.offset) ? number(row.offset) : "") },
    { key: "at", label: t("field.time"), render: (row) => html`<${Time} at=${row.at} exact=${true} />` },
    { key: "age_ms" },
    { key: "bytes" },
    { key: "by", sortable: false, render: (row) => (known(publisher(row.by)) ? html`<${Name} value=${publisher(row.by)} />` : "") },
    { key: "matched", sortable: false, render: (row) => matched(row.matched) },
    { key: "data", sortable: false, render: (row) => ("data" in row ? html`<${Name} value=${typeof row.data === "string" ? row.data : JSON.stringify(row.data)} most=${120} />` : "") },
  ];
  const rows = list(view.rows);
  return html`<${Card} title=${t("tail.title")}>
    <p class="row">
      <button type="button" id="tail" aria-pressed=${on ? "true" : "false"} onClick=${() => setOn(!on)}>${t(on ? "tail.stop" : "tail.start")}</button>
      ${(on || rows.length > 0) && html`<span class="soft" id="tail-skipped">${t("tail.skipped", { skipped: number(view.skipped), dropped: number(view.dropped), most: number(ROWS) })}</span>`}
    </p>
    <${Failure} error=${error} />
    ${rows.length > 0 && html`<${Table} quiet=${true} caption=${t("tail.title")} columns=${columns} rows=${[...rows].reverse()} rowKey=${(row) => row.index} />`}
  <//>`;
}
