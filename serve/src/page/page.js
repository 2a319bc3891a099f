// The live page: it asks for numbers, shows them, and asks again, as long as someone looks.
//
// What the server says becomes text and nothing else, but for the plot, which is parsed as SVG. What is chosen is in
// the address of the page.

import { ANSWER_MS_MAX, RETRY_MS, Problem, ask, askNumbers, hasKey, keepKey, now } from "./ask.js";
import { clearPlot, onResize, plotPixels, showPlot } from "./plot.js";
import { at, clock, costExact, duration, element, finality, measured, say, sayIn } from "./words.js";

const REFRESH_MS = 2_000;

/** Numbers that are older than this are pointed out: partitions are written out seconds after a minute. */
const AGE_MS_MAX = 300_000;

const MINUTE_MS = 60_000;
const MINUTES_SHOWN = 10;
const TOP = { by: "ad", last: "5m", n: 10 };

/** Names that are suggested, by what they had in the last hour. */
const SUGGESTED = { last: "1h", n: 50 };

/** Counts with more characters are set smaller: they fit a phone then. */
const LONG = 11;

const RANGES = [["15m", "15 min"], ["1h", "1 h"], ["3h", "3 h"], ["24h", "24 h"], ["7d", "7 d"], ["30d", "30 d"]];
const RANGE_DEFAULT = "1h";

const CAMPAIGN = "campaign";
const AD = "ad";

/** Dimensions that the address may narrow the page to, if the lake counts by them. */
const FILTERS = ["publisher_id", "country", "device"];

// What is chosen.

function choiceOf(address) {
  const asked = new URLSearchParams(address);
  const kind = asked.has(CAMPAIGN) ? CAMPAIGN : AD;
  const name = asked.get(kind) ?? "";
  const bounds = ["from", "to"].filter((bound) => asked.has(bound)).map((bound) => [bound, asked.get(bound)]);
  const range = bounds.length > 0 ? bounds : [["last", asked.get("last") || RANGE_DEFAULT]];
  const filter = [...asked].filter(([dimension]) => FILTERS.includes(dimension));
  return { kind, name, range, filter };
}

function addressOf({ kind, name, range, filter }) {
  return `?${new URLSearchParams([[kind, name], ...filter, ...range])}`;
}

let choice = choiceOf(location.search);

function choose(chosen, how = "pushState") {
  history[how](null, "", addressOf(chosen));
  chosenAgain();
}

function chosenAgain() {
  choice = choiceOf(location.search);
  clear();
  restart();
}

// One round after the other, never two at once: each begins when all of the one before is answered.

let round = new AbortController();
let timer = 0;

function restart() {
  round.abort();
  clearTimeout(timer);
  round = new AbortController();
  if (document.visibilityState === "visible") askAll(round.signal);
}

async function askAll(signal) {
  const chosen = choice.name ? [total, plot, minutes] : [];
  const outcomes = await Promise.allSettled([...chosen, top].map((part) => part(signal)));
  if (signal.aborted) return;
  const problems = outcomes.filter((outcome) => outcome.status === "rejected").map((outcome) => outcome.reason);
  report(problems);
  if (problems.some((problem) => problem.status === 401)) return;
  const waits = problems.map((problem) => problem.retryMs ?? RETRY_MS);
  timer = setTimeout(() => askAll(signal), Math.max(REFRESH_MS, ...waits));
}

/** The parts of the page that have had an answer. */
const told = new Set();

/** Asks for parts of the page. Without an answer, what stands there is marked as old, if anything does. */
async function part(ids, signal, asked, show) {
  const mark = (isOld) => {
    for (const id of ids) {
      at(id).classList.toggle("old", isOld);
      at(id).hidden = !told.has(id);
    }
  };
  try {
    const answer = await asked;
    if (signal.aborted) return;
    ids.forEach((id) => told.add(id));
    mark(false);
    show(answer);
  } catch (error) {
    if (!signal.aborted) mark(true);
    throw error;
  }
}

function whose() {
  return [[choice.kind, choice.name], ...choice.filter];
}

const total = (signal) =>
  part(["total", "stand"], signal, askNumbers("v1/total", [...whose(), ...choice.range], signal), showTotal);

const plot = (signal) => {
  const parameters = [...whose(), ...choice.range, ["width", plotPixels()]];
  return part(["plot"], signal, ask("plot.svg", parameters, signal), showPlot);
};

const minutes = (signal) => {
  const range = [["last", `${MINUTES_SHOWN}m`], ["granularity", "minute"]];
  return part(["minutes"], signal, askNumbers("v1/series", [...whose(), ...range], signal), showMinutes);
};

