// The words of the page: counts, costs, times and ages, and where they are written.

import { now } from "./ask.js";

export const at = (id) => document.getElementById(id);
const counts = new Intl.NumberFormat("en-US");

const decimals = (least, most) =>
  new Intl.NumberFormat("en-US", { minimumFractionDigits: least, maximumFractionDigits: most });

/** Costs are counted in millionths. The total says each; columns of a table are to be compared. */
export const costExact = decimals(2, 6);
const costRounded = decimals(2, 2);

/** Makes an element with text or elements in it. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Texts that stay are left alone: a screen reader reads what changes. */
export function sayIn(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

export const say = (id, text) => sayIn(at(id), text);

/** A count. Those that no number of this language holds come as text, and none of their digits is lost. */
const count = (number) => counts.format(BigInt(number));

/** A cost, to the last millionth. */
function cost(number, format) {
  const micros = BigInt(number);
  const size = micros < 0n ? -micros : micros;
  const exact = `${size / 1_000_000n}.${String(size % 1_000_000n).padStart(6, "0")}`;
  return format.format(micros < 0n ? `-${exact}` : exact);
}

/** What a row has of the measure that a place shows; without a row, nothing. */
export function measured(row, { dataset: { measure, format } }, costs = costRounded) {
  const number = row?.[measure] ?? 0;
  return format === "cost" ? cost(number, costs) : count(number);
}

/** Whether an answer may still change, in words. */
export function finality({ final, pending = {} }) {
  if (final) return "final: no click that comes later is counted in it";
  const topics = Object.entries(pending);
  const name = (topic, number) => (topics.length > 1 ? `${topic}/${number}` : number);
  const all = topics.flatMap(([topic, numbers]) => numbers.map((number) => name(topic, number)));
  const named = all.slice(0, 8).join(", ");
  const more = all.length > 8 ? ` and ${all.length - 8} more` : "";
  const partitions = all.length === 1 ? "partition" : "partitions";
  const of = topics.length === 1 ? ` of ${topics[0][0]}` : "";
  return all.length > 0 ? `not final: ${partitions} ${named}${more}${of} pending` : "not final: nothing is counted yet";
}

/** A time in UTC, with its day if that is not today. */
export function clock(ms) {
  const iso = new Date(ms).toISOString();
  const today = new Date(now()).toISOString().slice(0, 10);
  return iso.startsWith(today) ? iso.slice(11, 19) : `${iso.slice(0, 10)} ${iso.slice(11, 19)}`;
}

/** How long, in the two units that matter. */
export function duration(ms) {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  const [days, hours, minutes] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3_600), Math.floor(seconds / 60)];
  if (days >= 2) return `${days} days`;
  if (hours >= 2) return `${hours} h ${minutes % 60} min`;
  return minutes >= 2 ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}
