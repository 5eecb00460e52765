// The alerts on a line for each camera, with ticks; open ones stand out, acknowledged ones stand back.
import { ask, byId, isOpen, make, moment } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const STEPS = [1, 5, 15, 30, 60, 180, 360, 720, 1440, 2880, 10080, 43200].map((minutes) => minutes * 60_000); // ms

function draw(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// Round times of this time zone between two moments, at most `most`.
export function ticks(first, last, most) {
  const step = STEPS.find((each) => (last - first) / each <= most) ?? (last - first) / most;
  const shift = new Date(first).getTimezoneOffset() * 60_000;
  const found = [];
  for (let at = Math.ceil((first - shift) / step) * step + shift; at <= last; at += step) found.push(at);
  return [found, step];
}

function label(ms, step) {
  const options = step >= 1440 * 60_000 || new Date(ms).getHours() + new Date(ms).getMinutes() === 0 ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" };
  return new Date(ms).toLocaleString([], options);
}

export function timeline(alerts) {
  const svg = byId("timeline"), cameras = [...new Set(alerts.map((alert) => alert.camera))].sort();
  svg.parentElement.hidden = !alerts.length;
  svg.replaceChildren();
  if (!alerts.length) return;
  const width = Math.max(320, svg.clientWidth || 800), narrow = width < 500, longest = Math.max(...cameras.map((name) => name.length));
  const most = narrow ? 40 : 28, left = narrow ? 8 : 24 + 7.5 * Math.min(most, longest), lane = narrow ? 40 : 26;
  const height = lane * cameras.length + 26, right = width - 12;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const raised = alerts.map((alert) => alert.raised_ms);
  const last = Math.max(Date.now(), ...alerts.map((alert) => alert.ended_ms ?? 0)), first = Math.min(...raised, last - 60_000);
  const x = (ms) => left + ((right - left) * (ms - first)) / (last - first);
  const [marks, step] = ticks(first, last, narrow ? 3 : 7);
  for (const at of marks) {
    svg.append(draw("line", { class: "tick", x1: x(at), x2: x(at), y1: 4, y2: height - 20 }));
    if (x(at) > left + 24 && x(at) < right - 24) svg.append(draw("text", { x: x(at), y: height - 6, "text-anchor": "middle" }, label(at, step)));
  }
  cameras.forEach((name, index) => { // beside its line, on a phone above it
    const middle = index * lane + (narrow ? 27 : 15);
    svg.append(draw("text", { x: 8, y: narrow ? index * lane + 14 : middle + 4 }, name.length > most ? `${name.slice(0, most - 1)}\u2026` : name), draw("line", { x1: left, x2: right, y1: middle, y2: middle }));
  });
  for (const alert of alerts) {
    const from = x(alert.raised_ms), to = x(alert.ended_ms ?? last), y = cameras.indexOf(alert.camera) * lane + (narrow ? 19 : 7);
    const kind = isOpen(alert) ? "open" : alert.acknowledged_ms || alert.judgement ? "seen" : "cleared";
    const bar = draw("rect", { class: `bar ${kind}`, x: from, y, width: Math.max(6, to - from), height: 16, rx: 3 });
    bar.append(draw("title", {}, `${alert.camera}, ${moment(alert.raised_ms)}: ${alert.label} (${kind === "open" ? "open" : alert.state})`));
    bar.addEventListener("click", () => { location.hash = `alert/${alert.event_id}`; });
    svg.append(bar);
  }
  const open = alerts.filter(isOpen).length;
  byId("timeline-text").replaceChildren(`${alerts.length} ${alerts.length === 1 ? "alert" : "alerts"} since ${moment(first)}`,
    make("span", {}, `, ${open} open`));
}

// The score of every frame around one alert against the threshold, as kept beside its pictures; without that, the
// highest score so far, as its records tell it.
export async function history(alert) {
  const kept = alert.files.includes("scores") ? (await ask(`/alerts/${alert.event_id}/scores`)).points : null;
  const points = kept ?? alert.records.map(({ body }) => [body.wall_ns / 1e6, body.score, body.threshold]);
  if (points.length < 2 || points.some(([, score]) => typeof score !== "number")) return null;
  const width = 960, height = 150, first = points[0][0], last = Math.max(points.at(-1)[0], first + 1000);
  const values = points.flatMap(([, score, threshold]) => [score, threshold]), low = Math.min(0, ...values), high = Math.max(...values) * 1.1 || 1;
  const x = (ms) => 8 + ((width - 16) * (Math.min(ms, last) - first)) / (last - first), y = (value) => height - 22 - ((height - 40) * (value - low)) / (high - low);
  const step = ([ms, score], index) => (!index ? `M${x(ms)},${y(score)}` : kept ? `L${x(ms)},${y(score)}` : `H${x(ms)}V${y(score)}`);
  const limit = points.map(([ms, , threshold], index) => `${index ? "L" : "M"}${x(ms)},${y(threshold)}`).join("");
  const text = (at, anchor, height, said) => draw("text", { x: at, y: height, "text-anchor": anchor }, said);
  const caption = kept ? "The score of each frame; shaded while the alert stood" : "The highest score so far";
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "history", "aria-label": `${caption}, against the threshold` });
  if (kept) svg.append(draw("rect", { class: "stood", x: x(alert.raised_ms), y: 4, width: Math.max(2, x(alert.ended_ms ?? last) - x(alert.raised_ms)), height: height - 26 }));
  svg.append(draw("path", { class: "threshold", d: limit }), draw("path", { d: points.map(step).join("") }),
    text(8, "start", height - 6, new Date(first).toLocaleTimeString()), text(width - 8, "end", height - 6, new Date(last).toLocaleTimeString()),
    text(width - 8, "end", y(points.at(-1)[2]) - 4, "threshold"));
  return make("figure", { className: "panel history-panel" }, svg, make("figcaption", { className: "quiet" }, caption));
}
