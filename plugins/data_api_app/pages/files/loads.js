// The page of loads: one of them when the address names it, or else the ledger with its filters and the upload box.

import { runLink } from "./airflow.js";
import { address, get } from "./api.js";
import { draw, prepare, rejectedShare } from "./charts.js";
import { el, empty, fill, goOn, notice, ready, table, turnTaking, working } from "./elements.js";
import { showLoad } from "./load.js";
import { verdict } from "./reasons.js";
import { uploadBox } from "./upload.js";
import { moment, number, share } from "./values.js";

const PAGE = 50;
const VERDICTS = ["loaded", "duplicate", "rejected", "failed"];
const DAY_MS = 24 * 3600 * 1000;

const page = document.getElementById("page");
const asked = new URLSearchParams(location.search);

const choice = (name, values) => el("select", { name }, el("option", { value: "" }, "all"), values.map((value) => el("option", { value, selected: asked.get(name) === value }, value)));
const day = (name) => el("input", { type: "date", name, value: asked.get(name), min: "1970-01-01", max: "9998-12-31" });

/** The filters, as the ledger is asked: days are whole days, UTC. */
function wanted(form) {
  const { table: name, verdict: of, from, to } = Object.fromEntries(new FormData(form));
  const begins = (text, days = 0) => {
    const moment = new Date(Date.parse(`${text}T00:00:00Z`) + days * DAY_MS);
    return Number.isNaN(moment.getTime()) ? null : moment.toISOString();
  };
  return { table: name, verdict: of, since: begins(from), until: begins(to, 1) };
}

/** Keep the filters in the address, the one that a person sees too, so that it can be kept and sent. */
function remember(form) {
  const kept = [...new FormData(form)].filter(([, value]) => value);
  history.replaceState(null, "", kept.length ? `?${new URLSearchParams(kept)}` : location.pathname);
  const outer = window.parent;
  const [frame] = outer === window ? [] : outer.location.href.match(/^[^?#]*\/plugin\/[^/?#]+/) ?? [];
  if (frame) outer.history.replaceState(outer.history.state, "", `${frame}${location.pathname}${location.search}`);
}

const COLUMNS = [
  { title: "Ended", cell: ({ finished_at }) => moment(finished_at), kind: "moment" },
  { title: "File", cell: ({ file, load_id }) => el("a", { href: address("pages/loads", { load: load_id }) }, file), kind: "text" },
  { title: "From", cell: ({ key, file }) => key.slice(0, key.length - file.length) || "/", kind: "text" },
  { title: "Table", cell: ({ table: name }) => name ?? "", kind: "short" },
  { title: "Verdict", cell: (load) => tags(load) },
  { title: "Read", cell: ({ rows_read }) => number(rows_read), kind: "number" },
  { title: "Inserted", cell: ({ rows_inserted }) => number(rows_inserted), kind: "number" },
  { title: "Updated", cell: ({ rows_updated }) => number(rows_updated), kind: "number" },
  { title: "Unchanged", cell: ({ rows_unchanged }) => number(rows_unchanged), kind: "number" },
  { title: "Rejected", cell: (load) => rejected(load), kind: "number" },
  { title: "Share", cell: ({ rows_rejected, rows_read }) => share(rows_rejected, rows_read), kind: "number" },
  { title: "Run", cell: ({ dag_id, run_id }) => (dag_id && run_id ? runLink(dag_id, run_id, dag_id) : ""), kind: "short" },
];

const DAYS = [
  { title: "Day (UTC)", cell: ({ day: on }) => on, kind: "short" },
  { title: "Loads", cell: ({ loads }) => number(loads), kind: "number" },
  { title: "Rows read", cell: ({ rows_read }) => number(rows_read), kind: "number" },
  { title: "Rejected", cell: ({ rows_rejected }) => number(rows_rejected), kind: "number" },
  { title: "Share", cell: ({ rows_read, rows_rejected }) => share(rows_rejected, rows_read), kind: "number" },
];

function tags({ verdict: code, undone_by }) {
  const [kind, word] = verdict(code);
  return el("span", {}, el("span", { class: `tag ${kind}` }, word), undone_by && [" ", el("span", { class: "tag warn" }, "undone")]);
}

function rejected({ rows_rejected, load_id, file }) {
  if (!rows_rejected) return "0";
  return el("a", { href: `${address("pages/loads", { load: load_id })}#rejected`, "aria-label": `${rows_rejected} rejected rows of ${file}` }, number(rows_rejected));
}

function showLedger() {
  prepare();
  const chart = el("div", { class: "chart low", role: "img", "aria-label": "Chart: share of rejected rows by day. The numbers are below it." });
  const numbers = el("div");
  const trend = el("section", { class: "panel" }, el("h2", {}, "Rejected share by day"), chart, el("details", {}, el("summary", {}, "Numbers"), numbers));
  const list = el("div", { id: "ledger" }, working("Reading the ledger ..."));
  const form = el("form", { class: "bar", role: "search", "aria-label": "Filters", submit: (event) => event.preventDefault(), change: () => anew() },
    el("label", {}, "Table", choice("table", page.dataset.tables.split(" "))),
    el("label", {}, "Verdict", choice("verdict", VERDICTS)),
    el("label", {}, "From day (UTC)", day("from")),
    el("label", {}, "To day (UTC)", day("to")),
    el("button", { type: "button", click: () => { form.querySelectorAll("select, input").forEach((one) => { one.value = ""; }); anew(); } }, "Show all"));
  const [askLoads, askDays] = [turnTaking(), turnTaking()];
  const anew = () => { remember(form); return Promise.all([days(), loads()]); };

  async function loads(after = null) {
    const mine = askLoads();
    page.setAttribute("aria-busy", "true");
    try {
      const found = await get("loads", { ...wanted(form), limit: PAGE, after });
      if (!mine()) return;
      fill(list, found.loads.length ? ledger(found, after) : nothing());
    } catch (error) {
      if (!mine()) return;
      fill(list, notice("bad", error.message));
    }
    ready();
  }

  async function turnTo(after) {
    await loads(after);
    goOn(list);
  }

  function ledger(found, after) {
    return [
      table("Loads, newest first", COLUMNS, found.loads),
      el("div", { class: "buttons" },
        after && el("button", { type: "button", click: () => turnTo(null) }, "Newest loads"),
        found.next && el("button", { type: "button", click: () => turnTo(found.next) }, "Older loads")),
    ];
  }

  const filtered = () => [...new FormData(form).values()].some(Boolean);
  const nothing = () => (filtered() ? empty("No load is like this. Choose other filters.")
    : empty("Nothing was loaded yet.", "Upload a file above, or put one into the folder landing/ of the data bucket: it is loaded within seconds."));

  async function days() {
    const mine = askDays();
    let found;
    try { ({ days: found } = await get("loads/days", wanted(form))); } catch { found = []; }
    if (!mine()) return;
    const any = found.some(({ rows_read }) => rows_read);
    trend.classList.toggle("hidden", !any);
    fill(numbers, any && table("Rejected rows by day", DAYS, found, { tall: true }));
    if (any) await draw(chart, () => rejectedShare(found));
    performance.mark("drawn");
  }

  page.append(
    el("p", { class: "quiet lead" }, "Every file that was judged, whoever brought it: what became of it, and why."),
    el("section", { class: "panel", "aria-labelledby": "upload_title" }, el("h2", { id: "upload_title" }, "Upload a file"), uploadBox(anew)),
    trend, form, list);
  return anew();
}

await (asked.get("load") ? showLoad(page, asked.get("load")) : showLedger());
