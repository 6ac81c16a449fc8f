// The page of backups: what there is, what it is worth, and how to bring something back.

import { refusal, runLink } from "./airflow.js";
import { ask, endOf, get } from "./api.js";
import { restoreDialog, undoDialog } from "./change.js";
import { el, empty, fill, goOn, notice, progress, ready, table, turnTaking, working } from "./elements.js";
import { moment, number, size } from "./values.js";

const PAGE = 25;

const page = document.getElementById("page");
const turns = turnTaking();
const summary = el("div");
const underWay = el("div");
const list = el("div", { id: "backups" }, working("Reading the list ..."));

/** A Dag run that a button has started, from its start to its end; the button rests meanwhile. */
async function follow(button, path, query, dagId, task, told) {
  const place = el("div");
  underWay.append(place);
  button.disabled = true;
  let link = () => null;
  progress(place, "Starting ...");
  try {
    const { content } = await ask(path, { method: "POST", query });
    link = () => runLink(dagId, content.run_id);
    const said = await endOf(dagId, content.run_id, task, (state) => progress(place, `${content.result} It is ${state}. `, link()));
    await show();
    fill(place, notice("good", el("p", {}, `${told(said)} `, link())));
  } catch (error) {
    await show();
    fill(place, refusal(error), link() && el("p", {}, link()));
  }
  button.disabled = false;
}

const backUp = (event) => follow(event.currentTarget, "backup", {}, "backup", "take", (said) => `Backup ${said?.backup_id ?? ""} is complete.`);
const drill = (event, id) => follow(event.currentTarget, "drill", { backup_id: id }, "restore_drill", "prove", () => `Backup ${id} was restored into a scratch schema and is what was backed up.`);

const COLUMNS = [
  { title: "Taken", cell: ({ taken_at }) => (taken_at ? moment(taken_at) : "unknown"), kind: "moment" },
  { title: "Backup", cell: ({ backup_id }) => el("span", { class: "id" }, backup_id) },
  { title: "Tables and rows", cell: (one) => (one.damaged ? el("span", { class: "why" }, one.damaged) : tables(one.tables)) },
  { title: "Rows", cell: ({ rows }) => number(rows), kind: "number" },
  { title: "Size", cell: ({ bytes }) => size(bytes), kind: "number" },
  { title: "Proven restorable", cell: (one) => worth(one), kind: "moment" },
  { title: "Do", cell: (one) => !one.damaged && actions(one) },
];

const tables = (found) => Object.entries(found).map(([name, { rows }]) => `${name} ${number(rows)}`).join(", ");

function worth({ damaged, proven_at }) {
  if (damaged) return el("span", { class: "tag bad" }, "damaged");
  return proven_at ? el("span", {}, el("span", { class: "tag good" }, "proven"), ` ${moment(proven_at)}`) : el("span", { class: "tag" }, "not drilled");
}

function actions(backup) {
  return el("div", { class: "buttons" },
    el("button", { type: "button", "aria-label": `Restore from ${backup.backup_id}`, click: () => restoreDialog(backup, show) }, "Restore ..."),
    el("button", { type: "button", "aria-label": `Drill with ${backup.backup_id}`, click: (event) => drill(event, backup.backup_id) }, "Drill"));
}

async function show(after = null) {
  const mine = turns();
  page.setAttribute("aria-busy", "true");
  try {
    const found = await get("backups", { limit: PAGE, after });
    if (!mine()) return;
    const proven = found.last_proven;
    fill(summary, el("p", { class: "quiet lead" }, proven ? `Last proven restorable: ${proven.backup_id}, ${moment(proven.proven_at)}.` : "No backup was proven restorable yet: a drill does, every Sunday or now."));
    fill(list, found.backups.length ? table("Backups, newest first", COLUMNS, found.backups) : empty("There is no backup yet.", "One is taken every night; the button above takes one now."),
      el("div", { class: "buttons" },
        after && el("button", { type: "button", click: () => show().then(() => goOn(list)) }, "Newest backups"),
        found.next && el("button", { type: "button", click: () => show(found.next).then(() => goOn(list)) }, "Older backups")));
  } catch (error) {
    if (!mine()) return;
    fill(list, notice("bad", error.message));
  }
  ready();
}

function undoForm() {
  const id = el("input", { name: "load_id", inputmode: "numeric", pattern: "[0-9]{1,19}", required: true, size: "22" });
  return el("form", { class: "bar", submit: (event) => { event.preventDefault(); undoDialog(id.value.trim(), show); } },
    el("label", {}, "Id of the load", id), el("button", {}, "Undo a load ..."));
}

page.append(summary,
  el("div", { class: "bar" }, el("button", { type: "button", class: "main", click: backUp }, "Back up now")),
  underWay, list,
  el("section", { class: "panel", "aria-labelledby": "undo_title" },
    el("h2", { id: "undo_title" }, "Undo a load"),
    el("p", { class: "quiet" }, "Takes back what one file did. The page Loads has the ids, and the same button for each load."), undoForm()));
await show();
