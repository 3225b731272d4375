// Channels: a name or the beginning of names is asked for first, since a cluster may have a million of them.

import { html, known, list } from "../base.js";
import { usePages } from "../api.js";
import { Channel, Field, More, Name, Unknown, View, fieldsOf } from "../parts.js";
import { Table } from "../table.js";
import { go } from "../route.js";
import { t, visible } from "../text.js";

const TOP = 50;
const or = (value, format) => (known(value) ? format(value) : html`<${Unknown} />`);

export function channelColumns() {
  return [
    { key: "channel", render: (row) => html`<${Channel} value=${row.channel} />` },
    { key: "subscribers" },
    { key: "nodes", sortable: false, render: (row) => or(row.nodes, (nodes) => list(nodes).map(visible).join(", ")) },
    { key: "offset" },
    { key: "epoch", render: (row) => html`<${Name} value=${row.epoch} most=${16} />` },
    { key: "history_size" },
    { key: "bytes" },
    { key: "presence" },
  ];
}

/** What is asked of the node by the address of the view. */
function requestOf({ channel, prefix, top }) {
  if (known(channel)) return { channel };
  if (known(prefix)) return { prefix, limit: 100 };
  if (known(top)) return { top: TOP };
  return null;
}

export function Channels({ query }) {
  const asked = requestOf(query);
  const data = usePages(asked ? "channels" : null, asked ?? {});
  const rows = list(data.answers.flatMap((answer) => list(answer.result)));
  const unique = [...new Map(rows.map((row) => [row.channel, row])).values()];
  const send = (event) => {
    event.preventDefault();
    const { name = "", how } = fieldsOf(event.target);
    if (how === "exact" && name !== "") go("channels", name);
    else go("channels", null, { prefix: name });
    if (how === "prefix" && name === "") go("channels", null, { top: TOP });
  };
  return html`<${View} title=${t("view.channels")} of=${data}>
    <form class="search" role="search" onSubmit=${send}>
      <${Field} name="name" label=${t("field.channel")} value=${query.prefix ?? query.channel ?? ""} data-search="" maxlength="255" />
      <${Field} name="how" label=${t("channels.how")} value=${known(query.prefix) ? "prefix" : "exact"} options=${[["exact", t("channels.exact")], ["prefix", t("channels.prefix")]]} />
      <button type="submit" class="primary">${t("search")}</button>
      <button type="button" onClick=${() => go("channels", null, { top: TOP })}>${t("channels.top", { count: TOP })}</button>
    </form>
    ${asked
      ? html`<${Table} key=${JSON.stringify(asked)} quiet=${true} caption=${t("view.channels")} columns=${channelColumns()} rows=${unique} rowKey=${(row) => row.channel} empty=${data.loading ? t("loading") : undefined} />
          <${More} of=${data} />`
      : html`<p class="soft">${t("channels.ask")}</p>`}
  <//>`;
}
