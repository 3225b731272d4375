// One connection: who, how, what waits for it, and how far it is in each channel.

import { html, known, list } from "../base.js";
import { useData } from "../api.js";
import { Action } from "../dialog.js";
import { Card, Channel, Facts, Since, Unknown, User, View, Name } from "../parts.js";
import { Table } from "../table.js";
import { link } from "../route.js";
import { number, t } from "../text.js";

const FIELDS = [
  "user", "client", "node", "transport", "protocol", "encoding", "sdk", "sdk_version", "address", "forwarded_by", "connected_at", "token_id", "expires_at",
  "last_command", "last_command_at", "last_pong_at", "rtt_ms", "bytes_in", "bytes_out", "waiting_bytes", "waiting_since",
];

export const lagOf = ({ seen, top }) => (known(seen) && known(top) ? Math.max(0, top - seen) : undefined);

/** `client` names whose, where there are several. */
export function Subscriptions({ rows, user, withClient, onDone }) {
  const columns = [
    { key: "channel", render: (row) => html`<${Channel} value=${row.channel} />` },
    ...(withClient ? [{ key: "client", render: (row) => html`<${Name} value=${row.client} most=${24} href=${link("connections", row.client)} />` }] : []),
    { key: "seen" },
    { key: "top" },
    { key: "lag", value: lagOf, render: (row) => (known(lagOf(row)) ? number(lagOf(row)) : html`<${Unknown} />`) },
    {
      key: "actions",
      sortable: false,
      render: (row) => html`<span class="row">
        <a href=${link("explain", null, { channel: row.channel, user, client: row.client })}>${t("view.explain")}</a>
        <${Action} name="unsubscribe" body=${{ channel: row.channel, client: row.client }} target=${row.channel} onDone=${onDone} />
      </span>`,
    },
  ];
  return html`<${Table} caption=${t("field.subscriptions")} columns=${columns} rows=${rows} rowKey=${(row) => `${row.client} ${row.channel}`} sort="channel" />`;
}

export function ConnectionView({ item }) {
  const data = useData("connection", { client: item }, 2000);
  const now = data.result;
  const own = {
    user: (value) => html`<${User} value=${value} />`,
    connected_at: (value) => html`<${Since} at=${value} />`,
    waiting_since: (value) => (now?.waiting_bytes === 0 ? t("connection.nothing_waits") : html`<${Since} at=${value} />`),
  };
  const subscriptions = list(now?.subscriptions).map((row) => ({ ...row, client: item }));
  return html`<${View} title=${html`${t("connection.title")} <${Name} value=${item} />`} of=${data}>
    <p class="row">
      <${Action} name="ping" body=${{ client: item }} />
      <${Action} name="refresh" body=${{ client: item }} target=${item} onDone=${data.reload} />
      <${Action} name="disconnect" body=${{ client: item }} target=${item} fields=${[{ name: "code", label: t("connection.code"), type: "number", min: 3000, max: 4999 }]} onDone=${data.reload} />
    </p>
    ${now && html`<${Facts} of=${now} names=${FIELDS} except=${["subscriptions"]} own=${own} />`}
    <${Card}><${Subscriptions} rows=${subscriptions} user=${now?.user} onDone=${data.reload} /><//>
  <//>`;
}
