// An upload whose progress every tab and device of its user sees, because the app publishes it to the user's channel. What arrives is counted
// and hashed, and not kept.

import { createHash } from "node:crypto";

/** Bytes of one upload. */
export const UPLOAD_MAX = 200 * 1024 * 1024;

/**
 * Takes the body of a request and resolves to its size and hash, or to null where it is too large.
 *
 * `publish(progress, isLast)` may be slower than the bytes: one is under way at a time, and what comes meanwhile is told by the next.
 */
export async function takeUpload(request, { id, name }, publish) {
  const total = Number(request.headers["content-length"]);
  const hash = createHash("sha256");
  let received = 0;
  let telling = null;
  const tell = () => {
    telling ??= publish({ id, name, received, total }, false)
      .catch((error) => console.error(`Progress of upload ${id} was not published: ${error.message}`))
      .finally(() => (telling = null));
  };
  for await (const chunk of request) {
    received += chunk.length;
    if (received > UPLOAD_MAX) return null;
    hash.update(chunk);
    if (received < total) tell();
  }
  await telling;
  await publish({ id, name, received, total: received }, true);
  return { id, name, bytes: received, sha256: hash.digest("hex") };
}
