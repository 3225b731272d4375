// Opens the first app of the README in Chromium and publishes until its page shows something: `node first_app.js URL`. The test of the page runs it.

import { startBrowser } from "./browser.js";

/** Milliseconds until the page is subscribed and shows what is published then. */
const SHOWN_WITHIN = 60_000;

const url = process.argv[2];
const browser = await startBrowser();
const page = await browser.newPage();
const problems = [];
page.on("pageerror", (error) => problems.push(String(error)));
page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
await page.goto(url);
const until = Date.now() + SHOWN_WITHIN;
const line = page.locator("#news > li").first();
let isShown = false;
while (!isShown && Date.now() < until) {
  await fetch(`${url}/say`, { method: "POST" });
  isShown = await line.waitFor({ timeout: 500 }).then(() => true, () => false);
}
const shown = isShown ? await line.textContent() : "nothing";
await browser.close();
if (!shown.endsWith(" Hello")) {
  console.error(`the page shows ${shown}`, problems);
  process.exitCode = 1;
}
