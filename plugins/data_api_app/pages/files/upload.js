// Loads a small file: it is judged first, with nothing written, and loaded when a person has seen the verdict.

import { address, finish, Refused } from "./api.js";
import { runLink } from "./airflow.js";
import { el, fill, notice, table, working } from "./elements.js";
import { why } from "./reasons.js";
import { count, number } from "./values.js";

const RAW = "_raw";

/** The box that takes a file by drag and drop or by its button; `done` is called when something was loaded, with
 *  a notice of it. */
export function uploadBox(done) {
  const outcome = el("div");
  const take = (files) => {
    if (files.length > 1) fill(outcome, notice("bad", `${files.length} files were dropped. Upload one at a time.`));
    else if (files.length) checkAndLoad(outcome, files[0], { done });
  };
  const input = el("input", { type: "file", id: "file", accept: ".csv,text/csv", change: () => { take([...input.files]); input.value = ""; } });
  const box = el("div", {
    class: "drop",
    dragover: (event) => { event.preventDefault(); box.classList.add("over"); },
    dragleave: () => box.classList.remove("over"),
    drop: (event) => { event.preventDefault(); box.classList.remove("over"); take([...event.dataTransfer.files]); },
  },
  el("label", { for: "file" }, "Drop a CSV file here, or choose one. It is checked first; nothing is written until you say so."),
  input,
  el("p", { class: "quiet" }, "1 to 1,000 rows; the name tells the table, as in jobs.csv or jobs_2024.csv. Larger files go into the folder landing/ of the data bucket."));
  return el("div", {}, box, outcome);
}

/** Judge a file and show the verdict in `place`, with a button that loads it. */
export async function checkAndLoad(place, file, { repairs = null, done }) {
  fill(place, working(`Checking ${file.name} ...`));
  let answer;
  try {
    answer = await send(file, { dry_run: true, repairs }, place);
  } catch (error) {
    return fill(place, refusal(error));
  }
  const useful = answer.verdict === "loaded";
  const load = el("button", { type: "button", class: "main", click: () => loadIt(place, file, { repairs, done }) }, `Load ${count(answer.nrows_inserted, "good row")}`);
  const cancel = el("button", { type: "button", click: () => fill(place) }, "Cancel");
  fill(place, notice(answer.nrows_failed || !useful ? "warn" : "good", el("p", {}, el("strong", {}, `Checked ${answer.file}, nothing was written. `), answer.result)),
    ...judged(answer), el("div", { class: "buttons" }, useful && load, cancel));
  (useful ? load : cancel).focus();
}

async function loadIt(place, file, { repairs, done }) {
  fill(place, working(`Loading ${file.name} ...`));
  try {
    const answer = await send(file, { repairs }, place, { "Idempotency-Key": key() });
    const told = () => notice(answer.nrows_failed ? "warn" : "good",
      el("p", {}, el("strong", {}, `${answer.file}: `), `${answer.result}. `, el("a", { href: address("pages/loads", { load: answer.load_id }) }, "See the load"), "."));
    fill(place, told(), ...judged(answer));
    await done(told());
  } catch (error) {
    fill(place, refusal(error));
  }
}

function send(file, query, place, headers) {
  const body = new FormData();
  body.append("file", file, file.name);
  return finish("upload", { method: "POST", query: { ...query, wait: 20 }, body, headers }, (text) => fill(place, working(text)));
}

/** A key by which the same order is done once, however often it is sent. */
const key = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

function refusal(error) {
  const body = error instanceof Refused ? error.body ?? {} : {};
  const run = body.links?.run?.match(/\/dags\/([^/]+)\/runs\/([^/]+)$/);
  return el("div", {}, notice("bad", el("p", {}, error.message), run && el("p", {}, runLink(run[1], decodeURIComponent(run[2]), "The run"), " has a log.")), ...judged(body));
}

/** Counts, warnings and the rejected rows of an answer. */
function judged(answer) {
  if (!answer.counts) return [];
  const { inserted, updated, unchanged, rejected } = answer.counts;
  const warnings = Object.entries(answer.warnings).map(([column, rows]) => `${count(rows, "row")} with ${column} that refers to nothing (yet)`);
  return [
    el("p", {}, `${count(answer.rows, "row")}: ${number(inserted)} new, ${number(updated)} updated, ${number(unchanged)} unchanged, ${number(rejected)} rejected.`),
    warnings.length > 0 && notice("warn", `Loaded with a warning: ${warnings.join(", ")}.`),
    answer.rows_failed.length > 0 && failedRows(answer),
  ];
}

/** `rows_failed` and `errors` are in the file's order: each line is one row. */
function failedRows({ file, columns, rows_failed, errors }) {
  const lines = [...new Set(errors.map(({ line }) => line))];
  const rows = rows_failed.map((values, at) => ({ values, line: lines[at], reasons: errors.filter(({ line }) => line === lines[at]) }));
  const cell = (row, column) => {
    const own = row.reasons.filter((one) => one.column === column);
    return el("td", { class: own.length > 0 && "marked" }, row.values[column], own.length > 0 && el("span", { class: "why" }, own.map(({ reason }) => why(reason)).join(" ")));
  };
  const whole = (row) => row.reasons.filter((one) => !one.column).map(({ reason }) => why(reason)).join(" ");
  return table(`Rejected rows of ${file}`, [
    { title: "Line", cell: ({ line }) => line, kind: "number" },
    ...columns.map((column) => ({ title: column, cell: (row) => cell(row, column) })),
    ...(rows.some((row) => row.values[RAW] != null || whole(row)) ? [{ title: "Row", cell: (row) => el("td", { class: whole(row) && "marked" }, row.values[RAW] != null && el("pre", {}, row.values[RAW]), el("span", { class: "why" }, whole(row))) }] : []),
  ], rows, { tall: true });
}
