// What surrounds every view: the menu, who is logged in, colours, language, pause, and the list of keys.

import { html, paused, session, useState, useStore } from "./base.js";
import { post } from "./api.js";
import { Dialog } from "./dialog.js";
import { helpOpen, keysOn, pause, switchKeys, VIEW_KEYS } from "./keys.js";
import { Name } from "./parts.js";
import { link, route } from "./route.js";
import { chooseLanguage, language, languageNames, t } from "./text.js";
import { changeTheme, dark } from "./theme.js";

const MENU = ["overview", "nodes", "channels", "connections", "slow", "disconnects", "broker", "settings", "explain", "traces", "try", "logs", "audit"];
const FOR_OPERATORS = ["try", "audit"];

async function logout() {
  const answer = await post("logout", {}).catch(() => null);
  const end = answer?.result?.end_session;
  // The identity provider ends its session too, and sends the browser back.
  if (end && /^https?:$/.test(new URL(end).protocol)) return location.assign(end);
  // The page is loaded again in any case, and asks the node who is logged in.
  return location.reload();
}

export function LanguageChoice() {
  const code = useStore(language);
  return html`<label class="inline"><span class="unseen">${t("language")}</span>
    <select onChange=${(event) => chooseLanguage(event.target.value)}>
      ${languageNames.map(([value, name]) => html`<option value=${value} selected=${value === code} lang=${value}>${name}</option>`)}
    </select></label>`;
}

export function ThemeChoice() {
  const isDark = useStore(dark);
  return html`<button type="button" aria-pressed=${isDark ? "true" : "false"} onClick=${changeTheme}>${t("dark")}</button>`;
}

function Help() {
  const on = useStore(keysOn);
  const rows = [["/", t("keys.search")], ["j k", t("keys.rows")], ["Enter", t("keys.open")], ["p", t("keys.pause")], ["Esc", t("keys.close")], ["?", t("keys.help")]];
  for (const [key, view] of Object.entries(VIEW_KEYS)) rows.push([`g ${key}`, t(`view.${view}`)]);
  return html`<${Dialog} title=${t("keys.title")} onClose=${() => helpOpen.set(false)}>
    <label class="check"><input type="checkbox" checked=${on} onChange=${(event) => switchKeys(event.target.checked)} /> ${t("keys.on")}</label>
    <dl class="facts keys">
      ${rows.map(([keys, text]) => html`<div key=${keys}><dt>${keys.split(" ").map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${text}</dd></div>`)}
    </dl>
  <//>`;
}

export function Shell({ children }) {
  const who = useStore(session);
  const isPaused = useStore(paused);
  const help = useStore(helpOpen);
  const { view, hash } = useStore(route);
  const [menu, setMenu] = useState(false);
  const current = view === "users" ? "connections" : view;
  return html`
    <a class="skip" href="#title" onClick=${(event) => {
      event.preventDefault();
      document.getElementById("title")?.focus();
    }}>${t("skip")}</a>
    <header class="top">
      <p class="brand"><img src="assets/favicon.svg" width="28" height="28" alt="" /> ${t("product")}</p>
      <button type="button" class="menu-button" aria-expanded=${menu ? "true" : "false"} aria-controls="menu" onClick=${() => setMenu(!menu)}>${t("menu")}</button>
      <div class="tools">
        <span class="who"><${Name} value=${who.name} most=${20} /> <span class="soft">${t(`role.${who.role}`)}</span></span>
        <button type="button" aria-pressed=${isPaused ? "true" : "false"} onClick=${() => pause(!isPaused)}>${t("pause")}</button>
        <${ThemeChoice} />
        <${LanguageChoice} />
        <button type="button" onClick=${() => helpOpen.set(true)}>${t("keys.title")}</button>
        <button type="button" id="logout" onClick=${logout}>${t("logout")}</button>
      </div>
    </header>
    <div class="body">
      <nav id="menu" class=${menu ? "open" : ""} aria-label=${t("menu")}>
        <ul>
          ${MENU.filter((name) => who.role === "operator" || !FOR_OPERATORS.includes(name)).map(
            (name) => html`<li key=${name}>
              <a href=${link(name)} aria-current=${name === current ? "page" : undefined} onClick=${() => setMenu(false)}>${t(`view.${name}`)}</a>
            </li>`,
          )}
        </ul>
      </nav>
      <main data-address=${hash}>
        ${isPaused && html`<p class="note">${t("paused")}</p>`}
        ${children}
      </main>
    </div>
    ${help && html`<${Help} />`}
  `;
}
