// One user: all connections on all nodes, the last disconnects, and all subscriptions.

import { html, list } from "../base.js";
import { useData } from "../api.js";
import { Action } from "../dialog.js";
import { Card, Name, View } from "../parts.js";
import { Table } from "../table.js";
import { link } from "../route.js";
import { t } from "../text.js";
import { Subscriptions } from "./connection.js";
import { connectionColumns } from "./connections.js";
import { disconnectColumns } from "./disconnects.js";

export function UserView({ item }) {
  const data = useData("user", { user: item }, 2000);
  const now = data.result ?? {};
  return html`<${View} title=${html`${t("field.user")} <${Name} value=${item} />`} of=${data}>
    <p class="row">
      <${Action} name="disconnect" body=${{ user: item }} target=${item} onDone=${data.reload} />
      <${Action} name="trace" body=${{ user: item }} />
      <a href=${link("explain", null, { user: item })}>${t("view.explain")}</a>
    </p>
    <${Card}>
      <${Table} caption=${t("view.connections")} columns=${connectionColumns()} rows=${list(now.connections)} rowKey=${(row) => row.client} sort="connected_at" />
    <//>
    <${Card}><${Subscriptions} rows=${list(now.subscriptions)} user=${item} withClient=${true} onDone=${data.reload} /><//>
    <${Card}>
      <${Table} caption=${t("user.last_disconnects")} columns=${disconnectColumns()} rows=${list(now.disconnects)} rowKey=${(row) => `${row.at} ${row.client}`} sort="-at" />
    <//>
  <//>`;
}
