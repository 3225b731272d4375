// The audit log: every login and every action, by whom, from where, with which result.

import { html, list } from "../base.js";
import { useData } from "../api.js";
import { Name, View } from "../parts.js";
import { Table } from "../table.js";
import { duration, t } from "../text.js";

const NAMES = ["node", "who", "role", "source", "address", "action", "target", "result"];

export function Audit() {
  const data = useData("audit");
  const rows = list(data.result).map((row, index) => ({ ...row, index }));
  const columns = [
    { key: "at", label: t("field.time") },
    ...NAMES.map((key) => ({ key, label: t(`field.${key}`), render: (row) => html`<${Name} value=${row[key]} />` })),
    { key: "ms", render: (row) => duration(row.ms) },
  ];
  return html`<${View} title=${t("view.audit")} of=${data}>
    <p class="row"><button type="button" onClick=${data.reload}>${t("refresh")}</button></p>
    <${Table} quiet=${true} caption=${t("view.audit")} columns=${columns} rows=${rows} rowKey=${(row) => row.index} sort="-at" />
  <//>`;
}
