// The page: signing in, the connection to Gorani, and the parts that use it.

import { Inbox } from "./inbox.js";
import { $, ask, token, untilRead } from "./page.js";
import { Room } from "./room.js";
import { Uploads } from "./upload.js";

function connect(push) {
  const websocket = push.replace(/^http/, "ws");
  // Where a network lets no WebSocket through, the SDK goes on with the next.
  const transports = [
    { transport: "websocket", endpoint: `${websocket}/connection/websocket` },
    { transport: "http_stream", endpoint: `${push}/connection/http_stream` },
    { transport: "sse", endpoint: `${push}/connection/sse` },
  ];
  const client = new Centrifuge(transports, { getToken: () => token("/api/token"), emulationEndpoint: `${push}/emulation` });
  const state = (name, text) => {
    $("state").dataset.state = name;
    $("state").textContent = text;
  };
  client.on("connecting", () => state("connecting", "Connecting"));
  client.on("connected", ({ transport }) => state("connected", `Connected over ${transport}`));
  client.on("disconnected", ({ reason }) => state("disconnected", `Not connected: ${reason}`));
  return client;
}

async function start({ user, rooms, inbox, push }) {
  $("login").hidden = true;
  $("app").hidden = false;
  $("me").textContent = user.name;
  const client = connect(push);
  const uploads = new Uploads();
  const privately = new Inbox(client, user, inbox, (progress) => uploads.show(progress));
  let room = null;
  const enter = (name) => {
    room?.leave();
    room = new Room(client, user, name, (person) => privately.writeTo(person));
    for (const button of $("rooms").children) button.toggleAttribute("aria-current", button.textContent === name);
  };
  for (const name of rooms) {
    const button = document.createElement("button");
    button.className = "quiet";
    button.textContent = name;
    button.addEventListener("click", () => enter(name));
    $("rooms").append(button);
  }
  $("say").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("text").value.trim();
    if (text) room.say(text);
    $("text").value = "";
  });
  enter(rooms[0]);
  client.connect();
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = $("login").querySelector(".problem");
  problem.textContent = "";
  try {
    await ask("POST", "/api/login", { name: $("name").value });
    await start(await ask("GET", "/api/me"));
  } catch (error) {
    problem.textContent = error.message;
  }
});
$("logout").addEventListener("click", async () => {
  await ask("POST", "/api/logout", {});
  location.reload();
});

const known = await untilRead(() => ask("GET", "/api/me"), () => true);
if (known.user) await start(known);
else $("login").hidden = false;
