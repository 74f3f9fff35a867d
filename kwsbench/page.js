"use strict";
// One state, kept in the address so that a view can be linked; every change draws the page anew.
// Text from the figures becomes text nodes and attributes, never markup.

const BOARD = JSON.parse(document.getElementById("figures").textContent);
const AXES = ["encoder", "transform", "distance", "matcher"];
const SVG = "http://www.w3.org/2000/svg";
const COLOURS = 7;
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];
const SHAPES = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0", "M-3.6-3.6h7.2v7.2h-7.2z", "M0-5L4.6 3.4H-4.6z", "M0-5L5 0L0 5L-5 0z",
  "M0 5L4.6-3.4H-4.6z", "M-1.6-4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2z",
  "M0-5.2L1.4-1.6L5-1.6L2.2.8L3.2 4.4L0 2.2L-3.2 4.4L-2.2.8L-5-1.6L-1.4-1.6z", "M-5 0L-2.5-4.3H2.5L5 0L2.5 4.3H-2.5z",
];
const DEFAULTS = { set: BOARD.sets[0].name, cond: "", pair: "", x: "cosine", every: "", bands: "1", sort: "map", dir: "down", q: "", off: "" };

const $ = (id) => document.getElementById(id);
const state = {};
let board, off; // the data set that is shown, and the names that are switched off

// ── making elements ──────────────────────────────────────────────────────────

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== ""));
  return node;
}
const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const path = (d, attributes = {}) => svg("path", { d, ...attributes });
/** A name with parameters, which may be broken after each of them. */
const spec = (name) => name.split(/(?<=[:,+])/).map((part) => el("span", { class: "part" }, part));
const line = (x1, y1, x2, y2, css, more = {}) => svg("line", { x1, y1, x2, y2, class: css, ...more });

const known = (value) => value !== null && value !== undefined;
const unique = (values) => [...new Set(values)];
const short = (value, digits = 3) => (known(value) ? value.toFixed(digits).replace(/^(-?)0\./, "$1.") : "");
const label = (tick, digits) => (tick === 0 ? "0" : short(tick, digits));
const interval = (figure) => (figure && known(figure[0]) ? `${short(figure[0])} [${short(figure[1])}, ${short(figure[2])}]` : "");
const natural = (a, b) => a.localeCompare(b, "en", { numeric: true });

// ── state ────────────────────────────────────────────────────────────────────

const asked = () => ({ ...DEFAULTS, ...Object.fromEntries(new URLSearchParams(location.hash.slice(1))) });

function read() {
  Object.assign(state, asked());
  board = BOARD.sets.find((set) => set.name === state.set) || BOARD.sets[0];
  const conditions = Object.keys(board.conditions);
  if (!conditions.includes(state.cond)) state.cond = conditions.includes(BOARD.headline) ? BOARD.headline : conditions[0] || "";
  const pairs = board.pairs;
  if (!pairs.includes(state.pair)) state.pair = pairs.find((pair) => pair === "cosine sdtw") || pairs[0];
  off = new Set(state.off.split(" ").filter(Boolean));
}

function set(changes) {
  const kept = Object.entries({ ...asked(), ...changes }).filter(([key, value]) => key in DEFAULTS && value !== DEFAULTS[key]);
  history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
  draw();
}

/** What each data set is made of, worked out once. */
// A layer with a name of its own lies below the numbered ones.
const numbered = (layer) => /^\d+$/.test(layer);
const upwards = (one, other) => numbered(one) - numbered(other) || natural(one, other);

