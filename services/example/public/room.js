// A room: one subscription, with history, recovery and presence.

import { $, ask, element, MessageList, newKey, Refused, token } from "./page.js";

export class Room {
  #present = new Map();
  #moves = null;
  #isLeft = false;

  /** `choose(person)` is called with somebody who is clicked on. */
  constructor(client, me, name, choose) {
    Object.assign(this, { client, me, name, choose });
    $("room-title").textContent = name;
    this.list = new MessageList($("messages"), me);
    const query = `room=${encodeURIComponent(name)}`;
    // The SDK asks for the token when it subscribes, and for a new one before that expires.
    const subscription = client.newSubscription(`chat:${name}`, { getToken: () => token(`/api/room-token?${query}`) });
    this.subscription = subscription;
    subscription.on("subscribed", ({ recovered }) => {
      // After a drop the node brings what was missed. After a reload, or where the node began anew, the app has it.
      if (!recovered) this.list.readMissing(`/api/messages?${query}&`, () => !this.#isLeft);
      this.#askPresence();
    });
    subscription.on("publication", ({ data }) => this.list.hear(data));
    subscription.on("join", ({ info }) => this.#moved(info, true));
    subscription.on("leave", ({ info }) => this.#moved(info, false));
    subscription.on("unsubscribed", ({ reason }) => ($("room-title").textContent = `${name}: ${reason}`));
    subscription.subscribe();
  }

  leave() {
    this.#isLeft = true;
    this.subscription.removeAllListeners();
    this.subscription.unsubscribe();
    this.client.removeSubscription(this.subscription);
  }

  /** Sends a text. It stands below the others until the app has it; where that fails, the same message can be sent again. */
  say(text) {
    const key = newKey();
    const line = element("li", "mine pending");
    line.append(element("b", "", this.me.name), ` ${text}`);
    const send = async () => {
      line.className = "mine pending";
      try {
        const message = await ask("POST", "/api/messages", { room: this.name, text, key });
        line.remove();
        if (!this.#isLeft) this.list.show(message);
      } catch (error) {
        line.className = "failed";
        if (error instanceof Refused && error.status < 500) return line.append(` (${error.message})`);
        // With the same key: if the app had stored it after all, it is not stored twice.
        const again = element("button", "quiet", "Not sent. Try again");
        again.addEventListener("click", () => (again.remove(), send()), { once: true });
        line.append(again);
      }
    };
    $("messages").append(line);
    $("messages").scrollTop = $("messages").scrollHeight;
    send();
  }

  async #askPresence() {
    const moves = [];
    this.#moves = moves;
    try {
      const { clients } = await this.subscription.presence();
      if (this.#moves !== moves) return; // Asked again meanwhile.
      this.#present = new Map(Object.entries(clients));
      // Who came or went while the answer was under way.
      for (const [info, isHere] of moves) this.#move(info, isHere);
      this.#showPresent();
    } catch (error) {
      // The connection went; the next "subscribed" asks again.
      console.debug("presence:", error.message);
    }
  }

  #moved(info, isHere) {
    this.#moves?.push([info, isHere]);
    this.#move(info, isHere);
    this.#showPresent();
  }

  #move(info, isHere) {
    if (isHere) this.#present.set(info.client, info);
    else this.#present.delete(info.client);
  }

  #showPresent() {
    if (this.#isLeft) return;
    // A user with three windows is three clients and one person.
    const people = new Map();
    for (const { user, connInfo } of this.#present.values()) people.set(user, { id: user, name: connInfo?.name ?? user });
    $("count").textContent = people.size;
    const sorted = [...people.values()].sort((one, other) => one.name.localeCompare(other.name));
    $("people").replaceChildren(
      ...sorted.map((person) => {
        const line = element("li");
        const isMe = person.id === this.me.id;
        const label = element(isMe ? "span" : "button", isMe ? "" : "quiet", isMe ? `${person.name} (you)` : person.name);
        if (!isMe) label.addEventListener("click", () => this.choose(person));
        line.append(label);
        return line;
      }),
    );
  }
}
