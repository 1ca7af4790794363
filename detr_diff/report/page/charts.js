// The charts and tables that the data fills; those that follow the thresholds are updated.

const LINES = ["all classes", ...DATA.classes].slice(DATA.classes.length === 1 ? 1 : 0);
const lineRow = (line) => (DATA.classes.length === 1 ? 0 : line);
const UNIT = [0, 1];

const MEANING = {
  class: "on an object of another class",
  location: "near an object of its class, IoU 0.1 to 0.5",
  both: "near an object of another class",
  duplicate: "on an object that a better prediction has found",
  background: "near no object",
  missed: "objects that nothing is on or near, or only with wrong class and place",
};

function thresholdCharts(choose) {
  const place = byId("threshold-charts");
  const map = heatMap(choose);
  const body = byId("class-rates").querySelector("tbody");
  byId("heat-map").append(map.node);
  let pr = null, f1 = null, charted = null;
  return (state) => {
    if (charted !== state.iou) {
      charted = state.iou;
      const title = `IoU ${COUNTS.iou[state.iou].toFixed(2)}`;
      pr = lineChart({
        title: `Precision and recall, ${title}`, x: { label: "recall", domain: UNIT }, y: { label: "precision", domain: UNIT },
        series: LINES.map((name, line) => ({ name, points: DATA.curves[lineRow(line)][state.iou] })),
      });
      f1 = lineChart({
        title: `F1 by score threshold, ${title}`, x: { label: "score threshold", domain: UNIT }, y: { label: "F1", domain: UNIT },
        series: LINES.map((name, line) => ({ name, points: COUNTS.score.map((score, k) => [score, rates(lineRow(line), state.iou, k).f1]) })),
      });
      place.replaceChildren(pr.node, f1.node);
    }
    const found = LINES.map((_, line) => rates(lineRow(line), state.iou, state.score));
    pr.mark(null, found.map((one, line) => [line, one.recall, one.precision]));
    f1.mark(COUNTS.score[state.score], found.map((one, line) => [line, COUNTS.score[state.score], one.f1]));
    map.mark(state.iou, state.score);
    body.replaceChildren(...LINES.map((name, line) => {
      const one = found[line];
      const cells = [one.objects, one.hits, one.made - one.hits, fixed(one.precision), fixed(one.recall), fixed(one.f1)];
      return element("tr", {}, element("th", { scope: "row" }, name), ...cells.map((cell) => element("td", {}, String(cell))));
    }));
  };
}

function errorParts() {
  const body = byId("error-parts").querySelector("tbody");
  const dearest = Math.max(...DATA.errors.costs.map((cost) => cost ?? 0), 1e-9);
  const bar = (share) => {
    const node = element("span", { class: "part", "aria-hidden": "true" });
    node.style.width = `${Math.max(0, Math.min(1, share)) * 4}rem`;
    return node;
  };
  return (state) => {
    const counts = DATA.errors.counts[state.score];
    const largest = Math.max(...counts, 1);
    body.replaceChildren(...KINDS.map((kind, place) => element("tr", {}, element("th", { scope: "row" }, kind),
      element("td", { class: "barred" }, element("span", { class: "number" }, String(counts[place])), bar(counts[place] / largest)),
      element("td", { class: "barred" }, element("span", { class: "number" }, fixed(DATA.errors.costs[place], 4)), bar((DATA.errors.costs[place] ?? 0) / dearest)),
      element("td", { class: "words" }, MEANING[kind] ?? ""))));
  };
}

function calibrationChart() {
  const bins = DATA.calibration.filter((bin) => bin.predictions);
  if (!bins.length) return;
  const chart = lineChart({
    title: "Are scores what they say?", x: { label: "mean score", domain: UNIT }, y: { label: "share that is right", domain: UNIT }, dots: true,
    series: [
      { name: "found", points: bins.map((bin) => [bin.mean_score, bin.precision]) },
      { name: "as it should be", points: [[0, 0], [0.5, 0.5], [1, 1]] },
    ],
  });
  byId("calibration-chart").append(chart.node);
}

function learningCharts() {
  if (!DATA.learning) return;
  for (const { title, unit, series } of DATA.learning.charts) {
    const points = series.flatMap((one) => one.points);
    const stages = DATA.learning.stages;
    const right = Math.max(...points.map((point) => point[0]), ...stages.map((stage) => stage.last), 1);
    // The first steps of a loss can be many times the rest, which then could not be read.
    const values = points.map((point) => point[1]).sort((a, b) => a - b);
    const high = values[values.length - 1], usual = values[Math.floor(values.length * 0.98)] * 1.25;
    const top = unit === "" ? 1 : (unit === "loss" && usual < high / 2 ? usual : high * 1.05) || 1;
    byId("learning-charts").append(lineChart({
      title, stages, series, x: { label: "optimizer step", domain: [0, right] }, y: { label: unit, domain: [0, top] },
    }).node);
  }
}

function robustnessCharts() {
  if (!DATA.robustness.length) return;
  const chosen = byId("robustness-figure");
  const draw = () => byId("robustness-charts").replaceChildren(...DATA.robustness.map((one) => {
    const numbers = one.levels.map(Number);
    const names = numbers.some(Number.isNaN) ? one.levels : null;
    const at = names ? one.levels.map((_, place) => place) : numbers;
    const domain = names ? [-0.5, at.length - 0.5] : [Math.min(...at), Math.max(...at)];
    return lineChart({
      title: one.disturbance, dots: true, x: { label: "level", domain, names }, y: { label: chosen.selectedOptions[0].textContent, domain: UNIT },
      series: Object.entries(one.series).map(([name, figures]) => ({ name, points: figures[chosen.value].map((value, place) => [at[place], value]) })),
    }).node;
  }));
  chosen.addEventListener("change", draw);
  draw();
}
