// Settings: what this browser does, what runs, the calibration and the configuration (read-only).
import { ask, byId, facts, make, percent, remember, remembered } from "./dom.js";

export const notices = { sound: remembered("sound", false), desktop: remembered("desktop", false) };

export async function showSettings(audience) {
  const [about, calibration, config] = await Promise.all([ask("/api/about"), ask("/api/calibration"), ask("/api/config")]);
  const looking = audience ?? about.audience;
  byId("settings-body").replaceChildren(
    panel("This browser", choice("sound", "Play a sound at a new alert"), choice("desktop", "Show a desktop notification at a new alert")),
    panel("Running", facts([["Site", about.site], ["Model", `${config.model.path ?? "the bundled recogniser of traffic signs"}, on ${about.provider.replace("ExecutionProvider", "")}`],
      ["Detector", about.detectors.join(", ")], ...inWords(config, about),
      ["Viewers", `${looking.viewers} now, ${looking.refused} turned away, ${looking.dropped} let go because they took nothing; ${looking.sent} pictures sent, ${looking.skipped} frames not shown`]]),
    more("Hashes, for a report", facts([["Model", about.model_hash], ["Configuration", about.config_hash]]))),
    calibrationPanel(calibration),
    panel("Configuration", make("p", { className: "quiet" }, "Read-only; credentials are left out, and so is what is not set."),
      more("All values", make("pre", { tabIndex: 0 }, JSON.stringify(config, (key, value) => value ?? undefined, 2)))));
}

const more = (title, ...children) => make("details", {}, make("summary", {}, title), ...children);
const minutes = (count) => (count === 1 ? "a minute" : `${count} minutes`);

function inWords(config, about) { // what is set, as one would say it
  const { evidence, learn, publish, notify, nats, metrics, vote } = config;
  const kept = evidence.folder ?? evidence.database;
  const told = [notify.mqtt.host && `MQTT at ${notify.mqtt.host}`, notify.webhook.length && `${notify.webhook.length} webhook${notify.webhook.length > 1 ? "s" : ""}`, nats.url && `NATS at ${nats.url}`].filter(Boolean);
  return [
    ["Cameras", config.camera.map((each) => `${each.name} (${each.source})`).join(", ")],
    ["Learning", learn.enabled ? `a live camera that is not calibrated is learnt for ${minutes(learn.minutes)} first` : "off: thresholds are rough where nothing was calibrated"],
    ["An alert is raised", about.vote.k ? `at ${about.vote.k} suspicious frames of the last ${about.vote.n}${vote.agree ? ", where they agree" : ""}` : `by the policy ${vote.policy}`],
    ["Alerts are kept", kept ? `in ${kept}, for ${evidence.keep_days} days${evidence.images ? ", with pictures" : ", without pictures"}` : "only until the next start"],
    ["Subscribers", publish.enabled ? `${publish.bind}, ${publish.curve.key ? "encrypted" : "not encrypted"}` : "none: nothing is published"],
    ["Notices", told.join(", ") || "none"],
    ["Metrics", metrics.enabled ? `at ${metrics.bind}` : "off"],
  ];
}

const panel = (title, ...children) => make("section", { className: "panel", "aria-label": title }, make("h2", {}, title), ...children);

function choice(key, text) {
  const box = make("input", { type: "checkbox", checked: notices[key], id: `notice-${key}` });
  box.addEventListener("change", async () => {
    if (box.checked && key === "desktop" && (!("Notification" in window) || (await Notification.requestPermission()) !== "granted")) box.checked = false;
    notices[key] = box.checked;
    remember(key, box.checked);
    if (box.checked && key === "sound") beep();
  });
  return make("label", { className: "row choice" }, box, text);
}

function calibrationPanel(told) {
  if (!told.calibrated) {
    return panel("Calibration", make("p", { className: "notice" }, "This model was never calibrated: its alarms mean little. Run taintwatch calibrate learn on benign footage of this place."));
  }
  const head = make("tr", {}, ...["Detector", "Accepted", "Then (held out)", "Now (frames without an alert)"].map((text) => make("th", { scope: "col" }, text)));
  const rows = told.detectors.map((each) => make("tr", {}, ...[each.detector, percent(each.target_fpr), rate(each.then), rate(each.now)].map((text) => make("td", {}, text))));
  const drifted = told.detectors.filter((each) => each.drifted).map((each) => each.detector);
  return panel("Calibration",
    ...told.warnings.map((text) => make("p", { className: "notice" }, text)),
    drifted.length ? make("p", { className: "notice", id: "drift" }, `${drifted.join(", ")} suspects clearly more frames than was accepted. Check with taintwatch calibrate check, and calibrate again on footage of this place.`) : null,
    facts([["When", told.created ? new Date(told.created).toLocaleString() : "not said"], ["On", `${told.benign_frames} benign frames${told.benign ? ` (${told.benign})` : ""}`]]),
    make("div", { className: "table-wrap", tabIndex: 0, role: "region", "aria-label": "False-positive rates then and now" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows))));
}

const rate = (each) => (each && each.rate !== null ? `${percent(each.rate)} (${percent(each.low)} to ${percent(each.high)}; ${each.alarms} of ${each.frames})` : "\u2013");

let sounds = null;
export function beep() {
  sounds ??= new AudioContext();
  const tone = sounds.createOscillator(), loudness = sounds.createGain(), now = sounds.currentTime;
  tone.frequency.setValueAtTime(880, now);
  tone.frequency.setValueAtTime(660, now + 0.18);
  loudness.gain.setValueAtTime(0.2, now);
  loudness.gain.exponentialRampToValueAtTime(0.001, now + 0.5);
  tone.connect(loudness).connect(sounds.destination);
  tone.start(now);
  tone.stop(now + 0.5);
}
