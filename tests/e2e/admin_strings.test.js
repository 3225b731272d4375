// The texts of the admin page: the same keys in both languages, every key used and known, and no text outside of the two files.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { files as vendored } from "./support/vendored.js";

const assets = fileURLToPath(new URL("../../services/gateway/assets/admin/", import.meta.url));
const { default: en } = await import(join(assets, "strings/en.js"));
const { default: ko } = await import(join(assets, "strings/ko.js"));

const names = readdirSync(assets, { recursive: true }).filter((name) => statSync(join(assets, name)).isFile());
const scripts = names.filter((name) => name.endsWith(".js") && !name.startsWith("vendor") && !name.startsWith("strings"));
const source = Object.fromEntries(scripts.map((name) => [name, readFileSync(join(assets, name), "utf8")]));
const placeholders = (text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();

/** Without comments and without what stands in `${…}` of templates, however deep. */
function outsideOfCode(text) {
  let out = "";
  for (let index = 0, depth = 0; index < text.length; index += 1) {
    if (text.startsWith("${", index)) depth += 1;
    else if (depth > 0 && text[index] === "{" && text[index - 1] !== "$") depth += 1;
    if (depth === 0) out += text[index];
    if (depth > 0 && text[index] === "}") depth -= 1;
  }
  return out;
}

/** The templates of a script that are markup, each with those inside of it as well. */
function templates(text) {
  const found = [];
  const open = [];
  for (let index = 0; index < text.length; index += 1) {
    if (text[index] !== "`") continue;
    const inside = open.at(-1);
    const begins = inside === undefined || text.slice(inside, index).lastIndexOf("${") > text.slice(inside, index).lastIndexOf("}");
    if (begins) open.push(index + 1);
    else found.push({ markup: text.slice(Math.max(0, inside - 5), inside - 1) === "html", text: text.slice(inside, index), at: open.pop() });
  }
  return found.filter(({ markup }) => markup).map(({ text: markup }) => markup);
}

test("both languages have the same keys, none empty, with the same placeholders", () => {
  assert.deepEqual(Object.keys(ko).sort(), Object.keys(en).sort());
  for (const [key, text] of Object.entries(en)) {
    assert.ok(text.trim() && ko[key].trim(), key);
    assert.deepEqual(placeholders(ko[key]), placeholders(text), key);
  }
});

test("every key that a script names exists", () => {
  for (const [name, text] of Object.entries(source)) {
    const keys = [...text.matchAll(/\bt\("([^"]+)"/g)].map(([, key]) => key);
    for (const [, one, other] of text.matchAll(/\bt\([^()"]*\? "([^"]+)" : "([^"]+)"/g)) keys.push(one, other);
    for (const key of keys) assert.ok(key in en, `${name}: ${key}`);
  }
});

test("every key is used", () => {
  const all = Object.values(source).join("\n");
  const families = [...all.matchAll(/`(\w+)\.\$\{/g)].map(([, family]) => family);
  for (const key of Object.keys(en)) assert.ok(all.includes(`"${key}"`) || families.includes(key.split(".")[0]), key);
});

test("no view has a literal: text of the page comes from the files of texts alone", () => {
  let found = 0;
  for (const [name, text] of Object.entries(source)) {
    for (const template of templates(text)) {
      found += 1;
      const outside = outsideOfCode(template);
      const words = outside.replace(/<[^>]*>/g, "\n").match(/\p{L}{2,}/gu);
      assert.equal(words, null, `${name}: ${template.slice(0, 120)}`);
      const attribute = /\b(?:aria-label|title|placeholder|label|caption|alt|empty)="[^"]*\p{L}/u.exec(outside);
      assert.equal(attribute, null, `${name}: ${attribute?.[0]}`);
    }
    const sentences = text.split("\n").filter((line) => !/^\s*(\/\/|\/?\*)/.test(line)).join("\n").match(/"[A-Z][\w',]* [\w', ]*[a-z]{3}[^"]*"/g);
    assert.equal(sentences, null, name);
  }
  assert.ok(found > 100, `${found} templates were looked at`);
});

test("a template with a literal would be found", () => {
  const [template] = templates("const x = html`<p>${t(\"a\", { b: `c ${1}` })} and words</p>`;");
  assert.match(outsideOfCode(template).replace(/<[^>]*>/g, "\n"), /and words/);
});

test("page and libraries are under 200 KB in each language, and no file of ours has more than 400 lines", () => {
  // Only what is served or in the binary for it.
  const isCounted = (name) => !/\.(md|toml|txt)$/.test(name);
  const isOf = (code) => (name) => !name.startsWith("strings/") || name === `strings/${code}.js`;
  for (const code of ["en", "ko"]) {
    const total = names.filter(isCounted).filter(isOf(code)).reduce((sum, name) => sum + statSync(join(assets, name)).size, 0);
    assert.ok(total < 200 * 1024, `${total} bytes in ${code}`);
  }
  for (const name of names.filter((each) => !each.startsWith("vendor"))) {
    assert.ok(readFileSync(join(assets, name), "utf8").split("\n").length <= 401, name);
  }
  assert.ok(vendored.length > 0);
});

test("no script makes markup of text, and no file names another host", () => {
  for (const name of names.filter((each) => !each.startsWith("vendor") && !each.endsWith(".svg"))) {
    const text = readFileSync(join(assets, name), "utf8");
    assert.doesNotMatch(text, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?:\/\//, name);
    if (name.endsWith(".html")) assert.doesNotMatch(text, /<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)/, name);
  }
});
