// Regions drawn on a camera's picture, by mouse, finger or keys, and the lines of the configuration that say the same.
// The page cannot change the configuration: the lines are copied into it by whoever may.
import { make } from "./dom.js";

const STEP = 0.01, NEAR = 0.03; // shares of the picture: one arrow key, and what counts as the same place
const round = (share) => Math.round(1000 * Math.min(1, Math.max(0, share))) / 1000;

export class Regions {
  // `picture`: what the drawing is laid over.
  constructor(camera, picture) {
    Object.assign(this, { camera, corners: [], cursor: [0.5, 0.5], shapes: [], from: null, to: null });
    this.canvas = make("canvas", {
      className: "over sketch", hidden: true, tabIndex: 0, role: "application",
      "aria-label": `Draw on camera ${camera}: arrow keys move the cross, Enter sets a corner, Backspace takes the last one away, C closes the outline, Escape gives it up`,
    });
    this.kind = make("select", {}, make("option", { value: "region" }, "judged by itself"), make("option", { value: "mask" }, "never judged"));
    this.label = make("input", { value: "region", size: 12, maxLength: 64 });
    this.start = make("button", { type: "button" }, "Draw");
    this.close = make("button", { type: "button", disabled: true }, "Close the outline");
    this.clear = make("button", { type: "button", disabled: true }, "Start anew");
    this.lines = make("textarea", { readOnly: true, hidden: true, spellcheck: false, "aria-label": "Lines for the configuration" });
    this.help = make("p", { className: "quiet" }, "Click corners, or drag a box. Put the lines below the camera's [[camera]] table, and reload the daemon.");
    this.root = make("details", { className: "regions" }, make("summary", {}, "Regions"),
      make("div", { className: "row" }, make("label", {}, "Part ", this.kind), make("label", {}, "Name ", this.label), this.start, this.close, this.clear),
      this.help, this.lines);
    picture.append(this.canvas);
    this.start.addEventListener("click", () => this.draw(this.canvas.hidden));
    this.close.addEventListener("click", () => this.finish(this.corners));
    this.clear.addEventListener("click", () => { this.shapes = []; this.corners = []; this.tell(); });
    this.kind.addEventListener("change", () => { this.label.disabled = this.kind.value === "mask"; });
    this.canvas.addEventListener("pointerdown", (event) => { this.from = this.at(event); this.canvas.setPointerCapture(event.pointerId); event.preventDefault(); this.canvas.focus(); });
    this.canvas.addEventListener("pointermove", (event) => { if (this.from) { this.to = this.at(event); this.paint(); } });
    this.canvas.addEventListener("pointerup", (event) => this.up(this.at(event)));
    this.canvas.addEventListener("pointercancel", () => { this.from = this.to = null; this.paint(); });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  // The sketch has as many pixels as the picture.
  fit(width, height) {
    if (this.canvas.width === width && this.canvas.height === height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.paint();
  }

  draw(on) {
    this.canvas.hidden = !on;
    this.start.textContent = on ? "Stop drawing" : "Draw";
    if (on) this.canvas.focus();
    this.paint();
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [round((event.clientX - box.left) / box.width), round((event.clientY - box.top) / box.height)];
  }

  up(point) {
    const from = this.from;
    this.from = this.to = null;
    if (!from) return;
    const [width, height] = [Math.abs(point[0] - from[0]), Math.abs(point[1] - from[1])];
    if (!this.corners.length && width > NEAR && height > NEAR) {
      const [left, top] = [Math.min(point[0], from[0]), Math.min(point[1], from[1])];
      this.finish([[left, top], [left + width, top], [left + width, top + height], [left, top + height]], [left, top, width, height].map(round));
    } else this.corner(point);
  }

  corner(point) {
    const first = this.corners[0];
    if (this.corners.length > 2 && Math.hypot(point[0] - first[0], point[1] - first[1]) < NEAR) this.finish(this.corners);
    else {
      this.corners.push(point);
      this.cursor = point;
      this.tell();
    }
  }

  key(event) {
    const step = event.shiftKey ? 5 * STEP : STEP;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (moves[event.key]) this.cursor = this.cursor.map((share, axis) => round(share + moves[event.key][axis]));
    else if (event.key === "Enter") this.corner([...this.cursor]);
    else if (event.key === "Backspace") this.corners.pop();
    else if (event.key === "c" || event.key === "C") this.finish(this.corners);
    else if (event.key === "Escape") this.corners.length ? (this.corners = []) : this.draw(false);
    else return;
    event.preventDefault();
    this.tell();
  }

  finish(corners, box = null) {
    if (corners.length < 3) return;
    const mask = this.kind.value === "mask";
    this.shapes.push({ mask, corners, box, name: mask ? null : this.freeName() });
    this.corners = [];
    this.tell();
  }

  // Regions of one camera have different names.
  freeName() {
    const wanted = this.label.value.trim() || "region", taken = new Set(this.shapes.map((shape) => shape.name));
    let name = wanted;
    for (let number = 2; taken.has(name); number += 1) name = `${wanted}${number}`;
    return name;
  }

  tell() {
    this.close.disabled = this.corners.length < 3;
    this.clear.disabled = !this.shapes.length && !this.corners.length;
    this.lines.hidden = !this.shapes.length;
    this.lines.value = this.shapes.map((shape) => lines(shape)).join("\n");
    this.lines.rows = Math.min(14, this.lines.value.split("\n").length + 1);
    this.paint();
  }

  paint() {
    const context = this.canvas.getContext("2d"), { width, height } = this.canvas;
    context.clearRect(0, 0, width, height);
    const dragged = this.to && [this.from, [this.to[0], this.from[1]], this.to, [this.from[0], this.to[1]]];
    for (const [stroke, wide] of [["rgb(0 0 0 / .75)", 5], ["#fff", 2]]) {
      context.strokeStyle = stroke;
      context.lineWidth = (wide * Math.max(1, width / 640));
      for (const { corners, mask } of this.shapes) this.outline(context, corners, true, mask);
      if (dragged) this.outline(context, dragged, true, false);
      this.outline(context, this.corners, false, false);
      const [x, y] = [this.cursor[0] * width, this.cursor[1] * height], arm = width / 60;
      context.beginPath();
      context.moveTo(x - arm, y); context.lineTo(x + arm, y);
      context.moveTo(x, y - arm); context.lineTo(x, y + arm);
      context.stroke();
    }
  }

  outline(context, corners, closed, dashed) {
    context.setLineDash(dashed ? [8, 6] : []);
    context.beginPath();
    corners.forEach(([x, y], index) => context[index ? "lineTo" : "moveTo"](x * this.canvas.width, y * this.canvas.height));
    if (closed) context.closePath();
    context.stroke();
    context.setLineDash([]);
  }
}

function lines({ mask, corners, box, name }) {
  const place = box ? `box = [${box.join(", ")}]` : `polygon = [${corners.map((corner) => `[${corner.join(", ")}]`).join(", ")}]`;
  return mask ? `[[camera.mask]]\n${place}\n` : `[[camera.region]]\nname = ${JSON.stringify(name)}\n${place}\n`;
}
