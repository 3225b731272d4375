// The whole cluster in numbers, each with its last 15 minutes.

import { html, known, list } from "../base.js";
import { useData } from "../api.js";
import { Chart } from "../chart.js";
import { Card, State, Unknown, View } from "../parts.js";
import { Table } from "../table.js";
import { link } from "../route.js";
import { bytes, duration, hasText, number, rate, t, visible } from "../text.js";

const NUMBERS = [
  ["connections", number],
  ["channels", number],
  ["subscriptions", number],
  ["publications_per_second", rate],
  ["deliveries_per_second", rate],
  ["bytes_per_second", bytes],
  ["fanout_p99_ms", duration],
  ["worst_lag_ms", duration],
];
const formatOf = (name) => (/bytes/.test(name) ? bytes : /_ms$/.test(name) ? duration : rate);
/** Series have shorter names: bytes, not bytes a second. */
const seriesLabel = (name) => labelOf(hasText(`field.${name}_per_second`) ? `${name}_per_second` : name);
const labelOf = (name) => (hasText(`field.${name}`) ? t(`field.${name}`) : visible(name));

const Fact = ({ label, children }) => html`<div><dt>${label}</dt><dd>${children}</dd></div>`;

export function Overview() {
  const data = useData("overview", {}, 2000);
  const now = data.result ?? {};
  const series = now.series ?? {};
  const names = Object.entries(series.names ?? {}).filter(([, values]) => Array.isArray(values));
  const named = NUMBERS.map(([name]) => name);
  // Of a newer node.
  const others = Object.keys(now).filter((name) => typeof now[name] === "number" && !named.includes(name) && !name.startsWith("nodes_"));
  const down = known(now.nodes_up) && known(now.nodes_expected) && now.nodes_up < now.nodes_expected;
  const broker = now.broker?.state;
  const disconnects = list(now.disconnects);
  const columns = [
    { key: "code" },
    { key: "reason" },
    { key: "per_second", render: (row) => rate(row.per_second) },
  ];
  return html`<${View} title=${t("view.overview")} of=${data}>
    <dl class="numbers">
      <${Fact} label=${t("field.nodes_up")}>
        <a href=${link("nodes")}>${known(now.nodes_up) ? html`<${State} bad=${down}>${t("overview.nodes", { up: number(now.nodes_up), expected: number(now.nodes_expected) })}<//>` : html`<${Unknown} />`}</a>
      <//>
      <${Fact} label=${t("field.broker")}>
        <a href=${link("broker")}>${known(broker) ? html`<${State} good=${broker === "ready" || broker === "connected"} bad=${broker !== "ready" && broker !== "connected"}>${visible(broker)}<//>` : html`<${Unknown} />`}</a>
      <//>
      ${[...NUMBERS, ...others.map((name) => [name, formatOf(name)])].map(([name, format]) => html`<${Fact} key=${name} label=${labelOf(name)}>${known(now[name]) ? format(now[name]) : html`<${Unknown} />`}<//>`)}
    </dl>
    <${Card}>
      <${Table} caption=${t("overview.disconnects_per_second")} columns=${columns} rows=${disconnects} rowKey=${(row) => `${row.code} ${row.reason}`} sort="-per_second" empty=${t("overview.no_disconnects")} />
    <//>
    <${Card} title=${t("overview.history")}>
      <div class="charts">
        ${names.map(
          ([name, values]) => html`<${Chart} key=${name} label=${seriesLabel(name)} values=${values} begin=${series.begin ?? 0} step=${series.step_seconds ?? 1} format=${formatOf(name)} />`,
        )}
      </div>
      ${names.length === 0 && html`<p class="soft">${t("overview.no_history")}</p>`}
    <//>
  <//>`;
}