const top = (signal) =>
  part(["top"], signal, askNumbers("v1/top", [...choice.filter, ...Object.entries(TOP)], signal), showTop);

/** Names to choose from, for who is about to type one. */
async function suggest() {
  const { kind } = asked();
  try {
    const parameters = [...choice.filter, ["by", kind], ...Object.entries(SUGGESTED)];
    const answer = await askNumbers("v1/top", parameters, AbortSignal.timeout(ANSWER_MS_MAX));
    const names = answer.rows.map((row) => row[`${kind}_id`]).filter((name) => typeof name === "string");
    at("names").replaceChildren(...names.map((name) => element("option", { value: name })));
  } catch {
    // Whoever knows the name can type it.
  }
}

// Showing.

function wordsOf(problem) {
  if (problem.status === 403) return `The key does not see ${choice.kind} ${choice.name}.`;
  if (problem instanceof Problem) return problem.message;
  console.error(problem);
  return "This page has failed.";
}

/** Says the worst of what went wrong. */
function report(problems) {
  const order = [401, 0, 503, 429, 403, 400];
  const place = (problem) => (order.includes(problem.status) ? order.indexOf(problem.status) : order.length);
  const [worst] = [...problems].sort((one, other) => place(one) - place(other));
  const isOld = document.querySelector(".part.old:not([hidden])") !== null && answered !== null;
  const still = isOld ? ` What is grey is from ${clock(answered)} UTC; the page goes on asking.` : "";
  const text = worst ? wordsOf(worst) : "";
  say("status", text && worst.status !== 401 ? text + still : text);
  at("status").hidden = text === "";
  const wantsKey = worst?.status === 401;
  if (wantsKey && at("keys").hidden) {
    at("keys").hidden = false;
    at("key").focus();
  }
  if (!wantsKey) at("keys").hidden = true;
  at("forget").hidden = !hasKey() || wantsKey;
  at("numbers").hidden = wantsKey;
}

// The server has put down which measures there are: places say which of them they show.

const measures = [...at("measures").querySelectorAll("dd")];
const columnsOf = (id) => [...at(id).querySelectorAll("thead [data-measure]")];

/** The answer that the numbers at the top are from. */
let stand = null;
let answered = null;

function showTotal(answer) {
  stand = answer;
  answered = now();
  const [row] = answer.rows;
  const clicks = measured(row, at("clicks"));
  say("clicks", clicks);
  at("clicks").classList.toggle("long", clicks.length > LONG);
  say("clicks-unit", clicks === "1" ? "click" : "clicks");
  for (const place of measures) sayIn(place, measured(row, place, costExact));
  say("version", `version ${answer.version}`);
  say("final", finality(answer));
  showAge();
  document.title = `${clicks} · ${choice.name} · clicklake`;
}

/** How old the numbers are; called each second, so that it goes on when no answer comes. */
function showAge() {
  if (!stand) return;
  const until = Date.parse(stand.complete_until);
  const ageMs = now() - until;
  const known = Number.isFinite(until);
  say("age", known ? `complete until ${clock(until)} UTC, ${duration(ageMs)} ago` : "not complete at any time yet");
  // What is final is no older for being long ago.
  at("age").classList.toggle("far", !stand.final && (!known || ageMs > AGE_MS_MAX));
}

function showMinutes(answer) {
  const rows = new Map(answer.rows.map((row) => [Date.parse(row.window_start), row]));
  const until = Date.parse(answer.complete_until) || 0;
  const newest = Math.floor(now() / MINUTE_MS) * MINUTE_MS;
  const starts = Array.from({ length: MINUTES_SHOWN }, (_, place) => newest - place * MINUTE_MS);
  const grows = (start) => !answer.final && start + MINUTE_MS > until;
  const all = starts.map((start) => ({ start, row: rows.get(start), growing: grows(start) }));
  const shown = all.slice(Math.max(0, all.findIndex(({ row, growing }) => row || !growing)));
  const lines = shown.map(({ start, row, growing }) => {
    const words = growing ? [" ", element("small", { textContent: "may still grow" })] : [];
    const minute = element("th", { scope: "row" }, clock(start).slice(-8, -3), ...words);
    return element("tr", { className: growing ? "growing" : "" }, minute, ...cells("minutes", row));
  });
  const nothing = all.every(({ row, growing }) => !row && growing);
  replaceRows("minutes", nothing ? [noRow("minutes", `None of the last ${MINUTES_SHOWN} minutes is out yet.`)] : lines);
}

