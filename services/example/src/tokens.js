// The two tokens that Gorani asks for: JSON Web Tokens, signed with HS256 and the secret that app and node share.
// A token carries who the user is, so the node needs no user table and asks nobody.

import { createHmac } from "node:crypto";

/** Seconds that a token is good for. The SDK asks for the next one in time, so a user who is locked out is out after this long. */
const TTL = 600;

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

function sign(claims, secret) {
  const now = Math.floor(Date.now() / 1000);
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ ...claims, iat: now, exp: now + TTL })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** A token to connect with. `info` is what others see of this client in presence. */
export const connectionToken = (user, secret) => sign({ sub: user.id, info: { name: user.name } }, secret);

/** A token to subscribe to one channel with. */
export const subscriptionToken = (user, channel, secret) => sign({ sub: user.id, channel, info: { name: user.name } }, secret);
