// The live tail of the admin page in Chromium, on three real nodes with one Redis: what is published on another node, contents, 5,000 publications a second, and the pause.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { login, startAdminCluster } from "./support/admin_cluster.js";
import { startBrowser } from "./support/browser.js";
import { Clients, subscribe } from "./support/client.js";

const CHANNEL = "open:lobby";
const ROWS = 500;
const RATE = 100;
const PER_SECOND = 5000;
const SECONDS = 10;
const BATCH = 500;

let cluster;
let browser;
let url;
const clients = new Clients();

before(async () => {
  cluster = await startAdminCluster();
  url = `${cluster.nodes[0].url}/admin/#/channels/${encodeURIComponent(CHANNEL)}`;
  browser = await startBrowser();
});
after(async () => {
  clients.close();
  await browser?.close();
  await cluster?.stop();
});

async function open() {
  const admin = await login(browser, url);
  await admin.page.locator("#tail").waitFor();
  return admin;
}

const card = (admin) => admin.page.locator("main section.card", { has: admin.page.locator("#tail") });
/** The numbers of the line above the rows. */
async function counts(admin) {
  const text = await admin.page.locator("#tail-skipped").innerText();
  const [skipped, , dropped] = [...text.matchAll(/[\d,]+/g)].map(([digits]) => Number(digits.replaceAll(",", "")));
  return { skipped, dropped };
}
/** Starts the tail and waits until the node listens: what was published before is not in it. */
async function start(admin) {
  const answered = admin.page.waitForResponse((response) => response.url().includes("/api/tail"));
  await admin.page.click("#tail");
  assert.equal((await answered).status(), 200);
}

test("the tail shows what comes through another node, with its data and who gets it", async () => {
  const client = await clients.connect(cluster.nodes[1].websocket);
  await subscribe(client, CHANNEL);
  const admin = await open();
  await start(admin);
  const greet = () => cluster.nodes[2].publish(CHANNEL, { text: "<b>hello</b>" }, { tags: { kind: "greeting" } });
  await greet();
  const row = card(admin).locator("tbody tr");
  await row.first().waitFor();
  assert.match(await row.first().innerText(), /<b>hello<\/b>/);
  // One subscriber, on the node that it is connected to. A line waits 300 ms for this number; where a node needs longer a later one has it.
  const counted = row.filter({ hasText: /n2 1(?!\d)/ });
  const giveUp = Date.now() + 60_000;
  while (!(await counted.first().waitFor({ timeout: 3000 }).then(() => true, () => false))) {
    assert.ok(Date.now() < giveUp, `no line has the number: ${await card(admin).innerText()}`);
    await greet();
  }
  await admin.page.click("#tail");
  await admin.says("#tail", "Start the tail");
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

/** Publishes 5,000 a second for 10 s; a machine that is busy takes longer. */
async function publishAll() {
  const began = Date.now();
  const seconds = () => (Date.now() - began) / 1000;
  for (let published = 0; published < PER_SECOND * SECONDS; published += BATCH) {
    const commands = Array.from({ length: BATCH }, (_, index) => ({ publish: { channel: CHANNEL, data: published + index } }));
    assert.equal((await cluster.nodes[1].call("batch", { commands })).status, 200);
    const early = (published + BATCH) / PER_SECOND - seconds();
    if (early > 0) await new Promise((resolve) => setTimeout(resolve, early * 1000));
  }
}

test("5,000 publications a second for 10 s keep at most 500 rows and a growing number of skipped ones", async () => {
  const admin = await open();
  await start(admin);
  const began = Date.now();
  const seen = [];
  let isPublished = false;
  const publishing = publishAll().then(() => (isPublished = true));
  const look = async () => {
    const rows = await card(admin).locator("tbody tr").count();
    assert.ok(rows <= ROWS, `${rows} rows`);
    if ((await admin.page.locator("#tail-skipped").count()) === 0) return 0;
    const { skipped, dropped } = await counts(admin);
    seen.push(skipped);
    return skipped + dropped + rows;
  };
  while (!isPublished) await look();
  await publishing;
  const all = PER_SECOND * SECONDS;
  // Shown, dropped and skipped ones are all that were published.
  const giveUp = Date.now() + 60_000;
  while ((await look()) !== all) assert.ok(Date.now() < giveUp, `${await look()} of ${all}`);
  // On a busy machine the lines come later than they are published.
  const took = (Date.now() - began) / 1000;
  assert.ok(seen.every((skipped, index) => index === 0 || skipped >= seen[index - 1]), `${seen}`);
  assert.ok(new Set(seen).size >= 5, `it grows: ${seen}`);
  assert.equal(await card(admin).locator("tbody tr").count(), ROWS);
  const shown = (await counts(admin)).dropped + ROWS;
  assert.ok(shown <= RATE * (took + 3), `${shown} shown in ${took} s`);
  assert.deepEqual(admin.problems, []);
  await admin.close();
});

test("paused, the rows stand still, and what came meanwhile is there afterwards", async () => {
  const admin = await open();
  await start(admin);
  const rows = card(admin).locator("tbody tr");
  await cluster.nodes[0].publish(CHANNEL, "before");
  await rows.filter({ hasText: "before" }).waitFor();
  await admin.page.locator("h1").click();
  await admin.page.keyboard.press("p");
  await cluster.nodes[0].publish(CHANNEL, "while");
  await cluster.nodes[0].publish(CHANNEL, "afterwards");
  // Drawn every 250 ms: one that is not drawn after four times that is not drawn at all.
  await admin.page.waitForTimeout(1000);
  assert.equal(await rows.filter({ hasText: "while" }).count(), 0);
  await admin.page.keyboard.press("p");
  await rows.filter({ hasText: "while" }).waitFor();
  await rows.filter({ hasText: "afterwards" }).waitFor();
  assert.deepEqual(admin.problems, []);
  await admin.close();
});
