// The login: a password, a button that leads to the identity provider, or both.

import { html, known, session, useEffect, useRef, useState, useStore } from "../base.js";
import { get, post } from "../api.js";
import { Failure, Field } from "../parts.js";
import { go, route } from "../route.js";
import { LanguageChoice, ThemeChoice } from "../shell.js";
import { t, visible } from "../text.js";

/** The view that was asked for, while the browser is at the provider; the first view where the browser keeps nothing. */
const ADDRESS = "gorani.address";

/** Opens the view that was asked for before the browser went to the provider. */
export function reopenView() {
  try {
    const address = sessionStorage.getItem(ADDRESS);
    sessionStorage.removeItem(ADDRESS);
    if (address) location.hash = address;
  } catch {
    // Nothing is kept.
  }
}

/** Sends the browser to the provider. It comes back with a session, or with `failed` in its address. */
async function leave() {
  const { location: address } = (await post("oidc_login", {})).result;
  if (!/^https?:$/.test(new URL(address).protocol)) throw new Error(address);
  try {
    if (!/^(#\/overview.*)?$/.test(location.hash)) sessionStorage.setItem(ADDRESS, location.hash);
  } catch {
    // Nothing is kept.
  }
  location.assign(address);
}

export function Login() {
  const { failed, seconds } = useStore(route).query;
  const [error, setError] = useState(known(failed) ? { code: failed, status: "", retryAfter: seconds } : null);
  const [busy, setBusy] = useState(false);
  const [ways, setWays] = useState({ password: true, oidc: null });
  const form = useRef();
  useEffect(() => {
    // A node that does not know the request knows passwords only.
    get("login_methods").then((answer) => known(answer.result) && setWays(answer.result), () => null);
  }, []);
  const attempt = async (login) => {
    setBusy(true);
    setError(null);
    if (known(failed)) go("overview");
    try {
      await login();
      return;
    } catch (failure) {
      setError(failure);
      form.current?.password.select();
    }
    setBusy(false);
  };
  const send = (event) => {
    event.preventDefault();
    attempt(async () => {
      const answer = await post("login", { password: new FormData(form.current).get("password") });
      if (known(answer.result)) session.set(answer.result);
    });
  };
  return html`<main class="login">
    <h1 id="title">${t("login.title")}</h1>
    <${Failure} error=${error} />
    ${ways.password &&
    html`<form ref=${form} onSubmit=${send}>
      <${Field} name="password" type="password" label=${t("login.password")} required autocomplete="current-password" />
      <button type="submit" class="primary" disabled=${busy}>${t("login.send")}</button>
    </form>`}
    ${ways.oidc &&
    html`<button type="button" id="oidc" class=${ways.password ? "" : "primary"} disabled=${busy} onClick=${() => attempt(leave)}>
      ${t("login.with", { name: visible(ways.oidc.name) })}
    </button>`}
    <p class="row"><${ThemeChoice} /> <${LanguageChoice} /></p>
  </main>`;
}
