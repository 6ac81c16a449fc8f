// One load: what is known of it, its rejected rows, and what can be done about it.

import { runLink } from "./airflow.js";
import { address, get } from "./api.js";
import { undoDialog } from "./change.js";
import { el, fill, notice, ready } from "./elements.js";
import { verdict, warning } from "./reasons.js";
import { rejectedRows } from "./rejected.js";
import { count, moment, number, share, size } from "./values.js";

const loadLink = (id, text = id) => el("a", { href: address("pages/loads", { load: id }), class: "id" }, text);

/** Show a load in the page. */
export async function showLoad(page, id) {
  const place = el("div");
  page.append(el("p", {}, el("a", { href: address("pages/loads") }, "All loads")), place);
  const again = async (told = []) => {
    let load;
    if (!/^[0-9]{1,19}$/.test(id)) {
      fill(place, notice("bad", "This is no load's id: it is a number. The list of loads has them."));
      return ready();
    }
    try {
      load = await get(`loads/${encodeURIComponent(id)}`);
    } catch (error) {
      fill(place, notice("bad", error.message));
      return ready();
    }
    const repaired = load.rows_rejected > 0 ? (await get("loads", { repairs: id, limit: 100 }).catch(() => ({ loads: [] }))).loads : [];
    const rejects = el("section", { class: "panel", id: "rejected", "aria-labelledby": "rejected_title" });
    fill(place, ...told, facts(load, repaired, again), load.rows_rejected > 0 && rejects);
    if (load.rows_rejected > 0) await rejectedRows(rejects, load, again);
    ready();
    if (location.hash === "#rejected") rejects.scrollIntoView();
  };
  await again();
}

function facts(load, repaired, again) {
  const [kind, word] = verdict(load.verdict);
  const counts = [["inserted", load.rows_inserted], ["updated", load.rows_updated], ["unchanged", load.rows_unchanged], ["rejected", load.rows_rejected]];
  const warnings = Object.entries(load.warnings).map(([name, rows]) => warning(name, count(rows, "row")));
  const known = [
    ["Verdict", el("span", {}, el("span", { class: `tag ${kind}` }, word), load.undone_by && [" ", el("span", { class: "tag warn" }, `undone by ${load.undone_by}`)])],
    ["Why", load.message],
    ["Table", load.table],
    ["From", load.key],
    ["Ended", `${moment(load.finished_at)}, after ${((Date.parse(load.finished_at) - Date.parse(load.started_at)) / 1000).toFixed(1)} s`],
    ["Rows", `${number(load.rows_read)} read: ${counts.map(([name, rows]) => `${number(rows)} ${name}`).join(", ")}${load.rows_rejected ? ` (${share(load.rows_rejected, load.rows_read)})` : ""}`],
    ["Removed", load.rows_removed ? `${count(load.rows_removed, "row")} that the file replaced` : ""],
    ["Warnings", warnings.join(", ")],
    ["Size", size(load.bytes)],
    ["SHA-256", load.sha256 && el("span", { class: "id" }, load.sha256)],
    ["Repairs", load.repairs && loadLink(load.repairs)],
    ["Repaired by", repaired.length > 0 && el("span", {}, repaired.flatMap((one) => [loadLink(one.load_id, one.file), " "]))],
    ["Same as", load.duplicate_of && loadLink(load.duplicate_of)],
    ["Load", el("span", { class: "id" }, load.load_id)],
    ["Run", load.dag_id && load.run_id && runLink(load.dag_id, load.run_id, `${load.dag_id}, ${load.run_id}`)],
  ].filter(([, value]) => value);
  const undoable = load.commit_seq != null && !load.undone_by && load.verdict === "loaded";
  return el("section", { class: "panel", "aria-labelledby": "load_title" },
    el("h2", { id: "load_title" }, load.file),
    el("dl", { class: "facts" }, known.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    undoable && el("div", { class: "buttons" }, el("button", { type: "button", click: () => undoDialog(load.load_id, () => again()) }, "Undo this load ...")));
}
