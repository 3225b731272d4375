// Messages for this user alone: the personal channel, to which the node subscribes every connection of the user by itself.

import { $, ask, MessageList, newKey } from "./page.js";

export class Inbox {
  #to = null;

  constructor(client, me, name, onProgress) {
    const channel = `${name}#${me.id}`;
    const list = new MessageList($("inbox"), me);
    // Subscriptions that the server made are told by the client itself.
    client.on("subscribed", (context) => {
      if (context.channel === channel && !context.recovered) list.readMissing("/api/inbox?", () => true);
    });
    client.on("publication", (context) => {
      if (context.channel !== channel) return;
      if (context.data.type === "progress") onProgress(context.data);
      else list.hear(context.data);
    });
    $("private").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send($("whisper").value.trim());
    });
  }

  /** Opens the line to write to a person. */
  writeTo(person) {
    this.#to = person;
    $("private").hidden = false;
    $("private-hint").hidden = true;
    $("private-outcome").textContent = "";
    $("to").textContent = person.name;
    $("whisper").focus();
  }

  async #send(text) {
    if (!text) return;
    const { id, name } = this.#to;
    try {
      await ask("POST", "/api/inbox", { to: id, text, key: newKey() });
      $("whisper").value = "";
      $("private-outcome").textContent = `Sent to ${name}.`;
    } catch (error) {
      $("private-outcome").textContent = `Not sent: ${error.message}`;
    }
  }
}
