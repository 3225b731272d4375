// The app's messages, in a file of JSON lines: the place of the database in this example.
//
// A message is stored first and published second. Where the node is away the message waits, and is published when the node is back,
// also where the app was restarted meanwhile: the file says up to which message all is published. So whoever reads a room later, or
// after a gap that the node's history no longer covers, asks the app and misses nothing.

import { open, readFile, rename, writeFile } from "node:fs/promises";

/** Messages that are kept, of all rooms and inboxes together; a real app leaves that to its database. */
const KEPT = 2000;
/** Messages in one answer. */
const PAGE = 100;
/** Milliseconds between two tries to publish while the node is away: the first, and the most. */
const RETRY_MIN = 100;
const RETRY_MAX = 2000;

export class Messages {
  #file;
  #publish;
  #messages = [];
  #byKey = new Map();
  #lastId = 0;
  #publishedId = 0;
  #writing = Promise.resolve();
  #publishing = Promise.resolve();
  #closing = new AbortController();

  /** Reads the file, or begins it. `publish(message)` rejects where the message did not get through. */
  static async open(path, publish) {
    const messages = new Messages();
    messages.#publish = publish;
    await messages.#load(path);
    messages.#file = await open(path, "a");
    messages.#publishWaiting();
    return messages;
  }

  async #load(path) {
    const text = await readFile(path, "utf8").catch((error) => {
      if (error.code === "ENOENT") return "";
      throw error;
    });
    for (const line of text.split("\n")) {
      let record;
      try {
        record = JSON.parse(line);
      } catch {
        continue; // Empty, or cut off where the app was killed while it wrote: then nobody was told that it is stored.
      }
      if ("published" in record) this.#publishedId = record.published;
      else this.#keep(record, Promise.resolve(record));
    }
    // A new file, so that it does not grow for ever and does not end in half a line.
    const lines = [...this.#messages, { published: this.#publishedId }].map((record) => `${JSON.stringify(record)}\n`);
    await writeFile(`${path}.new`, lines.join(""));
    await rename(`${path}.new`, path);
  }

  #keep(message, stored) {
    this.#lastId = Math.max(this.#lastId, message.id);
    this.#messages.push(message);
    this.#byKey.set(message.key, stored);
    // What is not published yet is never dropped, however much there is of it.
    while (this.#messages.length > KEPT && this.#messages[0].id <= this.#publishedId) this.#byKey.delete(this.#messages.shift().key);
  }

  /** Stores a message and resolves to it. The same `key` again gives the message that is there: a sender may try twice. */
  add({ key, channel, user, from, text }) {
    const known = this.#byKey.get(key);
    if (known) return known;
    this.#lastId += 1;
    const message = { id: this.#lastId, key, channel, user, from, text, time: Date.now() };
    const stored = this.#write(message).then(() => {
      this.#keep(message, stored);
      this.#publishWaiting();
      return message;
    });
    this.#byKey.set(key, stored);
    stored.catch(() => this.#byKey.delete(key));
    return stored;
  }

  /** The messages of a channel, or of one user's, with ids above `after`: the oldest of them, or without `after` the newest. */
  read({ channel, user, after }) {
    const found = this.#messages.filter((message) => message.channel === channel && message.user === user && message.id > after);
    const page = after > 0 ? found.slice(0, PAGE) : found.slice(-PAGE);
    return { messages: page, more: after > 0 && found.length > page.length };
  }

  /** Appends one line; lines stand in the order of the calls. */
  #write(record) {
    const written = this.#writing.then(async () => {
      await this.#file.appendFile(`${JSON.stringify(record)}\n`);
      await this.#file.datasync();
    });
    this.#writing = written.catch(() => {});
    return written;
  }

  /** Publishes all that waits, one after the other, so that subscribers get it in the order of the ids. */
  #publishWaiting() {
    this.#publishing = this.#publishing.then(async () => {
      const signal = this.#closing.signal;
      for (const message of this.#messages.filter(({ id }) => id > this.#publishedId)) {
        for (let pause = RETRY_MIN; !signal.aborted; pause = Math.min(2 * pause, RETRY_MAX)) {
          try {
            await this.#publish(message);
            this.#publishedId = message.id;
            await this.#write({ published: message.id });
            break;
          } catch (error) {
            console.error(`Message ${message.id} waits to be published: ${error.cause?.code ?? error.message}; trying again.`);
            await new Promise((resolve) => {
              const timer = setTimeout(resolve, pause);
              signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
            });
          }
        }
      }
    });
  }

  /** Ends; what is not published yet is published after the next start. */
  async close() {
    this.#closing.abort();
    await this.#publishing;
    await this.#writing;
    await this.#file.close();
  }
}
