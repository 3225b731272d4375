// Opens the page of the quick start of backend.md in Chromium and does what a reader does: `node backend_app.js URL`. The test of the page runs it.

import { startBrowser } from "./browser.js";

const WITHIN = 60_000;

const url = process.argv[2];
const browser = await startBrowser();
const page = await browser.newPage();
const problems = [];
page.on("pageerror", (error) => problems.push(String(error)));
const shows = (id, text) => page.locator(id).filter({ hasText: text }).waitFor({ timeout: WITHIN });
try {
  await page.goto(url);
  await shows("#room", "in room:lobby");
  await shows("#secret", "room:secret: not this room (403)");
  // The backend is told soon after, not before.
  const until = Date.now() + WITHIN;
  for (let online = ""; online !== "Mina"; online = await page.textContent("#online")) {
    if (Date.now() > until) throw new Error(`online: ${online}`);
    await page.click("#ask");
    await page.waitForTimeout(100);
  }
} catch (error) {
  console.error(error, problems, await page.content());
  process.exitCode = 1;
}
await browser.close();
