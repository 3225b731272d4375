// Logins to the admin page by a real Keycloak, in Chromium. The commands and the settings are those of docs/keycloak.md.
// `make test-keycloak`; not a part of `make test`, since Keycloak is large and slow to start.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { AdminWindow } from "../support/admin_browser.js";
import { PASSWORD, passwordHash } from "../support/admin_cluster.js";
import { startBrowser } from "../support/browser.js";
import { API_KEY, freePort, repository, serve } from "../support/node.js";
import { Balancer } from "./balancer.js";
import { Keycloak } from "./keycloak.js";

const PAGE = readFileSync(join(repository, "services/gateway/docs/keycloak.md"), "utf8");
/** The addresses of the page, and its person. */
const ID = "https://id.example.com";
const HOST = "gorani.example.com";
const MINJI = ["minji", "open sesame 42"];
/** Further people, all with this password: one with the other role, and one without any. */
const PEOPLE_PASSWORD = "open sesame 43";

let keycloak;
let nodes;
let balancer;
let browser;
let secret;

/** The blocks of the page in a language. */
const blocks = (language) => [...PAGE.matchAll(new RegExp("```" + language + "\\n(.*?)```", "gs"))].map(([, text]) => text.replaceAll(ID, keycloak.url));

/** Starts a node with the settings of the page, and with what `change` makes of them. */
async function startNode(change = (text) => text, environment = {}) {
  const port = await freePort();
  const [page] = blocks("toml");
  const settings = `[http]\naddress = "127.0.0.1:${port}"\ntrusted_proxies = ["127.0.0.1"]\n[broker]\nkind = "memory"\n[cluster]\nsecret = "a-secret-of-the-cluster-of-40-characters"\n${page}`;
  const directory = mkdtempSync(join(tmpdir(), "gorani-keycloak-node-"));
  const file = join(directory, "gorani.toml");
  writeFileSync(file, change(settings.replace(/client_secret = ".*"/, `client_secret = "${secret}"`), port));
  return serve(file, port, API_KEY, environment, directory);
}

/** Starts a node that a browser asks without a balancer, by a client of its own that is like the one of the page but for `changes`. */
async function startAlone(clientId, { client = {}, mappers, settings = (text) => text, environment } = {}) {
  const [like] = await keycloak.admin("GET", "/clients?clientId=gorani");
  let address;
  const node = await startNode((text, port) => {
    address = `http://127.0.0.1:${port}/admin/`;
    return settings(text.replace(/^redirect_url.*\n/m, "").replace('client_id = "gorani"', `client_id = "${clientId}"`));
  }, environment);
  const { name, publicClient, standardFlowEnabled } = like;
  const protocolMappers = mappers ?? like.protocolMappers.map(({ id, ...mapper }) => mapper);
  const attributes = { ...like.attributes, "post.logout.redirect.uris": address, ...client.attributes };
  await keycloak.admin("POST", "/clients", { name, publicClient, standardFlowEnabled, secret, clientId, protocolMappers, redirectUris: [`${address}oidc/callback`], ...client, attributes });
  return { node, address };
}

/** Opens the admin page and goes to Keycloak by its button. */
async function leave(url) {
  const admin = await AdminWindow.open(browser, url, { ignoreHTTPSErrors: true });
  await admin.page.getByRole("button", { name: "Log in with Company" }).click();
  return admin;
}

async function signIn({ page }, [name, password]) {
  await page.locator("#username").fill(name);
  await page.locator("#password").fill(password);
  await page.locator("#kc-login").click();
}

async function logIn(url, person) {
  const admin = await leave(url);
  await signIn(admin, person);
  await admin.page.locator("nav").waitFor({ state: "attached" });
  return admin;
}

/** The person who has logged in, as the node says. */
const who = ({ page }) => page.evaluate(async () => (await (await fetch("api/session")).json()).result);

/** The header of the ID token that the browser keeps for the logout. */
async function idTokenHeader(admin, url) {
  const cookies = await admin.context.cookies(`${url}api/logout`);
  const { value } = cookies.find(({ name }) => name.endsWith("gorani_id_token"));
  return JSON.parse(Buffer.from(value.split(".")[0], "base64url"));
}

