// The charts, drawn with Apache ECharts on canvas: names from files are drawn as text, never read as markup.

import { fill, notice } from "./elements.js";
import { mean, number, UNKNOWN } from "./values.js";

const QUARTERS = ["q1", "q2", "q3", "q4"];
export const MOST_BARS = 30;
// White text is readable on each of them.
const TILES = ["#36587f", "#7d531c", "#2f6b4a", "#74457f", "#8b3f47", "#24636c", "#655919", "#584d98"];
const LEAST_LABELLED = 0.004;
const drawn = new Map();
let library;

const named = (name) => name ?? UNKNOWN;
const style = getComputedStyle(document.documentElement);
const color = (name) => style.getPropertyValue(`--${name}`).trim();
const palette = () => ["bars", "bars-2", "bars-3", "bars-4"].map(color);

/** What all charts have in common. */
const base = () => ({
  animation: false,
  textStyle: { fontFamily: "Inter, -apple-system, BlinkMacSystemFont, Segoe UI, Helvetica, Arial, sans-serif", color: color("text") },
  color: palette(),
  tooltip: { renderMode: "richText", confine: true, backgroundColor: color("page"), borderColor: color("line-strong"), textStyle: { color: color("text") } },
});
const axis = (more) => ({
  axisLabel: { color: color("quiet") }, axisLine: { lineStyle: { color: color("line-strong") } },
  splitLine: { lineStyle: { color: color("line") } }, nameTextStyle: { color: color("quiet") }, ...more,
});
const legend = () => ({ top: 0, textStyle: { color: color("text") }, inactiveColor: color("quiet") });
const line = (at, label) => ({
  symbol: "none", silent: true, lineStyle: { color: color("mean"), type: "dashed", width: 2 },
  label: { show: Boolean(label), formatter: () => label, color: color("mean"), position: "end", fontWeight: 600 }, data: [at],
});

/** Departments, and in each its jobs, sized by hires. */
export function treemap(records) {
  const departments = new Map();
  for (const { department, job, hires } of records) {
    const name = named(department);
    if (!departments.has(name)) departments.set(name, []);
    departments.get(name).push({ name: named(job), value: hires });
  }
  const shade = (at) => TILES[at % TILES.length];
  const total = records.reduce((sum, { hires }) => sum + hires, 0);
  const label = ({ name, value }) => (value / total < LEAST_LABELLED ? "" : `${name}\n${number(value)}`);
  return {
    ...base(),
    series: [{
      type: "treemap", roam: false, nodeClick: false, breadcrumb: { show: false }, left: 0, right: 0, top: 0, bottom: 0,
      data: [...departments].map(([name, children], at) => ({
        name, itemStyle: { color: shade(at), borderColor: shade(at) },
        children: children.map((one) => ({ ...one, itemStyle: { color: shade(at) } })),
      })),
      label: { color: "#ffffff", lineHeight: 15, formatter: label, overflow: "truncate" },
      upperLabel: { show: true, height: 20, color: "#ffffff", fontWeight: 600, padding: [0, 5], formatter: ({ name, value }) => `${name} ${number(value)}` },
      levels: [
        { itemStyle: { borderWidth: 0, gapWidth: 3, borderColor: color("subtle") }, upperLabel: { show: false } },
        { itemStyle: { borderWidth: 2, gapWidth: 1 } },
        { itemStyle: { borderColor: "rgb(255 255 255 / 45%)", borderWidth: 1, gapWidth: 0 } },
      ],
      tooltip: { formatter: ({ name, value, treePathInfo }) => `${treePathInfo.slice(1).map((one) => one.name).join(" / ") || name}: ${number(value)}` },
    }],
  };
}

/** Jobs, each a bar of four quarters. */
export function topJobs(records) {
  const lines = [...records].reverse();
  return {
    ...base(),
    legend: legend(),
    tooltip: { ...base().tooltip, trigger: "axis", axisPointer: { type: "shadow" } },
    grid: { left: 8, right: 24, top: 32, bottom: 8, containLabel: true },
    xAxis: axis({ type: "value", minInterval: 1 }),
    yAxis: axis({ type: "category", data: lines.map(({ job }) => named(job)), axisLabel: { color: color("text"), width: 200, overflow: "truncate" } }),
    series: QUARTERS.map((quarter) => ({ name: quarter.toUpperCase(), type: "bar", stack: "hires", itemStyle: { borderColor: color("subtle"), borderWidth: 1 }, data: lines.map((one) => one[quarter]) })),
  };
}

