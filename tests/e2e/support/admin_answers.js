// What the admin API answers in tests of the page alone: every view has data, with names as hostile clients choose them.

/** Names that hold markup, turn the direction of text, hide in it, or are as long as they may be. */
export const HOSTILE = [
  `<img src=x onerror=alert(1)>`,
  `"><script>alert(1)</script>`,
  `javascript:alert(1)`,
  `\u202egnp.exe`,
  `zero\u0000byte`,
  `a\u200bb`,
  "x".repeat(255),
  `{{constructor.constructor('alert(1)')()}}`,
  `__proto__`,
];

const at = Date.UTC(2026, 10, 29, 12, 0, 0);
export const nodes = [1, 2, 3].map((number) => ({ id: `node-id-${number}`, name: `n${number}`, version: "1.4.0", answered: true, ms: number }));
const full = (result, more = {}) => ({ result, nodes, complete: true, cursor: null, ...more });

const connection = (client, user, index) => ({
  client,
  user,
  node: `n${(index % 3) + 1}`,
  transport: "websocket",
  protocol: "json",
  sdk: index === 1 ? HOSTILE[0] : "centrifuge-js",
  sdk_version: "5.8.0",
  address: `192.0.2.${index}`,
  connected_at: at - index * 1000,
  waiting_bytes: index * 100,
  waiting_since: index > 0 ? at - 500 : null,
});

const wave = (scale) => Array.from({ length: 900 }, (_, index) => (index > 300 && index < 320 ? null : Math.round(scale * (2 + Math.sin(index / 40)))));

const disconnect = (user, index) => ({
  at: at - index * 1000,
  code: 3000 + index,
  reason: index % 2 ? HOSTILE[0] : "connection closed",
  user,
  client: `client-${index}`,
  address: "192.0.2.1",
  transport: "websocket",
  connected_ms: 90_000 * index,
  waiting_bytes: 1_048_576,
  node: "n2",
  returned: index === 0 ? null : { after_ms: 1200, node: "n1", recovered: index % 2 === 0 },
});

const traced = (kind, index = 0) => ({
  id: index === 0 ? "0123456789abcdef" : `trace-${index}`,
  kind,
  channel: kind === "user" ? null : HOSTILE[index],
  user: kind === "user" ? HOSTILE[index] : null,
  by: kind === "publication" ? "traceparent" : HOSTILE[1],
  ...(kind === "publication" && { trace_id: "4bf92f3577b34da6a3ce929d0e0e4736" }),
  node: "n1",
  began_at: at,
  ends_at: at + 600_000,
});
const tracedCounts = { runs: 2, publications: 4, matched: 12, whole: 9, part: 0, duplicate: 1, excluded: 0, held_back: 1, broken: 0, lost: 0, overflow: 1, bytes: 512, micros: 90 };
const tracedPart = (node, index) => ({
  ...node,
  traces: index < 2,
  counts: tracedCounts,
  runs: HOSTILE.map((channel, offset) => ({ at: at - offset, channel, offset, length: 2, whole: 3, bytes: 40, micros: 12 })),
  deliveries: ["held_back", "released", "overflow", "written", HOSTILE[0]].map((outcome, offset) => ({ at, channel: HOSTILE[2], offset, client: offset === 0 ? "" : `client-${offset}`, user: HOSTILE[offset], outcome, detail: 7 })),
  forgotten: index,
});

/** A tail that sends `count` publications at once and stays open. */
export const tailOf = (count, skipped) => (response) => {
  response.writeHead(200, { "Content-Type": "application/x-ndjson" });
  for (let offset = 1; offset <= count; offset += 1) {
    response.write(`${JSON.stringify({ kind: "publication", at, offset, age_ms: 1.5, bytes: 12, by: HOSTILE[0], matched: { n1: 2 }, data: { n: offset } })}\n`);
    if (skipped && offset % 100 === 0) response.write(`${JSON.stringify({ kind: "skipped", skipped })}\n`);
  }
};

