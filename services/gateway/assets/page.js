// What every part of the page uses: its elements, and words for numbers and clients.

export const $ = (id) => document.getElementById(id);

export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export const plural = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

export const shortId = (id) => (id && id.length > 12 ? id.slice(0, 8) : id || "");

/** How a client is called: by its user, or by the beginning of its id. */
export const nameOf = (info) => info.user || `anonymous ${shortId(info.client)}`;
