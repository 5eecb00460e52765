// The list of all cameras, of every site that the history knows: searched, grouped by site, the worst first.
import { ask, byId, make, moment, number } from "./dom.js";

const REFRESH_MS = 10000;
const away = new Set(["lost", "stale", "waiting", "failed", "stopped"]);

export class Cameras {
  constructor() {
    this.rows = [];
    this.form = byId("camera-filter");
    this.form.addEventListener("input", () => this.draw());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    setInterval(() => { if (!byId("cameras").hidden) this.load().catch(() => {}); }, REFRESH_MS);
  }

  async load() {
    this.rows = await ask("/api/cameras");
    this.draw();
  }

  draw() {
    const text = this.form.elements.text.value.trim().toLowerCase();
    const only = this.form.elements.only.value;
    const fitting = this.rows.filter((row) => `${row.site}/${row.camera}`.toLowerCase().includes(text)
      && (only !== "open" || row.open > 0) && (only !== "away" || away.has(row.state)));
    const sites = new Map(); // in the order of their worst camera
    for (const row of fitting) sites.set(row.site, [...(sites.get(row.site) ?? []), row]);
    byId("camera-sites").replaceChildren(...[...sites].map(([site, rows]) => siteOf(site, rows)));
    byId("camera-count").textContent = `${fitting.length} of ${this.rows.length} cameras`;
    byId("no-camera-fits").hidden = fitting.length > 0;
  }
}

function siteOf(site, rows) {
  const open = rows.reduce((sum, row) => sum + row.open, 0);
  const gone = rows.filter((row) => away.has(row.state)).length;
  const said = [`${rows.length} cameras`, open ? `${open} open` : "", gone ? `${gone} not watched` : ""].filter(Boolean).join(", ");
  const head = ["Camera", "State", "Open", "Last 24 h", "Kept", "Last alert"].map((name) => make("th", { scope: "col" }, name));
  return make("section", { className: "site", "aria-label": site },
    make("h2", {}, site, make("span", { className: "quiet" }, ` ${said}`)),
    make("div", { className: "table-wrap", role: "region", "aria-label": `Cameras of ${site}, the worst first`, tabIndex: 0 },
      make("table", { className: "cards plain" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows.map(rowOf)))));
}

function rowOf(row) {
  const query = new URLSearchParams({ camera: row.camera, site: row.site });
  const state = row.state === null ? "\u2013" : row.state === "running" && row.fps !== null ? `running, ${number(row.fps)} frames/s` : row.state;
  return make("tr", { className: row.open ? "open" : "" },
    make("th", { scope: "row" }, row.alerts ? make("a", { href: `#alerts/${query}` }, row.camera) : row.camera),
    cell("State", state, { title: row.reason ?? "" }),
    cell("Open", String(row.open)),
    cell("Last 24 h", String(row.recent)),
    cell("Kept", String(row.alerts)),
    cell("Last alert", moment(row.last_ms)));
}

function cell(name, text, more = {}) { // on a phone its name stands before it
  const td = make("td", more, text);
  if (text) td.dataset.name = name;
  return td;
}
