// The plot on the page, and pointing at its bars: with a mouse, a finger, or the arrow keys.

import { Problem, RETRY_MS } from "./ask.js";
import { at, say } from "./words.js";

/** What the server draws. */
const PLOT_PIXELS = { min: 200, max: 2_000 };

/** A window that is being resized is waited for. */
const RESIZED_MS = 200;

/** How wide a plot has room. */
export function plotPixels() {
  const { min, max } = PLOT_PIXELS;
  return Math.min(max, Math.max(min, Math.floor(at("picture").clientWidth)));
}

let drawn = "";

/** Shows a plot, if it is another than the one that is there. */
export function showPlot(svg) {
  if (svg === drawn) return;
  const parsed = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
  if (parsed.localName !== "svg") throw new Problem(0, "The plot cannot be read.", RETRY_MS);
  drawn = svg;
  at("picture").replaceChildren(document.importNode(parsed, true));
  point(pointed);
}

/** Takes the plot away. */
export function clearPlot() {
  drawn = "";
  at("picture").replaceChildren();
  point(null);
}

/** Calls back when the plot has room for another width. */
export function onResize(redraw) {
  let timer = 0;
  new ResizeObserver(() => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const svg = at("picture").querySelector("svg");
      if (svg && svg.viewBox.baseVal.width !== plotPixels()) redraw();
    }, RESIZED_MS);
  }).observe(at("picture"));
}

/** The left edge of the bar whose number is said. */
let pointed = null;

const bars = () => [...at("picture").querySelectorAll("rect.bar")];
const edge = (bar) => Number(bar.getAttribute("x"));

/** Points at the bar that is nearest to a place, in pixels of the plot. */
function point(x) {
  bars().forEach((bar) => bar.classList.remove("pointed"));
  const middle = (bar) => edge(bar) + Number(bar.getAttribute("width")) / 2;
  const distance = (bar) => Math.abs(middle(bar) - x);
  const nearer = (one, other) => (distance(other) < distance(one) ? other : one);
  const [first, ...others] = x === null ? [] : bars();
  const nearest = others.reduce(nearer, first);
  nearest?.classList.add("pointed");
  const nothing = drawn && bars().length === 0 ? "No clicks in this range." : "";
  say("readout", nearest?.querySelector("title")?.textContent ?? nothing);
  pointed = nearest ? x : null;
}

at("picture").addEventListener("pointermove", (event) => {
  const svg = at("picture").querySelector("svg");
  if (!svg) return;
  const { left, width } = svg.getBoundingClientRect();
  point(((event.clientX - left) * svg.viewBox.baseVal.width) / width);
});

at("picture").addEventListener("pointerleave", (event) => {
  if (event.pointerType === "mouse") point(null);
});

at("plot").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const all = bars();
  if (event.key === "Escape") point(null);
  if (!step || all.length === 0) return;
  event.preventDefault();
  const from = all.findIndex((bar) => bar.classList.contains("pointed"));
  const to = from < 0 ? all.length - 1 : Math.min(all.length - 1, Math.max(0, from + step));
  point(edge(all[to]) + Number(all[to].getAttribute("width")) / 2);
});
