// What is drawn over a picture and beside it.
const WALL_MS = 1; // of a point, as the stream gives it
const SHORTEST = 60; // points that a chart is wide, at least
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// `alarming`: filled and bold; else a thin line, so that a benign frame's region is not taken for an alarm.
export function polygons(context, shapes, colour, scale, dashed, alarming) {
  const width = alarming ? Math.max(2, context.canvas.width / 320) : Math.max(1, context.canvas.width / 640);
  for (const [stroke, extra] of [["rgb(0 0 0 / .75)", 3], [colour, 0]]) {
    context.strokeStyle = stroke;
    context.lineWidth = width + extra;
    context.setLineDash(dashed ? [4 * width, 3 * width] : []);
    for (const shape of shapes) {
      context.beginPath();
      shape.forEach(([x, y], index) => (index ? context.lineTo(x * scale, y * scale) : context.moveTo(x * scale, y * scale)));
      context.closePath();
      context.stroke();
      if (!extra && alarming) {
        context.globalAlpha = 0.16;
        context.fillStyle = colour;
        context.fill();
        context.globalAlpha = 1;
      }
    }
  }
  context.setLineDash([]);
}

export function overlay(canvas, told, wanted) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const scale = canvas.width / told.width;
  const alarming = Boolean(told.suspicious);
  if (wanted.seen) polygons(context, told.seen || [], "#ffffff", scale, true, false); // on a picture, whatever the theme
  if (wanted.critical) polygons(context, told.critical || [], style("--critical"), scale, false, alarming);
  if (wanted.intersection) polygons(context, told.intersection || [], style("--intersection"), scale, true, alarming);
}

// The statistic of each detector, divided by nothing: score and threshold on one axis, newest on the right.
export function chart(canvas, points, most) {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  if (canvas.width !== Math.round(width * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const names = Object.keys(points.at(-1)?.[2] ?? {});
  const name = names[0];
  if (!name) return;
  const values = points.flatMap((point) => (point[2][name] ?? []).slice(0, 2)).filter((value) => value !== null);
  const low = Math.min(...values), high = Math.max(...values), room = (high - low || 1) * 0.12;
  const top = 20, bottom = height - 16; // above the caption, below the times: neither covers the lines
  const span = Math.min(most, Math.max(SHORTEST, points.length)); // few points are not squeezed into a corner
  const x = (index) => 4 + ((width - 8) * (index + span - points.length)) / (span - 1);
  const y = (value) => top + (bottom - top) * (1 - (value - low + room) / (high - low + 2 * room));
  context.fillStyle = style("--raised");
  for (let first = 0; first < points.length; first += 1) { // one rectangle for each stretch: no seams
    if (!points[first][4]) continue;
    let last = first;
    while (points[last + 1]?.[4]) last += 1;
    context.fillRect(x(first), top, Math.max(2, x(last) - x(first)), bottom - top);
    first = last;
  }
  line(context, points, x, (point) => y(point[2][name][1]), name, 1, style("--threshold"), [5, 4]);
  line(context, points, x, (point) => y(point[2][name][0]), name, 0, style("--chart"), []);
  context.fillStyle = style("--quiet");
  context.font = "12px system-ui, sans-serif";
  const last = points.at(-1)[2][name];
  const says = last[0] === null ? "let pass unchecked" : `${last[0]?.toFixed(2)} (threshold ${last[1]?.toFixed(2)})`;
  context.fillText(`${name}: ${says}`, 4, 13);
  times(context, points, x, width, height);
}

// Three times below the chart: each where its frame is.
function times(context, points, x, width, height) {
  let free = width;
  for (const index of [points.length - 1, Math.floor(points.length / 2), 0]) {
    const text = new Date(points[index][WALL_MS]).toLocaleTimeString(), wide = context.measureText(text).width;
    const left = Math.min(Math.max(0, x(index) - wide / 2), width - wide);
    if (left + wide > free) continue;
    context.fillText(text, left, height - 3);
    free = left - 12;
  }
}

function line(context, points, x, y, name, which, colour, dash) {
  context.strokeStyle = colour;
  context.lineWidth = which ? 1.5 : 2;
  context.setLineDash(dash);
  context.beginPath();
  let drawn = false;
  points.forEach((point, index) => {
    if ((point[2][name] ?? [null, null])[which] === null) { drawn = false; return; }
    if (drawn) context.lineTo(x(index), y(point));
    else context.moveTo(x(index), y(point));
    drawn = true;
  });
  context.stroke();
  context.setLineDash([]);
}
