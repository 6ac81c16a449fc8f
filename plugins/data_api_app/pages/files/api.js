// Questions to this server's own routes, in the name of who is signed in to Airflow.

const ROOT = new URL("../", location.href);
const AGAIN_MS = 1000;

/** An answer that is no success; its message says what happened and what to do. */
export class Refused extends Error {
  constructor(status, body) {
    super(status === 401 ? "You are not signed in any more. Sign in to Airflow, then open this page again." : body.error || `The server answered ${status}.`);
    this.status = status;
    this.body = body;
  }
}

/** The address of a route, with what is asked in `query`; what is null or empty there is left out. */
export function address(path, query = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) if (value != null && value !== "") url.searchParams.set(name, value);
  return url.href;
}

/** Status and body of an answer. Throws `Refused`. */
export async function ask(path, { method = "GET", query, body, headers } = {}) {
  let answer;
  try {
    answer = await fetch(address(path, query), { method, body, headers, credentials: "same-origin" });
  } catch {
    throw new Refused(0, { error: "The server cannot be reached. Is it still running?" });
  }
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, content);
  return { status: answer.status, content };
}

/** The body of a question's answer. */
export const get = async (path, query) => (await ask(path, { query })).content;

/** The final answer of something that may take longer than one request; `tell` is called while it goes on. */
export async function finish(path, options, tell) {
  let { status, content } = await ask(path, options);
  while (status === 202) {
    tell(content.result);
    await new Promise((go) => setTimeout(go, AGAIN_MS));
    ({ status, content } = await ask(content.links.status));
  }
  return content;
}

/** State of one of Airflow's runs and, when it is over, what its task said. */
export async function runOf(dagId, runId, task) {
  const path = `../api/v2/dags/${dagId}/dagRuns/${encodeURIComponent(runId)}`;
  const { state } = await get(path);
  if (state !== "success" && state !== "failed") return { state, said: null };
  const said = await get(`${path}/taskInstances/${task}/xcomEntries/return_value`).catch(() => ({}));
  return { state, said: said.value ?? null };
}

/** Waits for the end of a run; `tell` hears its state. What its task said, or an error. */
export async function endOf(dagId, runId, task, tell) {
  for (;;) {
    const { state, said } = await runOf(dagId, runId, task);
    if (state === "success") return said;
    if (state === "failed") throw new Error(said?.error || "The run failed; its log in Airflow says why.");
    tell(state);
    await new Promise((go) => setTimeout(go, AGAIN_MS));
  }
}
