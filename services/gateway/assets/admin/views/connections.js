// Connections by a filter; without one nothing is listed, since a node may have a hundred thousand.

import { html, known, list } from "../base.js";
import { usePages } from "../api.js";
import { Client, Field, More, Name, Since, User, View, fieldsOf } from "../parts.js";
import { Table } from "../table.js";
import { go } from "../route.js";
import { t } from "../text.js";

const FILTERS = ["user", "client", "address", "transport", "sdk", "lagging"];

export function connectionColumns() {
  return [
    { key: "client", render: (row) => html`<${Client} value=${row.client} />` },
    { key: "user", render: (row) => html`<${User} value=${row.user} />` },
    { key: "node" },
    { key: "transport" },
    { key: "protocol" },
    { key: "sdk", render: (row) => html`<${Name} value=${row.sdk} /> ${known(row.sdk_version) && html`<span class="soft"><${Name} value=${row.sdk_version} /></span>`}` },
    { key: "address" },
    { key: "connected_at" },
    { key: "waiting_bytes" },
    { key: "waiting_since", label: t("field.oldest_ms"), render: (row) => (row.waiting_bytes > 0 ? html`<${Since} at=${row.waiting_since} />` : "") },
  ];
}

export function Connections({ query }) {
  const asked = FILTERS.filter((name) => known(query[name]) && query[name] !== "");
  const params = Object.fromEntries(asked.map((name) => [name, query[name]]));
  const data = usePages(asked.length > 0 ? "connections" : null, { ...params, limit: 100 });
  const rows = data.answers.flatMap((answer) => list(answer.result));
  const send = (event) => {
    event.preventDefault();
    const { by, value = "" } = fieldsOf(event.target);
    if (value === "") return;
    if (by === "client") go("connections", value);
    else if (by === "user") go("users", value);
    else go("connections", null, { [by]: value });
  };
  const first = asked[0] ?? "user";
  return html`<${View} title=${t("view.connections")} of=${data}>
    <form class="search" role="search" onSubmit=${send}>
      <${Field} name="value" label=${t("connections.value")} value=${first === "lagging" ? "" : query[first]} data-search="" maxlength="512" />
      <${Field} name="by" label=${t("connections.by")} value=${first} options=${FILTERS.filter((name) => name !== "lagging").map((name) => [name, t(`field.${name}`)])} />
      <button type="submit" class="primary">${t("search")}</button>
      <button type="button" onClick=${() => go("connections", null, { lagging: 1 })}>${t("connections.lagging")}</button>
    </form>
    ${asked.length > 0
      ? html`<${Table} key=${JSON.stringify(params)} quiet=${true} caption=${t("view.connections")} columns=${connectionColumns()} rows=${rows} rowKey=${(row) => row.client} empty=${data.loading ? t("loading") : undefined} />
          <${More} of=${data} />`
      : html`<p class="soft">${t("connections.ask")}</p>`}
  <//>`;
}
