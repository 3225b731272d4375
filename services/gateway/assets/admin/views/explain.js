// Explain: why a user did or did not get a publication. A verdict, the evidence in order of time, advice.

import { html, known, list, say, useEffect, useLayoutEffect, useRef, useState } from "../base.js";
import { post } from "../api.js";
import { Failure, Field, Name, Notes, Time, View, fieldsOf } from "../parts.js";
import { Table } from "../table.js";
import { go } from "../route.js";
import { hasText, t, visible } from "../text.js";

const NUMBERS = ["offset", "since", "last"];
const TONES = { 0: "good", 1: "bad" };

/** The request of the address: an offset wins over the last publications. */
function requestOf(query) {
  if (!known(query.channel) || query.channel === "") return null;
  const asked = {};
  for (const name of ["channel", "user", "client"]) if (query[name]) asked[name] = query[name];
  const given = NUMBERS.find((name) => query[name]);
  if (given) asked[given] = /^\d+$/.test(query[given]) ? Number(query[given]) : query[given];
  else asked.last = 10;
  return asked;
}

const textOf = (item) => {
  const text = typeof item === "string" ? item : item?.sentence;
  return html`<${Name} value=${text} most=${1000} />`;
};

function Answer({ answer }) {
  const result = answer.result ?? {};
  const title = useRef();
  useLayoutEffect(() => {
    title.current?.focus();
    say(visible(result.verdict?.sentence ?? ""));
  }, [answer]);
  const columns = [
    { key: "at", label: t("field.time"), render: (row) => html`<${Time} at=${row.at} exact=${true} />` },
    { key: "node" },
    { key: "sentence", label: t("explain.what"), sortable: false, render: textOf },
    { key: "rank", render: (row) => (hasText(`rank.${row.rank}`) ? t(`rank.${row.rank}`) : known(row.rank) ? html`<${Name} value=${row.rank} />` : "") },
  ];
  const rows = list(result.evidence).map((row, index) => ({ ...row, index }));
  return html`<section class="card" id="answer">
    <h2 tabindex="-1" ref=${title}>${t("explain.verdict")}</h2>
    <p class=${`note ${TONES[result.exit] ?? ""}`}>${textOf(result.verdict)} ${known(result.verdict?.code) && html`<code><${Name} value=${result.verdict.code} /></code>`}</p>
    <${Table} caption=${t("explain.evidence")} columns=${columns} rows=${rows} rowKey=${(row) => row.index} />
    ${list(result.advice).length > 0 && html`<h3>${t("explain.advice")}</h3><ul>${list(result.advice).map((line, index) => html`<li key=${index}>${textOf(line)}</li>`)}</ul>`}
  </section>`;
}

export function Explain({ query }) {
  const [state, setState] = useState({});
  // The question is asked when it is sent, and at once when the address came with all of it.
  const asked = requestOf(query);
  const complete = asked && (asked.user || asked.client);
  const key = complete ? JSON.stringify(asked) : null;
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (!key) {
      setState({});
      return undefined;
    }
    const own = new AbortController();
    setState({ loading: true });
    post("explain", JSON.parse(key), own.signal).then(
      // Another question may have taken its place.
      (answer) => !own.signal.aborted && setState({ answer, at: Date.now() }),
      (error) => !own.signal.aborted && setState({ error }),
    );
    return () => own.abort();
  }, [key, turn]);
  const send = (event) => {
    event.preventDefault();
    setTurn((value) => value + 1);
    go("explain", null, fieldsOf(event.target));
  };
  const field = (name, more = {}) => html`<${Field} key=${`${name} ${query[name] ?? ""}`} name=${name} label=${t(`field.${name}`)} value=${query[name] ?? ""} ...${more} />`;
  return html`<${View} title=${t("view.explain")}>
    <form class="search" onSubmit=${send}>
      ${field("channel", { required: true, maxlength: 255, "data-search": "" })} ${field("user")} ${field("client")} ${field("offset", { inputmode: "numeric", pattern: "[0-9]*" })}
      <button type="submit" class="primary">${t("explain.ask")}</button>
    </form>
    ${asked && !complete && html`<p class="soft">${t("explain.who")}</p>`}
    ${state.loading && html`<p class="soft" role="status">${t("loading")}</p>`}
    <${Failure} error=${state.error} />
    ${state.answer && html`<${Notes} of=${state} /><${Answer} answer=${state.answer} />`}
  <//>`;
}
