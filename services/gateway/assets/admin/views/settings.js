// The settings in effect, where each comes from, how nodes differ, and the last reload.

import { html, known, list, useState } from "../base.js";
import { useData } from "../api.js";
import { Action } from "../dialog.js";
import { Card, Facts, Field, Name, State, View } from "../parts.js";
import { Table } from "../table.js";
import { t, visible } from "../text.js";

const textOf = (value) => (typeof value === "string" ? value : JSON.stringify(value));

export function Settings() {
  const data = useData("settings");
  const [filter, setFilter] = useState("");
  const [changed, setChanged] = useState(false);
  const now = data.result ?? {};
  // A reload found a namespace's option under its own key.
  const waiting = list(now.last_reload?.waiting);
  const waits = ({ name }) => waiting.some((key) => key === name || String(key).startsWith(`${name}.`));
  const rows = list(now.settings ?? data.result).filter(
    (row) => String(row.name).includes(filter.trim()) && (!changed || waits(row) || row.source !== "default" || list(row.differs).length > 0),
  );
  const columns = [
    { key: "name", label: t("field.setting"), render: (row) => html`<${Name} value=${row.name} most=${64} />` },
    { key: "value", sortable: false, render: (row) => (known(row.value) ? html`<${Name} value=${textOf(row.value)} />` : t("settings.not_set")) },
    { key: "source" },
    { key: "restart", value: (row) => (waits(row) ? 0 : row.restart ? 1 : 2), render: (row) => (waits(row) ? html`<${State} bad=${true}>${t("settings.waits")}<//>` : row.restart ? html`<span class="soft">${t("settings.needs")}</span>` : "") },
    {
      key: "differs",
      value: (row) => list(row.differs).length,
      render: (row) => list(row.differs).map(({ node, value }) => html`<${State} key=${node} bad=${true}>${visible(node)}: <${Name} value=${textOf(value)} /><//> `),
    },
  ];
  return html`<${View} title=${t("view.settings")} of=${data}>
    <p class="row">
      <button type="button" onClick=${data.reload}>${t("refresh")}</button>
      <${Action} name="reload" onDone=${data.reload} />
    </p>
    <${Card} title=${t("settings.last_reload")}>
      ${now.last_reload ? html`<${Facts} of=${now.last_reload} names=${["at", "ok", "message"]} except=${["waiting"]} />` : html`<p class="soft">${t("settings.no_reload")}</p>`}
    <//>
    <form class="search" role="search" onSubmit=${(event) => event.preventDefault()}>
      <${Field} name="filter" label=${t("settings.filter")} data-search="" onInput=${(event) => setFilter(event.target.value)} />
      <label class="check"><input type="checkbox" checked=${changed} onChange=${(event) => setChanged(event.target.checked)} /> ${t("settings.changed")}</label>
    </form>
    <${Table} quiet=${true} caption=${t("view.settings")} columns=${columns} rows=${rows} rowKey=${(row) => row.name} sort="name" />
  <//>`;
}
