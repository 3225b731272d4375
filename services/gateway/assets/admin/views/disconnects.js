// Disconnects: how many by code, and the last of each with whether the user came back.

import { html, known, list, useState } from "../base.js";
import { useData } from "../api.js";
import { Card, Client, Field, Name, Unknown, User, View } from "../parts.js";
import { Table } from "../table.js";
import { duration, t, time, visible } from "../text.js";

function returned({ returned: back }) {
  if (back === undefined) return html`<${Unknown} />`;
  if (back === null) return t("disconnects.not_back");
  const text = t("disconnects.back", { after: duration(back.after_ms), node: visible(back.node ?? t("unknown")) });
  return known(back.recovered) ? `${text}, ${t(back.recovered ? "disconnects.recovered" : "disconnects.not_recovered")}` : text;
}

export function disconnectColumns() {
  return [
    { key: "at", label: t("field.time") },
    { key: "code" },
    { key: "reason" },
    { key: "user", render: (row) => html`<${User} value=${row.user} />` },
    { key: "client", render: (row) => html`<${Client} value=${row.client} />` },
    { key: "address" },
    { key: "transport" },
    { key: "connected_ms" },
    { key: "waiting_bytes" },
    { key: "node" },
    { key: "returned", value: (row) => row.returned?.after_ms, render: returned },
  ];
}

export function Disconnects() {
  const [live, setLive] = useState(false);
  const [code, setCode] = useState("");
  const data = useData("disconnects", {}, live ? 2000 : null);
  const now = data.result ?? {};
  const codes = list(now.codes);
  const last = list(now.last).filter((row) => code === "" || String(row.code) === code);
  const codeColumns = [
    { key: "code" },
    { key: "count" },
    { key: "sentence", label: t("field.meaning"), render: (row) => html`<${Name} value=${row.sentence} most=${160} />` },
  ];
  return html`<${View} title=${t("view.disconnects")} of=${data}>
    <p class="row">
      <button type="button" onClick=${data.reload}>${t("refresh")}</button>
      <button type="button" aria-pressed=${live ? "true" : "false"} onClick=${() => setLive(!live)}>${t("live")}</button>
      ${known(now.known_since) && html`<span class="soft">${t("known_since", { at: time(now.known_since) })}</span>`}
    </p>
    <${Card}>
      <${Table} caption=${t("disconnects.codes")} columns=${codeColumns} rows=${codes} rowKey=${(row) => row.code} sort="-count" />
    <//>
    <${Card} title=${t("disconnects.last")}>
      <${Field} name="code" label=${t("disconnects.only")} value=${code} options=${[["", t("disconnects.all")], ...codes.map((row) => [String(row.code), String(row.code)])]} onChange=${(event) => setCode(event.target.value)} />
      <${Table} caption=${t("disconnects.last")} columns=${disconnectColumns()} rows=${last} rowKey=${(row) => `${row.at} ${row.client} ${row.code}`} sort="-at" />
    <//>
  <//>`;
}
