// Precision, recall and F1 from whole numbers, and what is right and wrong in a pair at a score threshold.

const COUNTS = DATA.counts;
const KINDS = DATA.errors.kinds;
const RIGHT = -1;
const BOX = { x0: 0, y0: 1, x1: 2, y1: 3, label: 4, score: 5, kind: 6, found: 5, covered: 6, size: 7 };

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

// Row 0 is over all classes together, row k + 1 is class k. What is not defined is null, as in the figures of the run.
function rates(row, iou, score) {
  const of = (columns) => (row === 0 ? sum(columns) : columns[row - 1]);
  const hits = of(COUNTS.hits.map((column) => column[iou][score]));
  const made = of(COUNTS.made.map((column) => column[score]));
  const objects = of(COUNTS.objects);
  return {
    hits, made, objects,
    precision: made + objects ? hits / Math.max(made, 1) : null,
    recall: objects ? hits / objects : null,
    f1: made + objects ? (2 * hits) / (made + objects) : null,
  };
}

// The boxes of a pair at a score threshold, at IoU 0.5; each list has rows of the data.
function look(pair, threshold) {
  const predictions = pair.predictions.filter((box) => box[BOX.score] >= threshold);
  const wrong = predictions.filter((box) => box[BOX.kind] !== RIGHT);
  const lost = pair.objects.filter((box) => box[BOX.found] < threshold);
  const missed = lost.filter((box) => box[BOX.covered] < threshold);
  const kinds = KINDS.map((_, kind) => wrong.filter((box) => box[BOX.kind] === kind).length);
  kinds[KINDS.indexOf("missed")] = missed.length;
  return {
    predictions, wrong, lost, missed, kinds,
    right: predictions.length - wrong.length,
    errors: sum(kinds),
  };
}

function area(box) {
  return (box[BOX.x1] - box[BOX.x0]) * (box[BOX.y1] - box[BOX.y0]);
}
