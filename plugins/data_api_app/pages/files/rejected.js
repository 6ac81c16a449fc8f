// The rejected rows of a load, with the cells that are wrong marked; they can be repaired here and loaded again.

import { address, get } from "./api.js";
import { csvFile } from "./csv.js";
import { el, fill, goOn, notice, table } from "./elements.js";
import { why } from "./reasons.js";
import { checkAndLoad, leave } from "./upload.js";
import { count, moment } from "./values.js";

const PAGE = 100;

/** Fill `place` with the rejected rows of `load`; `done` is called when repaired rows were loaded, with what is to be
 *  told of it. */
export async function rejectedRows(place, load, done) {
  const title = el("h2", { id: "rejected_title" }, "Rejected rows");
  if (load.rejects_expired_at) return fill(place, title, notice("warn", `They were kept until ${moment(load.rejects_expired_at)}.`));
  const repair = new Repair(load, done);
  fill(place, title,
    el("p", { class: "quiet lead" }, "They are in no table. Correct their values here, or download them, correct them and upload the file: either way the ledger knows which load it repairs."),
    el("div", { class: "buttons" }, el("a", { class: "button", href: address(`loads/${load.load_id}/rejected.csv`), download: "" }, "Download CSV")),
    repair.list, el("div", { class: "buttons" }, repair.check, repair.said), repair.outcome);
  await repair.show(0);
}

/** The rows of a load that a person corrects, page by page. */
class Repair {
  constructor(load, done) {
    this.load = load;
    this.done = done;
    this.rows = new Map();
    this.columns = [];
    this.list = el("div");
    this.outcome = el("div");
    this.said = el("span", { class: "quiet", role: "status" });
    this.check = el("button", { type: "button", class: "main", disabled: true, click: () => this.judge() }, "Check the repaired rows");
  }

  async show(after) {
    let found;
    try {
      found = await get(`loads/${this.load.load_id}/rejected`, { limit: PAGE, after });
    } catch (error) {
      return fill(this.list, notice("warn", error.message));
    }
    // What an earlier file of rejected rows had in front is not the table's.
    this.columns = found.columns.map((name, at) => ({ name, at })).filter(({ name }) => !name.startsWith("_"));
    const whole = found.rows.filter(({ values }) => values);
    const odd = found.rows.filter(({ values }) => !values);
    fill(this.list,
      whole.length > 0 && table(`Rejected rows of ${this.load.file}`, this.cells(), whole),
      odd.length > 0 && table("Rows that do not fit the columns: write them anew in a file of your own", AS_TEXT, odd),
      el("div", { class: "buttons" },
        after > 0 && el("button", { type: "button", click: () => this.show(0).then(() => goOn(this.list)) }, "First rows"),
        found.next && el("button", { type: "button", click: () => this.show(found.next).then(() => goOn(this.list)) }, "More rows")));
  }

  /** Columns whose cells are inputs: the wrong ones are marked and say why. */
  cells() {
    return [
      { title: "Line", cell: ({ line }) => line, kind: "number" },
      ...this.columns.map((column) => ({ title: column.name, cell: (row) => this.cell(row, column) })),
      { title: "Reasons", cell: (row) => reasonsOf(row) },
    ];
  }

  cell(row, { name, at }) {
    const own = row.reasons.filter(({ column }) => column === name);
    const id = `why_${row.line}_${at}`;
    const lossy = own.some(({ reason }) => reason === "bad_encoding");
    const words = own.map(({ reason }) => why(reason)).join(" ") + (lossy ? ` It was sent as ${row.values[at]}` : "");
    const input = el("input", {
      value: (this.rows.get(row.line) ?? asSent(row, this.columns))[this.columns.findIndex((one) => one.at === at)],
      class: own.length > 0 && "marked", "aria-label": `${name} of line ${row.line}`,
      "aria-invalid": own.length > 0 && "true", "aria-describedby": own.length > 0 && id,
      input: () => this.changed(row, at, input.value),
    });
    return el("td", { class: own.length > 0 && "marked" }, input, own.length > 0 && el("span", { class: "why", id }, words));
  }

  changed(row, at, value) {
    const sent = asSent(row, this.columns);
    const values = [...(this.rows.get(row.line) ?? sent)];
    values[this.columns.findIndex((one) => one.at === at)] = value;
    if (values.some((one, place) => one !== sent[place])) this.rows.set(row.line, values);
    else this.rows.delete(row.line);
    this.check.disabled = this.rows.size === 0;
    fill(this.said, this.rows.size ? `${count(this.rows.size, "row")} changed.` : "");
    leave(this.outcome);
  }

  judge() {
    const lines = [...this.rows.keys()].sort((one, other) => one - other);
    const name = `${this.load.table}_repaired_${this.load.load_id}.csv`;
    const file = csvFile(name, this.columns.map((column) => column.name), lines.map((line) => this.rows.get(line)));
    return checkAndLoad(this.outcome, file, { repairs: this.load.load_id, done: this.done });
  }
}

/** The row's values; one that is no text is not known, and must be written anew. */
function asSent(row, columns) {
  const lossy = new Set(row.reasons.filter(({ reason }) => reason === "bad_encoding").map(({ column }) => column));
  return columns.map(({ name, at }) => (lossy.has(name) ? "" : row.values[at]));
}

const reasonsOf = ({ reasons }) => reasons.map(({ column, reason }) => (column ? `${column}: ${reason}` : `${reason}: ${why(reason)}`)).join("; ");

const AS_TEXT = [
  { title: "Line", cell: ({ line }) => line, kind: "number" },
  { title: "Row", cell: ({ text }) => el("td", { class: "marked" }, el("pre", {}, text)) },
  { title: "Reasons", cell: ({ reasons }) => reasons.map(({ reason }) => why(reason)).join(" ") },
];
