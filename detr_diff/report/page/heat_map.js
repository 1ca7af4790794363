// F1, precision or recall over IoU and score threshold; a click chooses both.

const CELL = { width: 8, height: 20, left: 52, top: 8, bottom: 40 };

function heatMap(choose) {
  const [rows, columns] = [COUNTS.iou.length, COUNTS.score.length];
  const size = { width: CELL.left + columns * CELL.width + 10, height: CELL.top + rows * CELL.height + CELL.bottom };
  const cells = COUNTS.iou.map((_, iou) => COUNTS.score.map((_, score) => shape("rect", {
    x: CELL.left + score * CELL.width, y: CELL.top + (rows - 1 - iou) * CELL.height,
    width: CELL.width, height: CELL.height,
  })));
  const labels = COUNTS.iou.map((iou, place) => shape("text", {
    x: CELL.left - 7, y: CELL.top + (rows - 0.5 - place) * CELL.height + 4, "text-anchor": "end" }, iou.toFixed(2)));
  COUNTS.score.forEach((score, place) => {
    if (place % 10 === 5) labels.push(shape("text", {
      x: CELL.left + (place + 0.5) * CELL.width, y: size.height - CELL.bottom + 16, "text-anchor": "middle" }, score.toFixed(1)));
  });
  labels.push(shape("text", { class: "unit", x: (CELL.left + size.width) / 2, y: size.height - 6, "text-anchor": "middle" }, "score threshold"));
  labels.push(shape("text", { class: "unit", transform: `translate(12 ${CELL.top + (rows * CELL.height) / 2}) rotate(-90)`, "text-anchor": "middle" }, "IoU threshold"));
  const mark = shape("rect", { class: "mark", width: CELL.width, height: CELL.height });
  const surface = shape("g", { class: "cells" }, ...cells.flat());
  const drawing = shape("svg", { viewBox: `0 0 ${size.width} ${size.height}`, role: "img" }, surface, shape("g", { class: "axes" }, ...labels), mark);
  surface.addEventListener("click", (event) => {
    const row = cells.findIndex((line) => line.includes(event.target));
    if (row >= 0) choose(row, cells[row].indexOf(event.target));
  });

  const figure = element("select", { id: "heat-figure" }, ...[["f1", "F1"], ["precision", "precision"], ["recall", "recall"]].map(([value, name]) => element("option", { value }, name)));
  const of = element("select", { id: "heat-class" }, element("option", { value: 0 }, "all classes"),
    ...(DATA.classes.length > 1 ? DATA.classes.map((name, place) => element("option", { value: place + 1 }, name)) : []));
  const value = (iou, score) => rates(Number(of.value), iou, score)[figure.value];
  let best = null;
  const note = element("p", { class: "note" });
  function paint() {
    best = { value: null };
    cells.forEach((line, iou) => line.forEach((cell, score) => {
      const found = value(iou, score);
      if (found !== null && found > (best.value ?? -1)) best = { value: found, iou, score };
      cell.setAttribute("fill", found === null ? "none" : colour(found));
    }));
    const name = figure.selectedOptions[0].textContent;
    note.textContent = best.value === null ? `${name} is not defined: there are no objects.`
      : `Largest ${name}: ${fixed(best.value)} at IoU ${COUNTS.iou[best.iou].toFixed(2)}, score ${COUNTS.score[best.score].toFixed(2)}.`;
    drawing.setAttribute("aria-label", `${name} over IoU and score threshold, ${of.selectedOptions[0].textContent}. ${note.textContent}`);
    const fresh = readable();
    byHand.replaceWith(fresh);
    byHand = fresh;
  }
  const readable = () => asTable(() => table("By IoU and score threshold", ["IoU", ...COUNTS.score.filter((_, k) => k % 5 === 0).map((score) => score.toFixed(2))],
    COUNTS.iou.map((iou, row) => [iou.toFixed(2), ...COUNTS.score.map((_, k) => k).filter((k) => k % 5 === 0).map((k) => fixed(value(row, k)))])));
  let byHand = readable();
  figure.addEventListener("change", paint);
  of.addEventListener("change", paint);
  const scale = element("div", { class: "scale", "aria-hidden": "true" }, element("span", {}, "0"), ramp(), element("span", {}, "1"));
  const node = element("figure", { class: "heat" }, element("figcaption", {}, "IoU and score threshold"),
    element("div", { class: "selects" },
      element("div", { class: "control" }, element("label", { for: "heat-figure" }, "Figure"), figure),
      element("div", { class: "control" }, element("label", { for: "heat-class" }, "Class"), of), scale),
    element("div", { class: "scroll" }, drawing), note, byHand);
  paint();
  return {
    node,
    mark(iou, score) {
      mark.setAttribute("x", CELL.left + score * CELL.width);
      mark.setAttribute("y", CELL.top + (rows - 1 - iou) * CELL.height);
    },
  };
}

// Dark blue over green to yellow: even steps of lightness, for the colour-blind too.
const RAMP = [[38, 18, 84], [62, 73, 137], [38, 130, 142], [53, 183, 121], [180, 222, 44], [253, 231, 37]];
function colour(share) {
  const place = Math.min(0.9999, Math.max(0, share)) * (RAMP.length - 1);
  const [from, to, part] = [RAMP[Math.floor(place)], RAMP[Math.floor(place) + 1], place % 1];
  return `rgb(${from.map((one, k) => Math.round(one + (to[k] - one) * part)).join(" ")})`;
}

function ramp() {
  const parts = Array.from({ length: 40 }, (_, k) => shape("rect", { x: k * 3, width: 3.2, height: 10, fill: colour((k + 0.5) / 40) }));
  return shape("svg", { viewBox: "0 0 120 10", width: 120, height: 10 }, ...parts);
}