function prepare(set) {
  const cells = set.cells.map(({ name: [encoder, transform, distance, matcher, layer], ...rest }) => {
    const [bare, ...params] = encoder.split(":");
    const name = `${bare}@${layer}${params.length ? `:${params.join(":")}` : ""} ${transform} ${distance} ${matcher}`;
    return { encoder, transform, distance, matcher, layer, pair: `${distance} ${matcher}`, name, ...rest };
  });
  const encoders = unique(cells.map((cell) => cell.encoder)).sort(natural);
  const layers = Object.fromEntries(encoders.map((name) => [name, unique(cells.filter((c) => c.encoder === name).map((c) => c.layer)).sort(upwards)]));
  Object.assign(set, { cells, encoders, layers, pairs: unique(cells.map((cell) => cell.pair)).sort(natural) });
}
BOARD.sets.forEach(prepare);

// What tells transforms and encoders apart is the same for all data sets. Uncorrected comes first: it is drawn in ink.
const names = (kind) => unique(BOARD.sets.flatMap((each) => each.cells.map((cell) => cell[kind]))).sort((a, b) => (b === "none") - (a === "none") || natural(a, b));
const NAMES = { transform: names("transform"), encoder: names("encoder") };

// Names beyond the seventh take the colours again: their lines are dashed, their marks hollow.
const turn = (transform) => Math.floor(NAMES.transform.indexOf(transform) / COLOURS);
const paint = (transform, css) => ({ color: `var(--c${NAMES.transform.indexOf(transform) % COLOURS})`, class: turn(transform) % 2 ? `${css} hollow` : css });
const trait = (transform) => ({ ...paint(transform, "curve"), "stroke-dasharray": DASHES[turn(transform) % DASHES.length] });
const shape = (encoder) => SHAPES[NAMES.encoder.indexOf(encoder) % SHAPES.length];
const describe = (cell) =>
  `${cell.name}\nMAP ${interval(cell.map[state.cond]) || "not measured"}\n` +
  `mean cosine ${short(cell.shape[0][0])} → ${short(cell.shape[1][0])}, IsoScore ${short(cell.shape[0][1])} → ${short(cell.shape[1][1])}`;

// ── controls ─────────────────────────────────────────────────────────────────

function choice(id, values, current, key, text) {
  $(id).parentElement.hidden = values.length < 2;
  $(id).replaceChildren(...values.map((value) => el("label", {},
    el("input", { type: "radio", name: key, value, checked: value === current, "data-key": `${key} ${value}`, onchange: () => set({ [key]: value }) }),
    el("span", {}, text(value)))));
}

const check = (key, text) => el("label", {},
  el("input", { type: "checkbox", checked: Boolean(state[key]), "data-key": key, onchange: (event) => set({ [key]: event.target.checked ? "1" : "" }) }), text);

const select = (key, text, options) => el("label", {}, text,
  el("select", { "data-key": key, onchange: (event) => set({ [key]: event.target.value }) },
    options.map(([value, shown]) => el("option", { value, selected: value === state[key] }, shown))));

/** A key of a figure: a sample of the mark, the name, and a switch; pointing at it dims all others. */
function key(where, kind, name, sample) {
  const id = encodeURIComponent(`${kind} ${name}`);
  const point = (on) => () => {
    for (const mark of document.querySelectorAll(`#${where} [data-${kind}]`)) mark.classList.toggle("dim", on && mark.getAttribute(`data-${kind}`) !== name);
  };
  const toggle = () => {
    if (!off.delete(id)) off.add(id);
    set({ off: [...off].sort().join(" ") });
  };
  return el("button", {
    type: "button", "aria-pressed": String(shown(kind, name)), "data-key": `${where} ${id}`, onclick: toggle,
    onpointerenter: point(true), onpointerleave: point(false), onfocus: point(true), onblur: point(false),
  }, svg("svg", { width: 26, height: 14, "aria-hidden": "true" }, sample), name);
}
const shown = (kind, name) => !off.has(encodeURIComponent(`${kind} ${name}`));
const stroke = (css, more = {}) => line(1, 7, 25, 7, css, more);
/** The names that occur in cells, in the order in which they are coloured and shaped. */
const named = (kind, cells) => NAMES[kind].filter((name) => cells.some((cell) => cell[kind] === name));

// ── encoders ─────────────────────────────────────────────────────────────────

