// The colours: the system's, until the visitor chooses otherwise.

import { $ } from "./page.js";

const stored = (name, value) => {
  try {
    if (value !== undefined) localStorage.setItem(name, value);
    return localStorage.getItem(name);
  } catch {
    return null; // A browser that keeps nothing still shows the page.
  }
};

const systemDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : systemDark.matches;
};
const showTheme = () => $("theme").setAttribute("aria-pressed", String(isDark()));
const chosenTheme = stored("gorani.theme");
if (chosenTheme === "dark" || chosenTheme === "light") document.documentElement.dataset.theme = chosenTheme;
showTheme();
systemDark.addEventListener("change", showTheme);
$("theme").addEventListener("click", () => {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  stored("gorani.theme", next);
  showTheme();
});
