// The live view: one panel for each camera.
import { banner, byId, make, number, percent, remember, remembered } from "./dom.js";
import { chart, overlay } from "./draw.js";
import { Regions } from "./regions.js";
import { Review } from "./review.js";

const MOST = 300; // points in the chart
const SWITCHES = [
  ["critical", "Critical region"], ["seen", "What the classifier sees"], ["intersection", "Intersection"], ["chart", "Statistic"], ["vote", "Vote window"],
  ["labels", "Labels"], ["reconstruction", "CMAG reconstruction"],
];

export class Live {
  constructor(about, changed) {
    this.about = about;
    this.panels = new Map();
    this.wanted = { critical: true, seen: true, intersection: true, chart: true, vote: true, labels: true, reconstruction: false, ...remembered("overlays", {}) };
    this.open = new Set();
    for (const [key, text] of SWITCHES) {
      if (key === "reconstruction" && !about.cmag) continue;
      if (key === "intersection" && !about.detectors.includes("paper")) continue;
      const box = make("input", { type: "checkbox", id: `switch-${key}`, checked: this.wanted[key] });
      box.addEventListener("change", () => {
        this.wanted[key] = box.checked;
        remember("overlays", this.wanted);
        this.panels.forEach((panel) => panel.redraw());
        if (key === "reconstruction") changed();
      });
      byId("overlay-switches").append(make("label", {}, box, text, make("span", { className: `swatch swatch-${key}`, "aria-hidden": "true" })));
    }
    if (matchMedia("(max-width: 40rem)").matches) byId("switches").open = false;
  }

  panel(name) {
    if (!this.panels.has(name)) {
      const panel = new Panel(name, this);
      this.panels.set(name, panel);
      byId("panels").append(panel.root);
      byId("no-cameras").hidden = true;
    }
    return this.panels.get(name);
  }

  calibrated(told) {
    this.calibration = told;
    this.panels.forEach((panel) => panel.paint());
  }

  picture(told, jpeg) { this.panel(told.camera).show(told, jpeg); }

  status(status) {
    const names = new Set(status.cameras.map((camera) => camera.camera));
    for (const [name, panel] of this.panels) {
      if (!names.has(name)) { panel.root.remove(); this.panels.delete(name); }
    }
    for (const camera of status.cameras) this.panel(camera.camera).status(camera, status);
  }

  alert(alert) {
    const open = alert.state === "raised" || alert.state === "updated";
    this.panel(alert.camera).raised(open ? alert : null);
  }
}

class Panel {
  constructor(name, live) {
    Object.assign(this, { name, live, points: [], told: null, busy: false });
    const title = `camera-${name}`;
    this.image = make("canvas", { width: 640, height: 480, role: "img", "aria-label": `Camera ${name}: no picture yet` });
    this.over = make("canvas", { className: "over", width: 640, height: 480, "aria-hidden": "true" });
    this.rebuilt = make("img", { className: "rebuilt", alt: "What the classifier believes it sees (CMAG)", hidden: true });
    this.state = make("span", { className: "pill" }, "connecting");
    this.reference = make("span", { className: "pill reference", hidden: true });
    this.note = make("p", { className: "camera-note", hidden: true });
    this.again = make("button", { type: "button", hidden: true });
    this.again.addEventListener("click", () => this.refit());
    this.before = make("ol");
    this.after = make("ol");
    this.chart = make("canvas", { className: "chart", role: "img", "aria-label": "Statistic against its threshold over time" });
    this.vote = make("div", { className: "vote" });
    this.figures = make("dl", { className: "figures" });
    this.labels = make("div", { className: "labels" }, make("div", {}, make("h3", {}, "Seen"), this.before), make("div", {}, make("h3", {}, "After the fill"), this.after));
    this.none = make("p", { className: "none" }, "No picture yet");
    const picture = make("div", { className: "picture" }, this.image, this.over, this.none, this.rebuilt);
    this.regions = new Regions(name, picture);
    this.root = make("article", { className: "camera", "aria-labelledby": title },
      make("div", { className: "camera-head" }, make("h2", { id: title }, name), this.reference, this.again, this.state), this.note,
      make("div", { className: "body" }, picture,
        make("div", { className: "below" }, this.labels, this.chart, this.vote, this.figures, this.regions.root)));
    this.root.dataset.camera = name;
    this.redraw();
  }

