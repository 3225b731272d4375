// Makes the pictures of the README from the running page: `node screenshot.js` with Chromium, in services/gateway/docs/images.

import { fileURLToPath } from "node:url";

import { Visitor, startBrowser } from "./support/browser.js";
import { startDevelopmentNode } from "./support/node.js";

const IMAGES = fileURLToPath(new URL("../../services/gateway/docs/images/", import.meta.url));
/** A channel for each picture, so that both begin with an empty history. */
const CHANNELS = { light: "demo:orders", dark: "demo:parcels" };
const SAID = ["Order 1041 is paid", "Order 1042 is packed", "Order 1043 is on its way", "Order 1042 is on its way"];

const node = await startDevelopmentNode();
const browser = await startBrowser();
for (const colorScheme of Object.keys(CHANNELS)) {
  const visitors = [];
  for (let count = 0; count < 2; count += 1) {
    const options = { channel: CHANNELS[colorScheme], colorScheme, viewport: { width: 1200, height: 760 } };
    visitors.push(await Visitor.open(browser, node.url, options));
    await visitors[count].subscribed();
  }
  for (const text of SAID) await node.api("publish", { channel: CHANNELS[colorScheme], data: { text } });
  await visitors[0].sees(SAID.at(-1));
  await visitors[0].page.screenshot({ path: `${IMAGES}page-${colorScheme}.png` });
}
await browser.close();
await node.stop();