before(async () => {
  keycloak = await Keycloak.start();
  const shown = await keycloak.shell(blocks("sh").join("\n"));
  [, secret] = shown.match(/"secret"\s*:\s*"([^"]+)"/);
  for (const [username, role] of [["junho", "gorani-support"], ["guest", null]]) {
    const credentials = [{ type: "password", value: PEOPLE_PASSWORD, temporary: false }];
    await keycloak.admin("POST", "/users", { username, enabled: true, email: `${username}@example.com`, emailVerified: true, firstName: username, lastName: "Kim", credentials });
    if (!role) continue;
    const [user] = await keycloak.admin("GET", `/users?username=${username}`);
    await keycloak.admin("POST", `/users/${user.id}/role-mappings/realm`, [await keycloak.admin("GET", `/roles/${role}`)]);
  }
  nodes = [await startNode(), await startNode()];
  balancer = await Balancer.start(HOST, nodes);
  browser = await startBrowser(`--host-resolver-rules=MAP ${HOST}:443 127.0.0.1:${balancer.port}`);
});
after(async () => {
  await browser?.close();
  await balancer?.close();
  for (const node of nodes ?? []) await node.stop();
  await keycloak?.stop();
});

test("the page names the version that its steps were tried with", () => {
  const [, named] = PAGE.match(/with Keycloak ([0-9.]+) and/);
  assert.match(Keycloak.version(), new RegExp(` ${named.replaceAll(".", "\\.")}$`));
});

test("behind a balancer with TLS, the page's steps lead to a login, and its logout ends the session at Keycloak without a question", async () => {
  const url = `https://${HOST}/admin/`;
  const admin = await leave(url);
  await signIn(admin, ["minji", "wrong"]);
  await admin.says("#input-error, #input-error-username, .kc-feedback-text", "Invalid username or password");
  assert.ok(admin.page.url().startsWith(`${keycloak.url}/realms/company/`), admin.page.url());
  await signIn(admin, MINJI);
  await admin.page.locator("nav").waitFor({ state: "attached" });
  assert.ok(admin.page.url().startsWith(url), admin.page.url());
  const { name, role, contents } = await who(admin);
  assert.deepEqual({ name, role, contents }, { name: "minji", role: "operator", contents: false });
  for (const { name: cookie, httpOnly, secure, sameSite } of await admin.context.cookies(`${url}api/logout`)) {
    assert.deepEqual({ httpOnly, secure, sameSite }, { httpOnly: true, secure: true, sameSite: "Strict" }, cookie);
  }
  await admin.page.click("#logout");
  const button = admin.page.getByRole("button", { name: "Log in with Company" });
  await button.waitFor();
  assert.ok(admin.page.url().startsWith(url), admin.page.url());
  assert.equal(await admin.page.evaluate(async () => (await fetch("api/session")).status), 401);
  assert.deepEqual(await admin.context.cookies(`${url}api/logout`), []);
  await button.click();
  // It knows nobody any more.
  await admin.page.locator("#username").waitFor();
  await admin.close();
});

test("without the ID token Keycloak asks whether the logout is meant", async () => {
  const url = `https://${HOST}/admin/`;
  const admin = await logIn(url, MINJI);
  await admin.context.clearCookies({ name: /gorani_id_token$/ });
  await admin.page.click("#logout");
  const answer = admin.page.locator("#kc-logout");
  await answer.waitFor();
  await answer.click();
  await admin.page.getByRole("button", { name: "Log in with Company" }).waitFor();
  assert.ok(admin.page.url().startsWith(url), admin.page.url());
  await admin.close();
});

test("another role gives another right, and who has none is told so", async () => {
  const url = `https://${HOST}/admin/`;
  const junho = await logIn(url, ["junho", PEOPLE_PASSWORD]);
  const { name, role, contents } = await who(junho);
  assert.deepEqual({ name, role, contents }, { name: "junho", role: "viewer", contents: true });
  await junho.close();
  const guest = await leave(url);
  await signIn(guest, ["guest", PEOPLE_PASSWORD]);
  await guest.says("main .note.bad", "Your account has no role here.");
  assert.equal(await guest.page.evaluate(async () => (await fetch("api/session")).status), 401);
  await guest.close();
});

test("a new active key of the realm is good at once, on nodes that run", async () => {
  const url = `https://${HOST}/admin/`;
  const earlier = await logIn(url, MINJI);
  const old = await idTokenHeader(earlier, url);
  await earlier.close();
  await keycloak.addKey("rsa-new", "rsa-generated", { algorithm: "RS256", keySize: "2048" });
  const later = await logIn(url, MINJI);
  const now = await idTokenHeader(later, url);
  assert.deepEqual([old.alg, now.alg], ["RS256", "RS256"]);
  assert.notEqual(old.kid, now.kid);
  await later.page.click("#logout");
  await later.page.getByRole("button", { name: "Log in with Company" }).waitFor();
  await later.close();
});

