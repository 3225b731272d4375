// The published SockJS client, and what is tried over each of its transports; in Node and, as text, in a browser.

/** Milliseconds that one case may take; a debug build on a busy machine is slow. */
export const WITHIN = 60_000;

/**
 * Options of a SockJS client that has this transport alone. By itself it gives a transport up after a time computed from its first
 * request, in which a busy machine may not answer, and then there is no other to go on with.
 */
export const only = (transport) => ({ transports: [transport], timeout: WITHIN });

/** Texts that proxies, browsers or parsers are known to break. */
export const UNICODE = [
  "",
  "안녕, 고라니 🦌",
  "\u2028\u2029\ufeff\uffff\u200d\u00ad",
  "\u0000\u0001\u001f\u007f \" \\ / \b\f\n\r\t",
  "</script><script>x()</script>%25 %0A &amp;",
];

/**
 * Runs all cases over one transport and resolves to what went wrong: `[]` if nothing did. It uses nothing from outside, so
 * that it can be sent into a browser.
 */
export async function tryTransport({ SockJS, url, transport, unicode, within }) {
  const problems = [];
  const open = (path) => new SockJS(`${url}${path}`, null, { transports: [transport], timeout: within });
  const inTime = (what, run) =>
    new Promise((resolve) => {
      const timer = setTimeout(() => resolve(problems.push(`${what}: not within ${within} ms`)), within);
      let isDone = false;
      const done = (problem) => {
        if (isDone) return;
        isDone = true;
        clearTimeout(timer);
        if (problem) problems.push(`${what}: ${problem}`);
        resolve();
      };
      run(done);
    });

  /** Sends messages and waits for their echo, in order. */
  const echo = (what, messages) =>
    inTime(what, (done) => {
      const socket = open("/echo");
      const seen = [];
      socket.onopen = () => {
        if (socket.transport !== transport) done(`went over ${socket.transport}`);
        for (const message of messages) socket.send(message);
      };
      socket.onmessage = ({ data }) => {
        const index = seen.push(data) - 1;
        if (data !== messages[index]) done(`message ${index} came back as ${JSON.stringify(data).slice(0, 80)}`);
        if (seen.length === messages.length) socket.close(1000, "enough");
      };
      socket.onclose = ({ code, reason, wasClean }) => done(code === 1000 && wasClean ? "" : `closed with ${code} ${reason} after ${seen.length}`);
    });

  await echo("echo", ["one", "two", "three"]);
  await echo("unicode", unicode);
  await echo("large", ["x".repeat(300_000), "y".repeat(70_000)]);
  await echo("many", Array.from({ length: 300 }, (_, index) => `message ${index}`));
  await inTime("a lone surrogate", (done) => {
    const socket = open("/echo");
    socket.onopen = () => socket.send("a\ud800b");
    socket.onmessage = ({ data }) => {
      socket.close();
      done(data === "a\ufffdb" ? "" : `came back as ${JSON.stringify(data)}`);
    };
    socket.onclose = ({ code }) => done(`closed with ${code}`);
  });
  await inTime("close by the server", (done) => {
    const socket = open("/close");
    let opened = false;
    socket.onopen = () => (opened = true);
    socket.onclose = ({ code, reason }) => done(opened && code === 3000 && reason === "Go away!" ? "" : `closed with ${code} ${reason}, opened: ${opened}`);
  });
  // A new session after the old ones, by the same client.
  await echo("reconnect", ["again"]);
  return problems;
}
