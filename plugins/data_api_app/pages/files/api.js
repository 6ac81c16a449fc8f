// Questions to this server's own routes, in the name of who is signed in to Airflow.

const ROOT = new URL("../", location.href);
const AGAIN_MS = 1000;
const MOST_MISSES = 60;

/** No answer now, and none that is final: those have links. */
const passing = ({ status, body }) => [0, 502, 504].includes(status) || (status === 503 && !body?.links);

const SIGNED_OUT = "You are not signed in any more. Sign in to Airflow, then open this page again.";

/** An answer that is no success; its message says what happened and what to do. */
export class Refused extends Error {
  constructor(status, body) {
    super(status === 401 ? SIGNED_OUT : String(body?.error || body?.detail || `The server answered ${status}. Try again in a moment.`));
    this.status = status;
    this.body = body ?? {};
  }
}

/** The address of a route, with what is asked in `query`; what is null or empty there is left out. */
export function address(path, query = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) if (value != null && value !== "") url.searchParams.set(name, value);
  return url.href;
}

/** Status and body of an answer. Throws `Refused`; its status is 0 when there was no answer. */
export async function ask(path, { method = "GET", query, body, headers } = {}) {
  let answer;
  try {
    answer = await fetch(address(path, query), { method, body, headers, credentials: "same-origin" });
  } catch {
    throw new Refused(0, { error: "The server has not answered. Is it still running?" });
  }
  const content = await answer.json().catch(() => null);
  if (!answer.ok || content === null) throw new Refused(answer.status, content);
  return { status: answer.status, content };
}

/** The body of a question's answer. */
export const get = async (path, query) => (await ask(path, { query })).content;

/** The answer of a question that is asked again and again: a connection that is lost for a while ends nothing. */
async function patiently(path) {
  for (let misses = 1; ; misses += 1) {
    try {
      return await ask(path);
    } catch (error) {
      if (!passing(error) || misses >= MOST_MISSES) throw error;
      await pause();
    }
  }
}

const pause = () => new Promise((go) => setTimeout(go, AGAIN_MS));

/** The final answer of something that may take longer than one request; `tell` is called while it goes on. */
export async function finish(path, options, tell) {
  let { status, content } = await ask(path, options);
  while (status === 202) {
    tell(content.result);
    await pause();
    ({ status, content } = await patiently(content.links.status));
  }
  return content;
}

/** Waits for the end of one of Airflow's runs; `tell` hears its state. What its task said, or an error. */
export async function endOf(dagId, runId, task, tell) {
  const path = `../api/v2/dags/${dagId}/dagRuns/${encodeURIComponent(runId)}`;
  for (;;) {
    const { state } = (await patiently(path)).content;
    if (state === "success" || state === "failed") {
      const said = (await get(`${path}/taskInstances/${task}/xcomEntries/return_value`).catch(() => null))?.value ?? null;
      if (state === "success") return said;
      throw new Error(said?.error || "The run failed; its log in Airflow says why.");
    }
    tell(state);
    await pause();
  }
}
