// The page: signing in, who is online, a question to the backend, and rooms that the backend lets one into.

const $ = (id) => document.getElementById(id);

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function showOnline({ online }) {
  $("online").replaceChildren(...online.map((name) => element("li", name)));
}

function start({ user, push }) {
  $("login").hidden = true;
  $("app").hidden = false;
  $("me").textContent = user;
  // No token: the node asks the backend, with this page's cookie, who this is.
  const client = new Centrifuge(`${push.replace(/^http/, "ws")}/connection/websocket`);
  client.on("connecting", () => ($("state").textContent = "Connecting"));
  client.on("connected", () => ($("state").textContent = "Connected"));
  client.on("disconnected", ({ reason, code }) => ($("state").textContent = `Not connected: ${reason} (${code})`));
  // The backend subscribes everybody to `people:all`. Who is online comes with the subscription, and then with each change.
  client.on("subscribed", ({ data }) => data && showOnline(data));
  client.on("publication", ({ data }) => showOnline(data));

  $("ask").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const { data } = await client.rpc("ask", { question: $("question").value });
      $("answer").textContent = data.answer;
    } catch (error) {
      $("answer").textContent = `Refused: ${error.message} (${error.code})`;
    }
  });

  let room = null;
  function enter(name) {
    if (room) {
      room.removeAllListeners();
      room.unsubscribe();
      client.removeSubscription(room);
    }
    $("messages").replaceChildren();
    $("problem").textContent = "";
    $("room").textContent = "Knocking";
    room = client.newSubscription(`room:${name}`);
    room.on("subscribed", () => ($("room").textContent = `You are in the room: ${name}`));
    // After an error that is not temporary the SDK gives up, and says so here.
    room.on("unsubscribed", ({ code, reason }) => ($("room").textContent = `Refused: ${reason} (${code})`));
    room.on("publication", ({ data }) => $("messages").append(element("li", `${data.from}: ${data.text}`)));
    room.subscribe();
    for (const button of document.querySelectorAll("[data-room]")) button.toggleAttribute("aria-current", button.dataset.room === name);
  }
  for (const button of document.querySelectorAll("[data-room]")) button.addEventListener("click", () => enter(button.dataset.room));

  $("say").addEventListener("submit", async (event) => {
    event.preventDefault();
    $("problem").textContent = "";
    try {
      await room.publish({ text: $("text").value });
      $("text").value = "";
    } catch (error) {
      $("problem").textContent = `Refused: ${error.message} (${error.code})`;
    }
  });
  enter("lobby");
  client.connect();
}

async function ask(method, path, body) {
  const options = body ? { method, body: JSON.stringify(body), headers: { "Content-Type": "application/json" } } : { method };
  const response = await fetch(path, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = $("login").querySelector(".problem");
  problem.textContent = "";
  try {
    await ask("POST", "/api/login", { name: $("name").value });
    start(await ask("GET", "/api/me"));
  } catch (error) {
    problem.textContent = error.message;
  }
});

const known = await ask("GET", "/api/me");
if (known.user) start(known);
else $("login").hidden = false;