function drawBest() {
  const rows = ordered(board.chosen, "map", "down");
  const highs = rows.map((row) => (row.of[state.cond]?.map || [])[2]).filter(known);
  const scale = ticks(0, Math.max(0.1, ...highs), 5);
  const at = (value) => `${2 + (96 * value) / scale.at(-1)}%`;
  const chance = board.conditions[state.cond]?.chance;
  const back = () => [scale.map((tick) => line(at(tick), 0, at(tick), "100%", "grid")), known(chance) ? line(at(chance), 0, at(chance), "100%", "chance") : null];
  const head = el("tr", {}, el("th", { class: "n" }, "Rank"), el("th", {}, "Encoder"),
    el("th", { class: "forest" }, svg("svg", { height: 20, "aria-hidden": "true" },
      scale.map((tick) => svg("text", { x: at(tick), y: 14, "text-anchor": "middle" }, label(tick, digits(scale)))))),
    ["MAP", ...BOARD.metrics.slice(1).map((name) => name.toUpperCase()), "Gap", "cos", "IsoScore"].map((name, i) => el("th", { class: i ? "n more" : "n" }, name)));
  const body = rows.map((row) => {
    const figure = row.of[state.cond]?.map;
    return el("tr", { class: row.fixed && "fixed" }, el("td", { class: "n" }, row.rank[state.cond] || "–"),
      el("td", { class: "who" }, el("div", { class: "name spec" }, spec(row.encoder), row.heard ? [" ", el("abbr", { title: "its training data held this language" }, "†")] : "",
        row.fixed ? el("span", { class: "tag", title: "set by the board, chosen by nobody" }, "baseline") : ""),
      figure ? el("div", { class: "how spec" }, "layer ", el("b", {}, row.layer), ...AXES.slice(1).flatMap((axis) => [" · ", el("b", {}, spec(row[axis]))])) : "",
      row.error && figure ? el("div", { class: "why" }, row.error) : ""),
      figure ? [el("td", { class: "forest" }, svg("svg", { role: "img", "aria-label": `MAP ${interval(figure)}, chance ${short(chance)}` },
        back(), svg("svg", { y: "50%", overflow: "visible" }, whiskers(figure, at)))), el("td", { class: "n value" }, short(figure[0]), el("small", {}, ` [${short(figure[1])}, ${short(figure[2])}]`)),
      numbers(row).slice(1).map((text) => el("td", { class: "n more" }, text))]
        : el("td", { class: "because why", colspan: 9 }, row.error || "not measured under this condition"));
  });
  $("best").replaceChildren(el("table", { class: "best" }, el("thead", {}, head), el("tbody", {}, body)));
}

/** The interval as a bar with whiskers, the value as a dot. */
function whiskers([value, low, high], at) {
  if (!known(value)) return [];
  const bar = known(low) && known(high)
    ? [line(at(low), 0, at(high), 0, "cibar"), line(at(low), 0, at(high), 0, "ci"), [low, high].map((end) => line(at(end), -5, at(end), 5, "ci"))]
    : [];
  return [bar, svg("circle", { cx: at(value), r: 4.2, class: "dot" })];
}

/** The figures of a row as text: MAP, the other metrics, gap, mean cosine, IsoScore. */
function numbers(row) {
  const of = (metric) => row.of[state.cond]?.[metric];
  const distance = gap(row);
  return [interval(of("map")), ...BOARD.metrics.slice(1).map((metric) => short(of(metric)?.[0])),
    known(distance) ? (distance < 0 ? "" : "+") + short(distance) : "", short(row.shape[0]), short(row.shape[1])];
}

function gap(row) {
  return row.gap[state.cond.split("/")[1]];
}

// ── all configurations ───────────────────────────────────────────────────────

const COLUMNS = [...AXES.slice(0, 1), "layer", ...AXES.slice(1), ...BOARD.metrics, "gap", "cos", "isoscore"];

