// The libraries of the admin page, as they are taken from npm: which file of which package, under which name, with which edit.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const modules = fileURLToPath(new URL("../node_modules/", import.meta.url));
export const lockFile = fileURLToPath(new URL("../package-lock.json", import.meta.url));
export const target = fileURLToPath(new URL("../../../services/gateway/assets/admin/vendor/", import.meta.url));

/** A browser resolves no package names, so the hooks import Preact by its file. */
const byFile = (text) => text.replaceAll('from"preact"', 'from"./preact.js"');

export const files = [
  { package: "preact", source: "dist/preact.mjs", file: "preact.js" },
  { package: "preact", source: "hooks/dist/hooks.mjs", file: "hooks.js", edit: byFile },
  { package: "preact", source: "LICENSE", file: "preact.LICENSE.txt" },
  { package: "htm", source: "dist/htm.mjs", file: "htm.js" },
  { package: "htm", source: "LICENSE", file: "htm.LICENSE.txt" },
  { package: "uplot", source: "dist/uPlot.iife.min.js", file: "uplot.js" },
  { package: "uplot", source: "dist/uPlot.min.css", file: "uplot.css" },
  { package: "uplot", source: "LICENSE", file: "uplot.LICENSE.txt" },
];

export const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** The bytes that belong into the repository, made from the installed package. */
export function content({ package: name, source, edit }) {
  const bytes = readFileSync(join(modules, name, source));
  return edit ? Buffer.from(edit(bytes.toString())) : bytes;
}

/** Package → version and the hash of its archive, of the lock file. */
export function locked() {
  const { packages } = JSON.parse(readFileSync(lockFile, "utf8"));
  return (name) => packages[`node_modules/${name}`];
}

/** The list of what is vendored, as vendor.toml holds it. */
export function manifest() {
  const lock = locked();
  const entries = files.map((entry) =>
    [
      "[[file]]",
      `file = "${entry.file}"`,
      `package = "${entry.package}"`,
      `version = "${lock(entry.package).version}"`,
      `source = "${entry.source}"`,
      `edited = ${Boolean(entry.edit)}`,
      `sha256 = "${sha256(content(entry))}"`,
    ].join("\n"),
  );
  return `# Written by \`make vendor\` from tests/e2e/package-lock.json. tests/e2e/vendor.test.js compares files, hashes and lock.\n\n${entries.join("\n\n")}\n`;
}
