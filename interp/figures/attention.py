"""Attention as a page that one can look through: heads as thumbnails, one of them large, tokens that answer to the pointer.

The form is that of CircuitsVis (Cooney & Nanda 2022): the tokens as text under the pattern; over a token, what it attends to
(or what attends to it) is shaded. One self-contained piece of HTML, for a notebook's cell or a file; nothing is fetched.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from interp.errors import InputError
from interp.figures.text import told

DIGITS = 3
"""Of a weight on the page: a choice, a thousandth is below what shading shows."""


class AttentionView:
    """Patterns [head, query, key] on one prompt, as `_repr_html_` in a notebook and `save(path)` for a browser."""

    def __init__(self, patterns: Any, tokens: Sequence[str], heads: Sequence[str]) -> None:
        """patterns: rows are queries. tokens: their texts. heads: the heads' names.

        Raises:
            InputError: patterns that are not [head, query, key] with a name for each.
        """
        self.patterns = np.asarray(patterns)
        self.tokens, self.heads = [str(token) for token in tokens], [str(head) for head in heads]
        wanted = (len(self.heads), len(self.tokens), len(self.tokens))
        if self.patterns.shape != wanted or not all(wanted):
            raise InputError(f"expected patterns [head, query, key] {list(wanted)}, got {list(self.patterns.shape)}")

    def __repr__(self) -> str:
        return told(
            f"AttentionView: {len(self.heads)} heads on {len(self.tokens)} tokens", "shown in a notebook; .save(path)"
        )

    def _repr_html_(self) -> str:
        """The view in a frame of its own, so that the notebook's styles and its do not meet."""
        height = 300 + 19 * len(self.tokens) + 84 * -(-len(self.heads) // 12)
        style = f"width:100%;height:{min(height, 1400)}px;border:0"
        return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{escape(self.page(), quote=True)}"></iframe>'

    def save(self, path: str | Path) -> Path:
        """Writes the page."""
        Path(path).write_text(self.page(), encoding="utf-8")
        return Path(path)

    def page(self) -> str:
        """The whole page."""
        rounded = np.round(self.patterns.astype(float), DIGITS)
        weights = [[[None if w != w else w for w in row] for row in head] for head in rounded.tolist()]
        data = json.dumps({"tokens": self.tokens, "heads": self.heads, "weights": weights}, separators=(",", ":"))
        safe = data.replace("<", "\\u003c")  # a token may be `</script>`
        return _PAGE.replace("%DATA%", safe)


_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Attention</title><style>
body{font:14px/1.5 system-ui,-apple-system,'Segoe UI',Arial,sans-serif;color:#1f2328;margin:12px;background:#fff}
#heads{display:flex;flex-wrap:wrap;gap:6px;margin-bottom:12px}
#heads button{border:2px solid #e3e6ea;background:#fff;padding:3px;border-radius:4px;cursor:pointer;font-size:12px}
#heads button[aria-pressed=true]{border-color:#d55e00}
#heads canvas{display:block;width:64px;height:64px;image-rendering:pixelated}
#view{display:flex;flex-wrap:wrap;gap:24px;align-items:flex-start}
#grid{border-collapse:collapse;font-size:11px}
#grid td{width:13px;height:15px;min-width:13px;padding:0;border:1px solid #f2f4f6}
#grid th{font-weight:400;text-align:right;padding:0 5px;white-space:pre;max-width:130px;overflow:hidden;text-overflow:ellipsis}
#grid thead th{writing-mode:vertical-rl;transform:rotate(180deg);padding:5px 0;text-align:left;max-height:110px}
#grid .on{outline:2px solid #d55e00;outline-offset:-1px}
#text{max-width:620px;flex:1 1 320px}
#text span{padding:2px 1px;margin:1px;border-radius:3px;white-space:pre-wrap;cursor:pointer;display:inline-block}
#text span:focus,#text .on{outline:2px solid #d55e00}
#said{min-height:3em;color:#636b76}
label{margin-right:12px}
</style></head><body><div id="heads" role="group" aria-label="heads"></div>
<div id="view"><table id="grid" aria-label="attention pattern"></table><div id="text">
<p><label><input type="radio" name="way" value="from" checked> what a token attends to</label>
<label><input type="radio" name="way" value="to"> what attends to it</label></p>
<p id="tokens"></p><p id="said" aria-live="polite">Point at a token or a cell.</p></div></div>
<script type="application/json" id="data">%DATA%</script><script>
const D=JSON.parse(document.getElementById('data').textContent),N=D.tokens.length;let head=0,token=null,pinned=false;
const shade=w=>w===null?'#d5d9de':`rgba(11,95,165,${Math.max(0,Math.min(1,w))})`;
const name=t=>t===''?'\\u2205':t.replace(/\\n/g,'\\u21b5').replace(/^ /,'\\u00b7');
const el=(tag,text)=>{const e=document.createElement(tag);if(text!==undefined)e.textContent=text;return e};
const W=(q,k)=>D.weights[head][q][k],way=()=>document.querySelector('input[name=way]:checked').value;
const buttons=D.heads.map((h,i)=>{const b=el('button'),c=el('canvas');c.width=c.height=N;const x=c.getContext('2d');
 D.weights[i].forEach((row,q)=>row.forEach((w,k)=>{x.fillStyle=shade(w);x.fillRect(k,q,1,1)}));
 b.append(c,h);b.onclick=()=>{head=i;draw()};document.getElementById('heads').append(b);return b});
const grid=document.getElementById('grid'),top_=el('tr');top_.append(el('th'));
D.tokens.forEach(t=>{const h=el('th',name(t));h.scope='col';top_.append(h)});
const thead=el('thead');thead.append(top_);grid.append(thead);const body=el('tbody');grid.append(body);
const cells=D.tokens.map((t,q)=>{const row=el('tr'),h=el('th',name(t));h.scope='row';row.append(h);
 const line=D.tokens.map((_,k)=>{const c=el('td');c.onmouseenter=()=>say(q,k);row.append(c);return c});body.append(row);return line});
const spans=D.tokens.map((t,i)=>{const s=el('span',name(t));s.tabIndex=0;s.onmouseenter=()=>{if(!pinned)choose(i)};
 s.onfocus=()=>choose(i);s.onclick=()=>{pinned=!(pinned&&token===i);choose(i)};document.getElementById('tokens').append(s);return s});
const quoted=i=>`${i} \\u201c${name(D.tokens[i])}\\u201d`;
const tell=text=>document.getElementById('said').textContent=`${D.heads[head]}: ${text}`;
function say(q,k){cells.flat().forEach(c=>c.classList.remove('on'));cells[q][k].classList.add('on');
 tell(`${quoted(q)} attends to ${quoted(k)}: ${W(q,k)===null?'not defined':W(q,k).toFixed(3)}`)}
function choose(i){token=i;const from=way()==='from';spans.forEach((s,j)=>{const w=from?W(i,j):W(j,i);s.style.background=shade(w);
 s.style.color=w>.6?'#fff':'';s.classList.toggle('on',j===i)});
 const best=[...Array(N).keys()].map(j=>[from?W(i,j):W(j,i),j])
 .filter(p=>p[0]>0).sort((a,b)=>b[0]-a[0]).slice(0,3);
 tell(`${quoted(i)} ${from?'attends to':'is attended to by'} `+best.map(([w,j])=>`${quoted(j)} ${w.toFixed(3)}`).join(', '))}
function draw(){buttons.forEach((b,i)=>b.setAttribute('aria-pressed',i===head));
 cells.forEach((line,q)=>line.forEach((c,k)=>c.style.background=shade(W(q,k))));if(token!==null)choose(token)}
document.querySelectorAll('input[name=way]').forEach(r=>r.onchange=()=>{if(token!==null)choose(token)});draw();
</script></body></html>
"""
