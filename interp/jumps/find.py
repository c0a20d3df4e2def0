"""From a table to the list of its jumps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from interp.errors import InputError, unknown
from interp.jumps.about.artefact import COMPANIONS, Judge, companion_names, judge_artefact
from interp.jumps.about.seeds import over_seeds
from interp.jumps.about.sizes import size_table
from interp.jumps.curve import Curve, default_range, make_curve
from interp.jumps.describe import Entry, as_none, describe
from interp.jumps.detectors._spikes import find_spikes, spiked
from interp.jumps.record import Jump
from interp.jumps.verdict import Limits
from interp.plugins import load
from interp.table import CURVE, read_table
from interp.table.events import LEAST_RISE

Spans = Mapping[tuple[str, str], float]
Pairs = Mapping[str, Sequence[str]]


def find_jumps(
    table: pd.DataFrame | str | Path,
    *,
    measures: Sequence[str] | None = None,
    min_magnitude: float = LEAST_RISE,
    max_width: float = 0.5,
    level: float = 0.05,
    over: str = "step",
    step: int | None = None,
    companions: Mapping[str, Sequence[str]] | None = None,
    ranges: Mapping[str, float] | None = None,
    detector: str = "sigmoid_fit",
    models: bool = True,
) -> list[Jump]:
    """The jumps of every behaviour curve of a table, ordered by curve: one record a jump, one for a curve without.

    measures: judge these measures, indicators too; by default every measure whose kind is "behaviour".
    min_magnitude: smallest change that counts, as a share of the measure's range: `ranges`, else 1 for
        accuracies, else what the measure covers over the runs of its task, spikes left out. Perplexities are
        judged as logarithms.
    max_width: a rise is abrupt when 10-90 % of it takes at most so many decades of steps, by every reading that fits,
        gradual when by every one it takes more; else undetermined, with the reason.
    level: significance level of "something changes" against noise, a curve: serially dependent over steps, white over
        sizes, whose models were trained apart.
    over: "step", or "size": final values against `n_params` (at `step`, or at the last step that all sizes share).
    companions: continuous measures for each discontinuous one, in order of preference, beside the built-in ones.
    detector: a file of `interp/jumps/detectors/`, or `package.module:function`, called as detector(curve, limits) -> Verdict.
    models: whether to name the best form of each curve, which costs more than the verdict.
    Where the table gives `setting` or `seed`, runs of one setting are also judged together (run "", see `over_seeds`).

    Raises:
        InputError: not a table of the contract, no such measure, or no behaviour in it.
    """
    limits = Limits(
        min_magnitude=min_magnitude,
        max_width=max_width,
        level=level,
        confirm=over == "step",
        dependent=over == "step",
    )
    _check(limits, over)
    full = read_table(table)
    together = over == "step" and bool({"setting", "seed"} & set(full.attrs["given"]))
    full = full if over == "step" else size_table(full, step)
    chosen = _choose(full, measures)
    pairs: Pairs = {**COMPANIONS, **(companions or {})}
    beside = _companion_rows(full, chosen, pairs)
    spans = _spans(pd.concat([chosen, beside]), ranges or {})
    judge: Judge = load("jumps.detectors", detector)
    entries = [_entry(key, rows, spans, over, limits, judge) for key, rows in _groups(chosen)]
    lookup = {key: _curve(rows, key, spans) for key, rows in _groups(beside)}
    rates = _discovery_rates([entry.verdict.p_value for entry in entries])
    jumps = {
        entry.key: [replace(jump, q_value=rate) for jump in _records(entry, lookup, pairs, limits, judge, models)]
        for entry, rate in zip(entries, rates, strict=True)
    }
    found = [jump for key in sorted(jumps) for jump in jumps[key]]
    if over == "size":
        return [replace(jump, run="", setting=jump.run) for jump in found]
    return found + (over_seeds(entries, jumps, limits, judge) if together else [])


def onset(
    steps: Sequence[float] | np.ndarray,
    values: Sequence[float] | np.ndarray,
    *,
    measure: str = "",
    stderr: Sequence[float] | np.ndarray | None = None,
    n: Sequence[float] | np.ndarray | float | None = None,
    span: float | None = None,
    limits: Limits | None = None,
    detector: str = "sigmoid_fit",
) -> Jump:
    """The first change of one curve, up or down, abrupt or gradual; a record of kind "none" or "undetermined"
    where there is none.

    span: the measure's range, of which the least magnitude is a share; by default 1 for accuracies, else what
        the curve covers. Models are not compared here (`model` is None).
    """
    curve = make_curve(steps, values, measure=measure, stderr=stderr, n=n, span=span)
    limits = limits or Limits()
    found = describe(curve, load("jumps.detectors", detector)(curve, limits), {"measure": measure}, models=False)
    events = [jump for jump in found if jump.kind in ("abrupt", "gradual")]
    plain = [jump for jump in found if jump.kind != "spike"]
    return (events or plain or [as_none(found[0])])[0]


def _entry(key: tuple[str, ...], rows: pd.DataFrame, spans: Spans, over: str, limits: Limits, judge: Judge) -> Entry:
    curve, first = _curve(rows, key, spans), rows.iloc[0]
    facts = {"setting": str(first["setting"]), "size": str(first["size"]), "over": over}
    return Entry(key=key, curve=curve, facts=facts, verdict=judge(curve, limits))


def _records(
    entry: Entry, lookup: Mapping[tuple[str, ...], Curve], pairs: Pairs, limits: Limits, judge: Judge, models: bool
) -> list[Jump]:
    """The records of a curve, each change compared with the companions that stand beside it (or beside the run
    as a whole)."""
    run, task, measure, component, position = entry.key
    companions = {}
    for name in companion_names(measure, pairs):
        for key in ((run, task, name, component, position), (run, task, name, "", "")):
            if key in lookup and name not in companions:
                companions[name] = lookup[key]
    facts = {**dict(zip(CURVE, entry.key, strict=True)), **entry.facts}
    found = describe(entry.curve, entry.verdict, facts, models=models)
    return [judge_artefact(jump, entry.curve, entry.verdict, companions, limits, judge) for jump in found]


def _discovery_rates(p_values: Sequence[float]) -> list[float]:
    """Benjamini-Hochberg: the least false discovery rate at which each p-value is rejected; NaN stays NaN."""
    p = np.asarray(p_values, float)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(-p[known], kind="stable")]
    rates = np.full(len(p), np.nan)
    rates[order] = np.minimum.accumulate(p[order] * len(order) / np.arange(len(order), 0, -1))
    return rates.tolist()


def _check(limits: Limits, over: str) -> None:
    for name, high in (("min_magnitude", 1), ("max_width", np.inf), ("level", 1)):
        value = getattr(limits, name)
        if not 0 <= value <= high:
            raise InputError(f"{name} is {value}; expected a number from 0 to {high}")
    if over not in ("step", "size"):
        raise unknown("axis", over, ("step", "size"))


def _choose(table: pd.DataFrame, measures: Sequence[str] | None) -> pd.DataFrame:
    if measures is None:
        chosen = table[table["kind"] == "behaviour"]
        if chosen.empty:
            raise InputError("the table has no row of kind 'behaviour'; name the measures that should be judged")
        return chosen
    known = set(table["measure"])
    for name in measures:
        if name not in known:
            raise unknown("measure", name, known)
    return table[table["measure"].isin(list(measures))]


def _groups(table: pd.DataFrame) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    return [(tuple(map(str, key)), rows) for key, rows in table.groupby(CURVE, sort=True)]


def _spans(table: pd.DataFrame, ranges: Mapping[str, float]) -> Spans:
    """The range of each (task, measure): as given, by its kind, or what the curves cover without their spikes."""
    spans = {}
    for key, rows in table.groupby(["task", "measure"], sort=False):
        task, measure = map(str, key)
        values = rows["value"].to_numpy(float)
        known = ranges[measure] if measure in ranges else default_range(measure, values[np.isfinite(values)])
        spans[task, measure] = known if known is not None else _covered(rows, measure)
    return spans


def _covered(rows: pd.DataFrame, measure: str) -> float:
    low, high = np.inf, -np.inf
    for _, part in rows.groupby(CURVE, sort=False):
        curve = make_curve(part["step"].to_numpy(), part["value"].to_numpy(), measure=measure)
        y = curve.y[~spiked(len(curve), find_spikes(curve))]
        if len(y):
            low, high = min(low, float(y.min())), max(high, float(y.max()))
    return max(high - low, 0.0) if np.isfinite(high) else 0.0


def _curve(rows: pd.DataFrame, key: tuple[str, ...], spans: Spans) -> Curve:
    return make_curve(
        rows["step"].to_numpy(float),
        rows["value"].to_numpy(float),
        measure=key[2],
        stderr=rows["stderr"].to_numpy(float),
        n=rows["n"].to_numpy(float),
        span=spans[key[1], key[2]],
    )


def _companion_rows(table: pd.DataFrame, chosen: pd.DataFrame, pairs: Pairs) -> pd.DataFrame:
    names = {name for measure in set(chosen["measure"]) for name in companion_names(measure, pairs)}
    return table[table["measure"].isin(names)]
