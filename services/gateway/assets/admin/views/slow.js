// Slow consumers: those that wait now, and those that were ended for it.

import { html, known, list } from "../base.js";
import { useData } from "../api.js";
import { Card, Client, Name, Unknown, User, View } from "../parts.js";
import { Table } from "../table.js";
import { bytes, duration, hasText, number, t, time, visible } from "../text.js";

const cause = (row) => (hasText(`cause.${row.cause}`) ? t(`cause.${row.cause}`) : html`<${Name} value=${row.cause} />`);
const who = () => [
  { key: "user", render: (row) => html`<${User} value=${row.user} />` },
  { key: "client", render: (row) => html`<${Client} value=${row.client} />` },
  { key: "node" },
  { key: "transport" },
];
const age = (name) => ({ key: name, label: t("field.oldest_ms"), render: (row) => (known(row[name]) ? duration(row[name]) : html`<${Unknown} />`) });
const size = (name) => ({ key: name, label: t("field.waiting_bytes"), render: (row) => (known(row[name]) ? bytes(row[name]) : html`<${Unknown} />`) });

export function Slow() {
  const data = useData("slow", {}, 2000);
  const now = data.result ?? {};
  const ended = [
    { key: "at", label: t("field.time") },
    ...who(),
    size("bytes"),
    age("age_ms"),
    { key: "cause", render: cause },
    {
      key: "channels",
      sortable: false,
      render: (row) => list(row.channels).map(({ channel, part }) => html`<span key=${channel}><${Name} value=${channel} /> ${known(part) ? `${number(part * 100)} %` : ""} </span>`),
    },
  ];
  return html`<${View} title=${t("view.slow")} of=${data}>
    <${Card}>
      <${Table} caption=${t("slow.now")} columns=${[...who(), size("waiting_bytes"), age("oldest_ms")]} rows=${list(now.now)} rowKey=${(row) => `${row.node} ${row.client}`} sort="-oldest_ms" empty=${t("slow.none_now")} />
    <//>
    <${Card}>
      ${known(now.known_since) && html`<p class="soft">${t("known_since", { at: visible(time(now.known_since)) })}</p>`}
      <${Table} caption=${t("slow.ended")} columns=${ended} rows=${list(now.ended)} rowKey=${(row) => `${row.at} ${row.client}`} sort="-at" empty=${t("slow.none_ended")} />
    <//>
  <//>`;
}
