// Three nodes with the admin page on one Redis, and a person who works there by mouse or by keyboard.

import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { AdminWindow } from "./admin_browser.js";
import { Cluster } from "./cluster.js";
import { binary } from "./node.js";

export const PASSWORD = "correct horse battery staple";
/** Presses of Tab after which an element is not reachable. */
const TABS = 400;
const IMAGES = fileURLToPath(new URL("../../../services/gateway/docs/images/", import.meta.url));

export function passwordHash(password = PASSWORD) {
  const line = execFileSync(binary, ["password"], { input: `${password}\n` }).toString().trim();
  return line.replace(/^[^"]*"|"$/g, "");
}

/** `overrides`: settings of all nodes. `ofNode`: further ones of each, by its number. */
export function startAdminCluster(overrides = {}, ofNode = () => ({})) {
  return Cluster.start(
    {
      "admin.enabled": true,
      "admin.password_hash": passwordHash(),
      "admin.password_contents": true,
      "cluster.secret": "a-secret-of-the-cluster-of-40-characters",
      // On a busy machine a node answers late, and its part would be missing; views that ask once would lack it for ever. The time is
      // within the 15 s of the page, and within the lease, so that a node that is gone is named first.
      "cluster.answer_timeout": "8s",
      "cluster.lease": "30s",
      ...overrides,
    },
    (node) => ({ "node.name": `n${node + 1}`, ...ofNode(node) }),
  );
}

/** A window in which somebody has logged in. */
export async function login(browser, url, options = {}) {
  const admin = await AdminWindow.open(browser, url, options);
  await admin.page.fill("#field-password", PASSWORD);
  await admin.page.keyboard.press("Enter");
  await admin.page.locator("nav").waitFor({ state: "attached" });
  return admin;
}

/** With `GORANI_PICTURES=1`, the window as pictures of the documents: light and dark, or, where it is narrow, as it is. */
export async function picture(admin, name) {
  if (!process.env.GORANI_PICTURES) return;
  mkdirSync(IMAGES, { recursive: true });
  const { page } = admin;
  const size = page.viewportSize();
  if (size.width < 700) {
    await page.screenshot({ path: `${IMAGES}admin-${name}-360.png` });
    return;
  }
  const before = await page.evaluate(() => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  // Small, so that the files are.
  await page.setViewportSize({ width: 960, height: 560 });
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: `${IMAGES}admin-${name}-${colorScheme}.png` });
  }
  await page.emulateMedia({ colorScheme: before });
  await page.setViewportSize(size);
}

/** Presses Tab until the focus is on an element of `selector` with `text`, as a person without a pointer does. */
export async function tabTo(page, selector, text = "") {
  await page.locator(selector).filter({ hasText: text }).first().waitFor();
  const isThere = ([wanted, words]) => document.activeElement?.matches(wanted) && document.activeElement.textContent.includes(words);
  for (let presses = 0; presses < TABS; presses += 1) {
    if (await page.evaluate(isThere, [selector, text])) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`${selector} ${text}: not reached by ${TABS} presses of Tab`);
}

/** Presses keys one after the other. */
export async function press(page, ...keys) {
  for (const key of keys) await page.keyboard.press(key);
}
