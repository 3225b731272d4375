// Tokens as a backend signs them: JWT, HS256.

import { createHmac } from "node:crypto";

import { HMAC_SECRET } from "./node.js";

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** Seconds since 1970, `seconds` from now. */
export const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;

/** Signs `claims`; with another secret the signature is wrong. */
export function sign(claims, secret = HMAC_SECRET) {
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
