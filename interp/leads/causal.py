"""Did the intervention move the event? Pairs of runs with the same initialisation and data, beside a placebo (Singh et al. 2024 in
spirit; the protocol's causal tier)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interp.errors import InputError, unknown
from interp.figures.text import html, number, told
from interp.leads.board import plain
from interp.leads.pairs import UNIT, contrast, estimate, interval, side, slope_of
from interp.leads.panel import target_events
from interp.leads.spec import Spec, read_spec
from interp.table import read_table
from interp.table.events import STARTED_BEFORE, Change, choose_target, run_facts, target_rows

if TYPE_CHECKING:
    import plotly.graph_objects as go

NAME = re.compile(r"(?P<name>.+?)(?P<placebo>\.placebo)?(?:=(?P<dose>[-+]?\d*\.?\d+(?:e[-+]?\d+)?))?", re.IGNORECASE)
"""A setting's name: `clamp=0.5`, and `clamp.placebo=0.5` for its placebo; without a dose, of no dose."""
WORDS = {-1: "earlier", 1: "later", 0: "undetermined"}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Effects:
    """The outcome of `intervention_effects`. The lists hold one plain mapping a row; NaN is "not defined here".

    effects: a row a task, family and setting: name, dose, is_placebo; the numbers of `interp.leads.pairs.estimate` against the
        base, and with `vs_` before them against `vs_placebo`, the setting of that placebo ("" without one); verdict, reason.
    slopes: a row a task, family and name: slope in decades a unit of dose with low and high, over n pairs.
    pairs: a row a pair: T with and without, and between which shifts theirs lies. level: of the intervals.
    """

    effects: tuple[dict[str, Any], ...]
    slopes: tuple[dict[str, Any], ...]
    pairs: tuple[dict[str, Any], ...]
    base: str
    level: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lines = [
            f"{row['setting']} ({row['task']}): {row['verdict']}, {number(row['effect'])} decades "
            f"({number(row['low'])} to {number(row['high'])}); {row['n']} of {row['n_pairs']} pairs have both events"
            for row in self.effects[:8]
        ]
        more = f"and {len(self.effects) - 8} more" if len(self.effects) > 8 else ""
        title = f"Effects of {len(self.effects)} interventions on log10 T, against {self.base}"
        return told(title, *lines, more, ".effects, .slopes, .pairs, .plot(), .to_pandas()")

    def _repr_html_(self) -> str:
        names = ("setting", "task", "family", "verdict", "effect", "low", "high", "vs_effect", "n", "n_pairs", "reason")
        return html(repr(self).split("\n")[0], [{name: row[name] for name in names} for row in self.effects])

    def to_pandas(self) -> pd.DataFrame:
        """`effects` as a table."""
        return pd.DataFrame(self.effects)

    def plot(self) -> go.Figure:
        """A row a setting: the shift in decades with its interval; placebos in grey."""
        from interp.leads.figure import effects_figure

        return effects_figure(self.effects)

    def to_json(self) -> dict[str, Any]:
        """Plain data with null for NaN and infinities."""
        out: dict[str, Any] = plain(asdict(self))
        return out


def intervention_effects(
    table: pd.DataFrame | str | Path,
    *,
    base: str = "base",
    settings: Sequence[str] | None = None,
    target: str | None = None,
    direction: str | None = None,
    jumps: Iterable[Change] | None = None,
    spec: Spec | Mapping[str, Any] | str | Path | None = None,
) -> Effects:
    """How far interventions move the event of the target: log10 T with − log10 T without, over pairs of runs of one family, size
    and seed.

    base: the setting without. settings: those with; all others where it is left out. A name says what a setting is:
        `clamp=0.5`, its placebo `clamp.placebo=0.5`. target, direction, jumps, spec: as in `rank_leads`; of the spec, `event`,
        `min_magnitude`, `level`, `bootstraps` and `seed` count.

    `earlier` or `later` is said where the shift's interval (where an event is censored in one run of a pair alone, the sign test
    over all pairs) leaves out 0, against the base and, where there is one, against the placebo of the nearest dose. The mean is over pairs
    with both events: where an intervention stops events it is too small, and the bounds tell.

    Raises:
        InputError: no such setting, no runs in pairs, or no task with the target.
    """
    spec = read_spec(spec)
    spec = read_spec(replace(spec, target=target or spec.target, direction=direction or spec.direction))
    effects: list[dict[str, Any]] = []
    slopes: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    notes: list[str] = []
    seen: set[str] = set()
    for task, family, runs in _runs(read_table(table), spec, jumps, notes):
        seen |= set(runs["setting"])
        arms = _arms(runs, base, settings)
        if not arms:
            continue
        own = [_pairs(runs, arm, base) for arm in arms]
        rows = [_effect(runs, arm, arms, found, spec) for arm, found in zip(arms, own, strict=True)]
        where = {"task": task, "family": family}
        effects += [where | row for row in rows if row["n_pairs"]]
        every = pd.concat(own)
        slopes += [where | row for row in _slopes(every, spec)]
        pairs += [where | {str(key): value for key, value in row.items()} for row in every.to_dict("records")]
    for setting in (base, *(settings or ())):
        if setting not in seen:
            raise unknown("setting", setting, seen)
    if not effects:
        raise InputError(f"no run has a partner of its family, size and seed in setting {base!r}")
    notes.append(f"{len(effects)} settings were judged, each at {spec.level:g}: one in twenty moves by chance")
    return Effects(
        effects=tuple(effects),
        slopes=tuple(slopes),
        pairs=tuple(pairs),
        base=base,
        level=spec.level,
        notes=tuple(notes),
    )


