// Every node: who it is, whether it is ready, and what it spends.

import { html, known, list } from "../base.js";
import { useData } from "../api.js";
import { Action } from "../dialog.js";
import { Name, State, Unknown, View } from "../parts.js";
import { Table } from "../table.js";
import { bytes, duration, number, t, visible } from "../text.js";

const LEVELS = ["error", "warn", "info", "debug", "trace"];
const or = (value, format) => (known(value) ? format(value) : html`<${Unknown} />`);
const most = (rows, name) => {
  const values = list(rows).map((row) => row?.[name]).filter(known);
  return values.length > 0 ? Math.max(...values) : undefined;
};
const total = (connections) => (connections ? Object.values(connections).reduce((sum, count) => sum + count, 0) : undefined);

function stateOf(node) {
  if (node.draining) return html`<${State} bad=${true}>${t("nodes.draining", { left: number(node.drain_left) })}<//>`;
  if (node.ready) return html`<${State} good=${true}>${t("nodes.ready")}<//>`;
  if (node.ready === false) return html`<${State} bad=${true}>${t("nodes.not_ready", { parts: list(node.not_ready).map(visible).join(", ") })}<//>`;
  return html`<${Unknown} />`;
}

/** The fingerprint that most nodes have; another one means other settings. */
function usual(nodes) {
  const counts = new Map();
  for (const { fingerprint } of nodes) if (known(fingerprint)) counts.set(fingerprint, (counts.get(fingerprint) ?? 0) + 1);
  return [...counts].sort((one, other) => other[1] - one[1])[0]?.[0];
}

export function Nodes() {
  const data = useData("nodes", {}, 2000);
  const nodes = list(data.result);
  const common = usual(nodes);
  const columns = [
    { key: "name", label: t("field.node"), value: (node) => node.name ?? node.id, render: (node) => html`<${Name} value=${node.name || node.id} /> <span class="soft"><${Name} value=${node.id} most=${14} /></span>` },
    { key: "state", value: (node) => (node.draining ? 1 : node.ready ? 2 : 0), render: stateOf },
    {
      key: "actions",
      sortable: false,
      render: (node) => html`<span class="row">
        <${Action} name="drain" body=${{ node: node.id }} target=${node.name || node.id} onDone=${data.reload} />
        <${Action} name="log_level" body=${{ node: node.id }} fields=${[{ name: "level", label: t("field.level"), value: "info", options: LEVELS.map((level) => [level, level]) }]} />
      </span>`,
    },
    { key: "version" },
    { key: "address" },
    { key: "uptime_seconds", label: t("field.uptime"), render: (node) => or(node.uptime_seconds, (value) => duration(value * 1000)) },
    { key: "fingerprint", render: (node) => html`<${Name} value=${node.fingerprint} most=${12} />${known(node.fingerprint) && node.fingerprint !== common ? html` <${State} bad=${true}>${t("nodes.differs")}<//>` : ""}` },
    {
      key: "connections",
      value: (node) => total(node.connections),
      render: (node) => html`${or(total(node.connections), number)} ${node.connections && html`<span class="soft">${Object.entries(node.connections).filter(([, count]) => count > 0).map(([name, count]) => `${visible(name)} ${number(count)}`).join(", ")}</span>`}`,
    },
    { key: "cpu", render: (node) => or(node.cpu, (value) => `${number(value * 100, 1)} %`) },
    { key: "resident_bytes", render: (node) => or(node.resident_bytes, bytes) },
    { key: "open_files", render: (node) => (known(node.open_files) ? t("nodes.of", { part: number(node.open_files), whole: number(node.open_files_limit) }) : html`<${Unknown} />`) },
    { key: "lag", label: t("field.worst_lag_ms"), value: (node) => most(node.workers, "lag_ms"), render: (node) => or(most(node.workers, "lag_ms"), duration) },
    { key: "inbox", value: (node) => most(node.workers, "inbox"), render: (node) => or(most(node.workers, "inbox"), number) },
    { key: "clock_offset_ms" },
  ];
  return html`<${View} title=${t("view.nodes")} of=${data}>
    <${Table} quiet=${true} caption=${t("view.nodes")} columns=${columns} rows=${nodes} rowKey=${(node) => node.id} sort="name" />
  <//>`;
}
