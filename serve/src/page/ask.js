// How the page asks the server. The key is kept for this tab, and sent as a header: no address ever has it.

/** After the server was not reached. */
export const RETRY_MS = 5_000;

/** An answer that takes longer is given up. */
export const ANSWER_MS_MAX = 20_000;

const KEY = "clicklake key";

/** An answer that is none. */
export class Problem extends Error {
  constructor(status, message, retryMs = 0, code = "") {
    super(message);
    this.status = status;
    this.retryMs = retryMs;
    this.code = code;
  }
}

let key = sessionStorage.getItem(KEY);

/** Whether there is a key. */
export const hasKey = () => key !== null;

/** Keeps a key for this tab; `null` forgets it. */
export function keepKey(kept) {
  key = kept;
  if (key === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, key);
}

/** What the server's clock is ahead of ours. */
let aheadMs = 0;

/** The time by the server's clock. */
export const now = () => Date.now() + aheadMs;

/** The text that the server answers with. */
export async function ask(path, parameters, signal) {
  const headers = key !== null ? { Authorization: `Bearer ${key}` } : {};
  const either = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS_MAX)]);
  let answer;
  let text;
  try {
    answer = await fetch(`${path}?${new URLSearchParams(parameters)}`, { headers, signal: either, cache: "no-cache" });
    text = await answer.text();
  } catch {
    throw new Problem(0, "The server does not answer.", RETRY_MS);
  }
  const date = Date.parse(answer.headers.get("Date"));
  if (date) aheadMs = Math.abs(date - Date.now()) < 1_500 ? 0 : date - Date.now();
  if (!answer.ok) throw problemOf(answer, text);
  return text;
}

/** The object that the server answers with. */
export async function askNumbers(path, parameters, signal) {
  const text = await ask(path, parameters, signal);
  try {
    return JSON.parse(text);
  } catch {
    throw new Problem(0, "The server says what this page does not understand.", RETRY_MS);
  }
}

function problemOf(answer, text) {
  const said = {
    400: "This cannot be asked",
    401: key !== null ? "The server does not know this key" : "",
    403: "The server refuses that",
    429: "The server is asked too much at once",
    503: "The server cannot answer now",
  }[answer.status] ?? `The server says ${answer.status}`;
  let [detail, code] = ["", ""];
  try {
    ({ detail = "", code = "" } = JSON.parse(text));
  } catch {
    // A proxy may say it in another way.
  }
  const seconds = Number(answer.headers.get("Retry-After"));
  const isOfKey = answer.status === 401;
  const sentence = (detail && !isOfKey ? `${said}: ${detail}` : said).replace(/[^.!?]$/, "$&.");
  return new Problem(answer.status, sentence, seconds > 0 ? seconds * 1_000 : 0, code);
}