export function answers() {
  const connections = HOSTILE.map((name, index) => connection(`client-${index}`, name, index));
  return {
    overview: full({
      nodes_up: 3,
      nodes_expected: 3,
      connections: 120_345,
      channels: 4001,
      subscriptions: 250_000,
      publications_per_second: 812.5,
      deliveries_per_second: 91_000,
      bytes_per_second: 12_345_678,
      disconnects: [{ code: 3008, reason: "slow", per_second: 0.2 }, { code: 3001, reason: HOSTILE[1], per_second: 1 }],
      fanout_p99_ms: 1.25,
      worst_lag_ms: 0.4,
      broker: { state: "ready" },
      series: { step_seconds: 1, begin: at - 900_000, names: { connections: wave(40_000), deliveries: wave(30_000), publications: wave(300), bytes_per_second: wave(4e6), worst_lag_ms: wave(1) } },
    }),
    nodes: full(
      nodes.map((node, index) => ({
        ...node,
        address: `10.0.0.${index}:8000`,
        uptime_seconds: 90_000 * (index + 1),
        fingerprint: index === 2 ? "ffffeeee" : "a1b2c3d4",
        ready: index !== 1,
        not_ready: index === 1 ? ["broker"] : [],
        draining: index === 2,
        drain_left: 17,
        connections: { websocket: 40_000, sse: 12, long_poll: 0 },
        cpu: 0.42,
        resident_bytes: 512 * 1024 * 1024,
        open_files: 40_100,
        open_files_limit: 65_536,
        workers: [{ lag_ms: 0.2, inbox: 3 }, { lag_ms: 0.5, inbox: 0 }],
        clock_offset_ms: -1.5,
        protocol_version: 3,
      })),
    ),
    channels: (query) => {
      const rows = HOSTILE.map((channel, index) => ({ channel, subscribers: index, nodes: ["n1", "n2"], offset: index * 10, epoch: "Zk3f", history_size: 10, bytes: 2048, presence: index }));
      return query.get("cursor") ? full([{ channel: "zz:last", subscribers: 1, nodes: [] }]) : full(rows, { cursor: query.get("prefix") === null ? null : "c1", complete: query.get("prefix") === null });
    },
    channel: (query) =>
      full({
        channel: query.get("channel"),
        namespace: "chat",
        options: [{ name: "history_size", value: 100, source: "file" }, { name: "presence", value: true, source: "default" }, { name: "allowed_origins", value: HOSTILE, source: "environment" }],
        subscribers: 3,
        position: { epoch: "Zk3f", offset: 137 },
        oldest_offset: 38,
        bytes: 24_576,
        presence: { clients: 3, users: 2, page: HOSTILE.map((user, index) => ({ client: `client-${index}`, user })) },
        publications: HOSTILE.map((data, index) => ({ offset: 137 - index, time: at - index, bytes: 20, tags: { [HOSTILE[0]]: data }, data })),
      }),
    subscribers: full(connections.map((row, index) => ({ client: row.client, user: row.user, node: row.node, seen: 137 - index, lag: index, waiting_bytes: index }))),
    connections: full(connections),
    connection: (query) =>
      full({
        ...connections[1],
        client: query.get("client"),
        encoding: "json",
        forwarded_by: HOSTILE[1],
        token_id: HOSTILE[0],
        expires_at: at + 3_600_000,
        last_command: "publish",
        last_command_at: at,
        last_pong_at: at,
        rtt_ms: 12.5,
        bytes_in: 1234,
        bytes_out: 567_890,
        subscriptions: HOSTILE.map((channel, index) => ({ channel, seen: 10 - index, top: 10 })),
        something_new: HOSTILE[0],
      }),
    user: () => full({ connections: connections.slice(0, 2), disconnects: HOSTILE.map(disconnect), subscriptions: HOSTILE.map((channel, index) => ({ channel, client: `client-${index}`, node: "n1", seen: 3, top: 9 })) }),
    slow: full({
      now: connections.map((row, index) => ({ ...row, oldest_ms: index * 900 })),
      ended: HOSTILE.map((user, index) => ({ at: at - index, node: "n2", user, client: `client-${index}`, transport: "websocket", bytes: 1_048_576, age_ms: 9400, cause: index === 2 ? HOSTILE[0] : "outbox_full", channels: [{ channel: HOSTILE[index], part: 0.75 }] })),
      known_since: at - 3_600_000,
    }),
    disconnects: full({ codes: [{ code: 3008, count: 4, sentence: "the client read too slowly" }, { code: 3001, count: 90, sentence: HOSTILE[1] }], last: HOSTILE.map(disconnect), known_since: at - 3_600_000 }),
    broker: full({
      kind: "redis",
      servers: [1, 2].map((number) => ({
        node: `n${number}`,
        role: "master",
        address: "10.0.0.9:6379",
        state: number === 1 ? "connected" : "connecting",
        connected_since: at,
        reconnects: number,
        canary_age_ms: 900,
        rtt_ms: 0.6,
        pending_requests: 0,
        pending_bytes: 0,
        subscriptions: 4001,
        last_error: number === 1 ? null : HOSTILE[0],
        version: "7.2.4",
        maxmemory_policy: number === 1 ? "noeviction" : "allkeys-lru",
        replication: "1 replica",
      })),
    }),
    settings: full({
      settings: [
        { name: "http.address", value: "0.0.0.0:8000", source: "file", restart: true, differs: [{ node: "n2", value: HOSTILE[0] }] },
        { name: "token.hmac_secret", value: "set, 44 characters", source: "environment", restart: false, differs: [] },
        { name: "client.outbox_max_bytes", value: 1_048_576, source: "default", restart: false, differs: [] },
      ],
      last_reload: { at, ok: false, message: HOSTILE[0] },
    }),
    logs: full({ counts: [{ target: "gorani::broker", count: 12 }], lines: HOSTILE.map((message, index) => ({ at: at - index, node: "n1", level: index ? "WARN" : "ERROR", target: "gorani::broker", message })) }),
    audit: full(HOSTILE.map((target, index) => ({ at: at - index, node: "n1", who: "ops", role: "operator", source: "page", address: "127.0.0.1", action: "disconnect", target, result: "ok", ms: 4 }))),
    traces: (query) =>
      query.get("id")
        ? full({ trace: traced("user"), counts: tracedCounts, by_node: nodes.map(tracedPart) })
        : full(["channel", "user", "publication"].map(traced)),
    explain: (body) =>
      full({
        verdict: { code: "overflow", sentence: `${body.channel} offset 137: not received when published, recovered 18.2 s later` },
        evidence: [
          { at, node: "n1", sentence: `accepted from API key "shop", offset 137`, rank: null },
          { at: at + 1, node: "n2", sentence: `user ${HOSTILE[0]}: queued`, rank: "queued" },
        ],
        advice: ["this client could not read for 9.4 s"],
        exit: 1,
      }),
    action: (body) => full({ total: body.user === HOSTILE[0] ? 1204 : 3, by_node: nodes.map(({ id, name }) => ({ id, name, count: 1 })), rtt_ms: 12 }),
    tail: tailOf(3, 0),
  };
}
