// Chromium without a window, and the page at / as a visitor sees it.

import { existsSync } from "node:fs";

import { chromium } from "playwright-core";

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Starts the browser of GORANI_CHROMIUM, or the first one that is installed. `more`: further arguments of it. */
export async function startBrowser(...more) {
  const executablePath = process.env.GORANI_CHROMIUM || PLACES.find(existsSync);
  if (!executablePath) throw new Error("no Chromium: install it, or name it in GORANI_CHROMIUM");
  // A sandbox inside a build container, as root, does not start; only our own page is opened here.
  return chromium.launch({ executablePath, args: ["--no-sandbox", ...more] });
}

/** Milliseconds until something is to be seen: the SDK of a page waits up to 20 s until it connects again. */
const SEEN_WITHIN = 60_000;

/** A visitor: a browser window of its own, with what went wrong in it. */
export class Visitor {
  /** Opens the page of `url` at `channel` and waits until it says `state`. `prepare`: runs before, with the empty page. */
  static async open(browser, url, { channel = "", state = "Connected", prepare, ...options } = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 820 }, ...options });
    const visitor = new Visitor(context, await context.newPage());
    await prepare?.(visitor.page);
    await visitor.page.goto(`${url}/${channel && `#${channel}`}`);
    await visitor.says("#state", state);
    return visitor;
  }

  constructor(context, page) {
    this.context = context;
    this.page = page;
    this.problems = [];
    this.requests = [];
    page.setDefaultTimeout(SEEN_WITHIN);
    page.on("pageerror", (error) => this.problems.push(String(error)));
    page.on("console", (message) => message.type() === "error" && this.problems.push(message.text()));
    page.on("request", (request) => this.requests.push(request.url()));
    page.on("websocket", (socket) => this.requests.push(socket.url()));
  }

  /** Waits until the element's text holds `text`. */
  async says(selector, text) {
    await this.page.locator(selector).filter({ hasText: text }).first().waitFor({ timeout: SEEN_WITHIN });
  }

  async subscribed() {
    await this.says("#facts", "subscribed");
    await this.page.locator("#present-count:not([hidden])").waitFor();
  }

  /** Waits until the feed shows `text`. */
  async sees(text) {
    await this.says("#messages > li", text);
  }

  /** The offsets in the feed, from the top. */
  offsets() {
    return this.page.locator("#messages .offset").allTextContents();
  }

  /** The average brightness of what is on the screen, 0 to 255. */
  async brightness() {
    const png = (await this.page.screenshot()).toString("base64");
    const blank = await this.context.newPage();
    const value = await blank.evaluate(async (data) => {
      const image = await createImageBitmap(new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))]));
      const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
      canvas.drawImage(image, 0, 0);
      const { data: pixels } = canvas.getImageData(0, 0, image.width, image.height);
      let sum = 0;
      for (let i = 0; i < pixels.length; i += 4) sum += (pixels[i] + pixels[i + 1] + pixels[i + 2]) / 3;
      return sum / (pixels.length / 4);
    }, png);
    await blank.close();
    return value;
  }

  close() {
    return this.context.close();
  }
}
