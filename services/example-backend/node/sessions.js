// The signed-in user, by a signed cookie. There is no password: whoever says a name has it. A real backend puts its own sign-in here.

import { createHmac, timingSafeEqual } from "node:crypto";

const NAME_MAX = 24;
const COOKIE = /(?:^|;\s*)person=([\w-]+)\.([0-9a-f]{64})(?:;|$)/;

const signature = (value, secret) => createHmac("sha256", secret).update(value).digest("hex");

/** The name as it is used, or null where it is none. */
export function nameOf(name) {
  const trimmed = typeof name === "string" ? name.trim() : "";
  return trimmed !== "" && trimmed.length <= NAME_MAX && !/\p{C}/u.test(trimmed) ? trimmed : null;
}

/** The `Set-Cookie` that signs a user in. */
export function cookieFor(name, secret) {
  const value = Buffer.from(name).toString("base64url");
  return `person=${value}.${signature(value, secret)}; HttpOnly; SameSite=Lax; Path=/`;
}

/** The user of a `Cookie` header, or null. */
export function userOf(cookies, secret) {
  const [, value, given] = COOKIE.exec(cookies ?? "") ?? [];
  if (!value || !timingSafeEqual(Buffer.from(given), Buffer.from(signature(value, secret)))) return null;
  return nameOf(Buffer.from(value, "base64url").toString());
}