function field(row, column) {
  if (column === "gap") return gap(row);
  if (column === "cos") return row.shape[0];
  if (column === "isoscore") return row.shape[1];
  return BOARD.metrics.includes(column) ? row.of[state.cond]?.[column]?.[0] : row[column];
}

/** Rows by a column; what is not known comes last, whichever the direction. */
function ordered(rows, column, direction) {
  const sign = direction === "up" ? 1 : -1;
  return [...rows].sort((one, other) => {
    const [a, b] = [field(one, column), field(other, column)];
    if (!known(a) || !known(b)) return known(b) - known(a);
    return sign * (typeof a === "string" ? natural(a, b) : a - b);
  });
}

function drawAll() {
  const head = COLUMNS.map((column) => {
    const number = !AXES.includes(column) && column !== "layer";
    const sorted = state.sort === column;
    const next = sorted ? (state.dir === "up" ? "down" : "up") : number && column !== "eer" ? "down" : "up";
    return el("th", { class: number && "n", scope: "col", "aria-sort": sorted && (state.dir === "up" ? "ascending" : "descending") },
      el("button", { type: "button", "data-key": `sort ${column}`, onclick: () => set({ sort: column, dir: next }) },
        number ? { isoscore: "IsoScore", gap: "Gap", cos: "cos" }[column] || column.toUpperCase() : column[0].toUpperCase() + column.slice(1)));
  });
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const matching = board.all.filter((row) => {
    const text = [...AXES.map((axis) => row[axis]), row.layer, row.error || ""].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const rows = ordered(matching, COLUMNS.includes(state.sort) ? state.sort : "map", state.dir).map((row) => {
    const figures = row.of[state.cond] ? numbers(row) : null;
    return el("tr", {}, el("td", { class: "spec" }, spec(row.encoder), row.heard ? " †" : "", row.error && figures ? el("div", { class: "why", title: row.error }, row.error.split(":")[0]) : ""),
      ["layer", ...AXES.slice(1)].map((axis) => el("td", { class: "spec" }, spec(row[axis]))),
      figures ? figures.map((text) => el("td", { class: "n" }, text)) : el("td", { class: "why", colspan: BOARD.metrics.length + 3 }, row.error || "not measured under this condition"));
  });
  $("all").replaceChildren(el("table", { class: "all" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)));
  $("found").value = `${rows.length} of ${board.all.length}`;
  if ($("filter").value !== state.q) $("filter").value = state.q;
}

// ── figures ──────────────────────────────────────────────────────────────────

/** Round numbers from low or less to high or more (what is beyond by a hair stays within the margin), about so many steps. */
function ticks(low, high, steps) {
  const raw = (high - low || 1) / steps;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((size) => size * power >= raw * 0.999);
  const first = Math.floor(low / step + 0.05);
  return Array.from({ length: Math.ceil(high / step - 0.05) - first + 1 }, (_, i) => +((first + i) * step).toFixed(6));
}

/** A frame with axes. x and y: {ticks, label, text}; gives the svg and the two scales. */
function frame(width, height, x, y, title) {
  const [left, right, top, bottom] = [44, 14, 12, 42];
  const place = (scale, from, to) => (value) => from + ((to - from) * (value - scale[0])) / (scale.at(-1) - scale[0] || 1);
  const px = place(x.ticks, left + (x.inset || 0), width - right - (x.inset || 0));
  const py = place(y.ticks, height - bottom, top);
  const plot = svg("svg", { class: "plot", width, height, viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img", "aria-label": `${title}. Arrow keys go from point to point.` },
    y.ticks.map((tick) => [line(left, py(tick), width - right, py(tick), "grid"), svg("text", { x: left - 8, y: py(tick) + 4, "text-anchor": "end" }, label(tick, y.digits))]).flat(),
    (x.marks || x.ticks).map((tick) => svg("text", { x: px(tick), y: height - bottom + 18, "text-anchor": "middle" }, x.text ? x.text(tick) : label(tick, x.digits))),
    svg("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, x.label),
    svg("text", { x: 12, y: (top + height - bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(top + height - bottom) / 2})` }, y.label));
  const across = (value, css, more) => line(left, py(value), width - right, py(value), css, more);
  return { plot, px, py, across };
}
const digits = (scale) => Math.max(1, ...scale.map((tick) => (String(tick).split(".")[1] || "").length));

function mark(cell, x, y, drawn, scale = 1) {
  const node = path(drawn, { ...paint(cell.transform, "mark"), transform: `translate(${x.toFixed(1)} ${y.toFixed(1)}) scale(${scale})` });
  node.tip = () => describe(cell);
  return node;
}

/** What may lie on a layer: chance and the baselines of a single layer, with how each line is dashed. */
function references() {
  const lines = BOARD.baselines.map((wanted) => {
    const mine = board.cells.filter((cell) => AXES.every((axis, i) => cell[axis] === wanted[i]) && !cell.error);
    return mine.length === 1 && board.layers[mine[0].encoder].length === 1 && mine[0].map[state.cond] ? { name: wanted.join(" "), value: mine[0].map[state.cond][0] } : null;
  });
  return lines.filter(Boolean).map((each, i) => ({ ...each, dash: ["10 4", "10 4 2 4", "10 4 2 4 2 4", "4 4"][i % 4] }));
}

function drawLayers() {
  const scored = board.cells.filter((cell) => known(cell.map[state.cond]?.[0]));
  const encoders = board.encoders.filter((name) => board.layers[name].length > 1 && scored.some((cell) => cell.encoder === name));
  $("h-layers").parentElement.hidden = !encoders.length;
  if (!encoders.length) return;
  const cells = scored.filter((cell) => cell.pair === state.pair && encoders.includes(cell.encoder));
  const lines = references();
  const chance = board.conditions[state.cond]?.chance;
  $("layer-controls").replaceChildren(select("pair", "Distance and matcher", board.pairs.map((pair) => [pair, pair])), check("bands", "95% bands"));
  $("layer-keys").replaceChildren(...named("transform", cells).map((name) =>
    key("layers", "transform", name, line(1, 7, 25, 7, "", trait(name)))),
    ...lines.map(({ name, dash: dashes }) => key("layers", "ref", name, stroke("ref", { "stroke-dasharray": dashes }))),
    ...(known(chance) ? [key("layers", "ref", "chance", stroke("chance"))] : []));
  const top = Math.max(0.1, ...cells.map((c) => c.map[state.cond][2] ?? c.map[state.cond][0]), ...lines.map((each) => each.value));
  const y = ticks(0, top, 5);
  const room = $("layers").clientWidth;
  const columns = Math.max(1, Math.min(encoders.length, 2, Math.floor((room + 24) / 360)));
  const width = Math.floor((room - 24 * (columns - 1)) / columns);
  $("layers").replaceChildren(...encoders.map((encoder) => {
    const layers = board.layers[encoder];
    const every = Math.ceil((layers.length * Math.max(22, 8 * Math.max(...layers.map((name) => name.length)))) / (width - 60));
    const { plot, px, py, across } = frame(width, Math.round(Math.min(360, Math.max(260, width * 0.65))),
      { ticks: [0, layers.length - 1], marks: layers.map((_, i) => i).filter((i) => i % every === 0), inset: 8, label: "layer", text: (i) => layers[i] },
      { ticks: y, label: "MAP", digits: digits(y) }, `MAP by layer of ${encoder}`);
    if (known(chance) && shown("ref", "chance")) plot.append(across(chance, "chance", { "data-ref": "chance" }));
    for (const each of lines.filter(({ name }) => shown("ref", name))) {
      plot.append(across(each.value, "ref", { "stroke-dasharray": each.dash, "data-ref": each.name }));
    }
    for (const transform of NAMES.transform.filter((name) => shown("transform", name))) {
      const mine = layers.map((layer) => cells.find((c) => c.encoder === encoder && c.transform === transform && c.layer === layer));
      if (mine.some(Boolean)) plot.append(series(transform, mine, px, py));
    }
    walk(plot);
    return el("figure", {}, el("figcaption", {}, encoder), plot);
  }));
}

/** A curve with its band and marks. Where a layer failed there is a gap: nothing is drawn over it. */
function series(transform, cells, px, py) {
  const group = svg("g", { "data-transform": transform });
  const runs = [[]];
  cells.forEach((cell, i) => (cell ? runs.at(-1).push([i, cell.map[state.cond]]) : runs.push([])));
  const trace = (points) => points.map(([i, value], at) => `${at ? "L" : "M"}${px(i).toFixed(1)} ${py(value).toFixed(1)}`).join("");
  for (const run of runs.filter((each) => each.length > 1)) {
    const bounds = run.filter(([, figure]) => known(figure[1]) && known(figure[2]));
    const outline = [...bounds.map(([i, figure]) => [i, figure[2]]), ...bounds.reverse().map(([i, figure]) => [i, figure[1]])];
    if (state.bands && outline.length) group.append(path(`${trace(outline)}Z`, paint(transform, "band")));
    group.append(path(trace(run.map(([i, figure]) => [i, figure[0]])), trait(transform)));
  }
  cells.forEach((cell, i) => cell && group.append(mark(cell, px(i), py(cell.map[state.cond][0]), SHAPES[0], 0.65)));
  return group;
}

function drawShape() {
  const at = state.x === "cosine" ? 0 : 1;
  const measured = board.cells.filter((cell) => (state.every || cell.pair === state.pair) && known(cell.map[state.cond]?.[0]) && known(cell.shape[1][at]));
  const cells = measured.filter((cell) => shown("transform", cell.transform) && shown("encoder", cell.encoder));
  $("shape-controls").replaceChildren(select("x", "Isotropy as", [["cosine", "mean cosine"], ["isoscore", "IsoScore"]]),
    select("pair", "Distance and matcher", board.pairs.map((pair) => [pair, pair])), check("every", "all of them"));
  $("shape-keys").replaceChildren(...named("transform", measured).map((name) => key("shape", "transform", name, path(SHAPES[0], { ...paint(name, "mark"), transform: "translate(13 7)" }))),
    ...named("encoder", measured).map((name) => key("shape", "encoder", name, path(shape(name), { transform: "translate(13 7)", fill: "var(--soft)" }))));
  if (!measured.length) {
    $("shape").replaceChildren(el("p", { class: "none" }, "Nothing was measured here."));
    return;
  }
  const values = measured.map((cell) => cell.shape[1][at]);
  const x = ticks(Math.min(0, ...values), Math.max(0.1, ...values), 6);
  const y = ticks(0, Math.max(0.1, ...measured.map((cell) => cell.map[state.cond][0])), 5);
  const width = Math.min($("shape").clientWidth, 900);
  const { plot, px, py, across } = frame(width, Math.round(Math.max(280, Math.min(460, width * 0.6))),
    { ticks: x, inset: 8, label: at ? "IsoScore after the transform" : "mean cosine after the transform", digits: digits(x) },
    { ticks: y, label: "MAP", digits: digits(y) }, `${at ? "IsoScore" : "Mean cosine"} against MAP of ${cells.length} cells`);
  const chance = board.conditions[state.cond]?.chance;
  if (known(chance)) plot.append(across(chance, "chance"));
  for (const cell of cells) {
    plot.append(fill(mark(cell, px(cell.shape[1][at]), py(cell.map[state.cond][0]), shape(cell.encoder)), { "data-transform": cell.transform, "data-encoder": cell.encoder }, []));
  }
  walk(plot);
  $("shape").replaceChildren(plot);
}

/** Point at marks with the pointer, or go through them with the arrow keys. */
function walk(plot) {
  const marks = [...plot.querySelectorAll(".mark")];
  let now = -1;
  const show = (to) => {
    marks[now]?.classList.remove("at");
    now = to;
    tip(marks[now]);
    marks[now]?.classList.add("at");
  };
  fill(plot, {
    onpointerover: (event) => show(marks.indexOf(event.target)),
    onpointerleave: () => show(-1),
    onblur: () => show(-1),
    onkeydown: (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") show(-1);
      if (!step || !marks.length) return;
      event.preventDefault();
      show(now < 0 ? (step > 0 ? 0 : marks.length - 1) : (now + step + marks.length) % marks.length);
    },
  }, []);
}

function tip(node) {
  $("tip").hidden = !node;
  if (!node) return;
  $("tip").textContent = node.tip();
  const [mine, box] = [$("tip").getBoundingClientRect(), node.getBoundingClientRect()];
  const above = box.top - mine.height - 8;
  $("tip").style.left = `${scrollX + Math.max(4, Math.min(box.left + 14, document.documentElement.clientWidth - mine.width - 4))}px`;
  $("tip").style.top = `${scrollY + (above > 0 ? above : box.bottom + 8)}px`;
}

// ── words ────────────────────────────────────────────────────────────────────

const pairs = (lines) => lines.flatMap(([what, value]) => [el("dt", {}, what), el("dd", {}, value)]);
const counted = (counts) => Object.entries(counts).map(([what, count]) => `${what.replaceAll("_", " ")}: ${count}`).join("; ");

function drawWords() {
  const { digest, language, left_out: left, audio, notes, too_short: tooShort, clips, speakers, keywords, queries, utterances, audio_s: seconds } = board.data;
  const found = board.conditions[state.cond];
  $("counts").textContent = !digest || !found ? "No cell has been scored."
    : `${found.queries} queries of ${found.keywords} keywords, each ranking about ${Math.round(found.trials / found.queries)} utterances. ` +
      `${found.trials.toLocaleString("en")} trials, ${found.positives.toLocaleString("en")} of them positive; chance MAP ${short(found.chance)}. ` +
      (found.without ? `${found.without} queries have no positive here and are left out. ` : "") +
      (board.chosen.some((row) => row.heard) ? "† The encoder’s training data held this language." : "");
  $("data").replaceChildren(...pairs(digest ? [["Data set", board.name], ["Digest", digest], ["Language", language || "not given"],
    ["Counts", counted({ clips, speakers, keywords, queries, utterances, minutes: (seconds / 60).toFixed(1) })],
    ["Left out of the trials", counted(left) || "nothing"], ["Audio as it came", counted(audio)], ["Clips too short for a frame", String(tooShort)],
    ...Object.entries(notes).map(([what, note]) => [what.replaceAll("_", " "), String(note)])] : [["Data set", board.name]]));
}

function draw() {
  const held = document.activeElement?.dataset?.key;
  read();
  tip(null);
  choice("sets", BOARD.sets.map((each) => each.name), board.name, "set", (name) => name);
  choice("conditions", Object.keys(board.conditions), state.cond, "cond", (name) => name.replace("/", " / "));
  for (const part of [drawWords, drawBest, drawLayers, drawShape, drawAll]) part();
  // Drawing anew replaces what had the focus: give it to its successor.
  if (held) [...document.querySelectorAll("[data-key]")].find((node) => node.dataset.key === held)?.focus({ preventScroll: true });
}

$("legend").textContent = BOARD.legend;
$("command").textContent = BOARD.command;
$("provenance").replaceChildren(...pairs(BOARD.provenance.map(([what, values]) => [what, values.join(", ")])));
$("filter").addEventListener("input", (event) => set({ q: event.target.value }));
$("bar").addEventListener("submit", (event) => event.preventDefault());
$("main").hidden = false;
draw();
addEventListener("hashchange", draw);
let drawnAt = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== drawnAt) draw();
  drawnAt = innerWidth;
});
document.documentElement.dataset.drawn = "yes";
