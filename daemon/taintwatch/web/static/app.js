// The page: which view is shown, and where what the daemon says goes.
import { Alerts } from "./alerts.js";
import { Cameras } from "./cameras.js";
import { ask, banner, byId, make } from "./dom.js";
import { Live } from "./live.js";
import { isSnoozed } from "./review.js";
import { beep, notices, showSettings } from "./settings.js";
import { Stream } from "./stream.js";
import { showTrials } from "./trials.js";

const TOAST_MS = 8000;
const about = await ask("/api/about");
const open = new Map(); // event id -> alert
let audience = null;
let stream = null;

const live = new Live(about, () => stream.restart());
const alerts = new Alerts(about);
const cameras = new Cameras();
const calibrate = () => ask("/api/calibration").then((told) => live.calibrated(told)).catch(() => {});
byId("trials-link").hidden = !about.trials;
document.title = `Taintwatch: ${about.site}`;

const views = {
  live: async () => {},
  cameras: () => cameras.load(),
  alerts: (query) => alerts.load(query),
  alert: (id) => alerts.open(id),
  trials: showTrials,
  settings: () => showSettings(audience),
};

async function show() {
  const [asked, id] = location.hash.slice(1).split("/");
  const view = Object.hasOwn(views, asked) ? asked : "live";
  if (view !== shownView) stream?.restart(); // pictures are sent to those that look at them only
  shownView = view;
  for (const section of document.querySelectorAll(".view")) section.hidden = section.id !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === (view === "alert" ? "alerts" : view)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (view !== "alert") alerts.shown = null;
  try {
    await views[view](id);
    banner("");
  } catch (error) {
    banner(error.message);
  }
}

function onRecord(told, jpeg) {
  if (told.kind === "picture") live.picture(told, jpeg);
  else if (told.kind === "status") {
    audience = told.audience;
    live.status(told.status);
    health(told.status.degraded ? "bad" : "good", told.status.degraded ?? `${told.status.fps.toFixed(1)} frames/s`);
    byId("notice").textContent = told.status.notice ?? "";
    byId("notice").hidden = !told.status.notice;
  } else if (told.kind === "alert") onAlert(told.alert);
}

function onAlert(alert) {
  live.alert(alert);
  if (alert.state === "raised" && !open.has(alert.event_id) && !isSnoozed(alert.camera)) announce(alert);
  if (alert.state === "raised" || alert.state === "updated") open.set(alert.event_id, alert);
  else open.delete(alert.event_id);
  count();
  if (shownView === "alerts") alerts.load().catch((error) => banner(error.message));
  alerts.refresh(alert.event_id).catch(() => {}); // its pictures come a little later
  if (alerts.shown === alert.event_id) setTimeout(() => alerts.refresh(alert.event_id).catch(() => {}), 1500);
}

function announce(alert) {
  const text = `Alert on ${alert.camera}: ${alert.label}`;
  const toast = make("div", { className: "toast" }, make("a", { href: `#alert/${alert.event_id}` }, text));
  byId("toasts").append(toast);
  setTimeout(() => toast.remove(), TOAST_MS);
  if (notices.sound) beep();
  if (notices.desktop && "Notification" in window && Notification.permission === "granted") {
    new Notification("Taintwatch", { body: text, tag: alert.event_id, icon: "/static/icon.svg" });
  }
}

function count() {
  byId("open-count").hidden = open.size === 0;
  byId("open-count").replaceChildren(String(open.size), make("span", { className: "word" }, " open"));
}

function health(kind, text) {
  byId("health").firstElementChild.className = `dot ${kind}`;
  byId("health-text").textContent = text;
}

async function catchUp() { // what was raised before we looked, or while we did not
  open.clear();
  for (const alert of await ask("/api/alerts?state=open")) open.set(alert.event_id, alert);
  await alerts.review.load();
  live.panels.forEach((panel) => panel.raised(null));
  open.forEach((alert) => live.alert(alert));
  count();
}

function onState(state) {
  if (state === "connected") {
    health("good", "connected");
    catchUp().catch((error) => banner(error.message));
  } else {
    health("bad", state === "lost" ? "connection lost; trying again" : state);
  }
}

let shownView = null;
addEventListener("hashchange", () => { show(); byId("main").focus({ preventScroll: true }); });
await show();
calibrate();
setInterval(calibrate, 60_000); // drift shows over minutes
setInterval(() => { if (alerts.shown) alerts.refresh(alerts.shown).catch(() => {}); }, 3000); // clips take a few seconds
stream = new Stream({
  onRecord,
  onState,
  query: () => new URLSearchParams({ pictures: shownView === "live" && !document.hidden ? "1" : "0", reconstruction: live.wanted.reconstruction && about.cmag ? "1" : "0" }),
});
addEventListener("visibilitychange", () => stream.restart());
document.documentElement.dataset.ready = "yes";
