// Dialogs. That of an action says in numbers what would happen, and shows the result by node.

import { html, known, list, say, session, useEffect, useLayoutEffect, useRef, useState, useStore } from "./base.js";
import { post } from "./api.js";
import { Failure, Field, Name, fieldsOf, nodeName } from "./parts.js";
import { Table } from "./table.js";
import { duration, number, t, visible } from "./text.js";

/** From this many affected on, the name has to be typed. */
const TYPE_ABOVE = 100;

/** Typed where a reload ends as many subscriptions: there is no name. */
const ENFORCE = "enforce";

export function Dialog({ title, onClose, children }) {
  const dialog = useRef();
  useLayoutEffect(() => {
    // The browser gives the focus back to what had it when the dialog closes.
    const element = dialog.current;
    const before = document.activeElement;
    element.showModal();
    return () => {
      if (element.open) element.close();
      before?.focus?.();
    };
  }, []);
  return html`<dialog ref=${dialog} onClose=${onClose} aria-labelledby="dialog-title">
    <h2 id="dialog-title">${title}</h2>
    ${children}
    <p class="row"><button type="button" onClick=${() => dialog.current.close()}>${t("close")}</button></p>
  </dialog>`;
}

function ByNode({ answer }) {
  const rows = list(answer?.by_node);
  const columns = [
    { key: "name", label: t("field.node"), render: (row) => html`<${Name} value=${nodeName(row)} />`, value: nodeName },
    { key: "count", render: (row) => (known(row.count) ? number(row.count) : t("unknown")) },
    { key: "error", label: t("field.result"), render: (row) => (row.error ? html`<${Name} value=${row.error} />` : t("action.fine")) },
  ];
  return html`<${Table} caption=${t("action.by_node")} columns=${columns} rows=${rows} rowKey=${(row) => row.id ?? row.name} />`;
}

const textOf = (value) => (known(value) ? (typeof value === "string" ? value : JSON.stringify(value)) : t("settings.not_set"));

/** What a reload changes: at once, and after a restart. */
function ReloadDiff({ result }) {
  const rows = [
    ...list(result?.live).map((row) => ({ ...row, when: t("settings.at_once") })),
    ...list(result?.restart).map((row) => ({ ...(typeof row === "string" ? { key: row } : row), when: t("settings.waits") })),
  ];
  if (!result?.live && !result?.restart) return null;
  const columns = [
    { key: "key", label: t("field.setting") },
    { key: "before", label: t("settings.before"), sortable: false, render: (row) => html`<${Name} value=${textOf(row.before)} />` },
    { key: "after", label: t("settings.after"), sortable: false, render: (row) => html`<${Name} value=${textOf(row.after)} />` },
    { key: "when", label: t("settings.when"), sortable: false },
  ];
  return html`<${Table} caption=${t("settings.changes")} columns=${columns} rows=${rows} rowKey=${(row) => `${row.key} ${row.when}`} empty=${t("settings.no_changes")} />
    <ul>${list(result.effects).map((text) => html`<li key=${text}><${Name} value=${text} most=${400} /></li>`)}</ul>`;
}

/** The choice to end the subscriptions that new settings no longer permit. `count`: null where a node did not tell. */
const Enforce = ({ count, checked, onChange }) => html`<p><label class="check">
  <input type="checkbox" name=${ENFORCE} checked=${checked} onChange=${(event) => onChange(event.target.checked)} />
  ${known(count) ? t("reload.enforce", { total: number(count) }) : t("reload.enforce_unknown")}
</label></p>`;

/** The answer of an action: by node where it tells so, and what a reload changes. */
const Outcome = ({ result }) => html`${(!result?.live || result.by_node) && html`<${ByNode} answer=${result} />`}<${ReloadDiff} result=${result} />`;

/**
 * A button that opens the dialog of an action. `name`: of the API. `body`: what it is sent. `target`: the name that it is about.
 * `fields`: more to fill in. `text`: the keys of its texts, where an action does two things. Viewers do not see it.
 */
export function Action({ name, text = name, body = {}, target = "", fields, onDone }) {
  const [open, setOpen] = useState(false);
  if (useStore(session)?.role !== "operator") return null;
  return html`<button type="button" class="danger" data-action=${text} onClick=${() => setOpen(true)}>${t(`action.${text}`)}</button>
    ${open && html`<${ActionDialog} ...${{ name, text, body, target, fields }} onClose=${(done) => {
      setOpen(false);
      if (done) onDone?.();
    }} />`}`;
}

