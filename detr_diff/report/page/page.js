// The state of the page: thresholds and what is drawn. Whatever shows them is told when they change.

const state = { score: DATA.threshold, iou: 0, truth: true, predictions: true };
const slider = byId("score"), overlap = byId("iou");
slider.value = state.score; // a reloaded page would keep the old place
overlap.value = 0;
byId("filters").reset();

function choose(iou, score) {
  slider.value = score;
  overlap.value = iou;
  changed();
}

const watchers = [thresholdCharts(choose), errorParts(), gallery(state)];
calibrationChart();
learningCharts();
robustnessCharts();

function showRates() {
  const found = rates(0, state.iou, state.score);
  const score = COUNTS.score[state.score].toFixed(2);
  byId("score-value").textContent = score;
  byId("precision").textContent = fixed(found.precision);
  byId("recall").textContent = fixed(found.recall);
  byId("f1").textContent = fixed(found.f1);
  byId("right").textContent = found.hits;
  byId("wrong").textContent = found.made - found.hits;
  byId("lost").textContent = found.objects - found.hits;
  slider.setAttribute("aria-valuetext", `${score}: precision ${fixed(found.precision)}, recall ${fixed(found.recall)}, F1 ${fixed(found.f1)}`);
}

let waiting = false;
function changed() {
  state.score = Number(slider.value);
  state.iou = Number(overlap.value);
  showRates();
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    for (const watcher of watchers) watcher(state);
  });
}

slider.addEventListener("input", changed);
overlap.addEventListener("change", changed);
byId("reset").addEventListener("click", () => choose(0, DATA.threshold));
showRates();
for (const watcher of watchers) watcher(state);
document.body.dataset.ready = "yes";
