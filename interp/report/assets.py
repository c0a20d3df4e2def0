"""The page's own style sheet and script: no framework, nothing loaded from elsewhere."""

from __future__ import annotations

CSS = """
:root { --ink:#1f2328; --muted:#636b76; --rule:#e3e6ea; --accent:#d55e00; --blue:#0b5fa5; }
* { box-sizing:border-box }
html { scroll-behavior:smooth; scroll-padding-top:52px }
body { margin:0; color:var(--ink); background:#fff;
  font:15px/1.55 system-ui,-apple-system,"Segoe UI","Helvetica Neue",Arial,sans-serif }
nav { position:sticky; top:0; z-index:20; background:rgba(255,255,255,.96); border-bottom:1px solid var(--rule);
  font-size:13px }
nav div, main { max-width:1180px; margin:0 auto; padding:0 32px }
nav div { display:flex; gap:20px; padding-top:10px; padding-bottom:10px; white-space:nowrap; overflow-x:auto }
nav a { color:var(--muted); text-decoration:none }
nav a:hover { color:var(--accent) }
nav b { font-weight:600; margin-right:8px }
header { padding:40px 0 8px }
.eyebrow { color:var(--muted); font-size:13px; margin:0 0 10px }
h1 { font:400 27px/1.36 Charter,"Bitstream Charter",Georgia,"Times New Roman",serif; margin:0; max-width:1040px;
  text-wrap:pretty }
h1 .lead { color:var(--accent) }
h1 .rest { font-size:19px; line-height:1.5; color:#3d444d; display:block; margin-top:12px }
.cards { display:flex; flex-wrap:wrap; gap:0 36px; margin:28px 0 8px; padding:16px 0; border-top:1px solid
  var(--rule); border-bottom:1px solid var(--rule) }
.card b { display:block; font:400 25px/1.2 Charter,"Bitstream Charter",Georgia,serif }
.card span { color:var(--muted); font-size:12.5px }
.card { max-width:190px }
section { margin:44px 0 0 }
h2 { font-size:18px; font-weight:600; line-height:1.3; margin:0 0 4px }
h3 { font-size:14.5px; font-weight:600; line-height:1.3; margin:26px 0 2px }
.asks { color:var(--muted); font-size:13px; margin:0 0 2px }
.skip { position:absolute; left:-999px } .skip:focus { left:12px; top:8px; z-index:30; background:#fff; padding:6px 10px }
a:focus-visible, button:focus-visible, summary:focus-visible, .figure:focus-visible, .scroll:focus-visible,
  input:focus-visible { outline:2px solid var(--blue); outline-offset:2px }
.tools { display:flex; gap:18px; align-items:baseline; font-size:13px }
.tools button { all:unset; cursor:pointer; color:var(--blue) }
.tools details { margin:0; flex:1 1 auto; min-width:0 } .tools summary { font-size:13px }
.caption { color:#3d444d; max-width:900px; margin:0 0 10px; font-size:14px }
.note, .left-out { color:var(--muted); font-size:13.5px }
.left-out ul { margin:4px 0; padding-left:18px }
.figure { width:100% }
.pair { display:grid; grid-template-columns:1fr 1fr; grid-template-rows:auto auto auto; column-gap:28px }
.pair > div { min-width:0; display:grid; grid-row:span 3; grid-template-rows:subgrid; row-gap:0 }
.scroll { overflow:auto; max-height:600px; border-top:1px solid var(--rule); border-bottom:1px solid var(--rule);
  margin-top:8px }
table { border-collapse:collapse; width:100%; font-size:12.5px; font-variant-numeric:tabular-nums }
th { position:sticky; top:0; background:#fff; text-align:left; vertical-align:bottom; font-weight:600;
  box-shadow:inset 0 -1px var(--rule) }
th button { all:unset; cursor:pointer; padding:7px 8px 7px 0; color:var(--muted); font-size:12.5px;
  line-height:1.25 }
th button:hover, th button:focus-visible, th[aria-sort] button { color:var(--ink) }
th[aria-sort=ascending] button::after { content:" ↑" } th[aria-sort=descending] button::after { content:" ↓" }
td { padding:5px 8px 5px 0; border-bottom:1px solid #f0f2f4; vertical-align:top }
td.wide { min-width:180px; max-width:360px; overflow-wrap:anywhere }
td.n { white-space:nowrap } td.n, th.n { text-align:right } th.n button { padding-right:8px }
tr.mark td:first-child { box-shadow:inset 3px 0 var(--accent); padding-left:9px } table.sortable tr:not(.mark)
  td:first-child { padding-left:9px }
th:first-child button { padding-left:9px }
.filter { font:inherit; font-size:13px; padding:4px 9px; border:1px solid #c3c9d1; border-radius:4px; width:260px;
  margin-top:8px }
dl { display:grid; grid-template-columns:max-content 1fr; gap:3px 22px; font-size:13.5px; margin:8px 0 }
dt { color:var(--muted) } dd { margin:0; overflow-wrap:anywhere }
details { margin:10px 0 } summary { cursor:pointer; color:var(--blue); font-size:13.5px }
pre { background:#f7f8f9; padding:14px 16px; font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;
  overflow:auto; max-height:420px }
footer { margin:56px 0 40px; padding-top:14px; border-top:1px solid var(--rule); color:var(--muted);
  font-size:12.5px }
@media (max-width:700px) { nav div, main { padding:0 14px } .pair { grid-template-columns:1fr; display:block }
  h1 { font-size:22px } dl { grid-template-columns:1fr } }
@media print {
  nav, .filter, .tools, .modebar-container, .skip { display:none !important }
  main { padding:0; max-width:none } body { font-size:11pt } header { padding-top:0 }
  .scroll { max-height:none; overflow:visible } table { font-size:8pt } th { position:static }
  h2, h3, .asks, .caption { break-after:avoid; break-inside:avoid } .figure, tr, .card { break-inside:avoid }
  .pair { display:block } details > summary { display:none }
}
@page { margin:14mm }
"""

