// What is chosen: filters, a range, what the table is by, and how fine the plot is. All of it is in the address of the
// page, as the API takes it, so that a link shows the same. Dimensions are those that the server names.

import { askNumbers } from "./ask.js";

const RANGE_DEFAULT = "1h";

/** What an address says beside filters. Whatever else it says is a filter, so that none is left out in silence. */
const NO_FILTERS = ["from", "to", "last", "group_by", "granularity"];

/** What mails and browsers add to addresses, and the server passes over, too. */
const PASSED_OVER = /^(_|utm_)/;

/** The dimensions that the lake counts by. */
let all = [];
let known = false;

/** Whether the server has said which dimensions there are. */
export const areKnown = () => known;

/** Asks which dimensions there are, and says whether they are others than those known: a promotion may change them. */
export async function learnColumns(signal) {
  const { dimensions } = await askNumbers("v1/dimensions", [], signal);
  const areOthers = !known || JSON.stringify(dimensions) !== JSON.stringify(all);
  all = dimensions;
  known = true;
  return areOthers;
}

/** Forgets which dimensions there are. */
export function forgetColumns() {
  all = [];
  known = false;
}

/** The columns of the dimensions. */
export const columnsKnown = () => all.map(({ name }) => name);

/** A dimension's name for people. */
export const labelOf = (name) => all.find((dimension) => dimension.name === name)?.short ?? name;

const longOf = (short) => all.find((dimension) => dimension.short === short)?.name ?? short;

/** A value as parameters have it: nothing is null, and quotes stand around what would be read as something else. */
export function written(value) {
  if (value === null) return "";
  return value === "" || /[",]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}

/** A value for people. */
export const nameOf = (value) => (value === null ? "null" : value || '""');

/** What a parameter has, for people: one value without its quotes, several as they are written. */
function shown(text) {
  if (text === "") return nameOf(null);
  const [, quoted] = /^"((?:[^"]|"")+)"$/.exec(text) ?? [];
  return quoted?.replaceAll('""', '"') ?? text;
}

/** What a filter asks, in words. */
export const wordsOf = ([name, text]) => `${labelOf(name)} = ${longOf(name) === name ? shown(text) : nameOf(text)}`;

/** A filter by its column. One by a short name has a single value, as it is; without one it stays as it is written,
    because the server refuses it, and says why. */
function byColumn([name, text]) {
  const column = longOf(name);
  return column === name || text === "" ? [name, text] : [column, written(text)];
}

/** What an address chooses. Filters of a dimension stand together: one of them must hold. */
export function choiceOf(address) {
  const asked = new URLSearchParams(address);
  const bounds = ["from", "to"].filter((bound) => asked.has(bound)).map((bound) => [bound, asked.get(bound)]);
  const range = bounds.length > 0 ? bounds : [["last", asked.get("last") || RANGE_DEFAULT]];
  const filters = [...asked].filter(([name]) => !NO_FILTERS.includes(name) && !PASSED_OVER.test(name));
  const filter = [...Map.groupBy(filters.map(byColumn), ([dimension]) => dimension).values()].flat();
  const groupBy = asked.get("group_by")?.split(",").map(longOf).join(",") ?? "";
  return { filter, range, groupBy, granularity: asked.get("granularity") ?? "" };
}

/** The address that chooses this. */
export function addressOf({ filter, range, groupBy, granularity }) {
  const others = [["group_by", groupBy], ["granularity", granularity]].filter(([, value]) => value !== "");
  return `?${new URLSearchParams([...filter, ...range, ...others])}`;
}

/** A choice with one more filter. */
export function withFilter(choice, dimension, value) {
  const text = written(value);
  const isThere = choice.filter.some(([name, other]) => name === dimension && other === text);
  return isThere ? choice : { ...choice, filter: [...choice.filter, [dimension, text]] };
}

/** The filters of other dimensions than these. */
export const beside = ({ filter }, columns) => filter.filter(([dimension]) => !columns.includes(dimension));

/** The columns that the table is by: without a choice, the first that there is. */
export const columnsBy = ({ groupBy }) => (groupBy || all[0]?.name || "").split(",");
