// The rejected rows of a load, with the cells that are wrong marked; they can be repaired here and loaded again.

import { address, get } from "./api.js";
import { csvFile } from "./csv.js";
import { el, fill, notice, table } from "./elements.js";
import { why } from "./reasons.js";
import { checkAndLoad } from "./upload.js";
import { count } from "./values.js";

const PAGE = 100;

/** Fill `place` with the rejected rows of `load`; `done` is called when repaired rows were loaded, with a
 *  notice of it. */
export async function rejectedRows(place, load, done) {
  const repaired = new Map();
  const list = el("div");
  const outcome = el("div");
  const check = el("button", { type: "button", class: "main", disabled: true, click: () => checkRepaired() }, "Check the repaired rows");
  const said = el("span", { class: "quiet", role: "status" });
  let columns = [];

  fill(place,
    el("h2", { id: "rejected_title" }, "Rejected rows"),
    el("p", { class: "quiet lead" }, "They are in no table. Correct their values here, or download them, correct them and upload the file: either way the ledger knows which load it repairs."),
    el("div", { class: "buttons" }, el("a", { class: "button", href: address(`loads/${load.load_id}/rejected.csv`), download: "" }, "Download CSV")),
    list, el("div", { class: "buttons" }, check, said), outcome);

  function changed(row, values) {
    if (values.some((value, at) => value !== row.values[at])) repaired.set(row.line, values);
    else repaired.delete(row.line);
    check.disabled = repaired.size === 0;
    fill(said, repaired.size ? `${count(repaired.size, "row")} changed.` : "");
    fill(outcome);
  }

  async function show(after, newest = true) {
    let found;
    try {
      found = await get(`loads/${load.load_id}/rejected`, { limit: PAGE, after });
    } catch (error) {
      return fill(list, notice("warn", error.message));
    }
    ({ columns } = found);
    const whole = found.rows.filter(({ values }) => values);
    const odd = found.rows.filter(({ values }) => !values);
    fill(list,
      whole.length > 0 && table(`Rejected rows of ${load.file}`, editable(columns, repaired, changed), whole),
      odd.length > 0 && table("Rows that do not fit the columns: write them anew in a file of your own", asText, odd),
      el("div", { class: "buttons" },
        !newest && el("button", { type: "button", click: () => show(0) }, "First rows"),
        found.next && el("button", { type: "button", click: () => show(found.next, false) }, "More rows")));
  }

  async function checkRepaired() {
    const lines = [...repaired.keys()].sort((one, other) => one - other);
    const file = csvFile(`${load.table}_repaired_${load.load_id}.csv`, columns, lines.map((line) => repaired.get(line)));
    await checkAndLoad(outcome, file, { repairs: load.load_id, done });
  }

  await show(0);
}

/** Columns whose cells are inputs: the wrong ones are marked and say why. */
function editable(columns, repaired, changed) {
  const cell = (row, at) => {
    const reasons = row.reasons.filter(({ column }) => column === columns[at].toLowerCase());
    const words = reasons.map(({ reason }) => why(reason)).join(" ");
    const id = `why_${row.line}_${at}`;
    const values = () => repaired.get(row.line) ?? [...row.values];
    const input = el("input", {
      value: values()[at], class: reasons.length > 0 && "marked", "aria-label": `${columns[at]} of line ${row.line}`,
      "aria-invalid": reasons.length > 0 && "true", "aria-describedby": reasons.length > 0 && id,
      input: () => { const own = [...values()]; own[at] = input.value; changed(row, own); },
    });
    return el("td", { class: reasons.length > 0 && "marked" }, input, reasons.length > 0 && el("span", { class: "why", id }, words));
  };
  return [
    { title: "Line", cell: ({ line }) => line, kind: "number" },
    ...columns.map((title, at) => ({ title, cell: (row) => cell(row, at) })),
    { title: "Reasons", cell: (row) => reasonsOf(row) },
  ];
}

const reasonsOf = ({ reasons }) => reasons.map(({ column, reason }) => (column ? `${column}: ${reason}` : `${reason}: ${why(reason)}`)).join("; ");

const asText = [
  { title: "Line", cell: ({ line }) => line, kind: "number" },
  { title: "Row", cell: ({ text }) => el("td", { class: "marked" }, el("pre", {}, text)) },
  { title: "Reasons", cell: ({ reasons }) => reasons.map(({ reason }) => why(reason)).join(" ") },
];
