// A pair as a picture: the three frames on top of each other, boxes above them, and which frame is seen.

const FRAMES = ["before", "after", "diff"];
const BLINK = 500; // milliseconds; two changes a second are far from the three flashes that are allowed

// Which frame is seen, on the whole page. Blinking is a timer, and single steps where motion is not wanted.
const frames = {
  shown: "diff",
  timer: null,
  watchers: [],
  show(name) {
    this.shown = name;
    document.body.dataset.frame = name;
    for (const watcher of this.watchers) watcher();
  },
  turn() {
    this.show(this.shown === "before" ? "after" : "before");
  },
  still() {
    return matchMedia("(prefers-reduced-motion: reduce)").matches;
  },
  stop() {
    if (this.timer === null) return;
    clearInterval(this.timer);
    this.timer = null;
    this.show(this.shown);
  },
  blink() {
    if (this.timer !== null) {
      this.stop();
      return;
    }
    if (!this.still()) this.timer = setInterval(() => this.turn(), BLINK);
    this.turn();
  },
};

let groups = 0;
function frameControls() {
  groups += 1;
  const radios = FRAMES.map((name) => element("input", { type: "radio", name: `frame-${groups}`, value: name, on: {
    change: () => { frames.stop(); frames.show(name); } } }));
  const blink = element("button", { type: "button", class: "blink", "aria-pressed": "false", "aria-keyshortcuts": "b", on: { click: () => frames.blink() } });
  const update = () => {
    radios.forEach((radio) => { radio.checked = radio.value === frames.shown; });
    blink.setAttribute("aria-pressed", String(frames.timer !== null));
    blink.textContent = frames.still() ? "Other frame (b)" : "Blink (b)";
  };
  frames.watchers.push(update);
  update();
  return element("div", { class: "frame-controls" },
    element("fieldset", { class: "tabs" }, element("legend", {}, "Frame"),
      ...radios.map((radio, place) => element("label", {}, radio, element("span", {}, FRAMES[place])))), blink);
}

function drawn(box, kinds, words, written, pair) {
  const attributes = { x: box[BOX.x0], y: box[BOX.y0], width: Math.max(0, box[BOX.x1] - box[BOX.x0]), height: Math.max(0, box[BOX.y1] - box[BOX.y0]) };
  const group = shape("g", { class: `box ${kinds}` }, shape("title", {}, words),
    shape("rect", { class: "halo", ...attributes }), shape("rect", { class: "line", ...attributes }));
  if (written) {
    const size = Math.max(pair.width, pair.height) / 42;
    const top = kinds.startsWith("truth") ? box[BOX.y1] + size * 1.05 : box[BOX.y0] - size * 0.3;
    group.append(shape("text", { x: Math.max(0, box[BOX.x0]), y: Math.min(pair.height - 1, Math.max(size, top)), "font-size": size }, words));
  }
  return group;
}

function boxWords(box, predicted) {
  const name = DATA.classes[box[BOX.label]];
  return predicted ? `${name} ${box[BOX.score].toFixed(2)}` : name;
}

// Lists of boxes by how they are drawn, those on top last.
function byLook(pair, found, state) {
  const truth = state.truth ? pair.objects : [], lost = new Set(found.lost);
  const predictions = state.predictions ? found.predictions : [];
  return {
    truth: truth.filter((box) => !lost.has(box)),
    "truth missed": truth.filter((box) => lost.has(box)),
    right: predictions.filter((box) => box[BOX.kind] === RIGHT),
    wrong: predictions.filter((box) => box[BOX.kind] !== RIGHT),
  };
}

// All boxes of a pair in a few nodes, as there may be thousands on the page.
function outlines(pair, found, state, only) {
  const nodes = Object.entries(byLook(pair, found, state)).filter(([, boxes]) => boxes.length).map(([look, boxes]) => {
    const d = boxes.map((box) => `M${box[BOX.x0]} ${box[BOX.y0]}H${box[BOX.x1]}V${box[BOX.y1]}H${box[BOX.x0]}Z`).join("");
    return shape("g", { class: `box ${look}${only ? " aside" : ""}`, "data-boxes": boxes.length },
      shape("path", { class: "halo", d }), shape("path", { class: "line", d }));
  });
  if (only) {
    const predicted = pair.predictions.includes(only);
    nodes.push(drawn(only, `${predicted ? "wrong" : "truth missed"} picked`, boxWords(only, predicted), false, pair));
  }
  return nodes;
}

// Each box with its words.
function labelled(pair, found, state) {
  return Object.entries(byLook(pair, found, state)).flatMap(([look, boxes]) => boxes.map((box) => {
    const words = boxWords(box, !look.startsWith("truth"));
    return drawn(box, look, look === "wrong" ? `${words}, ${KINDS[box[BOX.kind]]}` : words, true, pair);
  }));
}

// The part of the picture around a box, as wide as high as the whole picture is.
function around(pair, box) {
  const [wide, high] = [box[BOX.x1] - box[BOX.x0], box[BOX.y1] - box[BOX.y0]];
  const part = Math.min(1, Math.max(0.3, (2.5 * wide) / pair.width, (2.5 * high) / pair.height));
  const [width, height] = [pair.width * part, pair.height * part];
  const left = Math.min(pair.width - width, Math.max(0, (box[BOX.x0] + box[BOX.x1] - width) / 2));
  const top = Math.min(pair.height - height, Math.max(0, (box[BOX.y0] + box[BOX.y1] - height) / 2));
  return `${left} ${top} ${width} ${height}`;
}

// frame: one of FRAMES, or null for the frame that the page shows.
function picture(pair, frame = null, view = null) {
  const images = FRAMES.map((name, place) => [name, pair.frames[place]])
    .filter(([name, source]) => source && (frame === null || frame === name))
    .map(([name, source]) => shape("image", { class: frame === null ? `frame ${name}` : "", href: source, width: pair.width, height: pair.height, preserveAspectRatio: "none" }));
  const boxes = shape("g", { class: "boxes" });
  const back = shape("rect", { class: "back", width: pair.width, height: pair.height });
  const alone = pair.frames[0] ? "" : " alone"; // a ready diff image has no frames to blink between
  const node = shape("svg", { class: `picture${alone}`, viewBox: view ?? `0 0 ${pair.width} ${pair.height}`, role: "img" }, back, ...images, boxes);
  if (!images.length) node.append(shape("text", { class: "gone", x: "50%", y: "50%", "text-anchor": "middle", "font-size": pair.width / 16 }, "no picture"));
  return { node, boxes };
}

function said(pair, found) {
  const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;
  return `${count(pair.objects.length, "object", "objects")}, ${pair.objects.length - found.lost.length} found; ${count(found.wrong.length, "wrong prediction", "wrong predictions")}`;
}
