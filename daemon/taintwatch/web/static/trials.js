// Trials: the reports in a folder, with what each says of its attack.
import { ask, byId, make, moment, percent } from "./dom.js";

export async function showTrials() {
  const trials = await ask("/api/trials");
  byId("no-trials").hidden = trials.length > 0;
  byId("trial-table").hidden = !trials.length;
  byId("trial-list").replaceChildren(...trials.map(row));
}

function row(trial) {
  const link = make("a", { href: `/trials/${encodeURIComponent(trial.name)}/report.html`, target: "_blank", rel: "noopener" }, trial.title);
  return make("tr", {}, cell("", link), cell("Attack", trial.attacks.join("; ") || "not said"),
    cell("Detected", rate(trial.detected, trial.detector)), cell("False alarms", rate(trial.false_positives)), cell("Changed", moment(trial.changed_ms)));
}

function cell(name, content) {
  const td = make("td", {}, content);
  if (name) td.dataset.name = name;
  return td;
}

function rate(each, detector) {
  if (!each || each.share === null) return "not said";
  return `${percent(each.share)} (${percent(each.low)} to ${percent(each.high)}) of ${each.total} frames${detector ? `, ${detector}` : ""}`;
}
