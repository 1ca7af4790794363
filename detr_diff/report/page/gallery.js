// The gallery: which pairs, false positives or misses are shown, in which order, and the large view of one.

const PAGE_SIZE = 24;
const ORDER_OF_VIEW = { worst: "errors", best: "found", all: "name", wrong: "score", lost: "area" };
const WORDS_OF_VIEW = {
  worst: ["pair with errors", "pairs with errors"], best: ["pair without errors", "pairs without errors"], all: ["pair", "pairs"],
  wrong: ["false positive", "false positives"], lost: ["object that was not found", "objects that were not found"],
};

function gallery(state) {
  const filters = byId("filters"), list = byId("gallery"), status = byId("status"), more = byId("more");
  const cards = new Map(); // they stay, so that no picture is decoded twice
  let shown = PAGE_SIZE, items = [], opened = -1;

  const fill = (id, options) => byId(id).append(...options.map(([value, name]) => element("option", { value }, name)));
  fill("class", DATA.classes.map((name, place) => [place, name]));
  fill("size", DATA.sizes.map((name, place) => [place, name]));
  fill("scene", [...new Set(DATA.pairs.map((pair) => pair.scene).filter((scene) => scene !== null))].sort().map((scene) => [scene, scene]));
  fill("kind", KINDS.map((kind, place) => [place, kind]));
  for (const id of ["class", "size", "scene", "kind"]) if (byId(id).options.length <= 2 && id !== "kind") byId(id).closest(".control").hidden = true;
  byId("frame-controls").append(frameControls());

  const predicted = (item) => item.key.startsWith("wrong");
  const corners = (box) => `${box[BOX.x0]}, ${box[BOX.y0]} to ${box[BOX.x1]}, ${box[BOX.y1]}`;
  const chosen = () => ({
    view: filters.elements.view.value, class: byId("class").value, size: byId("size").value,
    scene: byId("scene").value, kind: byId("kind").value, order: byId("order").value,
  });

  // Pairs, or single boxes of pairs, that pass the filters: {key, pair, found, box}.
  function passing(wanted) {
    const threshold = COUNTS.score[state.score];
    const kind = wanted.kind === "" ? null : Number(wanted.kind);
    const fits = (box) => (wanted.class === "" || box[BOX.label] === Number(wanted.class))
      && (wanted.size === "" || box[BOX.size] === Number(wanted.size));
    const result = [];
    DATA.pairs.forEach((pair, place) => {
      if (wanted.scene !== "" && pair.scene !== wanted.scene) return;
      const found = look(pair, threshold);
      if (wanted.view === "wrong" || wanted.view === "lost") {
        const all = wanted.view === "wrong" ? pair.predictions : pair.objects;
        const of = wanted.view === "wrong" ? found.wrong.filter((box) => kind === null || box[BOX.kind] === kind)
          : found.lost.filter((box) => kind === null || (KINDS[kind] === "missed" && found.missed.includes(box)));
        for (const box of of.filter(fits)) result.push({ key: `${wanted.view} ${place} ${all.indexOf(box)}`, pair, found, box });
        return;
      }
      if (wanted.view !== "all" && (found.errors > 0) !== (wanted.view === "worst")) return;
      if (kind !== null && !found.kinds[kind]) return;
      const boxes = [...pair.objects, ...found.predictions];
      if ((wanted.class !== "" || wanted.size !== "") && !boxes.some(fits)) return;
      result.push({ key: `pair ${place}`, pair, found, box: null });
    });
    return sorted(result, wanted.order);
  }

  function sorted(result, order) {
    const largest = (item, of) => (item.box ? of(item.box) : Math.max(0, ...[...item.pair.objects, ...item.found.predictions].map(of)));
    const score = (item) => (item.box ? (predicted(item) ? item.box[BOX.score] : item.box[BOX.found])
      : Math.max(0, ...item.found.predictions.map((box) => box[BOX.score])));
    const value = {
      errors: (item) => item.found.errors, found: (item) => item.found.right,
      score, area: (item) => largest(item, area), name: () => 0,
    }[order];
    return result.map((item) => [value(item), item])
      .sort((a, b) => b[0] - a[0] || (a[1].pair.name < b[1].pair.name ? -1 : a[1].pair.name > b[1].pair.name ? 1 : 0))
      .map(([, item]) => item);
  }

  function card(item) {
    if (!cards.has(item.key)) {
      const { node, boxes } = picture(item.pair, null, item.box && around(item.pair, item.box));
      const words = element("p", { class: "words" });
      const open = element("button", { type: "button", class: "open" }, node);
      const made = element("li", {}, element("article", {}, open, element("h3", {}, item.pair.name), words));
      cards.set(item.key, { made, boxes, node, words, open });
    }
    const parts = cards.get(item.key);
    parts.open.onclick = () => view(items.findIndex((one) => one.key === item.key));
    parts.boxes.replaceChildren(...outlines(item.pair, item.found, state, item.box));
    const words = item.box ? boxSaid(item) : said(item.pair, item.found);
    parts.node.setAttribute("aria-label", `${item.pair.name}: ${words}`);
    parts.words.replaceChildren(element("span", {}, words), element("span", { class: "scene" }, item.pair.scene ?? ""));
    return parts.made;
  }

  function boxSaid(item) {
    if (predicted(item)) return `${boxWords(item.box, true)}: ${KINDS[item.box[BOX.kind]]}`;
    return `${boxWords(item.box, false)}: ${item.found.missed.includes(item.box) ? "missed" : "only with wrong class or place"}`;
  }

  function update() {
    const wanted = chosen();
    items = passing(wanted);
    list.replaceChildren(...items.slice(0, shown).map(card));
    const [one, many] = WORDS_OF_VIEW[wanted.view];
    const all = DATA.pairs.length < DATA.all_pairs ? `; of the ${DATA.all_pairs} pairs ${DATA.pairs.length} are in this page, most of them the worst` : "";
    // What is right and wrong in a picture is known for one IoU alone.
    const at = state.iou ? `; at IoU ${COUNTS.iou[0].toFixed(2)}, whatever is chosen above` : "";
    status.textContent = `${items.length} ${items.length === 1 ? one : many}${items.length > shown ? `, ${shown} shown` : ""}${all}${at}`;
    more.hidden = items.length <= shown;
    if (byId("viewer").open && opened >= 0) view(Math.min(opened, items.length - 1));
  }

  // The large view; it goes through the same items in the same order.
  const dialog = byId("viewer");
  const title = element("h2", { id: "viewer-title" });
  const content = element("div", { class: "viewer-content" });
  const step = (by) => view((opened + by + items.length) % items.length);
  dialog.append(element("div", { class: "viewer-bar" }, title, frameControls(),
    element("div", { class: "steps" },
      element("button", { type: "button", on: { click: () => step(-1) } }, "Previous"),
      element("button", { type: "button", on: { click: () => step(1) } }, "Next"),
      element("button", { type: "button", class: "close", on: { click: () => dialog.close() } }, "Close"))), content);
  dialog.addEventListener("keydown", (event) => {
    if (event.target.matches("input")) return; // arrows choose a frame there
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("close", () => {
    const item = items[opened];
    opened = -1;
    if (item && cards.get(item.key)?.made.isConnected) cards.get(item.key).open.focus();
  });

  function view(place) {
    if (place < 0) return;
    opened = place;
    const { pair, found, box } = items[place];
    title.textContent = pair.name;
    const large = (frame) => {
      const { node, boxes } = picture(pair, frame);
      boxes.append(...(frame === null && box === null ? labelled(pair, found, state) : outlines(pair, found, state, frame === null ? box : null)));
      node.setAttribute("aria-label", `${pair.name}${frame === null ? "" : `, ${frame}`}: ${said(pair, found)}`);
      return element("figure", { class: frame === null ? "large" : "" }, node, frame === null ? null : element("figcaption", {}, frame));
    };
    const rows = [
      ...found.predictions.map((one) => [boxWords(one, true), one[BOX.kind] === RIGHT ? "right" : KINDS[one[BOX.kind]], corners(one)]),
      ...pair.objects.map((one) => [boxWords(one, false), found.lost.includes(one) ? "true, not found" : "true, found", corners(one)]),
    ];
    content.replaceChildren(large(null), element("div", { class: "frames" }, ...FRAMES.filter((_, k) => pair.frames[k]).map(large)),
      element("p", { class: "words" }, `${place + 1} of ${items.length}. ${said(pair, found)}.${pair.scene ? ` Scene ${pair.scene}.` : ""}`),
      table("Boxes, x and y in pixels", ["box", "what", "from x, y to x, y"], rows));
    if (!dialog.open) dialog.showModal();
  }


  filters.addEventListener("change", (event) => {
    if (event.target.name === "view") byId("order").value = ORDER_OF_VIEW[event.target.value];
    if (event.target.name?.startsWith("frame-")) return;
    shown = PAGE_SIZE;
    state.truth = byId("show-truth").checked;
    state.predictions = byId("show-predictions").checked;
    update();
  });
  filters.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const first = shown;
    shown += PAGE_SIZE;
    update();
    list.children[first]?.querySelector("button").focus();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("select, input:not([type=radio]):not([type=checkbox])");
    if (event.key === "b" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) frames.blink();
    if (event.key === "Escape") frames.stop();
  });
  return update;
}
