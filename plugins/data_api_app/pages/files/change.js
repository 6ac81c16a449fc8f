// Dialogs that change a table: what would change is shown first, and done only when the table's name was typed.

import { refusal, runLink } from "./airflow.js";
import { finish } from "./api.js";
import { el, fill, notice, progress, turnTaking } from "./elements.js";
import { number } from "./values.js";

/** Ask for a table and a point in time, show the difference, restore. */
export function restoreDialog(backup, done) {
  const names = Object.keys(backup.tables);
  const table = el("select", { name: "table" }, names.map((name) => el("option", { value: name }, name)));
  const at = el("input", { type: "datetime-local", step: "1", name: "at", "aria-label": "Moment, UTC", input: () => { moment.checked = true; } });
  const moment = el("input", { type: "radio", name: "point", value: "at" });
  const form = el("fieldset", {},
    el("legend", {}, "What to bring back"),
    el("label", {}, "Table", table),
    el("label", { class: "line" }, el("input", { type: "radio", name: "point", value: "backup", checked: true }), `as it was in backup ${backup.backup_id}`),
    el("label", { class: "line" }, moment, "as it was at a moment (UTC), from any backup:"), at);
  const order = () => ({
    path: "restore", table: table.value,
    query: { table: table.value, ...(moment.checked ? { at: at.value && `${at.value}Z` } : { backup_id: backup.backup_id }) },
    missing: moment.checked && !at.value && "Enter the moment first.",
  });
  changeDialog({ title: "Restore a table", form, order, act: "Restore", done });
}

/** Show what undoing a load would change, undo it. */
export function undoDialog(loadId, done) {
  const keep = el("input", { type: "checkbox", name: "keep" });
  const form = el("fieldset", {},
    el("legend", {}, `Load ${loadId}`),
    el("p", {}, "Rows that it added are removed, rows that it changed are what they were before. The file counts as new when it comes again."),
    el("label", { class: "line" }, keep, "Where later loads have the same rows, leave those as they are"));
  const order = () => ({ path: "undo", query: { load_id: loadId, later_rows: keep.checked ? "keep" : "refuse" } });
  changeDialog({ title: "Undo a load", form, order, act: "Undo", done });
}

function changeDialog(wishes) {
  new ChangeDialog(wishes).open();
}

/** One change from the look at it to its end. Its outcome is told in the page when the dialog was closed meanwhile. */
class ChangeDialog {
  constructor({ title, form, order, act, done }) {
    Object.assign(this, { form, order, act, done, turns: turnTaking() });
    this.shown = el("div", { "aria-live": "polite" });
    this.look = el("button", { type: "button", class: "main", click: () => this.difference() }, "Show the difference");
    this.dialog = el("dialog", { "aria-labelledby": "change_title", close: () => this.dialog.remove() },
      el("h2", { id: "change_title" }, title), form,
      el("div", { class: "buttons" }, this.look, el("button", { type: "button", click: () => this.dialog.close() }, "Close")), this.shown);
    form.addEventListener("change", () => { this.turns(); fill(this.shown); });
  }

  open() {
    document.body.append(this.dialog);
    this.dialog.showModal();
  }

  get place() {
    return this.dialog.isConnected ? this.shown : outcomes();
  }

  send({ path, query }, dryRun, tell) {
    return finish(path, { method: "POST", query: { ...query, dry_run: dryRun, wait: 20 } }, tell);
  }

  busy(on) {
    for (const one of [this.look, ...this.form.querySelectorAll("input, select")]) one.disabled = on;
  }

  async difference() {
    const wanted = this.order();
    if (wanted.missing) return fill(this.shown, notice("warn", wanted.missing));
    const mine = this.turns();
    progress(this.shown, "Looking for the difference ...");
    this.busy(true);
    try {
      const found = await this.send(wanted, true, (text) => mine() && progress(this.shown, text));
      if (mine()) fill(this.shown, told(found, "would be"), this.next(wanted, found));
    } catch (error) {
      if (mine()) fill(this.shown, refusal(error));
    } finally {
      this.busy(false);
    }
  }

  next(wanted, found) {
    if (found.refused) return notice("bad", "It would be refused as it is. Choose above what becomes of those rows, and look again.");
    if (found.added + found.changed + found.removed === 0 && wanted.path === "restore") return notice("good", "There is nothing to change.");
    const seen = { ...wanted, query: { ...wanted.query, seen: wanted.path === "restore" ? found.changed_seq : null } };
    const go = el("button", { type: "button", class: "danger", disabled: true, click: () => this.change(seen) }, this.act);
    const typed = el("input", { name: "confirmation", autocomplete: "off", input: () => { go.disabled = typed.value !== found.table; } });
    return el("div", {}, el("label", {}, `Type the table's name, ${found.table}, to do it`, typed), el("div", { class: "buttons" }, go));
  }

  async change(wanted) {
    progress(this.shown, `${this.act} ...`);
    this.busy(true);
    try {
      const found = await this.send(wanted, false, (text) => progress(this.place, text));
      fill(this.place, notice("good", el("p", {}, `${found.result} `, run(found))), told(found, "were"));
    } catch (error) {
      const unknown = error.status === 0 && notice("warn", "It may be under way all the same: the Dag's runs in Airflow tell.");
      fill(this.place, refusal(error), unknown);
    } finally {
      this.busy(false);
    }
    await this.done();
  }
}

/** Where the page tells what became of a dialog that was closed. */
function outcomes() {
  const known = document.getElementById("outcomes");
  if (known) return known;
  const made = el("div", { id: "outcomes" });
  document.querySelector("main h1").after(made);
  return made;
}

function told(found, verb) {
  const part = (count, word) => el("div", {}, el("strong", {}, number(count)), `rows ${verb} ${word}`);
  return el("div", { id: "difference" },
    el("p", {}, found.message),
    el("div", { class: "difference" }, part(found.added, "added"), part(found.changed, "changed"), part(found.removed, "removed")),
    found.notes.length > 0 && notice("warn", ...found.notes));
}

function run({ links }) {
  const [, dagId, runId] = links.run.match(/\/dags\/([^/]+)\/runs\/([^/]+)$/);
  return runLink(dagId, decodeURIComponent(runId));
}
