// Traces: those that are on, and what became of the deliveries that one follows.

import { html, known, list } from "../base.js";
import { useData } from "../api.js";
import { Action } from "../dialog.js";
import { Card, Channel, Client, Facts, Name, nodeName, User, View } from "../parts.js";
import { Table } from "../table.js";
import { link } from "../route.js";
import { t } from "../text.js";

const named = (key, Part) => ({ key, render: (row) => (known(row[key]) ? html`<${Part} value=${row[key]} />` : "") });

export function Traces() {
  const data = useData("traces", {}, 2000);
  const columns = [
    { key: "trace", render: ({ id }) => html`<${Name} value=${id} href=${link("traces", id)} />` },
    { key: "kind" },
    named("channel", Channel),
    named("user", User),
    { key: "by", label: t("field.who") },
    named("trace_id", Name),
    { key: "began_at" },
    { key: "ends_at" },
  ];
  return html`<${View} title=${t("view.traces")} of=${data}>
    <${Table} quiet=${true} caption=${t("view.traces")} columns=${columns} rows=${list(data.result)} rowKey=${(row) => row.id} empty=${t("traces.none")} />
  <//>`;
}

export function TraceView({ item }) {
  const data = useData("traces", { id: item }, 2000);
  const { counts, by_node, trace } = data.result ?? {};
  const nodes = list(by_node);
  const rowsOf = (name) => nodes.flatMap((node) => list(node[name]).map((row, index) => ({ ...row, node: nodeName(node), index })));
  const table = (name, caption, columns) => html`<${Card}>
    <${Table} caption=${caption} columns=${[{ key: "at" }, { key: "node" }, named("channel", Channel), { key: "offset" }, ...columns]} rows=${rowsOf(name)} rowKey=${(row) => `${row.node} ${row.index}`} sort="-at" />
  <//>`;
  const names = Object.keys(counts ?? {});
  // A node that takes no part has no numbers.
  const rows = nodes.map((node) => ({ ...(node.traces === true && node.counts), node: nodeName(node), forgotten: node.forgotten }));
  return html`<${View} title=${html`${t("field.trace")} <${Name} value=${item} />`} of=${data}>
    <p class="row"><${Action} name="trace" text="trace_end" body=${{ end: item }} onDone=${data.reload} /></p>
    <${Facts} of=${trace} names=${[]} except=${["id"]} />
    <${Card}><${Table} caption=${t("action.by_node")} columns=${["node", ...names, "forgotten"].map((key) => ({ key }))} rows=${rows} rowKey=${(row) => row.node} /><//>
    ${table("deliveries", t("traces.deliveries"), [named("client", Client), named("user", User), { key: "outcome" }, { key: "detail" }])}
    ${table("runs", t("traces.runs"), ["length", "whole", "bytes", "micros"].map((key) => ({ key })))}
  <//>`;
}
