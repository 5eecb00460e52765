// Small helpers: elements are built from text, never from markup, so that no label can become a script.
export const byId = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function facts(pairs) {
  const list = make("dl", { className: "facts" });
  for (const [name, value] of pairs) list.append(make("dt", {}, name), make("dd", {}, value));
  return list;
}

export const isOpen = (alert) => alert.state === "raised" || alert.state === "updated";
export const moment = (ms) => (ms === null ? "" : new Date(ms).toLocaleString([], { dateStyle: "short", timeStyle: "medium" }));
export const percent = (share) => (share === null || share === undefined ? "\u2013" : `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`);
export const number = (value, digits = 1) => (value === null || value === undefined ? "\u2013" : value.toFixed(digits));

export function duration(ms) {
  const seconds = Math.max(0, ms / 1000);
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.floor(minutes / 1440)} days ${Math.floor((minutes % 1440) / 60)} h`;
}

export async function ask(path, options) {
  const answer = await fetch(path, options);
  if (answer.status === 401) {
    location.reload(); // the token is asked for
    throw new Error("the token is needed");
  }
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.problem || `HTTP ${answer.status}`);
  return told;
}

const kept = "taintwatch.";
export function remembered(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(kept + key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}
export function remember(key, value) {
  try {
    localStorage.setItem(kept + key, JSON.stringify(value));
  } catch {
    // private windows may keep nothing
  }
}

export function banner(text) {
  byId("banner").textContent = text;
  byId("banner").hidden = !text;
}