/** The sentence of a preview. A reload that tells what it changes has that many changes. */
function wouldText(name, result) {
  const total = result?.total ?? (result?.live ? list(result.live).length + list(result.restart).length : undefined);
  const nodes = result?.by_node ? list(result.by_node).length : undefined;
  if (!known(nodes) && name === "reload") return t("would.reload_here", { total: number(total) });
  return t(`would.${name}`, { total: number(total), nodes: number(nodes) });
}

function ActionDialog({ name, text, body, target, fields, onClose }) {
  const [filled, setFilled] = useState(fields ? null : {});
  const [preview, setPreview] = useState(null);
  const [result, setResult] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const [typed, setTyped] = useState("");
  const [enforce, setEnforce] = useState(false);
  const done = useRef(false);

  const send = async (dry, more) => {
    setError(null);
    setBusy(true);
    try {
      const answer = await post(`actions/${name}`, { ...body, ...more, ...(dry ? { dry_run: true } : {}) });
      if (dry) setPreview(answer);
      else {
        done.current = true;
        setResult(answer);
        say(known(answer.result?.total) ? t("action.done", { total: number(answer.result.total) }) : t("action.done_plain"));
      }
    } catch (failure) {
      setError(failure);
    }
    setBusy(false);
  };
  useEffect(() => {
    if (!fields) send(true, {});
  }, []);

  const fill = (event) => {
    event.preventDefault();
    let more = fieldsOf(event.target);
    try {
      if (known(more.data)) more = { ...more, data: JSON.parse(more.data) };
    } catch {
      setError({ code: "data_no_json" });
      return;
    }
    if (known(more.code)) more = { ...more, code: Number(more.code) };
    setFilled(more);
    setPreview(null);
    send(true, more);
  };

  const total = preview?.result?.total;
  const left = name === "reload" ? preview?.result?.not_permitted : undefined;
  const word = enforce ? ENFORCE : target;
  const needsName = enforce ? !known(left) || left > TYPE_ABOVE : target !== "" && !(total <= TYPE_ABOVE);
  const silent = list(preview?.nodes).filter((node) => node.answered === false);
  return html`<${Dialog} title=${t(`action.${text}`)} onClose=${() => onClose(done.current)}>
    ${target !== "" && html`<p><${Name} value=${target} most=${80} /></p>`}
    ${fields && !result && html`<form onSubmit=${fill}>
      ${fields.map((field) => html`<${Field} key=${field.name} ...${field} />`)}
      <p><button type="submit" disabled=${busy}>${t("action.preview")}</button></p>
    </form>`}
    <${Failure} error=${error} />
    ${busy && html`<p class="soft">${t("loading")}</p>`}
    ${preview && !result && html`
      <p class="note" id="would">${wouldText(text, preview.result)}</p>
      ${silent.map((node) => html`<p class="note bad" key=${node.id}>${t("action.silent", { node: nodeName(node) })}</p>`)}
      <${Outcome} result=${preview.result} />
      <p>${t("action.no_undo")}</p>
      <form onSubmit=${(event) => {
        event.preventDefault();
        send(false, { ...filled, ...(enforce ? { enforce } : {}) });
      }}>
        ${(left === null || left > 0) && html`<${Enforce} count=${left} checked=${enforce} onChange=${setEnforce} />`}
        ${needsName && html`<${Field} name="typed" label=${enforce ? t("action.type_word", { word }) : t("action.type_name")} onInput=${(event) => setTyped(event.target.value)} autocomplete="off" />`}
        <button type="submit" class="danger" disabled=${busy || (needsName && typed !== word && typed !== visible(word))}>${t(`action.${text}`)}</button>
      </form>`}
    ${result && html`
      <p class="note good" role="status" id="done">${known(result.result?.total) ? t("action.done", { total: number(result.result.total) }) : t("action.done_plain")}
        ${enforce ? ` ${t("reload.enforced", { total: number(result.result?.ended) })}` : ""}
        ${known(result.result?.rtt_ms) ? ` ${t("action.rtt", { rtt: duration(result.result.rtt_ms) })}` : ""}</p>
      ${known(result.result?.error) && html`<p class="note bad"><${Name} value=${result.result.error} most=${160} /></p>`}
      <${Outcome} result=${result.result} />`}
  <//>`;
}
