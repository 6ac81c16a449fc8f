// The page of insights: a year, four charts with their tables, and how fresh they are.

import { airflowLink } from "./airflow.js";
import { address, get } from "./api.js";
import { aboveMean, byQuarter, draw, MOST_BARS, prepare, topJobs, treemap } from "./charts.js";
import { el, empty, fill, notice, ready, table, turnTaking, working } from "./elements.js";
import { mean, moment, number, UNKNOWN } from "./values.js";

const page = document.getElementById("page");
const turns = turnTaking();
const year = el("select", { id: "year", change: () => show(year.value) });
const fresh = el("div", { class: "quiet", id: "fresh" });
const body = el("div", { id: "charts" }, working("Reading the insights ..."));

const text = (title, name) => ({ title, cell: (row) => row[name] ?? UNKNOWN });
const counted = (title, name) => ({ title, cell: (row) => number(row[name]), kind: "number" });
const QUARTERS = ["Q1", "Q2", "Q3", "Q4"].map((title) => counted(title, title.toLowerCase()));

const PANELS = [
  {
    name: "hires_by_department_job", title: "Hires by department and job", about: "Jobs with more than five hires in a department.",
    nothing: "No job had more than five hires in one department.", option: ({ records }) => treemap(records),
    columns: () => [text("Department", "department"), text("Job", "job"), counted("Hires", "hires")],
  },
  {
    name: "top_jobs", title: "The nine most hired jobs, by quarter", about: "All departments together.",
    nothing: "Nobody was hired.", option: ({ records }) => topJobs(records),
    columns: () => [text("Job", "job"), ...QUARTERS, counted("Year", "hires")],
  },
  {
    name: "departments_by_quarter", size: "high", cut: true, title: "Hires by department in each quarter", about: "The line is the mean of the departments that hired in the quarter.",
    nothing: "Nobody was hired.", option: ({ records, found }) => byQuarter(records, found.quarter_means),
    columns: () => [text("Department", "department"), ...QUARTERS, counted("Year", "hires")],
    foot: (found) => `Means: ${found.quarter_means.map((one, place) => `Q${place + 1} ${mean(one) || "-"}`).join(", ")}.`,
  },
  {
    name: "departments_above_mean", cut: true, title: "Departments that hired more than the mean", about: "The line is the mean of the departments that hired in the year.",
    nothing: "No department hired more than the others.", option: ({ records, found }) => aboveMean(records, found.year_mean),
    columns: () => [text("Department", "department"), { title: "Id", cell: (row) => row.id ?? "", kind: "number" }, counted("Hires", "hired")],
    foot: (found) => (found.year_mean == null ? "" : `Mean: ${mean(found.year_mean)}.`),
  },
];

function panel(one, found) {
  const records = found.charts[one.name];
  const title = el("h2", { id: `${one.name}_title` }, one.title);
  if (!records.length) return el("section", { class: "panel" }, title, empty(one.nothing));
  const place = el("div", { class: `chart ${one.size ?? ""}`, role: "img", "aria-label": `Chart: ${one.title}, ${found.year}. The table below has its numbers.` });
  const foot = one.foot?.(found);
  return el("section", { class: "panel", id: one.name, "aria-labelledby": `${one.name}_title` },
    title, el("p", { class: "quiet" }, one.about, one.cut && records.length > MOST_BARS && ` The chart has the ${MOST_BARS} that hired most, the table has all.`), place, foot && el("p", {}, foot),
    table(`${one.title}, ${found.year}`, one.columns(), records, { tall: true, hideCaption: true }),
    el("div", { class: "buttons" }, el("a", { class: "button", href: address(`insights/charts/${one.name}.csv`, { year: found.year }), download: "" }, "Download CSV", el("span", { class: "spoken" }, ` of ${one.title}`))));
}

function freshness(found) {
  const upTo = found.complete_up_to.map(({ table: name, load_id, file, finished_at }) =>
    el("li", {}, `${name}: `, airflowLink(`plugin/hiring-loads/data-api/pages/loads?load=${load_id}`, file), ` of ${moment(finished_at)}`));
  fill(fresh, `Computed ${moment(found.refreshed_at)}.`,
    upTo.length > 0 && el("details", {}, el("summary", {}, "Complete up to these loads"), el("ul", {}, upTo)));
  return found.behind && notice("warn", el("p", {}, "Tables have changed since. The numbers follow by themselves when ", airflowLink("dags/refresh_insights", "refresh_insights"), " has run; it does after each load."));
}

function nothingYet(found) {
  return empty(found.refreshed_at ? "Nobody is in the table of hires yet." : "The insights were not computed yet.",
    el("p", {}, "Upload a file on the page ", airflowLink("plugin/hiring-loads", "Loads"), ", put files into the folder landing/ of the data bucket, or run ",
      airflowLink("dags/historic_load", "historic_load"), ". The insights follow when ", airflowLink("dags/refresh_insights", "refresh_insights"), " has run."));
}

async function show(wanted) {
  const mine = turns();
  page.setAttribute("aria-busy", "true");
  let found;
  try {
    found = await get("insights/charts", { year: wanted });
  } catch (error) {
    if (!mine()) return;
    fill(body, notice("bad", error.message));
    return ready();
  }
  if (!mine()) return;
  const known = found.year == null || found.years.includes(found.year) ? found.years : [found.year, ...found.years];
  fill(year, known.map((one) => el("option", { value: one, selected: one === found.year }, one)));
  year.parentElement.classList.toggle("hidden", !found.years.length);
  const warning = found.refreshed_at && freshness(found);
  if (!found.years.length) fill(body, warning, nothingYet(found));
  else fill(body, warning, el("div", { class: "panels" }, PANELS.map((one) => panel(one, found))));
  ready();
  for (const one of PANELS) {
    const place = body.querySelector(`#${one.name} .chart`);
    if (place?.isConnected) await draw(place, () => one.option({ records: found.charts[one.name], found }));
  }
  performance.mark("drawn");
}

page.append(el("div", { class: "bar spread" }, fresh, el("label", {}, "Year", year)), body);
prepare();
await show(new URLSearchParams(location.search).get("year"));
