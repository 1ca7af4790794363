// A line chart: axes, bands behind, lines that can be switched off, a readout under the pointer, a table.

const WIDTH = 460, HEIGHT = 300;
const FRAME = { left: 58, right: 14, top: 14, bottom: 42 };
const MOST_LINES = 8;

function ticks(low, high, about = 5) {
  const span = high - low || 1;
  const size = 10 ** Math.floor(Math.log10(span / about));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((one) => span / one <= about + 0.5);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-6; k += 1) found.push(k * step);
  return found;
}

const across = (domain, value) =>
  FRAME.left + ((value - domain[0]) / (domain[1] - domain[0] || 1)) * (WIDTH - FRAME.left - FRAME.right);
const up = (domain, value) =>
  HEIGHT - FRAME.bottom - ((value - domain[0]) / (domain[1] - domain[0] || 1)) * (HEIGHT - FRAME.top - FRAME.bottom);

function axes(xAxis, yAxis) {
  const group = shape("g", { class: "axes" });
  const [left, right, bottom] = [FRAME.left, WIDTH - FRAME.right, HEIGHT - FRAME.bottom];
  for (const value of ticks(...yAxis.domain)) {
    const y = up(yAxis.domain, value);
    group.append(shape("line", { class: "grid", x1: left, x2: right, y1: y, y2: y }));
    group.append(shape("text", { x: left - 7, y: y + 4, "text-anchor": "end" }, short(value)));
  }
  const marks = xAxis.names ? xAxis.names.map((name, place) => [place, name])
    : ticks(...xAxis.domain, 6).map((value) => [value, short(value)]);
  for (const [value, name] of marks) {
    group.append(shape("text", { x: across(xAxis.domain, value), y: bottom + 17, "text-anchor": "middle" }, name));
  }
  group.append(shape("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }));
  group.append(shape("text", { class: "unit", x: (left + right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, xAxis.label));
  const middle = (FRAME.top + bottom) / 2;
  group.append(shape("text", { class: "unit", transform: `translate(11 ${middle}) rotate(-90)`, "text-anchor": "middle" }, yAxis.label));
  return group;
}

function bands(stages, domain) {
  const group = shape("g", { class: "bands" });
  stages.forEach((stage, place) => {
    const [from, to] = [across(domain, stage.first), across(domain, stage.last)];
    group.append(shape("rect", { class: place % 2 ? "odd" : "even", x: from, y: FRAME.top, width: Math.max(0, to - from), height: HEIGHT - FRAME.top - FRAME.bottom }));
    if (place) group.append(shape("line", { x1: from, x2: from, y1: FRAME.top, y2: HEIGHT - FRAME.bottom }));
    if (stages.length > 1) group.append(shape("text", { x: from + 4, y: FRAME.top + 12 }, stage.name));
  });
  return group;
}

// options: title, x and y ({label, domain, names?}), series ([{name, points}]; a value may be null), stages?, dots?
// Returns {node, mark(x, [[series, y], ...])}: mark draws a line at x and a dot on each of the series.
function lineChart(options) {
  const { title, x, y, series } = options;
  // A drawing of its own, so that a line ends at the frame.
  const [inside, below] = [WIDTH - FRAME.left - FRAME.right, HEIGHT - FRAME.top - FRAME.bottom];
  const margin = 4;
  const plot = shape("svg", { class: "lines", x: FRAME.left - margin, y: FRAME.top - margin, width: inside + 2 * margin, height: below + 2 * margin,
    viewBox: `${FRAME.left - margin} ${FRAME.top - margin} ${inside + 2 * margin} ${below + 2 * margin}` });
  const marks = shape("g", { class: "marks" });
  const guide = shape("line", { class: "guide", y1: FRAME.top, y2: HEIGHT - FRAME.bottom, visibility: "hidden" });
  const drawing = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${series.map((one) => one.name).join(", ")}` },
    options.stages ? bands(options.stages, x.domain) : null, axes(x, y), plot, guide, marks);
  const lines = series.map((one, place) => drawn(one, place));
  const legend = element("ul", { class: "legend" });
  const hidden = new Set();

  function drawn(one, place) {
    const group = shape("g", { class: `series color-${place % 9}${place >= 9 ? " second" : ""}` });
    let path = "", open = false;
    for (const [at, value] of one.points) {
      if (value === null) { open = false; continue; }
      path += `${open ? "L" : "M"}${across(x.domain, at).toFixed(1)} ${up(y.domain, value).toFixed(1)}`;
      open = true;
    }
    group.append(shape("path", { d: path }));
    const single = one.points.length < 3;
    if (options.dots || single) for (const [at, value] of one.points) {
      if (value !== null) group.append(shape("circle", { cx: across(x.domain, at), cy: up(y.domain, value), r: 3 }));
    }
    plot.append(group);
    return group;
  }

  const values = series.map((one, place) => {
    const value = element("span", { class: "value" });
    const button = element("button", { type: "button", class: `color-${place % 9}${place >= 9 ? " second" : ""}`, "aria-pressed": "true" },
      element("span", { class: "swatch" }), element("span", {}, one.name), value);
    const show = (shown) => {
      button.setAttribute("aria-pressed", String(shown));
      lines[place].setAttribute("visibility", shown ? "visible" : "hidden");
      if (shown) hidden.delete(place); else hidden.add(place);
    };
    button.addEventListener("click", () => show(hidden.has(place)));
    if (place >= MOST_LINES) show(false);
    legend.append(element("li", {}, button));
    return value;
  });

  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const share = (((event.clientX - box.left) / box.width) * WIDTH - FRAME.left) / (WIDTH - FRAME.left - FRAME.right);
    const at = x.domain[0] + Math.min(1, Math.max(0, share)) * (x.domain[1] - x.domain[0]);
    guide.setAttribute("x1", across(x.domain, at));
    guide.setAttribute("x2", across(x.domain, at));
    guide.setAttribute("visibility", "visible");
    series.forEach((one, place) => {
      const known = one.points.filter((point) => point[1] !== null);
      const near = known.reduce((best, point) => (best === null || Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best), null);
      values[place].textContent = near ? short(near[1]) : "";
    });
  });
  drawing.addEventListener("pointerleave", () => {
    guide.setAttribute("visibility", "hidden");
    for (const value of values) value.textContent = "";
  });

  const rows = () => table(title, ["line", x.label, y.label || "value"], series.flatMap((one) =>
    one.points.map(([at, value]) => [one.name, x.names ? x.names[at] : short(at), short(value)])));
  const node = element("figure", {}, element("figcaption", {}, title), drawing, legend, asTable(rows));
  function mark(at, dots) {
    marks.replaceChildren();
    if (at !== null) {
      const place = across(x.domain, at);
      marks.append(shape("line", { x1: place, x2: place, y1: FRAME.top, y2: HEIGHT - FRAME.bottom }));
    }
    for (const [place, dotX, dotY] of dots) {
      if (hidden.has(place) || dotX === null || dotY === null) continue;
      marks.append(shape("circle", { class: `color-${place % 9}`, cx: across(x.domain, dotX), cy: up(y.domain, dotY), r: 5 }));
    }
  }
  return { node, mark };
}
