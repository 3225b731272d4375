// Small parts of views: names that others chose, times, lists of facts, and what an answer lacks.

import { html, known, list, useState } from "./base.js";
import { link } from "./route.js";
import { bytes, cut, duration, hasText, isoTime, number, since, t, time, visible } from "./text.js";

export const Unknown = () => html`<span class="soft">${t("unknown")}</span>`;

/** A name that others chose: shown as text, cut when it is long, and then copied whole by a button. */
export function Name({ value, most = 48, href }) {
  const [copied, setCopied] = useState(false);
  if (!known(value)) return html`<${Unknown} />`;
  if (value === "") return html`<span class="soft">${t("empty")}</span>`;
  const whole = visible(value);
  const short = cut(whole, most);
  const text = href
    ? html`<a class="name" href=${href} title=${whole}><bdi>${short}</bdi></a>`
    : html`<bdi class="name" title=${whole}>${short}</bdi>`;
  if (short === whole) return text;
  const copy = async () => {
    // Outside of a secure context there is no clipboard; the whole text stays in the title.
    await navigator.clipboard?.writeText(String(value)).then(() => setCopied(true), () => setCopied(false));
  };
  return html`${text} <button type="button" class="small" onClick=${copy} aria-label=${t("copy.name", { name: short })}>${t(copied ? "copied" : "copy")}</button>`;
}

export const Channel = ({ value }) => html`<${Name} value=${value} href=${known(value) ? link("channels", value) : undefined} />`;
export const Client = ({ value }) => html`<${Name} value=${value} most=${24} href=${known(value) ? link("connections", value) : undefined} />`;
export const User = ({ value }) =>
  value === "" ? html`<span class="soft">${t("anonymous")}</span>` : html`<${Name} value=${value} href=${known(value) ? link("users", value) : undefined} />`;

export const Time = ({ at, exact = false }) =>
  known(at) ? html`<time datetime=${isoTime(at)} title=${isoTime(at)}>${time(at, exact)}</time>` : html`<${Unknown} />`;
export const Since = ({ at }) =>
  known(at) ? html`<time datetime=${isoTime(at)} title=${time(at)}>${since(at)}</time>` : html`<${Unknown} />`;

/** A state in words; the colour only repeats it. */
export const State = ({ good, bad, children }) => html`<span class=${`state ${bad ? "bad" : good ? "good" : ""}`}>${children}</span>`;

const timeLike = /_at$|^at$|^time$|since$/;
/** A value of an answer, by what its name says about its unit. */
export function Value({ name = "", value, most = 120 }) {
  // Null: there is none. Absent: nobody told.
  if (value === null && /^(forwarded_by|token_id|expires_at)$/.test(name)) return t("none");
  if (!known(value)) return html`<${Unknown} />`;
  if (typeof value === "boolean") return t(value ? "yes" : "no");
  if (typeof value === "number") {
    if (name === "code") return String(value);
    if (timeLike.test(name)) return html`<${Time} at=${value} />`;
    if (/_ms$/.test(name)) return duration(value);
    if (/_seconds$/.test(name)) return duration(value * 1000);
    if (/bytes/.test(name)) return bytes(value);
    return number(value, 3);
  }
  if (typeof value === "object") return html`<${Name} value=${JSON.stringify(value)} most=${160} />`;
  return html`<${Name} value=${value} most=${most} />`;
}

export const labelOf = (name) => (hasText(`field.${name}`) ? t(`field.${name}`) : name);

/** Pairs of name and value. `names`: the fields in order. Others follow by their own names. */
export function Facts({ of, names, except = [], own = {} }) {
  const others = Object.keys(of ?? {}).filter((name) => !names.includes(name) && !except.includes(name));
  return html`<dl class="facts">
    ${[...names, ...others].map(
      (name) => html`<div key=${name}>
        <dt>${labelOf(name)}</dt>
        <dd>${own[name] ? own[name](of?.[name]) : html`<${Value} name=${name} value=${of?.[name]} />`}</dd>
      </div>`,
    )}
  </dl>`;
}

/** A sentence for a failed request. The node's own words follow ours. */
export function errorText(error) {
  const key = `error.${error.code}`;
  const text = hasText(key) ? t(key, { seconds: error.retryAfter ?? "" }) : t("error.other", { code: visible(error.code), status: error.status });
  return error.message && !hasText(key) ? `${text} ${visible(error.message)}` : text;
}

export const Failure = ({ error }) => (error ? html`<p class="note bad" role="alert">${errorText(error)}</p>` : null);

/** The nodes of several answers: each once, silent if one answer lacked it. */
function nodesOf(answers) {
  const nodes = new Map();
  for (const node of answers.flatMap((answer) => list(answer?.nodes))) {
    const before = nodes.get(node.id);
    nodes.set(node.id, { ...node, answered: node.answered !== false && before?.answered !== false });
  }
  return [...nodes.values()];
}

export const nodeName = (node) => node?.name || node?.id;

/** What is missing in the answers, and how old they are when the last request failed. */
export function Notes({ of }) {
  const answers = (of.answers ?? [of.answer]).filter(Boolean);
  const nodes = nodesOf(answers);
  const silent = nodes.filter((node) => !node.answered);
  const versions = new Set(nodes.map((node) => node.version).filter(Boolean));
  return html`<div class="notes" role="status">
    ${of.error && html`<p class="note bad">${errorText(of.error)}${of.at || answers.length > 0 ? ` ${t("notes.stale")}` : ""}</p>`}
    ${silent.map((node) => html`<p class="note bad" key=${node.id}>${t(node.unsupported ? "notes.unsupported" : "notes.silent", { node: visible(nodeName(node)), version: visible(node.version) })}</p>`)}
    ${versions.size > 1 && html`<p class="note">${t("notes.versions", { versions: [...versions].map(visible).join(", ") })}</p>`}
    ${answers.at(-1)?.complete === false && html`<p class="note">${t("notes.incomplete")}</p>`}
  </div>`;
}

export function More({ of }) {
  if (!of.more) return null;
  return html`<p><button type="button" onClick=${of.more}>${t("more")}</button></p>`;
}

/** A view's heading, notes and content; before the first answer, that it is asked. */
export function View({ title, of, children }) {
  const waits = of?.loading && !of.answer;
  return html`<section aria-busy=${waits ? "true" : "false"}>
    <h1 tabindex="-1" id="title">${title}</h1>
    ${of && html`<${Notes} of=${of} />`}
    ${waits ? html`<p class="soft">${t("loading")}</p>` : children}
  </section>`;
}

/** A part of a view. A table in it names itself by its caption, and then needs no title. */
export const Card = ({ title, children }) => html`<section class="card">${title && html`<h2>${title}</h2>`}${children}</section>`;

/** One labelled field of a form. */
export function Field({ label, name, value = "", type = "text", options, ...more }) {
  const id = `field-${name}`;
  return html`<p class="field">
    <label for=${id}>${label}</label>
    ${options
      ? html`<select id=${id} name=${name} ...${more}>${options.map(([code, text]) => html`<option value=${code} selected=${code === value}>${text}</option>`)}</select>`
      : html`<input id=${id} name=${name} type=${type} defaultValue=${value} spellcheck="false" autocapitalize="none" ...${more} />`}
  </p>`;
}

/** The fields of a sent form as an object, without the empty ones. */
export const fieldsOf = (form) => Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
