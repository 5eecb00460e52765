// The alerts: list, timeline, and one of them with its evidence.
import { ask, banner, byId, duration, facts, isOpen, make, moment, number, percent } from "./dom.js";
import { Review } from "./review.js";
import { history, timeline } from "./timeline.js";

const DAY_MS = 86_400_000;
const SINCE = { today: () => new Date().setHours(0, 0, 0, 0), day: () => Date.now() - DAY_MS, week: () => Date.now() - 7 * DAY_MS };
const lasted = (alert) => duration((alert.ended_ms ?? Date.now()) - alert.raised_ms);

export class Alerts {
  constructor(about) {
    this.about = about;
    this.review = new Review(about);
    this.shown = null; // the alert that is opened
    this.site = ""; // of a camera that was chosen from the list of all
    const form = byId("filter");
    form.elements.camera.append(...about.cameras.map((name) => make("option", {}, name)));
    this.order = []; // the ids of the list as it was shown last, newest first
    this.chosen = new Set();
    this.pictures = new Map(); // of the list, by id
    form.addEventListener("input", () => this.load());
    for (const button of document.querySelectorAll("[data-since]")) {
      button.addEventListener("click", () => {
        form.elements.since.value = local(SINCE[button.dataset.since]());
        form.elements.until.value = "";
        this.load();
      });
    }
    byId("choose-all").addEventListener("change", (event) => this.choose(event.target.checked ? this.order : []));
    byId("acknowledge-chosen").hidden = !about.kept;
    byId("acknowledge-chosen").addEventListener("click", () => this.acknowledgeChosen().catch((error) => banner(error.message)));
    addEventListener("keydown", (event) => this.key(event));
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

  filterBy(given) { // camera=NAME&site=NAME, from the list of cameras
    const wanted = new URLSearchParams(given);
    const choice = byId("filter").elements.camera;
    const name = wanted.get("camera") ?? "";
    if (![...choice.options].some((option) => option.value === name)) choice.append(make("option", {}, name));
    choice.value = name;
    this.site = wanted.get("site") ?? "";
  }

  async load(given) {
    if (given) this.filterBy(given);
    const query = this.query();
    byId("export").href = `/export.zip?${query}`;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const [alerts] = await Promise.all([ask(`/api/alerts?${query}`), this.review.load()]);
    if (turn !== this.turn) return; // a newer question was asked meanwhile
    byId("no-alerts").hidden = alerts.length > 0;
    this.order = alerts.map((alert) => alert.event_id);
    byId("alert-rows").replaceChildren(...alerts.map((alert) => this.row(alert)));
    for (const id of this.pictures.keys()) if (!this.order.includes(id)) this.pictures.delete(id);
    this.choose([...this.chosen].filter((id) => this.order.includes(id)));
    timeline(alerts);
  }

  async open(id) {
    const alert = await ask(`/api/alerts/${encodeURIComponent(id)}`);
    this.shown = id;
    byId("alert-title").textContent = `Alert on ${alert.camera}: ${alert.label}`;
    this.files = alert.files.filter((kind) => kind !== "scores").join();
    byId("alert-body").replaceChildren(
      facts([["State", state(alert)], ["Raised", moment(alert.raised_ms)], ["Lasted", lasted(alert)],
        ["Label shown", `${alert.label} (${percent(alert.confidence)})`], ["Label recovered", alert.recovered ?? "\u2013"],
        ["Score", `${number(alert.score, 2)} (threshold ${number(alert.threshold, 2)})`], ["Detectors", alert.detectors.join(", ")], ["Id", alert.event_id]]),
      evidence(alert), (await history(alert)) ?? make("div"), this.review.marking(alert), records(alert));
    if (!this.order.length) this.order = (await ask("/api/alerts")).map((each) => each.event_id); // came here by a link
    for (const [step, id] of [[-1, "newer"], [1, "older"]]) {
      const other = this.beside(step);
      byId(id).hidden = !other;
      if (other) byId(id).href = `#alert/${other}`;
    }
  }

  beside(step) {
    const at = this.order.indexOf(this.shown);
    return at < 0 ? undefined : this.order[at + step];
  }

  choose(ids) {
    this.chosen = new Set(ids);
    for (const box of document.querySelectorAll("#alert-rows input")) box.checked = this.chosen.has(box.value);
    byId("choose-all").checked = this.chosen.size > 0 && this.chosen.size === this.order.length;
    byId("acknowledge-chosen").disabled = !this.chosen.size;
    byId("acknowledge-chosen").textContent = this.chosen.size ? `Acknowledge ${this.chosen.size}` : "Acknowledge";
  }

  async acknowledgeChosen() {
    await this.review.write("/api/acknowledge", { event_ids: [...this.chosen], acknowledged: true });
    this.chosen.clear();
    await this.load();
  }

  key(event) { // as in other viewers of events: arrows, a, f, Escape
    if (!this.shown || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, video")) return;
    const go = { ArrowLeft: () => byId("newer"), ArrowRight: () => byId("older"), a: () => byId("acknowledge"), f: () => byId("judge-false-alarm") }[event.key];
    if (event.key === "Escape") location.hash = "alerts";
    else if (go && !go()?.hidden) go()?.click();
    else return;
    event.preventDefault();
  }

  row(alert) {
    const box = make("input", { type: "checkbox", value: alert.event_id, "aria-label": `Choose the alert of ${moment(alert.raised_ms)}` });
    box.addEventListener("change", () => this.choose(box.checked ? [...this.chosen, box.value] : [...this.chosen].filter((id) => id !== box.value)));
    const picture = alert.files.includes("overlay") ? this.thumbnail(alert.event_id) : make("span", { className: "thumbnail" });
    const link = make("a", { href: `#alert/${alert.event_id}` }, moment(alert.raised_ms));
    const said = alert.judgement ?? (alert.acknowledged_ms ? "yes" : "no");
    const cells = [["", box], ["", picture], ["Raised", link], ["Camera", alert.camera], ["State", state(alert)], ["Shown", alert.label], ["Recovered", alert.recovered ?? "\u2013"],
      ["Confidence", percent(alert.confidence)], ["Lasted", lasted(alert)], ["Seen", alert.note ? `${said} \u2013 ${alert.note.slice(0, 40)}` : said]];
    const tr = make("tr", { className: isOpen(alert) ? "open" : "" }, ...cells.map(([name, cell]) => {
      const td = make("td", {}, cell);
      if (name) td.dataset.name = name;
      return td;
    }));
    tr.dataset.event = alert.event_id;
    return tr;
  }

  thumbnail(id) { // one that is there is moved to the new row: made anew it would be empty until it is fetched again
    const known = this.pictures.get(id) ?? make("img", { className: "thumbnail", src: `/alerts/${id}/thumbnail`, alt: "", loading: "lazy" });
    this.pictures.set(id, known);
    return known;
  }

  async refresh(id) { // only what changes: nobody's half-written note is lost
    if (this.shown !== id) return;
    const alert = await ask(`/api/alerts/${encodeURIComponent(id)}`);
    const scores = await history(alert);
    const [list, pictures, chart, , told] = byId("alert-body").children;
    if (!told || this.shown !== id) return;
    list.children[1].replaceChildren(state(alert));
    list.children[5].textContent = lasted(alert);
    const pictured = alert.files.filter((kind) => kind !== "scores").join(); // a clip that plays is left alone
    if (pictured !== this.files) {
      this.files = pictured;
      pictures.replaceWith(evidence(alert));
    }
    if (scores) chart.replaceWith(scores);
    if (told.dataset.count !== String(alert.records.length)) {
      const newer = records(alert);
      newer.open = told.open;
      told.replaceWith(newer);
    }
  }
}

function state(alert) {
  return make("span", { className: isOpen(alert) ? "pill bad" : "pill" }, isOpen(alert) ? "open" : alert.state);
}

function local(ms) { // as <input type="datetime-local"> wants it
  return new Date(ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
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
  const shown = make("details", {}, make("summary", {}, `What was published (${alert.records.length} records)`), make("p", {}, link), make("pre", { tabIndex: 0 }, text));
  shown.dataset.count = String(alert.records.length);
  return shown;
}
