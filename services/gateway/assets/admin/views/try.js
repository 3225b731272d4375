// Try: connects, subscribes and publishes as a chosen user, and shows each frame as it travels.

import { html, list, say, session, useEffect, useRef, useState, useStore } from "../base.js";
import { post } from "../api.js";
import { Card, Failure, Field, Name, State, Time, View, fieldsOf } from "../parts.js";
import { Table } from "../table.js";
import { bytes, number, t } from "../text.js";

/** Frames that are kept. */
const ROWS = 500;
/** Milliseconds between two drawings. */
const DRAW_EVERY = 250;
const sizeOf = (text) => new TextEncoder().encode(text).length;

/** One connection of the client protocol in JSON. Notes what travels; the token is never among it. */
class Connection {
  constructor(url, token, changed) {
    Object.assign(this, { token, changed, rows: [], next: 0, dropped: 0, id: 0, open: false });
    this.socket = new WebSocket(url);
    this.socket.onopen = () => this.command({ connect: { token, name: "gorani-admin" } });
    this.socket.onmessage = (event) => String(event.data).split("\n").forEach((line) => this.take(line));
    this.socket.onclose = (event) => {
      this.note("closed", JSON.stringify({ code: event.code, reason: event.reason }));
      this.open = null;
      changed();
    };
  }

  note(way, text) {
    // By text, so that it is gone from a reply or an error as well.
    this.rows.push({ index: this.next++, at: Date.now(), way, bytes: sizeOf(text), frame: text.replaceAll(this.token, "…") });
    if (this.rows.length > ROWS) this.dropped += this.rows.splice(0, this.rows.length - ROWS).length;
    this.changed();
  }

  send(text) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.socket.send(text);
    this.note("sent", text);
  }

  command(fields) {
    this.send(JSON.stringify({ id: (this.id += 1), ...fields }));
  }

  take(line) {
    this.note("received", line);
    // A ping; its answer is as empty.
    if (line === "{}") return this.send("{}");
    if (/^\{"id":1,"connect":/.test(line)) this.open = true;
    return this.changed();
  }

  close() {
    this.socket.close();
  }
}

export function Try() {
  const who = useStore(session);
  const [, again] = useState(0);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const current = useRef(null);
  const timer = useRef(null);
  const gone = useRef(false);
  const draw = () => {
    timer.current ??= setTimeout(() => {
      timer.current = null;
      again((count) => count + 1);
    }, DRAW_EVERY);
  };
  useEffect(() => () => {
    gone.current = true;
    clearTimeout(timer.current);
    current.current?.close();
  }, []);

  const connection = current.current;
  const isOpen = connection?.open === true;
  const connect = async (event) => {
    event.preventDefault();
    const { user } = fieldsOf(event.target);
    setBusy(true);
    setError(null);
    current.current?.close();
    try {
      const { token, endpoint } = (await post("actions/try", { user })).result;
      // Nobody would close it.
      if (gone.current) return;
      const url = new URL(endpoint, document.baseURI);
      url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
      current.current = new Connection(url, token, draw);
    } catch (failure) {
      setError(failure);
    }
    setBusy(false);
    draw();
  };
  const subscribe = (event) => {
    event.preventDefault();
    const name = event.submitter?.name === "unsubscribe" ? "unsubscribe" : "subscribe";
    connection.command({ [name]: { channel: fieldsOf(event.target).channel } });
  };
  const publish = (event) => {
    event.preventDefault();
    const { to: channel, data } = fieldsOf(event.target);
    try {
      connection.command({ publish: { channel, data: JSON.parse(data) } });
      setError(null);
    } catch {
      setError({ code: "data_no_json" });
    }
  };
  useEffect(() => {
    if (isOpen) say(t("try.open"));
  }, [isOpen]);
  if (who?.role !== "operator" || !who.contents) return html`<${View} title=${t("view.try")}><p class="note">${t("try.rights")}</p><//>`;
  const columns = [
    { key: "index", label: t("try.number"), sortable: false, render: (row) => number(row.index + 1) },
    { key: "at", label: t("field.time"), sortable: false, render: (row) => html`<${Time} at=${row.at} exact=${true} />` },
    { key: "way", label: t("try.way"), sortable: false, render: (row) => t(`try.${row.way}`) },
    { key: "bytes", sortable: false, render: (row) => bytes(row.bytes) },
    { key: "frame", label: t("try.frame"), sortable: false, render: (row) => html`<${Name} value=${row.frame} most=${240} />` },
  ];
  const rows = list(connection?.rows);
  return html`<${View} title=${t("view.try")}>
    <p class="soft">${t("try.about")}</p>
    <form class="search" onSubmit=${connect} id="try-connect">
      <${Field} name="user" label=${t("field.user")} required maxlength="255" autocomplete="off" data-search="" />
      <button type="submit" class="primary" disabled=${busy}>${t("try.connect")}</button>
      <button type="button" disabled=${!connection || connection.open === null} onClick=${() => connection.close()}>${t("try.disconnect")}</button>
    </form>
    <p id="try-state"><${State} good=${isOpen} bad=${connection?.open === null}>${t(isOpen ? "try.open" : connection?.open === false ? "try.opening" : "try.not_open")}<//></p>
    <${Failure} error=${error} />
    ${isOpen && html`<div>
      <${Card} title=${t("try.subscribe")}><form onSubmit=${subscribe} id="try-subscribe">
        <${Field} name="channel" label=${t("field.channel")} required maxlength="255" autocomplete="off" />
        <p class="row"><button type="submit">${t("try.subscribe")}</button> <button type="submit" name="unsubscribe">${t("try.unsubscribe")}</button></p>
      </form><//>
      <${Card} title=${t("try.publish")}><form onSubmit=${publish} id="try-publish">
        <${Field} name="to" label=${t("try.to")} required maxlength="255" autocomplete="off" />
        <${Field} name="data" label=${t("field.data")} required value='{"text":"hello"}' autocomplete="off" />
        <p class="row"><button type="submit">${t("try.publish")}</button></p>
      </form><//>
    </div>`}
    ${rows.length > 0 && html`
      <p class="soft" id="try-dropped">${t("try.kept", { dropped: number(connection.dropped), most: number(ROWS) })}</p>
      <${Table} quiet=${true} caption=${t("try.frames")} columns=${columns} rows=${[...rows].reverse()} rowKey=${(row) => row.index} />`}
  <//>`;
}
