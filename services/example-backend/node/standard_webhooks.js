// Signatures by Standard Webhooks: who sent a request, and that nobody changed it. The node signs each request to the backend so.

import { createHmac, timingSafeEqual } from "node:crypto";

/** Seconds by which the clocks of node and backend may differ. An older request is one that somebody repeats. */
const TOLERANCE = 300;

/** The bytes of a secret `whsec_...`, as in the settings of the node. */
export const keyOf = (secret) => Buffer.from(secret.replace(/^whsec_/, ""), "base64");

/** True if the node signed these very bytes just now. `body` is what came, before it is read as JSON. */
export function isSigned(key, headers, body, now = Date.now() / 1000) {
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!/^\d+$/.test(timestamp) || Math.abs(now - Number(timestamp)) > TOLERANCE) return false;
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest();
  // While a secret is replaced there are several signatures, one of each secret.
  return (headers["webhook-signature"] ?? "").split(" ").some((signature) => {
    const [version, encoded] = signature.split(",");
    const given = Buffer.from(encoded ?? "", "base64");
    // In constant time: how long a comparison takes tells nobody how much of a guess is right.
    return version === "v1" && given.length === expected.length && timingSafeEqual(given, expected);
  });
}
