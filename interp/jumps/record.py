"""What the detector says: one frozen record a jump, and one for a curve without; as JSON and as text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from interp.figures.text import bare, html, in_columns, number, told
from interp.files import plain

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

KINDS = ("abrupt", "gradual", "artefact", "spike", "none", "undetermined", "seed mixture")

_NAN = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """A jump of one curve, or the statement that there is none. Steps are optimiser steps (parameters where
    `over` is "size").

    kind: abrupt, gradual, artefact, spike, none, undetermined; over seeds also "seed mixture".
    step_before, step_after: last checkpoint below 10 % of the rise, first above 90 %; of a spike, its neighbours.
    left_censored: the rise was under way or complete at the second checkpoint: its beginning was not seen, and it is
        never the event of a run.
    midpoint: where half of the rise is done, with a 95 % band (midpoint_low, midpoint_high).
    width_decades: 10-90 % width in decades of steps; width_low, width_high: the least and widest that the data leave
        open (infinite where a straight line through the whole range is open). resolvable_decades: the grid's spacing at
        the rise; range_decades: what the checkpoints cover.
    value_before, value_after: the plateaus of the fitted curve, in the units of the measure; magnitude: their difference
        (of their logarithms, in nats, where `scale` is "ln"). Of a spike: beside it and at its top. span: the range of
        the measure on that scale, of which the least magnitude is a share.
    p_value: chance that serially dependent noise without a jump gives a fit as good, calibrated by simulation.
    q_value: false discovery rate (Benjamini-Hochberg) of "this curve changes" among the curves judged together.
    breakthroughness, linearity: BIG-bench's B and L; `_scaled` divides by n - 1 (a straight line gives 1);
        `_p` against noise without trend; `_low` and `_high` are the 5-95 % band of the scaled figure over
        sub-sampled grids.
    model: the best of flat, sigmoid, power law, broken power law and piecewise by BIC, `model_margin` its lead
        over the next.
    n: checkpoints judged. n_runs, n_jumped: runs behind an entry over seeds, and how many of them jumped.
    companion, companion_kind, map, reproduced: the continuous measure that was compared, what it does inside
        the jump's window, the metric map that fits best and the share of the curve's variance that it reproduces.
    """

    run: str = ""
    setting: str = ""
    task: str = ""
    measure: str = ""
    component: str = ""
    position: str = ""
    size: str = ""
    kind: str = "none"
    step_before: float | None = None
    step_after: float | None = None
    midpoint: float | None = None
    midpoint_low: float | None = None
    midpoint_high: float | None = None
    width_decades: float | None = None
    width_low: float | None = None
    width_high: float | None = None
    resolvable_decades: float | None = None
    range_decades: float = _NAN
    left_censored: bool = False
    magnitude: float | None = None
    span: float = _NAN
    value_before: float | None = None
    value_after: float | None = None
    scale: str = "linear"
    p_value: float = _NAN
    q_value: float = _NAN
    breakthroughness: float = _NAN
    breakthroughness_scaled: float = _NAN
    breakthroughness_p: float = _NAN
    breakthroughness_low: float = _NAN
    breakthroughness_high: float = _NAN
    linearity: float = _NAN
    linearity_scaled: float = _NAN
    linearity_p: float = _NAN
    linearity_low: float = _NAN
    linearity_high: float = _NAN
    model: str | None = None
    model_margin: float = _NAN
    n: int = 0
    n_runs: int = 1
    n_jumped: int | None = None
    companion: str | None = None
    companion_kind: str | None = None
    map: str | None = None
    reproduced: float = _NAN
    over: str = "step"
    reason: str | None = None


class Jumps(list["Jump"]):
    """The list that `find_jumps` gives, which shows itself."""

    def events(self) -> Jumps:
        """Without the curves that have none or cannot be judged."""
        return Jumps(jump for jump in self if jump.kind not in ("none", "undetermined"))

    def __repr__(self) -> str:
        seen = self.events()
        lines = [_sentence(jump) for jump in seen[:8]]
        more = f"and {len(seen) - 8} more" if len(seen) > 8 else ""
        return told(f"Jumps: {len(self)} entries: {counted(self)}; .events(), .plot(), .to_pandas()", *lines, more)

    def _repr_html_(self) -> str:
        names = ("run", "setting", "task", "measure", "component", "kind", "step_before", "step_after", "midpoint",
                 "width_decades", "magnitude", "q_value")  # fmt: skip
        order = [*self.events(), *(jump for jump in self if jump.kind in ("none", "undetermined"))]
        return html(repr(self).split("\n")[0], [{name: getattr(jump, name) for name in names} for jump in order])

    def to_pandas(self) -> pd.DataFrame:
        """A row an entry, every field a column."""
        import pandas as pd

        return pd.DataFrame([asdict(jump) for jump in self], columns=list(Jump.__dataclass_fields__))

    def plot(self, *, most: int = 60) -> go.Figure:
        """A row an event, in order of its midpoint, at most `most` of them: the interval of checkpoints it lies in as a bar,
        its midpoint as a mark; colour and mark say its kind."""
        from interp.jumps.figure import jumps_figure

        return jumps_figure(self, most)


def counted(jumps: Iterable[Jump]) -> str:
    """How many there are of each kind."""
    kinds = [jump.kind for jump in jumps]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in KINDS if kind in kinds) or "no curve"


def _sentence(jump: Jump) -> str:
    run, task, where, kind, *_ = _line(jump)
    if jump.step_before is None:
        return f"{run} {task} {where}: {kind}"
    unit = "parameters" if jump.over == "size" else "step"
    between = f"{unit} {number(jump.step_before)} to {number(jump.step_after)}"
    return f"{run} {task} {where}: {kind}, {between}, by {number(jump.magnitude)}"


def jumps_json(jumps: Iterable[Jump]) -> dict[str, list[dict[str, Any]]]:
    """`{"jumps": [...]}` with NaN and infinities as null and whole steps as integers, ready for `json.dumps`."""
    return plain({"jumps": [{name: _whole(name, value) for name, value in asdict(jump).items()} for jump in jumps]})


def format_jumps(jumps: Iterable[Jump], *, events_only: bool = False) -> str:
    """Aligned plain text, one line a jump; `events_only` leaves out the curves without one. Ends with a count
    by kind."""
    jumps = list(jumps)
    shown = [jump for jump in jumps if not events_only or jump.kind not in ("none", "undetermined")]
    grown = "parameters" if any(jump.over == "size" for jump in shown) else "steps"
    header = [
        "run",
        "task",
        "measure",
        "kind",
        f"interval ({grown})",
        "midpoint",
        "width (decades)",
        "magnitude",
        "p",
        "model",
        "note",
    ]
    lines = [header, *(_line(jump) for jump in shown)]
    text = in_columns(lines)
    text.append(counted(jumps))
    return "\n".join(text)


def _whole(name: str, value: Any) -> Any:
    """Whole steps, and positions, as integers."""
    if name == "position":
        return None if value == "" else int(value)
    is_step = name in ("step_before", "step_after") and value is not None and math.isfinite(value)
    return int(value) if is_step and value == int(value) else value


def _line(jump: Jump) -> list[str]:
    where = jump.measure + (f" {jump.component}" if jump.component else "")
    where += f" @{jump.position}" if jump.position != "" else ""
    several = "" if jump.over == "size" else f" ({jump.n_runs} runs)"
    run = jump.run or (jump.setting or "all") + several
    interval = "" if jump.step_before is None else f"{bare(jump.step_before)} … {bare(jump.step_after)}"
    note = jump.reason or ""
    if jump.companion and not jump.reason:
        note = f"{jump.companion} {jump.companion_kind}"
        note += f", {jump.map} reproduces {jump.reproduced:.2f}" if jump.map else ""
    numbers = [bare(x) for x in (jump.midpoint, jump.width_decades, jump.magnitude, jump.p_value)]
    return [run, jump.task, where, jump.kind, interval, *numbers, jump.model or "", note]
