// The last lines of the log at warn and above, of every node, counted by target.

import { html, list, useState } from "../base.js";
import { useData } from "../api.js";
import { Card, Name, State, Time, View } from "../parts.js";
import { Table } from "../table.js";
import { t, visible } from "../text.js";

export function Logs() {
  const [live, setLive] = useState(false);
  const data = useData("logs", {}, live ? 2000 : null);
  const now = data.result ?? {};
  const lines = list(now.lines ?? data.result).map((line, index) => ({ ...line, index }));
  const columns = [
    { key: "at", label: t("field.time"), render: (row) => html`<${Time} at=${row.at} exact=${true} />` },
    { key: "node" },
    { key: "level", render: (row) => html`<${State} bad=${/error/i.test(row.level)}>${visible(row.level ?? t("unknown"))}<//>` },
    { key: "target" },
    { key: "message", sortable: false, render: (row) => html`<${Name} value=${row.message} most=${240} />` },
  ];
  const counts = [
    { key: "target" },
    { key: "count" },
  ];
  return html`<${View} title=${t("view.logs")} of=${data}>
    <p class="row">
      <button type="button" onClick=${data.reload}>${t("refresh")}</button>
      <button type="button" aria-pressed=${live ? "true" : "false"} onClick=${() => setLive(!live)}>${t("live")}</button>
    </p>
    <${Card}><${Table} caption=${t("logs.counts")} columns=${counts} rows=${list(now.counts)} rowKey=${(row) => `${row.target} ${row.level ?? ""}`} sort="-count" /><//>
    <${Card}><${Table} caption=${t("logs.lines")} columns=${columns} rows=${lines} rowKey=${(row) => `${row.node} ${row.at} ${row.target} ${row.index}`} sort="-at" /><//>
  <//>`;
}
