// The answers to what the node asks: who may connect, subscribe and publish, and what an `rpc` returns. No HTTP is in here.
//
// Each answer is an object with one of `result`, `error` and `disconnect`. An `error` goes to the client that gave the command. An empty
// `result` allows what was asked.

import { userOf } from "./sessions.js";

/** Users who may enter the staff room. A real backend asks its database. */
const STAFF = new Set(["Mina"]);
const TEXT_MAX = 500;
/** The channel that everybody is subscribed to when they connect: who is online. */
export const PEOPLE = "people:all";

/** For codes of your own take 400 to 1999. */
const error = (code, message) => ({ error: { code, message } });

/** What this backend decides: `(question, headers)` to the answer, by the kind of the question. */
export function answersOf(people, sessionSecret, sessionSeconds) {
  const expireAt = () => Math.floor(Date.now() / 1000) + sessionSeconds;
  return {
    /** The cookie of the page comes with it, since the settings list it in `http_headers`. */
    connect(_question, headers) {
      const user = userOf(headers.cookie, sessionSecret);
      // From 4500 to 4999 clients do not come back by themselves.
      if (user === null) return { disconnect: { code: 4501, reason: "sign in first" } };
      return {
        result: { user, info: { name: user }, expire_at: expireAt(), subs: { [PEOPLE]: { data: { online: people.online() } } } },
      };
    },

    /** The time of a connection is over: does it go on? A real backend looks up whether the user is still signed in. */
    refresh({ user }) {
      return { result: user === "" ? { expired: true } : { expire_at: expireAt() } };
    },

    subscribe({ channel, user }) {
      if (channel !== "room:staff") return { result: {} };
      return STAFF.has(user) ? { result: { expire_at: expireAt() } } : error(403, "the staff room is for staff");
    },

    sub_refresh({ user }) {
      return { result: STAFF.has(user) ? { expire_at: expireAt() } : { expired: true } };
    },

    /** What the client sent is replaced: so a text always says who wrote it. */
    publish({ data, user }) {
      const text = typeof data?.text === "string" ? data.text.trim() : "";
      if (text === "" || text.length > TEXT_MAX) return error(400, `a text has 1 to ${TEXT_MAX} characters`);
      return { result: { data: { from: user, text } } };
    },

    rpc({ method, data }) {
      if (method !== "ask") return error(404, "there is no such method");
      const asked = String(data?.question ?? "").toLowerCase();
      if (asked.includes("who")) return { result: { data: { answer: `Here are ${people.online().join(", ")}.` } } };
      if (asked.includes("time")) return { result: { data: { answer: `It is ${new Date().toTimeString().slice(0, 5)}.` } } };
      return error(422, "ask who is here, or what time it is");
    },
  };
}
