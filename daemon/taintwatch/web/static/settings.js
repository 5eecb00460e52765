// Settings: what this browser does, what runs, the calibration and the configuration (read-only).
import { ask, byId, facts, make, percent, remember, remembered } from "./dom.js";

export const notices = { sound: remembered("sound", false), desktop: remembered("desktop", false) };

export async function showSettings(audience) {
  const [about, calibration, config] = await Promise.all([ask("/api/about"), ask("/api/calibration"), ask("/api/config")]);
  const looking = audience ?? about.audience;
  byId("settings-body").replaceChildren(
    panel("This browser", choice("sound", "Play a sound at a new alert"), choice("desktop", "Show a desktop notification at a new alert")),
    panel("Running", facts([["Site", about.site], ["Model", about.model], ["Model hash", about.model_hash], ["Provider", about.provider],
      ["Detectors", about.detectors.join(", ")], ["Vote", about.vote.policy], ["Configuration hash", about.config_hash],
      ["Viewers", `${looking.viewers} now, ${looking.refused} turned away, ${looking.dropped} let go because they took nothing; ${looking.sent} pictures sent, ${looking.skipped} frames not shown`]])),
    calibrationPanel(calibration),
    panel("Configuration", make("p", { className: "quiet" }, "Read-only; credentials are left out."), make("pre", { tabIndex: 0 }, JSON.stringify(config, null, 2))));
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
    return panel("Calibration", make("p", { className: "notice" }, "This model was never calibrated: its alarms mean little. Run taintwatch calibrate thresholds."));
  }
  const head = make("tr", {}, ...["Detector", "Accepted", "Then (held out)", "Now (frames without an alert)"].map((text) => make("th", { scope: "col" }, text)));
  const rows = told.detectors.map((each) => make("tr", {}, ...[each.detector, percent(each.target_fpr), rate(each.then), rate(each.now)].map((text) => make("td", {}, text))));
  const drifted = told.detectors.filter((each) => each.drifted).map((each) => each.detector);
  return panel("Calibration",
    ...told.warnings.map((text) => make("p", { className: "notice" }, text)),
    drifted.length ? make("p", { className: "notice", id: "drift" }, `${drifted.join(", ")} suspects clearly more frames than was accepted. Check with taintwatch calibrate check, and calibrate again on footage of this place.`) : null,
    facts([["When", new Date(told.created).toLocaleString()], ["On", `${told.benign_frames} benign frames${told.benign ? ` (${told.benign})` : ""}`], ["Target false positives", percent(told.target_fpr)]]),
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
