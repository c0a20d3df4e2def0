"""From a table to the list of its jumps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from interp import processes
from interp.errors import InputError, unknown
from interp.jumps.about.artefact import COMPANIONS, PER_TOKEN, companion_names, judge_artefact, same_examples
from interp.jumps.about.maps import Pair
from interp.jumps.about.seeds import over_seeds
from interp.jumps.about.sizes import size_table
from interp.jumps.curve import Curve, default_range, make_curve
from interp.jumps.describe import Entry, as_none, describe
from interp.jumps.detectors._spikes import find_spikes, spiked
from interp.jumps.record import Jump, Jumps
from interp.jumps.verdict import Limits
from interp.plugins import load
from interp.table import CURVE, read_table
from interp.table.events import LEAST_RISE

Spans = Mapping[tuple[str, str], float]
Pairs = Mapping[str, Sequence[str]]
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """The curves of one task, measure, component and position over runs, which are judged together: their keys, facts,
    and companions by name (those of the run's component and position, or of the run as a whole)."""

    keys: tuple[Key, ...]
    curves: tuple[Curve, ...]
    facts: tuple[Mapping[str, str], ...]
    companions: tuple[Mapping[str, Curve], ...]
    per_token: tuple[bool, ...]


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
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Jumps:
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
    detector: a file of `interp/jumps/detectors/`, or `package.module:function`, called as detector(curve, limits) ->
        Verdict.
    models: whether to name the best form of each curve, which costs as much as the verdict.
    workers: processes.
    progress: called as progress(curves done, curves in all) from time to time.
    Where the table gives `setting` or `seed`, runs of one setting are also judged together (run "", see `over_seeds`).

    Raises:
        InputError: not a table of the contract, no such measure or detector, or no behaviour in it.
    """
    by_step = over == "step"
    limits = Limits(min_magnitude=min_magnitude, max_width=max_width, level=level, confirm=by_step, dependent=by_step)
    _check(limits, over)
    load("jumps.detectors", detector)
    full = read_table(table)
    together = by_step and bool({"setting", "seed"} & set(full.attrs["given"]))
    full = full if by_step else size_table(full, step)
    groups = _grouped(full, measures, {**COMPANIONS, **(companions or {})}, ranges or {}, over)
    entries: list[Entry] = []
    jumps: dict[Key, list[Jump]] = {}
    total = sum(len(group.keys) for group in groups)
    for made, found in _each(groups, limits, detector, models, workers):
        entries += made
        jumps.update(found)
        if progress:
            progress(len(entries), total)
    entries.sort(key=lambda entry: entry.key)
    rates = _discovery_rates([entry.verdict.p_value for entry in entries])
    for entry, rate in zip(entries, rates, strict=True):
        jumps[entry.key] = [replace(jump, q_value=rate) for jump in jumps[entry.key]]
    listed = [jump for key in sorted(jumps) for jump in jumps[key]]
    if not by_step:
        return Jumps(replace(jump, run="", setting=jump.run) for jump in listed)
    return Jumps(listed + (over_seeds(entries, jumps, limits, load("jumps.detectors", detector)) if together else []))


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


def _grouped(
    full: pd.DataFrame, measures: Sequence[str] | None, pairs: Pairs, ranges: Mapping[str, float], over: str
) -> list[Group]:
    """The chosen curves with their companions, by task, measure, component and position."""
    chosen = _choose(full, measures)
    names = {name for measure in set(chosen["measure"]) for name in companion_names(measure, pairs)}
    beside = full[full["measure"].isin({*names, PER_TOKEN})]
    spans = _spans(pd.concat([chosen, beside]), ranges)
    lookup = {key: _curve(rows, key, spans) for key, rows in _by_curve(beside)}
    members: dict[Key, list[tuple[Key, pd.DataFrame]]] = {}
    for key, rows in _by_curve(chosen):
        members.setdefault(key[1:], []).append((key, rows))
    groups = []
    for _, parts in sorted(members.items()):
        curves = tuple(_curve(rows, key, spans) for key, rows in parts)
        found = [_beside(key, curve, lookup, pairs) for (key, _), curve in zip(parts, curves, strict=True)]
        groups.append(
            Group(
                keys=tuple(key for key, _ in parts),
                curves=curves,
                facts=tuple(
                    {"setting": str(rows["setting"].iloc[0]), "size": str(rows["size"].iloc[0]), "over": over}
                    for _, rows in parts
                ),
                companions=tuple({name: c for name, c in each.items() if name != PER_TOKEN} for each in found),
                per_token=tuple(PER_TOKEN in each for each in found),
            )
        )
    return groups


def _beside(key: Key, curve: Curve, lookup: Mapping[Key, Curve], pairs: Pairs) -> dict[str, Curve]:
    """The companions of a curve that are shown to be of its examples."""
    run, task, measure, component, position = key
    found: dict[str, Curve] = {}
    for name in (*companion_names(measure, pairs), PER_TOKEN):
        for at in ((run, task, name, component, position), (run, task, name, "", "")):
            if name not in found and at in lookup and (name == PER_TOKEN or same_examples(name, curve.n, lookup[at].n)):
                found[name] = lookup[at]
    return found


def _each(
    groups: Sequence[Group], limits: Limits, detector: str, models: bool, workers: int
) -> Iterator[tuple[list[Entry], dict[Key, list[Jump]]]]:
    """Every group judged, here or in processes, in the order in which they are done."""
    if workers <= 1 or len(groups) <= 1:
        yield from (_judge_group(group, limits, detector, models) for group in groups)
        return
    with processes.pool(workers, script=detector.startswith("__main__:")) as pool:
        waiting = [pool.submit(_judge_group, group, limits, detector, models) for group in groups]
        yield from (done.result() for done in as_completed(waiting))


def _judge_group(
    group: Group, limits: Limits, detector: str, models: bool
) -> tuple[list[Entry], dict[Key, list[Jump]]]:
    """Entries and records of a group's curves, each change compared with the companions that stand beside it."""
    judge = load("jumps.detectors", detector)
    entries, jumps = [], {}
    for key, curve, facts in zip(group.keys, group.curves, group.facts, strict=True):
        entries.append(Entry(key=key, curve=curve, facts=facts, verdict=judge(curve, limits)))
    for place, entry in enumerate(entries):
        facts = {**dict(zip(CURVE, entry.key, strict=True)), **entry.facts}
        found = describe(entry.curve, entry.verdict, facts, models=models)
        others = {name: tuple(_others(group, place, name)) for name in group.companions[place]}
        jumps[entry.key] = [
            judge_artefact(
                jump,
                entry.curve,
                entry.verdict,
                group.companions[place],
                limits,
                judge,
                others=others,
                known_length=group.per_token[place],
            )
            for jump in found
        ]
    return entries, jumps


def _others(group: Group, place: int, name: str) -> Iterable[Pair]:
    """The measure and a companion in the other runs."""
    for other, companions in enumerate(group.companions):
        if other != place and name in companions:
            yield group.curves[other], companions[name]


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


def _by_curve(table: pd.DataFrame) -> list[tuple[Key, pd.DataFrame]]:
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
