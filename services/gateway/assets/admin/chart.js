// Charts of the last minutes, drawn by uPlot, and small ones of our own. Each says in words what it shows.

import { html, useEffect, useRef, useState, useStore } from "./base.js";
import { dark } from "./theme.js";
import { language, rate, t } from "./text.js";

const HEIGHT = 110;
const isNumber = (value) => typeof value === "number";

/** The least, the most and the last value in words. */
function summary(label, values, format) {
  const present = values.filter(isNumber);
  if (present.length === 0) return t("chart.none", { label });
  const least = present.reduce((one, other) => Math.min(one, other));
  const most = present.reduce((one, other) => Math.max(one, other));
  return t("chart.summary", { label, least: format(least), most: format(most), last: format(present.at(-1)) });
}

/** `begin`: milliseconds of the first value, `step`: seconds from one to the next. A gap is drawn as a gap. */
export function Chart({ label, values, begin, step, format = rate }) {
  const container = useRef();
  const plot = useRef(null);
  const isDark = useStore(dark);
  const spoken = useStore(language);
  const [width, setWidth] = useState(0);

  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry.contentRect.width)));
    observer.observe(container.current);
    return () => observer.disconnect();
  }, []);

  const data = [values.map((_, index) => begin / 1000 + index * step), values.map((value) => (isNumber(value) ? value : null))];
  useEffect(() => {
    if (width === 0 || !globalThis.uPlot) return undefined;
    const style = getComputedStyle(container.current);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--soft-ink"), grid: { stroke: colour("--line-ink"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const times = (_, splits) => splits.map((at) => new Date(at * 1000).toLocaleTimeString(spoken, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }));
    plot.current = new globalThis.uPlot(
      {
        width,
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        scales: { y: { range: (_, least, most) => [Math.min(0, least ?? 0), Math.max(1, most ?? 1) * 1.05] } },
        axes: [{ ...axis, values: times, size: 22 }, { ...axis, values: (_, splits) => splits.map((value) => format(value)), size: 62, space: 28 }],
        series: [{}, { stroke: colour("--accent-ink"), width: 1.5, points: { show: false }, spanGaps: false }],
      },
      data,
      container.current,
    );
    return () => {
      plot.current.destroy();
      plot.current = null;
    };
  }, [width, isDark, spoken]);
  useEffect(() => {
    plot.current?.setData(data);
  });

  return html`<figure class="chart">
    <figcaption>${label}</figcaption>
    <div ref=${container} class="plot" role="img" aria-label=${summary(label, values, format)}></div>
  </figure>`;
}

/** A line without axes, for the few values that the page itself has seen. */
export function Spark({ label, values, format = rate }) {
  const present = values.filter(isNumber);
  const most = Math.max(1, ...present);
  const points = values
    .map((value, index) => (isNumber(value) ? `${(index * 100) / Math.max(1, values.length - 1)},${24 - (value * 22) / most}` : null))
    .filter(Boolean)
    .join(" ");
  return html`<svg class="spark" viewBox="0 0 100 25" preserveAspectRatio="none" role="img" aria-label=${summary(label, values, format)}>
    <polyline points=${points} fill="none" stroke="currentColor" stroke-width="1.5" vector-effect="non-scaling-stroke" />
  </svg>`;
}
