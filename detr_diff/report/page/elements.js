// Making elements. Text is only ever set as text, so a name from the data cannot become markup.

const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function shape(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function byId(id) {
  return document.getElementById(id);
}

function fixed(value, digits = 3) {
  return value === null ? "-" : value.toFixed(digits);
}

// As short as it can be said with three digits.
function short(value) {
  if (value === null) return "-";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-2 || size >= 1e6)) return Number(value.toPrecision(2)).toExponential();
  return String(Number(value.toPrecision(3)));
}

function table(title, columns, rows) {
  const heads = columns.map((column) => element("th", { scope: "col" }, column));
  const body = rows.map(([first, ...rest]) =>
    element("tr", {}, element("th", { scope: "row" }, first), ...rest.map((cell) => element("td", {}, cell))));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
    element("table", {}, element("caption", {}, title),
      element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...body)));
}

// What a chart shows, as a table that is made when it is asked for.
function asTable(build) {
  const details = element("details", { class: "as-table" }, element("summary", {}, "As a table"));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(build());
  });
  return details;
}
