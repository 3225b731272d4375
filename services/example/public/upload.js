// Uploads of this user, from whichever window. The bar moves by what the app publishes, not by what this window knows.

import { $, element, newKey } from "./page.js";

export class Uploads {
  #shown = new Map();

  constructor() {
    $("file").addEventListener("change", () => {
      const [file] = $("file").files;
      if (file) this.#send(file);
      $("file").value = "";
    });
  }

  async #send(file) {
    const id = newKey();
    this.show({ id, name: file.name, received: 0, total: file.size });
    const query = new URLSearchParams({ id, name: file.name });
    try {
      const response = await fetch(`/api/uploads?${query}`, { method: "POST", body: file });
      const answer = await response.json();
      if (!response.ok) throw new Error(answer.error);
      // The answer says it too, should the last publication be on its way.
      this.show({ id, name: file.name, received: answer.bytes, total: answer.bytes });
    } catch (error) {
      this.#shown.get(id).label.textContent = `${file.name}: ${error.message}`;
    }
  }

  /** Shows progress: `{id, name, received, total}` in bytes. */
  show({ id, name, received, total }) {
    let shown = this.#shown.get(id);
    if (!shown) {
      shown = { label: element("span"), bar: element("progress") };
      const line = element("li");
      line.append(shown.label, shown.bar);
      $("uploads").prepend(line);
      this.#shown.set(id, shown);
    }
    const percent = total === 0 ? 100 : Math.floor((100 * received) / total);
    shown.bar.max = 100;
    // Never back: the answer to the upload and its last publication may come in either order.
    shown.bar.value = Math.max(shown.bar.value, percent);
    shown.label.textContent = `${name} ${shown.bar.value} %`;
  }
}
