// Common to the parts of the page.

export const $ = (id) => document.getElementById(id);

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

/** An answer of the app other than success. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Asks the app; throws `Refused` with its status, or another error where the app is not to be reached. */
export async function ask(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  const response = await fetch(path, options);
  const answer = await response.json();
  if (!response.ok) throw new Refused(response.status, answer.error);
  return answer;
}

/** Asks the app for a token. After a refusal the SDK ends; after any other error it tries again. */
export async function token(path) {
  try {
    return (await ask("GET", path)).token;
  } catch (error) {
    if (error instanceof Refused && error.status < 500) throw new Centrifuge.UnauthorizedError(error.message);
    throw error;
  }
}

/** A key that no other message has. `crypto.randomUUID` is missing on plain http outside this machine. */
export const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** One message as a line. */
export function messageLine(message, me) {
  const line = element("li", message.from.id === me.id ? "mine" : "");
  const time = element("time", "", new Date(message.time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  line.append(element("b", "", message.from.name), ` ${message.text}`, time);
  return line;
}

/**
 * A list that holds each message once, in the order of the ids, from wherever it comes: live, recovered by the node, or read from the app.
 */
export class MessageList {
  #ids = [];
  /** All up to this id were heard. A message that was sent here may have a greater one, and others before it may be missing. */
  #heardId = 0;

  constructor(list, me) {
    this.list = list;
    this.me = me;
    list.replaceChildren();
  }

  /** Shows a message; the same one again changes nothing. */
  show(message) {
    let at = this.#ids.length;
    while (at > 0 && this.#ids[at - 1] > message.id) at -= 1;
    if (at > 0 && this.#ids[at - 1] === message.id) return;
    const isAtEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 60;
    this.list.insertBefore(messageLine(message, this.me), this.list.children[at] ?? null);
    this.#ids.splice(at, 0, message.id);
    if (isAtEnd) this.list.scrollTop = this.list.scrollHeight;
  }

  /** Shows a message that came in order: from the node, or from the app's store. */
  hear(message) {
    this.show(message);
    this.#heardId = Math.max(this.#heardId, message.id);
  }

  /** Reads from the app what comes after the last message that was heard before this call; `path` gets `after=`. */
  async readMissing(path, isWanted) {
    // Live messages go on coming meanwhile, so what `#heardId` says later is no place to read from.
    let after = this.#heardId;
    await untilRead(async () => {
      for (let more = true; more && isWanted(); ) {
        const answer = await ask("GET", `${path}after=${after}`);
        if (!isWanted()) return;
        answer.messages.forEach((message) => this.hear(message));
        after = answer.messages.at(-1)?.id ?? after;
        more = answer.more;
      }
    }, isWanted);
  }
}

/** Runs `read` until it succeeds, while `isWanted`: the app may be down where the node is up. */
export async function untilRead(read, isWanted) {
  for (let pause = 200; isWanted(); pause = Math.min(2 * pause, 3000)) {
    try {
      return await read();
    } catch (error) {
      if (error instanceof Refused && error.status < 500) throw error;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}
