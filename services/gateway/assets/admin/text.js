// The language of the page, and numbers, sizes and times in it.

import { remembered, store } from "./base.js";
const languages = { en: () => import("./strings/en.js"), ko: () => import("./strings/ko.js") };
const KEY = "gorani.admin.language";

// Only the texts of the chosen language are read from the node.
const chosen = remembered(KEY);
export const language = store(Object.hasOwn(languages, chosen) ? chosen : navigator.language?.startsWith("ko") ? "ko" : "en");
let texts = (await languages[language.get()]()).default;

let wanted;
export async function chooseLanguage(code) {
  if (!Object.hasOwn(languages, code)) return;
  wanted = code;
  const read = await languages[code]();
  if (wanted !== code) return; // Another choice came meanwhile.
  texts = read.default;
  remembered(KEY, code);
  language.set(code);
}

/** The text of a key in the language of the page; `{name}` in it stands for a value. */
export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

export const hasText = (key) => Object.hasOwn(texts, key);
export const languageNames = Object.keys(languages).map((code) => [code, t(`language.${code}`)]);

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
export const number = (value, digits = 0) =>
  isNumber(value) ? new Intl.NumberFormat(language.get(), { maximumFractionDigits: digits }).format(value) : t("unknown");

/** A number that may be a fraction: the smaller, the more digits. */
export const rate = (value) => number(value, Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2);

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];
export function bytes(value) {
  if (!isNumber(value)) return t("unknown");
  let size = 0;
  while (value >= 1024 && size < SIZES.length - 1) {
    value /= 1024;
    size += 1;
  }
  return `${number(value, size === 0 ? 0 : 1)} ${SIZES[size]}`;
}

/** How long something took or lasts. */
export function duration(milliseconds) {
  if (!isNumber(milliseconds)) return t("unknown");
  const sign = milliseconds < 0 ? "-" : "";
  const value = Math.abs(milliseconds);
  const unit = (amount, name, digits) => `${sign}${number(amount, digits)} ${t(`unit.${name}`)}`;
  if (value < 1000) return unit(value, "ms", value < 10 ? 1 : 0);
  if (value < 60_000) return unit(value / 1000, "s", 1);
  if (value < 3_600_000) return unit(value / 60_000, "min", 1);
  if (value < 172_800_000) return unit(value / 3_600_000, "h", 1);
  return unit(value / 86_400_000, "d", 1);
}

/** A time of day; with the date where it is not today. Sub-second times are told, for evidence. */
export function time(at, exact = false) {
  if (!isNumber(at)) return t("unknown");
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return t("unknown");
  const options = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  if (exact) options.fractionalSecondDigits = 3;
  if (date.toDateString() !== new Date().toDateString()) Object.assign(options, { year: "numeric", month: "2-digit", day: "2-digit" });
  return new Intl.DateTimeFormat(language.get(), options).format(date);
}

export const since = (at) => (isNumber(at) ? duration(Math.max(0, Date.now() - at)) : t("unknown"));
export const isoTime = (at) => {
  const date = new Date(at);
  return isNumber(at) && !Number.isNaN(date.getTime()) ? date.toISOString() : undefined;
};

// Characters that are not seen, or that change the direction of what follows: a name must not look like another.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
export const visible = (value) =>
  String(value).replace(UNSEEN, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** Text of at most `most` characters, never half of a pair. */
export function cut(text, most) {
  const characters = Array.from(text);
  return characters.length > most ? `${characters.slice(0, most - 1).join("")}…` : text;
}
