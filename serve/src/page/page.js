// The live page: it asks for numbers, shows them, and asks again, as long as someone looks.
//
// What the server says becomes text and nothing else, but for the plot, which is parsed as SVG. What is chosen is in
// the address of the page.

import { ANSWER_MS_MAX, RETRY_MS, Problem, ask, askNumbers, hasKey, keepKey, now } from "./ask.js";
import { addressOf, areKnown, beside, choiceOf, columnsBy, columnsKnown, forgetColumns, labelOf } from "./choice.js";
import { learnColumns, nameOf, withFilter, wordsOf, written } from "./choice.js";
import { clearPlot, onResize, plotPixels, showPlot } from "./plot.js";
import { at, clock, costExact, duration, element, finality, measured, say, sayIn } from "./words.js";

const REFRESH_MS = 2_000;

/** Numbers that are older than this are pointed out: partitions are written out seconds after a minute. */
const AGE_MS_MAX = 300_000;

const MINUTE_MS = 60_000;
const MINUTES_SHOWN = 10;
const TOP_ROWS = 10;

/** Values that are suggested, those with most clicks. */
const SUGGESTED = 50;

/** Counts with more characters are set smaller: they fit a phone then. */
const LONG = 11;

const RANGES = [
  ["5m", "5 min"], ["15m", "15 min"], ["1h", "1 h"], ["3h", "3 h"], ["24h", "24 h"], ["7d", "7 d"], ["30d", "30 d"],
];

// What is chosen.

let choice = choiceOf(location.search);

