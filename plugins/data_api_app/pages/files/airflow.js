// Airflow's own pages, which are around this one.

import { address } from "./api.js";
import { el, notice } from "./elements.js";

/** Open one of Airflow's pages. A frame may not lead its parent elsewhere, but the parent's own link may. */
function open(event) {
  if (window.parent === window || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const outer = window.parent.document;
  const link = outer.createElement("a");
  link.href = event.currentTarget.href;
  outer.body.append(link);
  link.click();
  link.remove();
}

/** A link to one of Airflow's pages, as `dags/backup`. */
export const airflowLink = (path, ...children) => el("a", { href: address(`../${path}`), click: open }, ...children);

/** A link to a run. */
export const runLink = (dagId, runId, text = "Dag run") => airflowLink(`dags/${dagId}/runs/${encodeURIComponent(runId)}`, text);

/** What went wrong, with the run that has the log, if there is one. */
export function refusal(error) {
  const run = error.body?.links?.run?.match(/\/dags\/([^/]+)\/runs\/([^/]+)$/);
  return notice("bad", el("p", {}, error.message), run && el("p", {}, runLink(run[1], decodeURIComponent(run[2]), "The run"), " has a log."));
}
