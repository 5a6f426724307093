// A chart in place of a static picture: points with intervals, joined or not, one stop for the Tab key, arrows from point to point.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 720, HEIGHT = 380, LEFT = 64, RIGHT = 16, TOP = 18, BOTTOM = 48;

const SHAPES = ["M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0Z", "M-5 -5H5V5H-5Z", "M0 -6L6 5H-6Z", "M0 -7L6 0L0 7L-6 0Z", "M-5 -6H5L0 6Z", "M-6 0H6M0 -6V6"];

function drawn(parent, name, attributes = {}, text = "") {
  const element = document.createElementNS(SVG, name);
  Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
  if (text) element.textContent = text;
  parent.append(element);
  return element;
}

// Round numbers that cover the values, about five of them.
function ticks(low, high) {
  const raw = (high - low || 1) / 5, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  const found = [];
  for (let place = Math.ceil(low / step - 1e-9); place * step <= high + 1e-9 * step; place++) found.push(Number((place * step).toPrecision(12)));
  return found;
}

function extent(axis, values) {
  if (axis.ends) return [axis.ends[0] - 4, axis.ends[1] + 4];
  const low = Math.min(...values), high = Math.max(...values), room = 0.06 * (high - low || Math.abs(high) || 1);
  return [axis.from_zero ? 0 : low - room, high + room];
}

function chart(box, data) {
  const points = data.lines.flatMap((line) => line.points.map((point) => ({ ...point, line })));
  const xs = [...points.map((point) => point.x), ...(data.limit == null ? [] : [data.limit])];
  const ys = points.flatMap((point) => [point.y, point.low ?? point.y, point.high ?? point.y]);
  const [x0, x1] = extent(data.x, xs), [y0, y1] = extent(data.y, ys);
  const x = (value) => LEFT + ((value - x0) / (x1 - x0)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
  const title = [data.title, data.about].filter(Boolean).join(": ");
  const svg = drawn(box, "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "application", tabindex: 0, "aria-label": title });

  ticks(x0, x1).filter((value) => !data.x.ends || (value >= data.x.ends[0] && value <= data.x.ends[1])).forEach((value) => {
    drawn(svg, "line", { class: "grid", x1: x(value), x2: x(value), y1: TOP, y2: HEIGHT - BOTTOM });
    drawn(svg, "text", { x: x(value), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, String(value));
  });
  ticks(y0, y1).forEach((value) => {
    drawn(svg, "line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) });
    drawn(svg, "text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, String(value));
  });
  drawn(svg, "text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, data.x.name);
  drawn(svg, "text", { x: -(TOP + HEIGHT - BOTTOM) / 2, y: 14, "text-anchor": "middle", transform: "rotate(-90)" }, data.y.name);
  if (data.limit != null) drawn(svg, "line", { class: "limit", x1: x(data.limit), x2: x(data.limit), y1: TOP, y2: HEIGHT - BOTTOM });
  if (data.steps?.length) {
    const path = data.steps.map(([at, height], place) => (place ? `H${x(at)}V${y(height)}` : `M${x(at)} ${y(height)}`)).join("");
    drawn(svg, "path", { class: "front", d: path });
  }
  for (const line of data.lines.filter((each) => each.is_joined)) {
    const path = line.points.map((point, place) => `${place ? "L" : "M"}${x(point.x)} ${y(point.y)}`).join("");
    drawn(svg, "path", { class: "line", d: path, stroke: line.colour });
  }
  const marks = points.map((point) => {
    const colour = point.line.colour, group = drawn(svg, "g");
    if (point.low !== undefined) drawn(group, "line", { class: "whisker", x1: x(point.x), x2: x(point.x), y1: y(point.low), y2: y(point.high), stroke: colour });
    if (point.is_ringed) drawn(group, "circle", { class: "ring", cx: x(point.x), cy: y(point.y), r: 10 });
    const place = `translate(${x(point.x)} ${y(point.y)})`;
    drawn(group, "path", { d: SHAPES[point.shape % SHAPES.length], transform: place, stroke: colour, fill: point.is_hollow ? "#fff" : colour });
    drawn(group, "circle", { class: "target", cx: x(point.x), cy: y(point.y), r: 12 });
    return group;
  });

  const words = document.createElement("p");
  words.className = "point";
  words.setAttribute("aria-live", "polite");
  words.textContent = "\u00a0";
  box.append(legend(data), words);
  let at = -1;
  function point(place) {
    marks[at]?.classList.remove("at");
    at = place;
    marks[at]?.classList.add("at");
    words.textContent = points[at]?.words ?? "\u00a0";
  }
  marks.forEach((mark, place) => mark.addEventListener("pointerenter", () => point(place)));
  const ordered = points.map((_, place) => place).sort((a, b) => points[a].x - points[b].x || points[a].y - points[b].y);
  svg.addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!way) return;
    event.preventDefault();
    const next = at < 0 ? (way > 0 ? 0 : ordered.length - 1) : ordered.indexOf(at) + way;
    point(ordered[(next + ordered.length) % ordered.length]);
  });
}

// What colours and shapes mean; lines of one colour are too many to tell apart.
function legend(data) {
  const list = document.createElement("ul"), seen = new Map();
  list.className = "legend";
  data.lines.filter((line) => line.points.length).forEach((line) => seen.set(line.colour, [...(seen.get(line.colour) ?? []), line]));
  for (const [colour, lines] of seen) {
    const shape = data.shapes ? SHAPES[1] : SHAPES[lines[0].points[0].shape % SHAPES.length];
    list.append(key(shape, colour, lines.length > 1 ? `${lines[0].name} + ${lines.length - 1}` : lines[0].name));
  }
  (data.shapes ?? []).forEach((name, place) => list.append(key(SHAPES[place % SHAPES.length], "#555", name)));
  return list;
}

function key(shape, colour, name) {
  const item = document.createElement("li");
  drawn(drawn(item, "svg", { viewBox: "-8 -8 16 16", "aria-hidden": "true" }), "path", { d: shape, fill: colour, stroke: colour });
  item.append(name);
  return item;
}

function drawCharts(picture) {
  const data = JSON.parse(picture.querySelector("script").textContent), box = document.createElement("div");
  box.className = data.length > 1 ? "paper charts" : "paper";
  data.forEach((each) => {
    const one = document.createElement("div");
    if (each.title) one.append(Object.assign(document.createElement("p"), { className: "title", textContent: each.title }));
    box.append(one);
    chart(one, each);
  });
  picture.querySelector(".paper").replaceWith(box);
}
