// What people say of an alert: attack, false alarm, seen, a note; what is dismissed; which cameras are snoozed.
import { ask, byId, make, moment } from "./dom.js";

const snoozes = new Map(); // camera -> until when, ms
export const isSnoozed = (camera) => (snoozes.get(camera) ?? 0) > Date.now();

export class Review {
  constructor(about) { this.about = about; }

  write(path, told) {
    return ask(path, {
      method: "POST", body: JSON.stringify(told),
      headers: { "content-type": "application/json", "x-taintwatch-csrf": this.about.csrf },
    });
  }

  async load() { // the list below the alerts
    const told = await ask("/api/review");
    snoozes.clear();
    for (const [camera, until] of Object.entries(told.snoozes)) snoozes.set(camera, until);
    byId("dismissed").hidden = !told.dismissals.length;
    byId("dismissed-count").textContent = String(told.dismissals.length);
    byId("dismissal-list").replaceChildren(...told.dismissals.map((each) => this.dismissal(each)));
    byId("snoozed").replaceChildren(...[...snoozes].map(([camera, until]) => this.snoozed(camera, until)));
  }

  dismissal(told) {
    const undo = make("button", { type: "button" }, "Undo");
    undo.addEventListener("click", () => this.changed(`/api/dismissals/${told.event_id}/undo`, {}));
    const until = told.until_ms ? `, until ${moment(told.until_ms)}` : "";
    const item = make("li", { className: "panel row" },
      make("img", { className: "thumbnail", src: `/dismissals/${told.event_id}`, alt: "", loading: "lazy" }),
      make("span", {}, `${told.camera}: ${told.label_name}`, make("br"), make("span", { className: "quiet" }, `${told.reason}${until}; said ${moment(told.created_ms)}`)),
      make("a", { href: `#alert/${told.event_id}` }, "Alert"), undo);
    item.dataset.event = told.event_id;
    return item;
  }

  snoozed(camera, until) {
    const wake = make("button", { type: "button" }, "Wake");
    wake.addEventListener("click", () => this.changed(`/api/cameras/${camera}/snooze`, { minutes: 0 }));
    return make("li", { className: "row" }, `${camera} notifies nobody until ${moment(until)}`, wake);
  }

  async changed(path, told) {
    await this.write(path, told);
    await this.load();
  }

  marking(alert) {
    const note = make("textarea", { id: "note", value: alert.note, maxLength: 4000 });
    const said = make("p", { className: "quiet", id: "said", role: "status" });
    const attempt = async (path, told, done) => {
      try {
        done(await this.write(path, told));
        await this.load();
      } catch (error) {
        said.textContent = error.message;
      }
    };
    const at = `/api/alerts/${alert.event_id}`;
    const seen = make("button", { type: "button", id: "acknowledge" });
    const judgements = [["attack", "Attack"], ["false alarm", "False alarm"]].map(([what, text]) => {
      const button = make("button", { type: "button", id: `judge-${what.replace(" ", "-")}` }, text);
      button.addEventListener("click", () => attempt(`${at}/judgement`, { judgement: alert.judgement === what ? null : what }, show));
      return [what, button];
    });
    const show = (mark) => {
      alert.judgement = mark.judgement;
      alert.acknowledged_ms = mark.acknowledged_wall_ns && Math.floor(mark.acknowledged_wall_ns / 1e6);
      for (const [what, button] of judgements) {
        button.className = mark.judgement === what ? "strong" : "";
        button.setAttribute("aria-pressed", String(mark.judgement === what));
      }
      seen.textContent = alert.acknowledged_ms ? "Take acknowledgement back" : "Acknowledge";
      const judged = { attack: "An attack.", "false alarm": "A false alarm: what it shows raises none while it looks as it does." };
      said.textContent = `${alert.acknowledged_ms ? `Acknowledged ${moment(alert.acknowledged_ms)}.` : "Not acknowledged."} ${judged[mark.judgement] ?? ""}`;
    };
    seen.addEventListener("click", () => attempt(`${at}/acknowledge`, { acknowledged: !alert.acknowledged_ms }, show));
    const save = make("button", { type: "button", id: "save-note" }, "Save note");
    save.addEventListener("click", () => attempt(`${at}/note`, { note: note.value }, () => { said.textContent = "Note saved"; }));
    show({ judgement: alert.judgement, acknowledged_wall_ns: alert.acknowledged_ms && alert.acknowledged_ms * 1e6 });
    return make("div", { className: "panel", hidden: !this.about.kept },
      make("div", { className: "row", role: "group", "aria-label": "What it was" }, ...judgements.map(([, button]) => button), seen, this.snoozing(alert, attempt)), said,
      make("h3", {}, make("label", { htmlFor: "note" }, "Note")), note, save);
  }

  snoozing(alert, attempt) {
    const minutes = make("select", { id: "snooze-minutes" }, ...[["60", "an hour"], ["480", "8 hours"], ["1440", "a day"]].map(([value, text]) => make("option", { value }, text)));
    const snooze = make("button", { type: "button", id: "snooze" }, "Snooze");
    snooze.title = `Alerts of ${alert.camera} notify nobody meanwhile; they are raised and kept as ever.`;
    snooze.addEventListener("click", () => attempt(`/api/cameras/${alert.camera}/snooze`, { minutes: Number(minutes.value) }, (told) => {
      byId("said").textContent = `${alert.camera} notifies nobody until ${moment(told.until_ms)}; its alerts are kept as ever.`;
    }));
    return make("span", { className: "row" }, make("label", { htmlFor: "snooze-minutes" }, `Snooze ${alert.camera} for`), minutes, snooze);
  }
}
