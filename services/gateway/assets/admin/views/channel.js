// One channel: its options, its history, who is in it, and what is published now.

import { html, known, list, useEffect, useState } from "../base.js";
import { useData, usePages } from "../api.js";
import { Spark } from "../chart.js";
import { Action } from "../dialog.js";
import { Card, Client, Facts, More, Name, Time, User, View } from "../parts.js";
import { Table } from "../table.js";
import { link } from "../route.js";
import { Tail } from "../tail.js";
import { rate, t } from "../text.js";

/** So many values of the rate that this page has measured are drawn. */
const VALUES = 60;

/** Publications a second since the view opened, from the offsets that it saw. */
function useRate(data) {
  const [seen, setSeen] = useState({ rates: [] });
  const offset = data.result?.position?.offset;
  useEffect(() => {
    if (!known(offset) || !data.at) return;
    setSeen((before) => {
      const seconds = (data.at - before.at) / 1000;
      const rates = before.at && seconds > 0 && offset >= before.offset ? [...before.rates, (offset - before.offset) / seconds] : before.rates;
      return { at: data.at, offset, rates: rates.slice(-VALUES) };
    });
  }, [data.at]);
  return seen.rates;
}

function Publications({ rows }) {
  const contents = rows.some((row) => "data" in row);
  const columns = [
    { key: "offset" },
    { key: "time", render: (row) => html`<${Time} at=${row.time} exact=${true} />` },
    { key: "bytes" },
    { key: "tags", sortable: false, render: (row) => (row.tags && Object.keys(row.tags).length > 0 ? html`<${Name} value=${JSON.stringify(row.tags)} />` : "") },
  ];
  if (contents) columns.push({ key: "data", sortable: false, render: (row) => html`<${Name} value=${typeof row.data === "string" ? row.data : JSON.stringify(row.data)} most=${120} />` });
  return html`<${Table} caption=${t("channel.publications")} columns=${columns} rows=${rows} rowKey=${(row) => row.offset} sort="-offset" />`;
}

function Subscribers({ channel }) {
  const [asked, setAsked] = useState(false);
  const data = usePages(asked ? "subscribers" : null, { channel });
  const rows = data.answers.flatMap((answer) => list(answer.result));
  const columns = [
    { key: "client", render: (row) => html`<${Client} value=${row.client} />` },
    { key: "user", render: (row) => html`<${User} value=${row.user} />` },
    { key: "node" },
    { key: "seen" },
    { key: "lag" },
    { key: "waiting_bytes" },
  ];
  return html`<${Card} title=${t("field.subscribers")}>
    ${asked
      ? html`<${Table} caption=${t("field.subscribers")} columns=${columns} rows=${rows} rowKey=${(row) => row.client} sort="-lag" empty=${data.loading ? t("loading") : undefined} /><${More} of=${data} />`
      : html`<button type="button" onClick=${() => setAsked(true)}>${t("channel.show_subscribers")}</button>`}
  <//>`;
}

export function ChannelView({ item }) {
  const data = useData("channel", { channel: item }, 2000);
  const now = data.result ?? {};
  const rates = useRate(data);
  const options = list(now.options);
  const optionColumns = [
    { key: "name", label: t("field.option") },
    { key: "value", sortable: false, render: (row) => html`<${Name} value=${typeof row.value === "string" ? row.value : JSON.stringify(row.value)} />` },
    { key: "source" },
  ];
  const presence = list(now.presence?.page);
  const presenceColumns = [
    { key: "client", render: (row) => html`<${Client} value=${row.client} />` },
    { key: "user", render: (row) => html`<${User} value=${row.user} />` },
  ];
  const facts = {
    namespace: now.namespace,
    subscribers: now.subscribers,
    offset: now.position?.offset,
    epoch: now.position?.epoch,
    oldest_offset: now.oldest_offset,
    history_bytes: now.bytes,
    presence_clients: now.presence?.clients,
    presence_users: now.presence?.users,
  };
  return html`<${View} title=${html`${t("field.channel")} <${Name} value=${item} />`} of=${data}>
    <p class="row">
      <${Action} name="publish" body=${{ channel: item }} fields=${[{ name: "data", label: t("channel.data_json"), required: true }]} onDone=${data.reload} />
      <${Action} name="history_remove" body=${{ channel: item }} target=${item} onDone=${data.reload} />
      <${Action} name="unsubscribe" body=${{ channel: item }} fields=${[{ name: "user", label: t("field.user"), required: true }]} onDone=${data.reload} />
      <${Action} name="trace" body=${{ channel: item }} />
      <a href=${link("explain", null, { channel: item })}>${t("view.explain")}</a>
    </p>
    <${Facts} of=${facts} names=${Object.keys(facts)} />
    <p>${t("channel.rate", { rate: rates.length > 0 ? rate(rates.at(-1)) : t("unknown") })} ${rates.length > 1 && html`<${Spark} label=${t("field.publications_per_second")} values=${rates} />`}</p>
    <${Tail} channel=${item} />
    <${Card}><${Publications} rows=${list(now.publications)} /><//>
    <${Subscribers} channel=${item} />
    <${Card}><${Table} caption=${t("field.presence")} columns=${presenceColumns} rows=${presence} rowKey=${(row) => row.client} /><//>
    <${Card}><${Table} caption=${t("channel.options")} columns=${optionColumns} rows=${options} rowKey=${(row) => row.name} sort="name" /><//>
  <//>`;
}