function choose(chosen) {
  history.pushState(null, "", addressOf(chosen));
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

/** The code of a refusal by dimensions that the lake does not count by. */
const NOT_COUNTED = "CL0020";

/** How long dimensions are not asked for again, though the table has changed: of all versions, few are promotions. */
const LEARN_MS_MIN = 60_000;

let learnedMs = 0;

/** When to ask again by which dimensions the lake counts: its table has changed, or it refuses one of them. */
let learnsMs = Infinity;
let areOthers = false;

async function learn(signal) {
  // Before the answer: whatever is asked beside it may have one of a later version.
  learnsMs = Infinity;
  learnedMs = performance.now();
  try {
    areOthers = await learnColumns(signal);
  } catch (error) {
    learnsMs = 0;
    throw error;
  }
}

async function askAll(signal) {
  const asksAgain = performance.now() >= learnsMs ? [learn] : [];
  const parts = areKnown() ? [total, plot, minutes, top, ...asksAgain] : [learn];
  const outcomes = await Promise.allSettled(parts.map((part) => part(signal)));
  if (signal.aborted) return;
  const problems = outcomes.filter((outcome) => outcome.status === "rejected").map((outcome) => outcome.reason);
  report(problems);
  if (problems.some((problem) => problem.status === 401)) return;
  if (problems.some((problem) => problem.code === NOT_COUNTED)) learnsMs = 0;
  if (areOthers) {
    areOthers = false;
    chosenAgain();
    return;
  }
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

const total = (signal) =>
  part(["total", "stand"], signal, askNumbers("v1/total", [...choice.filter, ...choice.range], signal), showTotal);

const plot = (signal) => {
  const granularity = choice.granularity ? [["granularity", choice.granularity]] : [];
  const parameters = [...choice.filter, ...choice.range, ...granularity, ["width", plotPixels()]];
  return part(["plot"], signal, ask("plot.svg", parameters, signal), showPlot);
};

const minutes = (signal) => {
  const range = [["last", `${MINUTES_SHOWN}m`], ["granularity", "minute"]];
  return part(["minutes"], signal, askNumbers("v1/series", [...choice.filter, ...range], signal), showMinutes);
};

/** The largest, to compare: filters of what they are by are left out. */
const top = (signal) => part(["top"], signal, askNumbers("v1/top", topAsks(), signal), showTop);

function topAsks() {
  const columns = columnsBy(choice);
  return [...beside(choice, columns), ...choice.range, ["by", columns.join(",")], ["n", TOP_ROWS]];
}

/** Values to choose from, for who is about to type one. */
async function suggest() {
  const dimension = at("dimension").value;
  try {
    const parameters = [...beside(choice, [dimension]), ...choice.range, ["by", dimension], ["n", SUGGESTED]];
    const answer = await askNumbers("v1/top", parameters, AbortSignal.timeout(ANSWER_MS_MAX));
    if (at("dimension").value !== dimension) return;
    const values = answer.rows.map((row) => row[dimension]).filter((value) => typeof value === "string");
    at("values").replaceChildren(...values.map((value) => element("option", { value })));
  } catch {
    // Whoever knows the value can type it.
  }
}

// Showing.

function wordsOfProblem(problem) {
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
  const text = worst ? wordsOfProblem(worst) : "";
  say("status", text && worst.status !== 401 ? text + still : text);
  at("status").hidden = text === "";
  const wantsKey = worst?.status === 401;
  if (wantsKey && at("keys").hidden) {
    at("keys").hidden = false;
    at("key").focus();
  }
  if (!wantsKey) at("keys").hidden = true;
  at("forget").hidden = !hasKey() || wantsKey;
  for (const id of ["numbers", "chooser"]) at(id).hidden = wantsKey || !areKnown();
}

// The server has put down which measures there are: places say which of them they show.

const measures = [...at("measures").querySelectorAll("dd")];
const columnsOf = (id) => [...at(id).querySelectorAll("thead [data-measure]")];

/** The answer that the numbers at the top are from. */
let stand = null;
let answered = null;

/** The version that the numbers had last, whatever was chosen. */
let version = null;

function showTotal(answer) {
  if (answer.version !== version) learnsMs = Math.min(learnsMs, learnedMs + LEARN_MS_MIN);
  version = answer.version;
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
  document.title = [clicks, ...choice.filter.map(wordsOf), "clicklake"].join(" · ");
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
  const columns = columnsBy(choice);
  const others = beside(choice, columns);
  const lines = answer.rows.map((row) => {
    const filter = columns.map((column) => [column, written(row[column])]);
    const chosen = filter.every(([column, text]) =>
      choice.filter.some(([dimension, other]) => dimension === column && other === text));
    const textContent = columns.map((column) => nameOf(row[column])).join(" · ");
    const href = addressOf({ ...choice, filter: [...others, ...filter] });
    const link = element("a", { href, title: textContent }, element("span", { textContent }));
    if (chosen) link.setAttribute("aria-current", "true");
    const name = element("th", { scope: "row" }, link);
    return element("tr", { className: chosen ? "chosen" : "" }, name, ...cells("top", row));
  });
  replaceRows("top", lines.length > 0 ? lines : [noRow("top", "There has been no click in that time.")]);
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

let topAsked = "";

/** What is shown of another choice is not left standing under this one's name. */
function clear() {
  stand = null;
  answered = null;
  for (const place of [at("clicks"), ...measures]) sayIn(place, "–");
  for (const id of ["age", "version", "final"]) say(id, "");
  clearPlot();
  // Another row of the same table may be chosen: the table stays, and the focus in it.
  const asks = JSON.stringify(topAsks());
  const emptied = asks === topAsked ? ["minutes"] : ["minutes", "top"];
  topAsked = asks;
  for (const id of emptied) replaceRows(id, []);
  for (const id of ["total", "plot", "stand", ...emptied]) {
    told.delete(id);
    at(id).classList.remove("old");
    at(id).hidden = false;
  }
  document.title = [...choice.filter.map(wordsOf), "clicklake"].join(" · ");
  showFilter();
  showRanges();
  showBy();
}

/** What the page is narrowed to, each with a way out. Who has taken one out with the keyboard goes on beside it. */
function showFilter() {
  const left = [...at("filter").querySelectorAll("a")].indexOf(document.activeElement);
  const lines = choice.filter.map((one, place) => {
    const filter = choice.filter.filter((_, other) => other !== place);
    const isOther = place > 0 && choice.filter[place - 1][0] === one[0];
    const words = element("span", { textContent: `${isOther ? "or " : ""}${wordsOf(one)}` });
    const title = `Take out the filter ${wordsOf(one)}`;
    const href = addressOf({ ...choice, filter });
    const out = element("a", { href, textContent: "×", title, ariaLabel: title });
    return element("li", {}, words, out);
  });
  at("filter").replaceChildren(...lines);
  at("filter").hidden = lines.length === 0;
  say("whose", lines.length > 0 ? "Clicks with" : "All clicks");
  say("said", lines.length > 0 ? `Filtered by ${choice.filter.map(wordsOf).join(", ")}.` : "Not filtered.");
  const next = lines[Math.min(left, lines.length - 1)]?.querySelector("a");
  if (left >= 0) (next ?? at("whose")).focus();
}

function showRanges() {
  const last = choice.range.find(([bound]) => bound === "last")?.[1];
  const links = RANGES.map(([range, textContent]) => {
    const link = element("a", { textContent, href: addressOf({ ...choice, range: [["last", range]] }) });
    if (range === last) link.setAttribute("aria-current", "true");
    return link;
  });
  const words = choice.range.map(([bound, value]) => `${bound} ${value}`).join(" ");
  if (!RANGES.some(([range]) => range === last)) {
    links.push(element("span", { textContent: words, ariaCurrent: "true" }));
  }
  at("ranges").replaceChildren(...links);
  say("top-range", words);
}

/** What can be filtered and grouped by, and what is: the address may have what is in no list. */
function showBy() {
  const names = columnsKnown();
  const options = (values) => values.map((value) => element("option", { value, textContent: labels(value) }));
  const labels = (value) => value.split(",").map(labelOf).join(" · ");
  const by = columnsBy(choice).join(",");
  const dimension = at("dimension");
  if ([...dimension.options].map(({ value }) => value).join() !== names.join()) {
    const before = dimension.value;
    dimension.replaceChildren(...options(names));
    if (names.includes(before)) dimension.value = before;
  }
  at("group").replaceChildren(...options([...new Set([...names, by])]));
  at("group").value = by;
  say("group-label", labels(by));
  const { granularity } = choice;
  const isKnown = [...at("granularity").options].some(({ value }) => value === granularity);
  if (!isKnown) at("granularity").append(element("option", { value: granularity, textContent: granularity }));
  at("granularity").value = granularity;
}

// Choosing.

at("chooser").addEventListener("submit", (event) => {
  event.preventDefault();
  const value = at("value").value;
  at("value").value = "";
  choose(withFilter(choice, at("dimension").value, value === "" ? null : value));
});

at("dimension").addEventListener("change", () => {
  at("value").value = "";
  at("values").replaceChildren();
});

at("value").addEventListener("focus", suggest);

at("group").addEventListener("change", () => choose({ ...choice, groupBy: at("group").value }));

at("granularity").addEventListener("change", () => choose({ ...choice, granularity: at("granularity").value }));

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
  forgetColumns();
  topAsked = "";
  at("values").replaceChildren();
  chosenAgain();
});

document.addEventListener("visibilitychange", restart);

onResize(restart);

setInterval(showAge, 1_000);

chosenAgain();