test("Keycloak may sign by RS256, PS256, ES256 and EdDSA", async () => {
  // Keys of all kinds, which it would make by itself at the first token: a node looks for new keys once in 10 s.
  await keycloak.addKey("rsa-pss", "rsa-generated", { algorithm: "PS256", keySize: "2048" });
  await keycloak.addKey("ec", "ecdsa-generated", { ecdsaEllipticCurveKey: "P-256" });
  await keycloak.addKey("ed", "eddsa-generated", { eddsaEllipticCurveKey: "Ed25519" });
  const { node, address } = await startAlone("gorani-signed");
  try {
    for (const algorithm of ["RS256", "PS256", "ES256", "EdDSA"]) {
      await keycloak.changeClient("gorani-signed", (client) => ({ ...client, attributes: { ...client.attributes, "id.token.signed.response.alg": algorithm } }));
      const admin = await logIn(address, MINJI);
      assert.equal((await idTokenHeader(admin, address)).alg, algorithm);
      assert.equal((await who(admin)).role, "operator");
      await admin.close();
    }
  } finally {
    await node.stop();
  }
});

const mapper = (name, protocolMapper, config) => ({ name, protocol: "openid-connect", protocolMapper, config: { "id.token.claim": "true", ...config } });

test("the claim may be one in a claim, as Keycloak writes roles itself, or the groups of a person", async () => {
  const [junho] = await keycloak.admin("GET", "/users?username=junho");
  await keycloak.admin("POST", "/groups", { name: "gorani-operators" });
  const [group] = await keycloak.admin("GET", "/groups?search=gorani-operators");
  await keycloak.admin("PUT", `/users/${junho.id}/groups/${group.id}`);
  const roles = mapper("roles", "oidc-usermodel-realm-role-mapper", { "claim.name": "realm_access.roles", multivalued: "true", "jsonType.label": "String" });
  const groups = mapper("groups", "oidc-group-membership-mapper", { "claim.name": "groups", "full.path": "false" });
  const inClaim = (text) => text.replace("[admin.oidc]", '[admin.oidc]\nroles_claim = "realm_access.roles"');
  for (const [clientId, mappers, settings, role] of [["gorani-nested", [roles], inClaim, "viewer"], ["gorani-groups", [groups], undefined, "operator"]]) {
    const { node, address } = await startAlone(clientId, { mappers, settings });
    try {
      const admin = await logIn(address, ["junho", PEOPLE_PASSWORD]);
      assert.equal((await who(admin)).role, role, clientId);
      await admin.close();
    } finally {
      await node.stop();
    }
  }
});

test("without a mapper nobody gets in, and with a wrong secret the page says whose fault it is", async () => {
  const wrong = (text) => text.replace(secret, "a-wrong-secret");
  for (const [clientId, options, told] of [
    ["gorani-bare", { mappers: [] }, "Your account has no role here."],
    ["gorani-wrong", { settings: wrong }, "The identity provider refuses this cluster"],
  ]) {
    const { node, address } = await startAlone(clientId, options);
    try {
      const admin = await leave(address);
      await signIn(admin, MINJI);
      await admin.says("main .note.bad", told);
      await admin.close();
    } finally {
      await node.stop();
    }
  }
});

test("a public client lets people in too, since PKCE guards the code", async () => {
  const { node, address } = await startAlone("gorani-public", { client: { publicClient: true, secret: undefined } });
  try {
    const admin = await logIn(address, MINJI);
    assert.equal((await who(admin)).name, "minji");
    await admin.close();
  } finally {
    await node.stop();
  }
});

test("while Keycloak is away the page says so, a password gets in, and who is logged in stays so", async () => {
  const environment = { GORANI__ADMIN__PASSWORD_HASH: passwordHash() };
  const { node, address } = await startAlone("gorani-alone", { environment });
  try {
    const url = `https://${HOST}/admin/`;
    const minji = await logIn(url, MINJI);
    await keycloak.stop();
    assert.equal((await who(minji)).name, "minji");
    await minji.close();
    const admin = await leave(address);
    await admin.says("main .note.bad", "The identity provider does not answer as it should.");
    await admin.page.fill("#field-password", PASSWORD);
    await admin.page.keyboard.press("Enter");
    await admin.page.locator("nav").waitFor({ state: "attached" });
    await admin.close();
  } finally {
    await node.stop();
  }
});
