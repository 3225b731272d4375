// Tables: sorted by a column, walked by keyboard, with an order that stays under the pointer; lists on narrow screens.

import { html, useEffect, useRef, useState } from "./base.js";
import { Value, labelOf } from "./parts.js";
import { t } from "./text.js";

function compare(one, other) {
  if (one === other) return 0;
  // What is not known comes last in both directions.
  if (one === undefined || one === null) return 1;
  if (other === undefined || other === null) return -1;
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other));
}

function sorted(rows, column, descending) {
  if (!column) return rows;
  const valueOf = column.value ?? ((row) => row[column.key]);
  return [...rows].sort((one, other) => {
    const values = [valueOf(one), valueOf(other)];
    const unknown = values.some((value) => value === undefined || value === null);
    return compare(...values) * (descending && !unknown ? -1 : 1);
  });
}

/** The rows in the order in which they were last shown; new ones follow. */
function inOrder(rows, order, rowKey) {
  const position = new Map(order.map((key, index) => [key, index]));
  return [...rows].sort((one, other) => (position.get(rowKey(one)) ?? Infinity) - (position.get(rowKey(other)) ?? Infinity) || 0);
}

/**
 * `columns`: key, and where the field alone does not say it label, `render` of a row, `value` to sort by, `sortable: false` for none. `rows` keep their order until a column is chosen,
 * or begin with `sort`, a column's key, with "-" for descending. `quiet`: the heading above says the same as the caption.
 */
export function Table({ caption, columns, rows, rowKey, sort = "", empty, quiet = false }) {
  const [order, setOrder] = useState({ key: sort.replace("-", ""), descending: sort.startsWith("-") });
  const [still, setStill] = useState(false);
  const lastOrder = useRef([]);

  const column = columns.find(({ key }) => key === order.key);
  const ordered = still ? inOrder(rows, lastOrder.current, rowKey) : sorted(rows, column, order.descending);
  useEffect(() => {
    lastOrder.current = ordered.map(rowKey);
  });

  const choose = (key) => {
    setStill(false);
    setOrder((before) => ({ key, descending: before.key === key ? !before.descending : false }));
  };
  return html`<div class="table" onPointerEnter=${() => setStill(true)} onPointerLeave=${() => setStill(false)}>
    <table role="table">
      <caption><span class=${quiet ? "unseen" : ""}>${caption}</span> <span class="soft">${t("rows", { count: rows.length })}${still && order.key ? ` ${t("still")}` : ""}</span></caption>
      <thead role="rowgroup">
        <tr role="row">
          ${columns.map(({ key, label = labelOf(key), sortable = true }) => {
            const isChosen = order.key === key;
            const direction = isChosen ? (order.descending ? "descending" : "ascending") : undefined;
            return html`<th key=${key} scope="col" role="columnheader" aria-sort=${direction} class=${sortable ? "" : "plain"}>
              ${sortable
                ? html`<button type="button" class="sort" onClick=${() => choose(key)}>
                    ${label} <span aria-hidden="true">${isChosen ? (order.descending ? "▼" : "▲") : ""}</span>
                  </button>`
                : label}
            </th>`;
          })}
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${ordered.map(
          (row) => html`<tr key=${rowKey(row)} role="row" tabindex="-1" data-row="">
            ${columns.map(({ key, label = labelOf(key), render }, index) => {
              const content = html`<span class="label" aria-hidden="true">${label}</span><span class="cell">${render ? render(row) : html`<${Value} name=${key} value=${row[key]} most=${48} />`}</span>`;
              return index === 0
                ? html`<th key=${key} scope="row" role="rowheader">${content}</th>`
                : html`<td key=${key} role="cell">${content}</td>`;
            })}
          </tr>`,
        )}
      </tbody>
    </table>
    ${rows.length === 0 && html`<p class="soft none">${empty ?? t("table.empty")}</p>`}
  </div>`;
}