/** A panel for each quarter: departments as bars, the quarter's mean as a line. */
export function byQuarter(records, means) {
  const shown = mostHires(records);
  const names = shown.map(({ department }) => named(department));
  const places = [{ left: "1%", top: 26 }, { left: "51%", top: 26 }, { left: "1%", top: "53%" }, { left: "51%", top: "53%" }];
  return {
    ...base(),
    title: QUARTERS.map((quarter, place) => ({
      text: means[place] == null ? `${quarter.toUpperCase()}: nobody` : `${quarter.toUpperCase()}, mean ${mean(means[place])}`,
      left: places[place].left, top: place < 2 ? 0 : "47%", textStyle: { fontSize: 13, color: color("text") },
    })),
    tooltip: { ...base().tooltip, trigger: "axis", axisPointer: { type: "shadow" } },
    grid: places.map((at) => ({ ...at, width: "47%", height: "38%", containLabel: true })),
    xAxis: QUARTERS.map((_, place) => axis({ type: "category", gridIndex: place, data: names, axisLabel: { color: color("quiet"), rotate: 50, width: 70, overflow: "truncate", fontSize: 10, interval: 0 } })),
    yAxis: QUARTERS.map((_, place) => axis({ type: "value", gridIndex: place, minInterval: 1 })),
    series: QUARTERS.map((quarter, place) => ({
      name: quarter.toUpperCase(), type: "bar", xAxisIndex: place, yAxisIndex: place, itemStyle: { color: color("bars") }, data: shown.map((one) => one[quarter]),
      markLine: means[place] == null ? undefined : line({ yAxis: means[place] }, ""),
    })),
  };
}

/** Departments that hired more than the mean, and the mean as a line. */
export function aboveMean(records, yearMean) {
  const lines = records.slice(0, MOST_BARS).reverse();
  return {
    ...base(),
    tooltip: { ...base().tooltip, trigger: "axis", axisPointer: { type: "shadow" } },
    grid: { left: 8, right: 40, top: 24, bottom: 8, containLabel: true },
    xAxis: axis({ type: "value", minInterval: 1 }),
    yAxis: axis({ type: "category", data: lines.map(({ department }) => named(department)), axisLabel: { color: color("text"), width: 200, overflow: "truncate" } }),
    series: [{
      name: "Hires", type: "bar", data: lines.map(({ hired }) => hired), itemStyle: { color: color("bars") },
      markLine: yearMean == null ? undefined : line({ xAxis: yearMean }, `mean ${mean(yearMean)}`),
    }],
  };
}

/** Days, and the share of each one's rows that was rejected. */
export function rejectedShare(days) {
  const lines = [...days].reverse();
  const percent = ({ rows_read, rows_rejected }) => (rows_read ? Math.round((1000 * rows_rejected) / rows_read) / 10 : null);
  return {
    ...base(),
    tooltip: {
      ...base().tooltip, trigger: "axis",
      formatter: ([{ dataIndex }]) => { const one = lines[dataIndex]; return `${one.day}\n${number(one.loads)} loads, ${number(one.rows_read)} rows\n${number(one.rows_rejected)} rejected (${percent(one) ?? 0} %)`; },
    },
    grid: { left: 8, right: 16, top: 26, bottom: 4, containLabel: true },
    xAxis: axis({ type: "category", data: lines.map(({ day }) => day) }),
    yAxis: axis({ type: "value", name: "% of rows", min: 0 }),
    series: [{ name: "Rejected", type: "bar", barMaxWidth: 28, itemStyle: { color: color("bars-2") }, data: lines.map(percent) }],
  };
}

/** The departments that hired most, in their own order, when there are too many for bars. */
function mostHires(records) {
  const most = new Set([...records].sort((one, other) => other.hires - one.hires).slice(0, MOST_BARS));
  return records.filter((record) => most.has(record));
}

/** Fetch the library, which is large, while the page asks for its numbers. */
export function prepare() {
  library ??= import("./vendor/echarts-6.1.0.esm.min.js");
  return library;
}

/** Draw `option()` into a place that is shown, and again whenever the theme or the width changes. */
export async function draw(place, option) {
  try {
    const echarts = await prepare();
    if (!place.isConnected) return;
    const chart = echarts.getInstanceByDom(place) || echarts.init(place);
    chart.resize();
    chart.setOption(option(), true);
    drawn.set(place, { chart, option });
  } catch {
    fill(place, notice("warn", "The chart cannot be drawn now. The table has its numbers."));
  }
  forget();
}

/** Charts of a page that was filled anew are over. */
function forget() {
  for (const [place, { chart }] of drawn) {
    if (place.isConnected) continue;
    chart.dispose();
    drawn.delete(place);
  }
}

addEventListener("theme", () => drawn.forEach(({ chart, option }) => chart.setOption(option(), true)));
addEventListener("resize", () => drawn.forEach(({ chart }) => chart.resize()));
