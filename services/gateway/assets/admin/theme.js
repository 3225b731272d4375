// The colours: those of the system, or those chosen here or on the try-out page.

import { remembered, store } from "./base.js";

const system = matchMedia("(prefers-color-scheme: dark)");
const chosen = remembered("gorani.theme");
if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;

const isDark = () => {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : system.matches;
};
export const dark = store(isDark());
system.addEventListener("change", () => dark.set(isDark()));

export function changeTheme() {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  remembered("gorani.theme", next);
  dark.set(next === "dark");
}
