// Starts the page: who is logged in, and the view that the address names.

import { Fragment, html, render, say, session, spoken, useEffect, useErrorBoundary, useLayoutEffect, useRef, useState, useStore } from "./base.js";
import { get } from "./api.js";
import { errorText } from "./parts.js";
import { route } from "./route.js";
import { Shell } from "./shell.js";
import { language, t, visible } from "./text.js";
import { Audit } from "./views/audit.js";
import { Broker } from "./views/broker.js";
import { ChannelView } from "./views/channel.js";
import { Channels } from "./views/channels.js";
import { ConnectionView } from "./views/connection.js";
import { Connections } from "./views/connections.js";
import { Disconnects } from "./views/disconnects.js";
import { Explain } from "./views/explain.js";
import { Login, reopenView } from "./views/login.js";
import { Logs } from "./views/logs.js";
import { Nodes } from "./views/nodes.js";
import { Overview } from "./views/overview.js";
import { Settings } from "./views/settings.js";
import { Slow } from "./views/slow.js";
import { Traces, TraceView } from "./views/traces.js";
import { Try } from "./views/try.js";
import { UserView } from "./views/user.js";

/** View of a list, and of one item of it. */
const VIEWS = {
  overview: [Overview],
  nodes: [Nodes],
  channels: [Channels, ChannelView],
  connections: [Connections, ConnectionView],
  users: [Connections, UserView],
  slow: [Slow],
  disconnects: [Disconnects],
  broker: [Broker],
  settings: [Settings],
  explain: [Explain],
  traces: [Traces, TraceView],
  try: [Try],
  logs: [Logs],
  audit: [Audit],
};

function Missing() {
  return html`<section><h1 tabindex="-1" id="title">${t("no_view")}</h1></section>`;
}

/** A view that fails, on data that it did not expect, does not take the page with it. */
function Guarded({ children }) {
  const [error, again] = useErrorBoundary();
  if (!error) return children;
  return html`<section>
    <h1 tabindex="-1" id="title">${t("view_failed")}</h1>
    <p class="note bad" role="alert">${visible(error.message ?? error)}</p>
    <p><button type="button" onClick=${again}>${t("again")}</button></p>
  </section>`;
}

function Content() {
  const { view, item, query } = useStore(route);
  const [List, Item] = Object.hasOwn(VIEWS, view) ? VIEWS[view] : [Missing];
  const Shown = item !== null && Item ? Item : List;
  const address = `${view}/${item ?? ""}`;
  const first = useRef(true);
  // Together with the view, not after it is painted: a key that is pressed at once must not lose the focus.
  useLayoutEffect(() => {
    const title = document.getElementById("title");
    document.title = `${title?.textContent ?? ""} · ${t("product")}`;
    // The first view leaves it at the top: the link that skips the menu comes first.
    if (!first.current) title?.focus();
    first.current = false;
  }, [address]);
  return html`<${Guarded} key=${address}><${Shown} item=${item} query=${query} /><//>`;
}

/** More lines than this within a second would only hinder who listens. */
const SPOKEN_A_SECOND = 5;

function LiveRegion() {
  const text = useStore(spoken);
  const times = useRef([]);
  const now = Date.now();
  times.current = [...times.current.filter((at) => now - at < 1000), now];
  return html`<p class="unseen" role="status" aria-live="polite" id="spoken">${times.current.length > SPOKEN_A_SECOND ? "" : text}</p>`;
}

function App() {
  const who = useStore(session);
  const code = useStore(language);
  const [error, setError] = useState(null);
  const ask = () => {
    setError(null);
    get("session").then((answer) => session.set(answer.result), (failure) => failure.code !== "login_required" && setError(failure));
  };
  useEffect(ask, []);
  useEffect(() => {
    document.documentElement.lang = code;
  }, [code]);
  useEffect(() => {
    say("");
    if (who) reopenView();
  }, [who]);
  if (error && !who) {
    return html`<main class="login"><p class="note bad" role="alert">${errorText(error)}</p><button type="button" onClick=${ask}>${t("again")}</button></main>`;
  }
  if (who === undefined) return html`<main class="login"><p class="soft">${t("loading")}</p></main>`;
  return html`<${Fragment} key=${code}>
    ${who ? html`<${Shell}><${Content} /><//>` : html`<${Login} />`}
    <${LiveRegion} />
  <//>`;
}

render(html`<${App} />`, document.getElementById("app"));