  async show(told, jpeg) {
    const last = this.points.at(-1)?.[1] ?? 0; // after a reconnection all are sent again
    this.points.push(...told.points.filter((point) => point[1] > last));
    this.points.splice(0, this.points.length - MOST);
    if (this.busy) return; // the newest one that can be decoded in time
    this.busy = true;
    try {
      const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
      for (const canvas of [this.image, this.over]) {
        if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
          canvas.width = bitmap.width;
          canvas.height = bitmap.height;
        }
      }
      this.regions.fit(bitmap.width, bitmap.height);
      this.image.getContext("2d").drawImage(bitmap, 0, 0);
      bitmap.close();
      this.told = told;
      this.root.dataset.frame = told.frame;
      this.image.setAttribute("aria-label", `Camera ${this.name}: ${told.top ? told.top[0][0] : "no answer"}`);
      this.redraw();
    } catch {
      // a picture that cannot be decoded is followed by the next one
    } finally {
      this.busy = false;
    }
  }

  redraw() {
    const { wanted, about } = this.live, told = this.told;
    this.labels.hidden = !wanted.labels || !told;
    this.chart.hidden = !wanted.chart || !told;
    this.vote.hidden = !wanted.vote || !told;
    this.none.hidden = Boolean(told);
    if (!told) return;
    overlay(this.over, told, wanted);
    this.rebuilt.hidden = !(wanted.reconstruction && told.reconstruction);
    if (told.reconstruction) this.rebuilt.src = `data:image/jpeg;base64,${told.reconstruction}`;
    if (wanted.chart) chart(this.chart, this.points, MOST);
    if (wanted.labels) this.tell(told);
    if (wanted.vote) this.window(about.vote);
  }

  tell(told) {
    const row = (name, value) => make("li", {}, make("span", {}, name), make("span", { className: "quiet" }, value));
    this.before.replaceChildren(...(told.top || []).map(([name, share]) => row(name, percent(share))));
    if (told.rejected) this.before.replaceChildren(row(told.rejected, ""));
    const after = told.after;
    this.after.replaceChildren(after ? row(after.label, after.changed ? (after.rank === null ? "changed" : `was ${ordinal(after.rank)}`) : "unchanged") : row("\u2013", ""));
  }

  window(vote) {
    const last = this.points.at(-1);
    if (!last) return;
    const parts = ["Vote"];
    if (vote.n) {
      const recent = this.points.slice(-vote.n).map((point) => Object.values(point[2]).some((score) => score[2]));
      parts.push(...recent.map((yes) => make("span", { className: yes ? "cell yes" : "cell", title: yes ? "suspicious" : "not suspicious" })));
      parts.push(`${recent.filter(Boolean).length} of ${vote.n}, raised at ${vote.k}`);
    } else {
      const level = make("meter", { min: 0, max: 1, "aria-label": "How far towards an alert" });
      level.value = last[3];
      parts.push(level, `${percent(last[3])} of what raises`);
    }
    this.vote.replaceChildren(...parts);
  }

  status(camera, status) {
    this.camera = camera;
    this.paint();
    const pairs = [["fps", number(camera.fps)], ["dropped", camera.dropped], ["rejected", camera.rejected]];
    if (camera.state === "running") pairs.splice(1, 0, ["delay", `${number(status.delay_ms, 0)} ms`], ["inference", `${number(status.inference_ms)} ms`]);
    if (camera.state === "running") pairs.push(["on", status.provider.replace("ExecutionProvider", "")]);
    this.figures.replaceChildren(...pairs.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, String(value)))));
  }

  known() { // what it is judged by
    const { arming, learnt_share: share } = this.camera ?? {}, told = this.live.calibration;
    if (arming === "learning") return [`learning ${whole(share)}`, "warn"];
    if (arming === "arming") return ["arming", "warn"];
    if (arming === "refitting") return [`learning again ${whole(share)}`, "warn"];
    if (arming === "drifting") return ["drifting", "warn"];
    if (arming !== "armed" && told?.detectors.some((each) => each.drifted)) return ["drifting", "warn"];
    if (arming === "armed") return ["armed", "good"];
    return !told ? ["", ""] : told.calibrated ? ["calibrated", "good"] : ["uncalibrated", "bad"];
  }

  async refit() { // ask for it, or stop it
    const wanted = this.camera?.arming !== "refitting";
    this.again.disabled = true;
    try {
      await new Review(this.live.about).write(`/api/cameras/${encodeURIComponent(this.name)}/refit`, { wanted });
      this.asked = wanted;
      banner("");
    } catch (error) {
      banner(error.message);
    } finally {
      this.again.disabled = false;
    }
    this.paint();
  }

  raised(alert) {
    this.alert = alert;
    this.root.classList.toggle("raised", Boolean(alert));
    this.paint();
  }

  paint() {
    const [known, how] = this.known();
    this.reference.hidden = !known;
    this.reference.textContent = known;
    this.reference.className = `pill reference ${how}`;
    const state = this.camera?.state ?? "connecting";
    const [text, kind] = this.alert ? ["attack", "bad"] : [state, state === "running" ? "good" : "warn"];
    this.state.className = `pill ${kind}`;
    this.state.textContent = text;
    const notes = [];
    if (this.camera?.reason && state !== "running") notes.push(this.camera.reason);
    if (this.camera?.arming === "learning") notes.push(`Being learnt: ${whole(this.camera.learnt_share)} of its frames are taken. Keep attacks away; until it is armed, general pictures are what it is judged by.`);
    const arming = this.camera?.arming;
    if (arming === "drifting") notes.push("It suspects clearly more frames than was accepted, without an alert. Look at its picture; if nothing is wrong there, learn it again.");
    if (arming === "refitting") notes.push("Being learnt again, of frames that do not look suspicious. Until that is done, it is judged by what was learnt before.");
    else if (this.asked && arming === "armed") notes.push("To be learnt again: it begins within seconds.");
    if (arming === "refitting") this.asked = false;
    this.again.hidden = !["armed", "drifting", "refitting"].includes(arming);
    this.again.textContent = arming === "refitting" ? "Stop learning" : "Learn again";
    if (this.camera?.arming === "arming") notes.push("About to be armed: what was learnt is being fitted.");
    if (this.told?.dismissed) notes.push("What it shows was dismissed as a false alarm, or is acknowledged.");
    this.note.textContent = notes.join(" ");
    this.note.hidden = !notes.length;
    this.state.title = this.camera?.reason ?? "";
  }
}

const whole = (share) => `${Math.floor(100 * (share ?? 0))} %`;

function ordinal(rank) { // 0-based
  const place = rank + 1, ending = place % 100 > 10 && place % 100 < 14 ? "th" : ({ 1: "st", 2: "nd", 3: "rd" }[place % 10] ?? "th");
  return `${place}${ending}`;
}
