// The broker's servers as each node sees them.

import { html, known, list } from "../base.js";
import { useData } from "../api.js";
import { Card, Facts, Name, State, View } from "../parts.js";
import { visible, t } from "../text.js";

const FIELDS = [
  "state", "role", "connected_since", "reconnects", "canary_age_ms", "rtt_ms", "pending_requests", "pending_bytes", "subscriptions", "last_error",
  "version", "maxmemory_policy", "replication", "used_memory_bytes",
];
const GOOD = ["ready", "connected"];
/** Other policies let Redis drop what the node relies on. */
const SAFE_POLICY = "noeviction";

const own = {
  state: (value) => (known(value) ? html`<${State} good=${GOOD.includes(value)} bad=${!GOOD.includes(value)}>${visible(value)}<//>` : t("unknown")),
  last_error: (value) => (known(value) ? html`<${Name} value=${value} most=${160} />` : t("none")),
  maxmemory_policy: (value) =>
    !known(value) ? t("unknown") : value === SAFE_POLICY ? value : html`<${State} bad=${true}>${t("broker.policy", { policy: visible(value), safe: SAFE_POLICY })}<//>`,
};

export function Broker() {
  const data = useData("broker", {}, 2000);
  const now = data.result ?? {};
  const servers = list(now.servers);
  return html`<${View} title=${t("view.broker")} of=${data}>
    <${Facts} of=${now} names=${["kind", "pending_requests", "pending_bytes"]} except=${["servers"]} />
    ${servers.map(
      (server, index) => html`<${Card} key=${`${server.node} ${server.address} ${index}`} title=${html`<${Name} value=${server.address ?? now.kind} /> <span class="soft">${t("field.node")} <${Name} value=${server.node} /></span>`}>
        <${Facts} of=${server} names=${FIELDS} except=${["node", "address", "kind"]} own=${own} />
      <//>`,
    )}
    ${data.answer && servers.length === 0 && html`<p class="soft">${t("broker.none")}</p>`}
  <//>`;
}