JS = """
"use strict";
const plain = text => String(text ?? "").replace(/<br\\s*\\/?>/g, ", ").replace(/<[^>]*>/g, "");
const said = value => typeof value === "number" ? String(Number(value.toPrecision(6))) : plain(value);
function rowsOf(figure, most) {
  const rows = [], add = row => rows.length < most && rows.push(row);
  for (const trace of figure._fullData) {
    if (trace.visible !== true || trace.hoverinfo === "skip") continue;
    const name = plain(trace.name), {x = [], y = [], z} = trace, text = trace.hovertext ?? trace.text;
    if (z) z.forEach((line, i) => Array.from(line).forEach((value, j) => add([name, said(x[j] ?? j), said(y[i] ?? i), said(value)])));
    else for (let i = 0; i < Math.max(x.length, y.length); i++)
      if (x[i] != null && y[i] != null) add([name, said(x[i]), said(y[i]), Array.isArray(text) ? plain(text[i]) : plain(text)]);
  }
  return rows;
}
function table(figure) {
  const most = 2000, rows = rowsOf(figure, most), made = document.createElement("table");
  const axis = which => plain(figure._fullLayout[which]?.title?.text) || which[0];
  const line = (cells, kind) => {
    const row = document.createElement("tr");
    for (const cell of cells) row.append(Object.assign(document.createElement(kind), {textContent: cell}));
    return row;
  };
  made.createTHead().append(line(["", axis("xaxis"), axis("yaxis"), "says"], "th"));
  made.createTBody().append(...rows.map(cells => line(cells, "td")));
  made.createCaption().textContent = rows.length < most ? `${rows.length} values, as drawn now` : `the first ${most} values, as drawn now`;
  return made;
}
function film(figure, button) {
  const show = place => {
    const step = figure.layout.sliders[0].steps[place];
    return Plotly[step.method](figure, ...step.args).then(() => Plotly.relayout(figure, {"sliders[0].active": place}));
  };
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; button.textContent = "▶ Play"; };
  const move = by => {
    const {active, steps} = figure.layout.sliders[0], place = active + by;
    if (place < 0 || place >= steps.length) return false;
    show(place);
    return true;
  };
  button.addEventListener("click", () => {
    if (timer) return stop();
    if (figure.layout.sliders[0].active >= figure.layout.sliders[0].steps.length - 1) show(0);
    button.textContent = "⏸ Pause";
    timer = setInterval(() => move(1) || stop(), 350);
  });
  figure.addEventListener("keydown", event => {
    const by = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (by && figure.layout.sliders?.length) { event.preventDefault(); move(by); }
  });
}
const figures = [];
for (const holder of document.querySelectorAll(".figure")) {
  const spec = JSON.parse(document.getElementById(holder.id + "-data").textContent);
  if (innerWidth < 700) spec.config.displayModeBar = false;  // it would lie on the legend
  Plotly.newPlot(holder, spec.data, spec.layout, spec.config);
  figures.push(holder);
  const tools = Object.assign(document.createElement("div"), {className: "tools"});
  if (spec.layout.sliders?.length) {
    const button = Object.assign(document.createElement("button"), {type: "button", textContent: "▶ Play"});
    tools.append(button);
    holder.tabIndex = 0;
    film(holder, button);
  }
  const numbers = document.createElement("details"), room = Object.assign(document.createElement("div"), {className: "scroll"});
  numbers.append(Object.assign(document.createElement("summary"), {textContent: "Its numbers as a table"}), room);
  numbers.addEventListener("toggle", () => room.replaceChildren(...(numbers.open ? [table(holder)] : [])));
  tools.append(numbers);
  holder.after(tools);
}
for (const room of document.querySelectorAll(".scroll")) room.tabIndex = 0;
const wide = () => Math.min(680, document.documentElement.clientWidth);
addEventListener("beforeprint", () => figures.forEach(figure => Plotly.relayout(figure, {width: wide(), autosize: false})));
addEventListener("afterprint", () => figures.forEach(figure => Plotly.relayout(figure, {width: null, autosize: true})));
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  table.querySelectorAll("th button").forEach((button, column) => button.addEventListener("click", () => {
    const head = button.parentElement, numeric = head.classList.contains("n");
    const down = head.getAttribute("aria-sort") !== "descending" && (numeric || head.getAttribute("aria-sort") ===
  "ascending");
    for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => row.cells[column].dataset.sort;
    const order = (a, b) => numeric ? Number(a) - Number(b) : a.localeCompare(b);
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return down ? order(y, x) : order(x, y);
    });
    body.append(...rows);
  }));
}
for (const input of document.querySelectorAll("input.filter")) {
  const rows = input.parentElement.querySelector("tbody").rows;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\\s+/).filter(Boolean);
    for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
  });
}
"""
