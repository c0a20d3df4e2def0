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
@media print { nav, .filter { display:none } .scroll { max-height:none } }
"""

JS = """
"use strict";
for (const holder of document.querySelectorAll(".figure")) {
  const spec = JSON.parse(document.getElementById(holder.id + "-data").textContent);
  Plotly.newPlot(holder, spec.data, spec.layout, spec.config);
}
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
