// The alerts: list, timeline, and one of them with its evidence.
import { ask, byId, facts, make, moment, number, percent } from "./dom.js";
import { Review } from "./review.js";

const SVG = "http://www.w3.org/2000/svg";
const isOpen = (alert) => alert.state === "raised" || alert.state === "updated";
const lasted = (alert) => `${number(((alert.ended_ms ?? Date.now()) - alert.raised_ms) / 1000)} s`;

export class Alerts {
  constructor(about) {
    this.about = about;
    this.review = new Review(about);
    this.shown = null; // the alert that is opened
    this.site = ""; // of a camera that was chosen from the list of all
    const form = byId("filter");
    form.elements.camera.append(...about.cameras.map((name) => make("option", {}, name)));
    form.addEventListener("input", () => this.load());
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => { this.site = ""; setTimeout(() => this.load()); });
    byId("not-kept").hidden = about.kept;
    byId("export").hidden = !about.kept;
  }

  query() {
    const query = new URLSearchParams();
    for (const [key, value] of new FormData(byId("filter"))) {
      if (value) query.set(key, key === "since" || key === "until" ? new Date(value).getTime() : value);
    }
    if (this.site && query.has("camera")) query.set("site", this.site);
    return query;
  }

  choose(given) { // camera=NAME&site=NAME, from the list of cameras
    const wanted = new URLSearchParams(given);
    const choice = byId("filter").elements.camera;
    const name = wanted.get("camera") ?? "";
    if (![...choice.options].some((option) => option.value === name)) choice.append(make("option", {}, name));
    choice.value = name;
    this.site = wanted.get("site") ?? "";
  }

  async load(given) {
    if (given) this.choose(given);
    const query = this.query();
    byId("export").href = `/export.zip?${query}`;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const [alerts] = await Promise.all([ask(`/api/alerts?${query}`), this.review.load()]);
    if (turn !== this.turn) return; // a newer question was asked meanwhile
    byId("no-alerts").hidden = alerts.length > 0;
    byId("alert-rows").replaceChildren(...alerts.map(row));
    timeline(alerts);
  }

  async open(id) {
    const alert = await ask(`/api/alerts/${encodeURIComponent(id)}`);
    this.shown = id;
    byId("alert-title").textContent = `Alert on ${alert.camera}: ${alert.label}`;
    this.files = alert.files.join();
    byId("alert-body").replaceChildren(
      facts([["State", state(alert)], ["Raised", moment(alert.raised_ms)], ["Lasted", lasted(alert)],
        ["Label shown", `${alert.label} (${percent(alert.confidence)})`], ["Label recovered", alert.recovered ?? "\u2013"],
        ["Score", `${number(alert.score, 2)} (threshold ${number(alert.threshold, 2)})`], ["Detectors", alert.detectors.join(", ")], ["Id", alert.event_id]]),
      evidence(alert), this.review.marking(alert), records(alert));
  }

  async refresh(id) { // only what changes: nobody's half-written note is lost
    if (this.shown !== id) return;
    const alert = await ask(`/api/alerts/${encodeURIComponent(id)}`);
    const [list, pictures, , told] = byId("alert-body").children;
    if (!told) return;
    list.children[1].replaceChildren(state(alert));
    list.children[5].textContent = lasted(alert);
    if (alert.files.join() !== this.files) {
      this.files = alert.files.join();
      pictures.replaceWith(evidence(alert));
    }
    told.replaceWith(records(alert));
  }
}

function state(alert) {
  return make("span", { className: isOpen(alert) ? "pill bad" : "pill" }, isOpen(alert) ? "open" : alert.state);
}

function row(alert) {
  const link = make("a", { href: `#alert/${alert.event_id}` }, moment(alert.raised_ms));
  const cells = [link, alert.camera, state(alert), alert.label, alert.recovered ?? "\u2013", percent(alert.confidence), lasted(alert),
    alert.judgement ?? (alert.acknowledged_ms ? "yes" : "no")];
  const tr = make("tr", {}, ...cells.map((cell) => make("td", {}, cell)));
  tr.dataset.event = alert.event_id;
  if (alert.note) tr.lastChild.append(` \u2013 ${alert.note.slice(0, 40)}`);
  return tr;
}

function evidence(alert) {
  const at = (kind) => `/alerts/${alert.event_id}/${kind}`;
  const figure = (element, text, ...more) => make("figure", {}, element, make("figcaption", { className: "quiet" }, text, ...more));
  const shown = [];
  if (alert.files.includes("overlay")) shown.push(figure(make("img", { src: at("overlay"), alt: `The frame with what was found: ${alert.label}` }), "With what was found"));
  if (alert.files.includes("frame")) shown.push(figure(make("img", { src: at("frame"), alt: "The frame that raised the alert" }), "The frame that raised it"));
  if (alert.files.includes("clip")) {
    const clip = make("video", { src: at("clip"), controls: true, muted: true, loop: true, playsInline: true, preload: "metadata", "aria-label": "Clip around the alert" });
    shown.push(figure(clip, "Before and after. ", make("a", { href: at("clip"), download: `${alert.event_id}.mp4` }, "Download")));
  }
  if (!shown.length) shown.push(make("p", { className: "quiet" }, "There is no picture of it (yet)."));
  return make("div", { className: "evidence" }, ...shown);
}

function records(alert) {
  const text = JSON.stringify(alert.records, null, 1);
  const link = make("a", { href: `/api/alerts/${alert.event_id}`, download: `${alert.event_id}.json` }, "Download the JSON");
  return make("details", {}, make("summary", {}, `What was published (${alert.records.length} records)`), make("p", {}, link), make("pre", { tabIndex: 0 }, text));
}

function draw(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
}

function timeline(alerts) {
  const svg = byId("timeline"), cameras = [...new Set(alerts.map((alert) => alert.camera))].sort();
  svg.parentElement.hidden = !alerts.length;
  svg.replaceChildren();
  if (!alerts.length) return;
  const width = Math.max(320, svg.clientWidth || 800), left = 90, lane = 26, height = lane * cameras.length + 26;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const first = Math.min(...alerts.map((alert) => alert.raised_ms)), last = Math.max(Date.now(), ...alerts.map((alert) => alert.ended_ms ?? 0));
  const x = (ms) => left + ((width - left - 12) * (ms - first)) / Math.max(1000, last - first);
  cameras.forEach((name, index) => {
    svg.append(draw("text", { x: 8, y: index * lane + 19 }, name.slice(0, 12)), draw("line", { x1: left, x2: width - 12, y1: index * lane + 15, y2: index * lane + 15 }));
  });
  for (const alert of alerts) {
    const from = x(alert.raised_ms), to = x(alert.ended_ms ?? last);
    const bar = draw("rect", { class: "bar", x: from, y: cameras.indexOf(alert.camera) * lane + 7, width: Math.max(5, to - from), height: 16, rx: 3 });
    bar.append(draw("title", {}, `${alert.camera}, ${moment(alert.raised_ms)}: ${alert.label}`));
    bar.addEventListener("click", () => { location.hash = `alert/${alert.event_id}`; });
    svg.append(bar);
  }
  svg.append(draw("text", { x: left, y: height - 7 }, moment(first)), draw("text", { x: width - 12, y: height - 7, "text-anchor": "end" }, "now"));
  byId("timeline-text").textContent = `${alerts.length} ${alerts.length === 1 ? "alert" : "alerts"} since ${moment(first)}`;
}
