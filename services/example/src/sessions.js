// The signed-in user, by a signed cookie. There is no password: whoever says a name has it. A real app puts its own sign-in here; all that
// Gorani wants of it is the user's id in the tokens.

import { createHash, createHmac, timingSafeEqual } from "node:crypto";

/** Seconds that a cookie lives. */
const MAX_AGE = 7 * 24 * 3600;
const NAME_MAX = 24;

const signature = (value, secret) => createHmac("sha256", secret).update(value).digest("base64url");

/** The user of a name, or null where it is no name. The id is made of plain characters, since it becomes part of a channel's name. */
export function userOf(name) {
  if (typeof name !== "string") return null;
  const trimmed = name.normalize("NFC").trim();
  if (trimmed === "" || trimmed.length > NAME_MAX || /\p{C}/u.test(trimmed)) return null;
  return { id: createHash("sha256").update(trimmed.toLowerCase()).digest("hex").slice(0, 12), name: trimmed };
}

/** The `Set-Cookie` that signs a user in, or without one out. */
export function cookieFor(user, secret) {
  const attributes = "HttpOnly; SameSite=Lax; Path=/";
  if (!user) return `session=; Max-Age=0; ${attributes}`;
  const value = Buffer.from(user.name).toString("base64url");
  return `session=${value}.${signature(value, secret)}; Max-Age=${MAX_AGE}; ${attributes}`;
}

/** The user who sends this request, or null. */
export function userOfRequest(request, secret) {
  const [, value, given] = /(?:^|;\s*)session=([\w-]+)\.([\w-]+)/.exec(request.headers.cookie ?? "") ?? [];
  if (!value) return null;
  const [expected, actual] = [signature(value, secret), given].map((text) => Buffer.from(text));
  if (expected.length !== actual.length || !timingSafeEqual(expected, actual)) return null;
  return userOf(Buffer.from(value, "base64url").toString());
}