function showTop(answer) {
  const lines = answer.rows.map((row) => {
    const chosen = choice.kind === AD && choice.name === row.ad_id;
    const href = addressOf({ ...choice, kind: AD, name: row.ad_id });
    const link = element("a", { href, title: row.ad_id }, element("span", { textContent: row.ad_id }));
    if (chosen) link.setAttribute("aria-current", "true");
    const ad = element("th", { scope: "row" }, link);
    return element("tr", { className: chosen ? "chosen" : "" }, ad, ...cells("top", row));
  });
  replaceRows("top", lines.length > 0 ? lines : [noRow("top", "No ad has had a click in that time.")]);
  if (!choice.name && lines.length > 0) choose({ ...choice, kind: AD, name: answer.rows[0].ad_id }, "replaceState");
}

/** What a row has of each measure that a table shows. */
const cells = (id, row) => columnsOf(id).map((place) => element("td", { textContent: measured(row, place) }));

function noRow(id, textContent) {
  const colSpan = 1 + columnsOf(id).length;
  return element("tr", {}, element("td", { textContent, colSpan, className: "none" }));
}

/** Rows that say the same are left where they are, with the focus that one of them may have. */
function replaceRows(id, lines) {
  const body = at(id).querySelector("tbody");
  const old = [...body.rows];
  const rows = lines.map((line) => old.find((one) => one.isEqualNode(line)) ?? line);
  const focused = document.activeElement?.closest("tr")?.querySelector("a")?.getAttribute("href");
  if (rows.length === old.length && rows.every((row, place) => row === old[place])) return;
  body.replaceChildren(...new Set(rows));
  if (focused) [...body.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
}

/** What is shown of another choice is not left standing under this one's name. */
function clear() {
  stand = null;
  answered = null;
  for (const place of [at("clicks"), ...measures]) sayIn(place, "–");
  for (const id of ["age", "version", "final"]) say(id, "");
  clearPlot();
  replaceRows("minutes", []);
  for (const id of ["total", "plot", "stand", "minutes"]) {
    told.delete(id);
    at(id).classList.remove("old");
    at(id).hidden = false;
  }
  document.title = choice.name ? `${choice.name} · clicklake` : "clicklake";
  for (const id of ["chosen", "minutes"]) at(id).hidden = !choice.name;
  say("kind", choice.kind);
  say("whom", choice.name);
  at("whom").title = choice.name;
  showFilter();
  at("name").value = choice.name;
  document.querySelector(`input[value="${choice.kind}"]`).checked = true;
  hint();
  const last = choice.range.find(([bound]) => bound === "last")?.[1];
  const links = RANGES.map(([range, textContent]) => {
    const link = element("a", { textContent, href: addressOf({ ...choice, range: [["last", range]] }) });
    if (range === last) link.setAttribute("aria-current", "true");
    return link;
  });
  if (!RANGES.some(([range]) => range === last)) {
    const textContent = choice.range.map(([bound, value]) => `${bound} ${value}`).join(" ");
    links.push(element("span", { textContent, ariaCurrent: "true" }));
  }
  at("ranges").replaceChildren(...links);
}

/** What the page is narrowed to, each with a way out. */
function showFilter() {
  const links = choice.filter.map(([dimension, value], place) => {
    const filter = choice.filter.filter((_, other) => other !== place);
    const textContent = `${dimension} ${value === "" ? "null" : value} ×`;
    return element("a", { textContent, href: addressOf({ ...choice, filter }), title: "Leave this condition out" });
  });
  at("filter").replaceChildren(...links);
  at("filter").hidden = links.length === 0;
}

// Choosing.

function asked() {
  return { kind: document.querySelector("input[name=kind]:checked").value, name: at("name").value };
}

function hint() {
  at("name").placeholder = asked().kind === AD ? "name of an ad" : "name of a campaign";
}

at("chooser").addEventListener("submit", (event) => {
  event.preventDefault();
  choose({ ...choice, ...asked() });
});

at("chooser").addEventListener("change", (event) => {
  if (event.target.name !== "kind") return;
  at("name").value = "";
  at("names").replaceChildren();
  hint();
  suggest();
});

at("name").addEventListener("focus", suggest);

// Links to other choices are followed without loading the page again.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  const elsewhere = event.ctrlKey || event.metaKey || event.shiftKey || event.altKey;
  if (!link?.getAttribute("href").startsWith("?") || elsewhere) return;
  event.preventDefault();
  choose(choiceOf(link.search));
});

addEventListener("popstate", chosenAgain);

at("keys").addEventListener("submit", (event) => {
  event.preventDefault();
  keepKey(at("key").value);
  at("key").value = "";
  restart();
});

at("forget").addEventListener("click", () => {
  keepKey(null);
  chosenAgain();
});

document.addEventListener("visibilitychange", restart);

onResize(restart);

setInterval(showAge, 1_000);

chosenAgain();
