// The login: one field. Every refusal of the password looks the same.

import { html, known, session, useRef, useState } from "../base.js";
import { post } from "../api.js";
import { Failure, Field } from "../parts.js";
import { LanguageChoice, ThemeChoice } from "../shell.js";
import { t } from "../text.js";

export function Login() {
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const form = useRef();
  const send = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const answer = await post("login", { password: new FormData(form.current).get("password") });
      if (known(answer.result)) session.set(answer.result);
      return;
    } catch (failure) {
      setError(failure);
      form.current?.password.select();
    }
    setBusy(false);
  };
  return html`<main class="login">
    <h1 id="title">${t("login.title")}</h1>
    <form ref=${form} onSubmit=${send}>
      <${Field} name="password" type="password" label=${t("login.password")} required autocomplete="current-password" />
      <${Failure} error=${error} />
      <button type="submit" class="primary" disabled=${busy}>${t("login.send")}</button>
    </form>
    <p class="row"><${ThemeChoice} /> <${LanguageChoice} /></p>
  </main>`;
}
