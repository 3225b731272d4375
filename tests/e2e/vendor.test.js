// The libraries of the admin page in the repository are those of the lock file, unchanged but for the edits that vendor.toml names.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { content, files, locked, manifest, modules, sha256, target } from "./support/vendored.js";

/** The tables of vendor.toml: each line is `name = value`. */
function entries(text) {
  return text.split("[[file]]").slice(1).map((table) =>
    Object.fromEntries([...table.matchAll(/^(\w+) = (.+)$/gm)].map(([, name, value]) => [name, JSON.parse(value)])),
  );
}

const listed = entries(readFileSync(join(target, "vendor.toml"), "utf8"));

test("vendor.toml lists every file of the directory, and no other", () => {
  const present = readdirSync(target).filter((name) => name !== "vendor.toml");
  assert.deepEqual(listed.map(({ file }) => file).sort(), present.sort());
  assert.equal(listed.length, files.length);
});

test("every vendored file has the hash that vendor.toml names", () => {
  for (const { file, sha256: expected } of listed) assert.equal(sha256(readFileSync(join(target, file))), expected, file);
});

test("vendor.toml names the versions of the lock file, which pins each archive by its hash", () => {
  const lock = locked();
  for (const { package: name, version } of listed) {
    assert.equal(lock(name).version, version, name);
    assert.match(lock(name).integrity, /^sha512-/);
    assert.equal(JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8")).version, version, `${name} is installed in that version`);
  }
});

test("a new run of make vendor changes nothing", () => {
  assert.equal(readFileSync(join(target, "vendor.toml"), "utf8"), manifest());
  for (const entry of files) assert.ok(readFileSync(join(target, entry.file)).equals(content(entry)), entry.file);
});

test("only the import of Preact is edited, and no file evaluates text", () => {
  const edited = listed.filter((entry) => entry.edited).map(({ file }) => file);
  assert.deepEqual(edited, ["hooks.js"]);
  const hooks = readFileSync(join(target, "hooks.js"), "utf8");
  assert.match(hooks, /from"\.\/preact\.js"/);
  assert.doesNotMatch(hooks, /from"preact"/);
  for (const { file } of listed.filter(({ file: name }) => name.endsWith(".js"))) {
    assert.doesNotMatch(readFileSync(join(target, file), "utf8"), /\beval\(|new Function\(/, file);
  }
});
