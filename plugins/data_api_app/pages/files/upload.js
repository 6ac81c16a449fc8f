// Loads a small file: it is judged first, with nothing written, and loaded when a person has seen the verdict.

import { refusal } from "./airflow.js";
import { address, finish } from "./api.js";
import { el, fill, notice, progress, table, turnTaking } from "./elements.js";
import { warning, why } from "./reasons.js";
import { count, number, size } from "./values.js";

const RAW = "_raw";
const MOST_BYTES = 2 * 1024 * 1024;
const places = new WeakMap();

/** The box that takes a file by drag and drop or by its button; `done` is called when something was loaded, with
 *  what is to be told of it. */
export function uploadBox(done) {
  const outcome = el("div");
  const take = (files) => {
    if (files.length > 1) fill(outcome, notice("bad", `${files.length} files were dropped. Upload one at a time.`));
    else if (files.length) checkAndLoad(outcome, files[0], { done });
  };
  const input = el("input", { type: "file", id: "file", accept: ".csv,text/csv", change: () => { take([...input.files]); input.value = ""; } });
  const box = el("div", {
    class: "drop",
    dragover: () => box.classList.add("over"),
    dragleave: () => box.classList.remove("over"),
    drop: (event) => { box.classList.remove("over"); take([...event.dataTransfer.files]); },
  },
  el("label", { for: "file" }, "Drop a CSV file here, or choose one. It is checked first; nothing is written until you say so."),
  input,
  el("p", { class: "quiet" }, "1 to 1,000 rows; the name tells the table, as in jobs.csv or jobs_2024.csv. Larger files go into the folder landing/ of the data bucket."));
  // A file that is dropped beside the box would be opened in place of the page.
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
  return el("div", {}, box, outcome);
}

/** Nothing that is under way in `place` is shown there any more. */
export function leave(place) {
  turn(place);
  fill(place);
}

function turn(place) {
  if (!places.has(place)) places.set(place, turnTaking());
  return places.get(place)();
}

/** Judge a file and show the verdict in `place`, with a button that loads what was judged. */
export async function checkAndLoad(place, file, { repairs = null, done }) {
  const mine = turn(place);
  if (file.size > MOST_BYTES) return fill(place, notice("bad", `${file.name} has ${size(file.size)}; at most ${size(MOST_BYTES)} can be uploaded. Put it into the folder landing/ of the data bucket.`));
  progress(place, `Checking ${file.name} ...`);
  let order, answer;
  try {
    order = { file: await copy(file), repairs, key: key() };
    answer = await send(order, true, (text) => mine() && progress(place, text));
  } catch (error) {
    return mine() && fill(place, refusal(error), ...judged(error.body ?? {}));
  }
  if (!mine()) return;
  const useful = answer.verdict === "loaded";
  const verdict = notice(answer.nrows_failed || !useful ? "warn" : "good", el("p", {}, el("strong", {}, `Checked ${answer.file}, nothing was written. `), answer.result));
  verdict.tabIndex = -1;
  fill(place, verdict, ...judged(answer), el("div", { class: "buttons" },
    useful && el("button", { type: "button", class: "main", click: () => loadIt(place, order, done) }, `Load ${count(answer.rows - answer.nrows_failed, "good row")}`),
    el("button", { type: "button", click: () => leave(place) }, "Cancel")));
  verdict.focus();
}

/** The bytes as they are now: a file may be changed on its disk between the verdict and the load. */
async function copy(file) {
  try {
    return new File([await file.arrayBuffer()], file.name, { type: "text/csv" });
  } catch {
    throw new Error(`${file.name} cannot be read. Is it a file, and still there?`);
  }
}

async function loadIt(place, order, done) {
  const mine = turn(place);
  progress(place, `Loading ${order.file.name} ...`);
  let answer;
  try {
    answer = await send(order, false, (text) => mine() && progress(place, text));
  } catch (error) {
    const again = error.status === 0 && el("div", { class: "buttons" }, el("button", { type: "button", click: () => loadIt(place, order, done) }, "Send it again; it is loaded once"));
    return mine() && fill(place, refusal(error), again, ...judged(error.body ?? {}));
  }
  const told = () => [notice(answer.nrows_failed ? "warn" : "good", el("p", {}, el("strong", {}, `${answer.file}: `), `${answer.result}. `,
    el("a", { href: address("pages/loads", { load: answer.load_id }) }, "See the load"), ".")), ...judged(answer)];
  if (mine()) fill(place, ...told());
  await done(told());
}

/** By its key the same order is done once, however often it is sent. */
function send({ file, repairs, key: own }, dryRun, tell) {
  const body = new FormData();
  body.append("file", file, file.name);
  const headers = dryRun ? {} : { "Idempotency-Key": own };
  return finish("upload", { method: "POST", query: { dry_run: dryRun || null, repairs, wait: 20 }, body, headers }, tell);
}

const key = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Counts, warnings and the rejected rows of an answer. */
function judged(answer) {
  if (!answer.counts) return [];
  const { inserted, updated, unchanged, rejected } = answer.counts;
  const warnings = Object.entries(answer.warnings).map(([name, rows]) => warning(name, count(rows, "row")));
  return [
    el("p", {}, `${count(answer.rows, "row")}: ${number(inserted)} new, ${number(updated)} updated, ${number(unchanged)} unchanged, ${number(rejected)} rejected.`),
    warnings.length > 0 && notice("warn", `Warning: ${warnings.join(", ")}.`),
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