def _runs(
    table: pd.DataFrame, spec: Spec, jumps: Iterable[Change] | None, notes: list[str]
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Of each task with the target and each family: a row a run, with its setting's own name, T, C and grain."""
    jumps, refusal, n_tasks = None if jumps is None else list(jumps), InputError("no task in the table"), 0
    for task in sorted(table["task"].unique()):
        try:
            goal = target_rows(table, task, choose_target(table, task, spec.target))
        except InputError as error:
            refusal = error
            notes.append(f"skipped: {error}")
            continue
        n_tasks += 1
        events, facts = target_events(goal, spec, jumps), run_facts(goal)
        families, steps = goal.groupby("run", observed=True)["family"].first(), dict(iter(goal.groupby("run")["step"]))
        rows = []
        for run, fact in zip(map(str, facts.index), facts.to_dict("records"), strict=True):
            event = events[run]
            T = event.T if spec.event == "before" else event.middle
            if not np.isfinite(T) and STARTED_BEFORE in event.reason:
                notes.append(f"{task}: {run} is left out: its event was {STARTED_BEFORE}")
                continue
            size, setting = str(fact["size"]), str(fact["setting"])
            rows.append(
                {
                    "family": str(families[run]), "size": size, "seed": int(fact["seed"]), "T": float(T),
                    "setting": setting.removeprefix(f"{size}/"), "C": float(min(fact["planned"], fact["last"])),
                    "grain": _grain(steps[run].to_numpy(float), T),
                }
            )  # fmt: skip
        for family, own in pd.DataFrame(rows).groupby("family", sort=True):
            yield task, str(family), _once(own)
    if not n_tasks:
        raise refusal


def _grain(step: np.ndarray, T: float) -> float:
    """log10 of the ratio of the checkpoints about T; 0 where there is no event."""
    step = np.unique(step[step > 0])
    after = int(np.searchsorted(step, T, side="right"))
    return float(np.log10(step[after] / step[after - 1])) if np.isfinite(T) and 0 < after < len(step) else 0.0


def _once(runs: pd.DataFrame) -> pd.DataFrame:
    doubled = runs[runs.duplicated([*UNIT, "setting"])]
    if len(doubled):
        first = doubled.iloc[0]
        raise InputError(
            f"two runs are of size {first['size']!r}, setting {first['setting']!r} and seed {first['seed']}"
        )
    return runs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arm:
    """A setting, and what its name says of it."""

    setting: str
    name: str
    dose: float
    placebo: bool


def _arms(runs: pd.DataFrame, base: str, settings: Sequence[str] | None) -> list[_Arm]:
    """The settings of a family to be held against its base; none where it has no base."""
    have, arms = list(dict.fromkeys(runs["setting"])), []
    for setting in have if base in have else ():
        if settings is not None and setting not in settings:
            continue
        found = NAME.fullmatch(setting)
        if setting != base and found is not None:
            dose = np.nan if found["dose"] is None else float(found["dose"])
            arms.append(_Arm(setting=setting, name=found["name"], dose=dose, placebo=found["placebo"] is not None))
    return sorted(arms, key=lambda arm: (arm.name, arm.placebo, arm.dose))


def _pairs(runs: pd.DataFrame, arm: _Arm, base: str) -> pd.DataFrame:
    found = contrast(runs[runs["setting"] == arm.setting], runs[runs["setting"] == base])
    return found.assign(setting=arm.setting, name=arm.name, dose=arm.dose, is_placebo=arm.placebo)


def _effect(runs: pd.DataFrame, arm: _Arm, arms: Sequence[_Arm], own: pd.DataFrame, spec: Spec) -> dict[str, Any]:
    """A row of `effects`. Against a placebo the base cancels: the pair is the run with the one and with the other."""
    options: dict[str, Any] = {"level": spec.level, "draws": spec.bootstraps}
    row: dict[str, Any] = {"setting": arm.setting, "name": arm.name, "dose": arm.dose, "is_placebo": arm.placebo}
    row |= estimate(own, **options, rng=np.random.default_rng(spec.seed))
    placebos = [other for other in arms if other.placebo and other.name == arm.name and not arm.placebo]
    placebo = min(placebos, key=lambda other: (abs(np.nan_to_num(other.dose - arm.dose)), other.dose), default=None)
    with_placebo = runs[runs["setting"] == placebo.setting] if placebo else runs.iloc[:0]
    versus = contrast(runs[runs["setting"] == arm.setting], with_placebo)
    beside = estimate(versus, **options, rng=np.random.default_rng(spec.seed))
    row |= {"vs_placebo": placebo.setting if placebo else "", **{f"vs_{key}": value for key, value in beside.items()}}
    moved = side(row, level=spec.level)
    beyond = side(beside, level=spec.level) if placebo else moved
    told_apart = moved == beyond
    reason = "" if moved else "the shift may be 0"
    if moved and not told_apart:
        reason = f"{WORDS[moved]} than the base, but not told apart from the placebo"
    return row | {"verdict": WORDS[moved if told_apart else 0], "reason": reason}


def _slopes(pairs: pd.DataFrame, spec: Spec) -> Iterator[dict[str, Any]]:
    real = pairs[~pairs["is_placebo"].astype(bool) & pairs["dose"].notna()]
    for name, own in real.groupby("name", sort=True):
        found = slope_of(own)
        slope, grain = found["low"].to_numpy(float), found["grain"].to_numpy(float)
        if len(found):
            rng = np.random.default_rng(spec.seed)
            low, high = interval(slope, grain, level=spec.level, draws=spec.bootstraps, rng=rng)
            yield {"name": str(name), "slope": float(slope.mean()), "low": low, "high": high, "n": len(found)}
