// The admin page in a browser window of its own, with everything that went wrong in it.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const axe = readFileSync(fileURLToPath(new URL("../node_modules/axe-core/axe.min.js", import.meta.url)), "utf8");
/** A debug build on a busy machine is slow. */
const PATIENT = 90_000;
/** Milliseconds until a view is there after its keys; then they are pressed again. */
const KEYS_WITHIN = 20_000;
const KEYS_TRIES = 4;
/** `SLOW=6`: the browser has a sixth of the processor, and nodes of these tests answer late. What passes only on a quick machine fails then. */
export const SLOW = Number(process.env.SLOW ?? 0);

/** Every view with an item, as addresses that the tests visit. */
export const VIEWS = [
  "overview",
  "nodes",
  "channels",
  "channels?prefix=",
  "channels/chat:lobby",
  "connections",
  "connections?transport=websocket",
  "connections/client-1",
  "users/user-1",
  "slow",
  "disconnects",
  "broker",
  "settings",
  "explain?channel=chat:lobby&user=user-1&offset=137",
  "traces",
  "traces/0123456789abcdef",
  "try",
  "logs",
  "audit",
];

/** Runs before any script of the page: keeps what the content security policy refuses. */
const noteViolations = () => {
  globalThis.violations = [];
  addEventListener("securitypolicyviolation", (event) => globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
};

export class AdminWindow {
  static async open(browser, url, { view = "", prepare, ...options } = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 820 }, locale: "en-US", ...options });
    const admin = new AdminWindow(context, await context.newPage(), url);
    if (SLOW > 0) await (await context.newCDPSession(admin.page)).send("Emulation.setCPUThrottlingRate", { rate: SLOW });
    await admin.page.addInitScript(noteViolations);
    await prepare?.(admin.page);
    await admin.page.goto(`${url}${view && `#/${view}`}`);
    return admin;
  }

  constructor(context, page, url) {
    Object.assign(this, { context, page, url, problems: [], requests: [] });
    page.setDefaultTimeout(PATIENT);
    page.setDefaultNavigationTimeout(PATIENT);
    page.on("pageerror", (error) => this.problems.push(`error: ${error.stack ?? error}`));
    page.on("dialog", (dialog) => {
      this.problems.push(`dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on("console", (message) => {
      // An answer of 4xx or 5xx is a line of the console too; the tests of refusals want those.
      const isStatus = message.text().startsWith("Failed to load resource");
      if (message.type() === "error" && !isStatus) this.problems.push(`console: ${message.text()}`);
    });
    page.on("request", (request) => this.requests.push(request.url()));
  }

  /** Goes to a view by its address, and waits until it shows its answer. */
  async view(address) {
    await this.page.evaluate((hash) => (location.hash = hash), `#/${address}`);
    await this.shown(address);
  }

  /** Waits until no request of the view is under way. */
  async shown(address) {
    const isShown = (hash) => document.querySelector("main")?.dataset.address === hash && document.querySelector("main #title") && !document.querySelector("main [aria-busy=true]");
    await this.page.waitForFunction(isShown, `#/${address}`);
  }

  /**
   * Goes to a view by `g` and its letter, and waits for its heading. Between both keys there may be 1.5 s; where a busy machine took
   * longer they are pressed again, as a person does.
   */
  async press(letter, heading) {
    const shown = this.page.locator("main h1").filter({ hasText: heading }).first();
    for (let tries = 1; tries <= KEYS_TRIES; tries += 1) {
      await this.page.keyboard.press("g");
      await this.page.keyboard.press(letter);
      if (await shown.waitFor({ timeout: KEYS_WITHIN }).then(() => true, () => false)) return;
    }
    throw new Error(`g ${letter} does not lead to ${heading}`);
  }

  /** The number of requests for `name` of the admin API that the page has sent; all of them without a name. A node hears of them later. */
  asked(name = "") {
    return this.requests.filter((request) => request.startsWith(`${this.url}api/${name}`)).length;
  }

  /** Waits until the element's text holds `text`. */
  async says(selector, text) {
    await this.page.locator(selector).filter({ hasText: text }).first().waitFor();
  }

  text(selector = "main") {
    return this.page.locator(selector).first().innerText();
  }

  /** What axe finds, one line each. */
  async audit() {
    await this.page.evaluate(`globalThis.axe || (() => { ${axe} })()`);
    const found = await this.page.evaluate(async () => {
      const { violations } = await globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
      return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 160)} ${node.failureSummary}`));
    });
    return found;
  }

  /** Refusals of the content security policy, one line each. */
  violations() {
    return this.page.evaluate(() => globalThis.violations);
  }

  /** Pixels by which the page is wider than the window. */
  overflow() {
    return this.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  }

  /** Makes the page believe that nobody sees it, or that somebody does. */
  visibility(state) {
    return this.page.evaluate((value) => {
      Object.defineProperty(document, "visibilityState", { configurable: true, get: () => value });
      document.dispatchEvent(new Event("visibilitychange"));
    }, state);
  }

  close() {
    return this.context.close();
  }
}
