"""Static figures as SVG text: rows of intervals, lines, and stacked shares, in the house colours.

Written by hand rather than by a plotting library's export, which needs a browser: so that the committed images come out of
`make study-report` byte for byte on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from interp.figures import style

WIDTH = 860
LEFT, RIGHT, TOP, BOTTOM = 250, 24, 66, 48  # margins, pixels
ROW = 21  # height of a row, pixels
FONT = "font-family='system-ui,Segoe UI,Helvetica,Arial,sans-serif'"
COLOURS = {"leading": style.ACCENT, "undetermined": style.SETTING_COLOURS[0], "not leading": style.GREY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """value with low and high; None is not drawn. An entry without a value is a heading."""

    name: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """title with the unit; low and high ends; log: of base 10."""

    title: str
    low: float
    high: float
    log: bool = False

    def at(self, value: float, start: float, end: float) -> float:
        """Where a value stands between two pixels, held within them."""
        low, high, x = self.low, self.high, value
        if self.log:
            low, high, x = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        share = min(max((x - low) / (high - low), 0.0), 1.0)
        return start + share * (end - start)

    def ticks(self) -> list[float]:
        """About six round numbers."""
        if self.log:
            span = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            return [tick for e in span for f in (1, 2, 5) if self.low <= (tick := f * 10.0**e) <= self.high]
        raw = (self.high - self.low) / 6
        unit = 10 ** math.floor(math.log10(raw))
        step = next(f * unit for f in (1, 2, 2.5, 5, 10) if f * unit >= raw)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def rows_of_intervals(
    rows: Sequence[Row], *, title: str, axis: Axis, bands: Mapping[str, tuple[float, float]] | None = None
) -> str:
    """A row an entry, a mark at its value and a bar over its interval; colour and mark by group. bands: ranges of the axis in
    grey, told in the legend; of no width, a line."""
    groups = list(dict.fromkeys(row.group for row in rows if row.value is not None))
    bottom = TOP + ROW * len(rows)
    parts = [*_bands(axis, bands or {}, bottom), *_x_axis(axis, bottom)]
    for place, row in enumerate(rows):
        y = TOP + ROW * (place + 0.5)
        heading = row.value is None and row.low is None
        parts.append(
            _text(LEFT - 10 if not heading else 12, y + 4, row.name, anchor="start" if heading else "end", bold=heading)
        )
        colour = _colour(row.group, groups)
        if row.low is not None and row.high is not None:
            ends = [axis.at(x, LEFT, WIDTH - RIGHT) for x in (row.low, row.high)]
            parts.append(_line(ends[0], y, ends[1], y, colour, 4, opacity=0.4))
        if row.value is not None:
            parts.append(_mark(axis.at(row.value, LEFT, WIDTH - RIGHT), y, colour, groups.index(row.group)))
    legend = [(group, _colour(group, groups), groups.index(group)) for group in groups if group]
    return _page(title, bottom + BOTTOM, [*parts, *_legend(legend, bands or {})])


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]], *, title: str, x: Axis, y: Axis, marked: Sequence[str] = ()
) -> str:
    """A line through the points of each name. marked: those drawn dashed, as what was published elsewhere."""
    top, bottom, left = TOP + 20, TOP + 320, 70
    parts = [*_x_axis(x, bottom, left, top), _text(left - 44, top - 10, y.title)]
    for tick in y.ticks():
        place = y.at(tick, bottom, top)
        parts.append(_line(left, place, WIDTH - RIGHT, place, style.RULE, 1))
        parts.append(_text(left - 8, place + 4, style.number(tick), anchor="end"))
    told = []
    for order, (name, points) in enumerate(series.items()):
        colour = style.INK if name in marked else style.SETTING_COLOURS[order % len(style.SETTING_COLOURS)]
        at = [(x.at(a, left, WIDTH - RIGHT), y.at(b, bottom, top)) for a, b in points]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in at)
        dash = " stroke-dasharray='6 4'" if name in marked else ""
        parts.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'{dash}/>")
        parts += [_mark(a, b, colour, order) for a, b in at]
        told.append((name, colour, order))
    return _page(title, bottom + BOTTOM, [*parts, *_legend(told, {})])


def stacked(
    rows: Sequence[tuple[str, Mapping[str, float]]], *, title: str, unit: str, colours: Mapping[str, str]
) -> str:
    """A bar a row, its shares side by side up to 1."""
    axis, bottom = Axis(title=unit, low=0, high=1), TOP + ROW * len(rows)
    parts = list(_x_axis(axis, bottom))
    for place, (name, shares) in enumerate(rows):
        y, start = TOP + ROW * place, 0.0
        parts.append(_text(LEFT - 10, y + ROW / 2 + 4, name, anchor="end"))
        for kind, colour in colours.items():
            a, b = (axis.at(end, LEFT, WIDTH - RIGHT) for end in (start, start + shares.get(kind, 0.0)))
            start += shares.get(kind, 0.0)
            if b > a:
                parts.append(f"<rect x='{a:.1f}' y='{y + 3}' width='{b - a:.1f}' height='{ROW - 6}' fill='{colour}'/>")
    return _page(
        title, bottom + BOTTOM, [*parts, *_legend([(kind, colour, 1) for kind, colour in colours.items()], {})]
    )


def span(values: Sequence[float | None], *, zero: bool = True, most: float | None = None) -> tuple[float, float]:
    """Ends of an axis that shows the values, and 0; `most` holds back what lies far out."""
    known = [value for value in values if value is not None and math.isfinite(value)] or [0.0, 1.0]
    low, high = min([*known, *([0.0] if zero else [])]), max([*known, *([0.0] if zero else [])])
    if most is not None:
        low, high = max(low, -most), min(high, most)
    pad = 0.05 * (high - low or 1.0)
    return low - pad, high + pad


def _page(title: str, height: float, parts: Sequence[str]) -> str:
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height:.0f}' viewBox='0 0 {WIDTH} {height:.0f}' {FONT} "
        f"font-size='12' fill='{style.INK}'><title>{escape(title)}</title><rect width='100%' height='100%' fill='{style.PAPER}'/>"
    )
    return "\n".join([head, _text(12, 24, title, bold=True, size=15), *parts, "</svg>"]) + "\n"


def _x_axis(axis: Axis, bottom: float, left: float = LEFT, top: float = TOP) -> Iterator[str]:
    for tick in axis.ticks():
        x = axis.at(tick, left, WIDTH - RIGHT)
        colour = style.MUTED if tick == 0 else style.RULE
        yield _line(x, top, x, bottom + 4, colour, 1)
        yield _text(x, bottom + 18, style.number(round(tick, 10)), anchor="middle")
    yield _text((left + WIDTH - RIGHT) / 2, bottom + 38, axis.title, anchor="middle")


def _bands(axis: Axis, bands: Mapping[str, tuple[float, float]], bottom: float) -> Iterator[str]:
    for low, high in bands.values():
        a, b = (axis.at(end, LEFT, WIDTH - RIGHT) for end in (low, high))
        if low == high:
            yield f"<line x1='{a:.1f}' y1='{TOP}' x2='{a:.1f}' y2='{bottom}' stroke='{style.HURTS}' stroke-dasharray='5 4'/>"
        else:
            yield f"<rect x='{a:.1f}' y='{TOP}' width='{b - a:.1f}' height='{bottom - TOP}' fill='{style.GREY}' opacity='0.22'/>"


def _legend(groups: Sequence[tuple[str, str, int]], bands: Mapping[str, tuple[float, float]]) -> Iterator[str]:
    x = 18.0
    for name, colour, mark in groups:
        yield _mark(x, 44, colour, mark)
        yield _text(x + 10, 48, name)
        x += 30 + 6.8 * len(name)
    for name, (low, high) in bands.items():
        sample = f"<rect x='{x - 6:.1f}' y='38' width='12' height='12' fill='{style.GREY}' opacity='0.4'/>"
        if low == high:
            sample = f"<line x1='{x:.1f}' y1='37' x2='{x:.1f}' y2='51' stroke='{style.HURTS}' stroke-dasharray='5 4'/>"
        yield sample
        yield _text(x + 12, 48, name)
        x += 34 + 6.8 * len(name)


def _colour(group: str, groups: Sequence[str]) -> str:
    return COLOURS.get(group) or (
        style.SETTING_COLOURS[groups.index(group) % len(style.SETTING_COLOURS)] if group in groups else style.GREY
    )


def _mark(x: float, y: float, colour: str, order: int) -> str:
    shapes = (
        f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4.5' fill='{colour}'/>",
        f"<rect x='{x - 4:.1f}' y='{y - 4:.1f}' width='8' height='8' fill='{colour}'/>",
        f"<path d='M{x:.1f} {y - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z' fill='{colour}'/>",
        f"<path d='M{x:.1f} {y - 5:.1f}l5 9h-10z' fill='{colour}'/>",
    )
    return shapes[order % len(shapes)]


def _line(x: float, y: float, x_end: float, y_end: float, colour: str, width: float, opacity: float = 1.0) -> str:
    return (f"<line x1='{x:.1f}' y1='{y:.1f}' x2='{x_end:.1f}' y2='{y_end:.1f}' stroke='{colour}' stroke-width='{width}' "
            f"opacity='{opacity}'/>")  # fmt: skip


def _text(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False, size: int = 12) -> str:
    weight = " font-weight='600'" if bold else ""
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-size='{size}'{weight}>{escape(text)}</text>"
