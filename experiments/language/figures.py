"""The report's figures as SVG text, the same bytes on every machine: small multiples, a thin line a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd

from interp.figures import style

WIDTH, HEIGHT, GAP, LEFT, TOP = 400, 130, 30, 66, 56  # of a panel and around it, pixels
FONT = "font-family='system-ui,Segoe UI,Helvetica,Arial,sans-serif'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """title: what is drawn, with its unit. task, measures: whose curves, one colour a measure, named in the legend."""

    title: str
    task: str
    measures: Sequence[tuple[str, str]]


FORMATION = (
    Panel(title="loss, nats", task="python_source", measures=[("test_loss", "held-out text")]),
    Panel(
        title="loss late − early, nats",
        task="python_source",
        measures=[("in_context_score", "last − first tenth"), ("late_minus_early", "112-127 − 8-23")],
    ),
    Panel(
        title="attention",
        task="python_source",
        measures=[
            ("best_previous_token", "token before, best head"),
            ("first_layer_previous_token", "best of first layer"),
        ],
    ),
    Panel(title="attention", task="python_source", measures=[("best_prefix_matching", "prefix matching, best head")]),
    Panel(title="log-probability, nats", task="induction", measures=[("log_prob", "repeated random tokens")]),
    Panel(title="logit difference", task="python_names", measures=[("logit_diff", "the other of two names")]),
)
SKILLS = (
    Panel(title="share right", task="induction", measures=[("exact_match", "repeated random tokens")]),
    Panel(title="share right", task="python_names", measures=[("exact_match", "the other of two names")]),
    Panel(title="share right", task="python_brackets", measures=[("exact_match", "the bracket that closes")]),
    Panel(title="logit difference", task="python_brackets", measures=[("logit_diff", "kind of the bracket")]),
    Panel(title="share right", task="python_indentation", measures=[("exact_match", "four spaces further in")]),
    Panel(title="share right", task="python_counting", measures=[("exact_match", "the next digit")]),
)


def small_multiples(curves: pd.DataFrame, panels: Sequence[Panel], *, title: str) -> str:
    """A row a panel, a column a size; step on a logarithmic axis from 1."""
    sizes, last = sorted(curves["size"].unique()), float(curves["step"].max())
    parts, width = [], LEFT + len(sizes) * (WIDTH + GAP)
    for row, panel in enumerate(panels):
        drawn = curves[(curves["task"] == panel.task) & curves["measure"].isin([name for name, _ in panel.measures])]
        drawn = drawn[(drawn["component"] == "") & (drawn["position"] == "") & (drawn["step"] > 0)].dropna(
            subset=["value"]
        )
        ends = (float(drawn["value"].min()), float(drawn["value"].max())) if len(drawn) else (0.0, 1.0)
        for column, size in enumerate(sizes):
            corner = LEFT + column * (WIDTH + GAP), TOP + row * (HEIGHT + 2 * GAP)
            parts += _panel(drawn[drawn["size"] == size], panel, corner, ends, last, named=f"{size}: {panel.title}")
    height = TOP + len(panels) * (HEIGHT + 2 * GAP)
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' viewBox='0 0 {width} {height}' {FONT} "
        f"font-size='11' fill='{style.INK}'><title>{escape(title)}</title>"
        f"<rect width='100%' height='100%' fill='{style.PAPER}'/>"
    )
    return "\n".join([head, _text(12, 22, title, size=14, bold=True), *parts, "</svg>"]) + "\n"


def _panel(
    drawn: pd.DataFrame,
    panel: Panel,
    corner: tuple[float, float],
    ends: tuple[float, float],
    last: float,
    *,
    named: str,
) -> list[str]:
    left, top = corner
    low, high = ends
    pad = 0.06 * (high - low or 1.0)
    low, high = low - pad, high + pad

    def place(step: float, value: float) -> tuple[float, float]:
        return left + WIDTH * math.log(step) / math.log(last), top + HEIGHT * (high - value) / (high - low)

    parts = [_text(left, top - 6, named)]
    for tick in _ticks(low, high):
        y = place(1, tick)[1]
        parts += [_line(left, y, left + WIDTH, y), _text(left - 6, y + 4, style.number(tick), anchor="end")]
    for exponent in range(math.floor(math.log10(last)) + 1):
        x = place(10.0**exponent, low)[0]
        parts += [_line(x, top, x, top + HEIGHT), _text(x, top + HEIGHT + 14, f"{10**exponent}", anchor="middle")]
    for order, (measure, name) in enumerate(panel.measures):
        colour = style.SETTING_COLOURS[order % len(style.SETTING_COLOURS)]
        for _, curve in drawn[drawn["measure"] == measure].sort_values("step").groupby("run"):
            points = " ".join(
                "{:.1f},{:.1f}".format(*place(step, value))
                for step, value in zip(curve["step"], curve["value"], strict=True)
            )
            parts.append(
                f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='1.4' opacity='.75'/>"
            )
        at = left + WIDTH - 5.7 * sum(len(other) + 5 for _, other in panel.measures[order:])
        parts += [
            f"<rect x='{at:.0f}' y='{top - 15}' width='10' height='10' fill='{colour}'/>",
            _text(at + 14, top - 6, name),
        ]
    parts.append(_text(left + WIDTH, top + HEIGHT + 26, "step", anchor="end"))
    return parts


def _ticks(low: float, high: float) -> list[float]:
    raw = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= raw)
    return [round(k * step, 10) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _line(x: float, y: float, x_end: float, y_end: float) -> str:
    return f"<line x1='{x:.1f}' y1='{y:.1f}' x2='{x_end:.1f}' y2='{y_end:.1f}' stroke='{style.RULE}'/>"


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 11, bold: bool = False) -> str:
    weight = " font-weight='600'" if bold else ""
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}'{weight}>{escape(text)}</text>"
