// Dialogs that change a table: what would change is shown first, and done only when the table's name was typed.

import { runLink } from "./airflow.js";
import { finish } from "./api.js";
import { el, fill, notice, working } from "./elements.js";
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

function changeDialog({ title, form, order, act, done }) {
  const shown = el("div");
  const look = el("button", { type: "button", class: "main", click: () => difference() }, "Show the difference");
  const close = el("button", { type: "button", click: () => dialog.close() }, "Close");
  const dialog = el("dialog", { "aria-labelledby": "change_title", close: () => dialog.remove() },
    el("h2", { id: "change_title" }, title), form, el("div", { class: "buttons" }, look, close), shown);
  form.addEventListener("change", () => fill(shown));
  document.body.append(dialog);
  dialog.showModal();

  const send = ({ path, query }, dryRun) => finish(path, { method: "POST", query: { ...query, dry_run: dryRun, wait: 20 } }, (text) => fill(shown, working(text)));
  const busy = (on) => { for (const one of [look, ...form.querySelectorAll("input, select")]) one.disabled = on; };

  async function attempt(work) {
    busy(true);
    try { await work(); } catch (error) { fill(shown, notice("bad", error.message)); } finally { busy(false); }
  }

  const difference = () => attempt(async () => {
    const wanted = order();
    if (wanted.missing) return fill(shown, notice("warn", wanted.missing));
    fill(shown, working("Looking for the difference ..."));
    const found = await send(wanted, true);
    fill(shown, told(found, "would be"), next(wanted, found));
  });

  function next(wanted, found) {
    if (found.refused) return notice("bad", "It would be refused as it is. Choose above what becomes of those rows, and look again.");
    if (found.added + found.changed + found.removed === 0 && wanted.path === "restore") return notice("good", "There is nothing to change.");
    return confirmation(wanted, found.table);
  }

  function confirmation(wanted, table) {
    const go = el("button", { type: "button", class: "danger", disabled: true, click: () => change(wanted) }, act);
    const typed = el("input", { name: "confirmation", autocomplete: "off", input: () => { go.disabled = typed.value !== table; } });
    return el("div", {}, el("label", {}, `Type the table's name, ${table}, to do it`, typed), el("div", { class: "buttons" }, go));
  }

  const change = (wanted) => attempt(async () => {
    fill(shown, working(`${act} ...`));
    const found = await send(wanted, false);
    fill(shown, notice("good", el("p", {}, `${found.result} `, run(found))), told(found, "were"));
    await done();
  });
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
