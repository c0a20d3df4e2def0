"""What a series adds to the baseline, and what it would add in worlds without information."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from interp.leads.features import features
from interp.leads.gain import cells, contest, gains_by_run, interval
from interp.leads.nulls import exchanged_gains, shifted_gains, too_few
from interp.leads.panel import Panel, Series
from interp.leads.spec import Spec
from interp.leads.splits import folds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gains:
    """Gain of some series of a panel (bits a row; NaN with a reason), the sums over each run's rows that it is made of,
    and the gains in worlds without information."""

    gain: Float[np.ndarray, "series"]
    low: Float[np.ndarray, "series"]
    high: Float[np.ndarray, "series"]
    by_run: Float[np.ndarray, "series run"] | None = None
    n_rows: Float[np.ndarray, "run"] | None = None
    exchanged: Float[np.ndarray, "draw series"] | None = None
    shifted: Float[np.ndarray, "draw series"] | None = None
    reason: str = ""


def series_gains(
    panel: Panel,
    series: Sequence[int],
    trivial: Sequence[int],
    spec: Spec,
    *,
    kind: str = "run",
    nulls: bool = True,
    fold_of: Int[np.ndarray, "run"] | None = None,
) -> Gains:
    """Gain of `series` over step, setting and the `trivial` series, with or without its nulls; held out by `kind`, or
    by `fold_of` where it is given."""
    nothing = np.full(len(series), np.nan)
    fold_of = folds(panel, kind, spec.folds, spec.seed) if fold_of is None else fold_of
    game = contest(panel, trivial, fold_of, spec) if series else "no such series"
    if isinstance(game, str):
        return Gains(gain=nothing, low=nothing, high=nothing, reason=game)
    values = cells(panel, series)
    n_rows = np.bincount(game.rows.run, minlength=game.n_runs).astype(float)
    by_run = gains_by_run(game, values)
    gain, low, high = interval(by_run, n_rows, spec)
    exchanging = nulls and spec.permutations > 0 and not too_few(panel.setting)
    return Gains(
        gain=gain,
        low=low,
        high=high,
        by_run=by_run,
        n_rows=n_rows,
        exchanged=exchanged_gains(game, values, panel.setting, spec) if exchanging else None,
        shifted=shifted_gains(game, values, spec) if nulls and spec.shifts else None,
    )


N_PLANTED = 20
PLANTED_LEAD, PLANTED_JITTER, PLANTED_NOISE = (0.4, 0.55), 0.1, (0.3, 0.9)
"""A planted leader rises by one unit between .4 and .55 of the way to the event (one share a series, a tenth of a decade
of jitter a run), under white noise of .3 to .9: from plain to faint. A choice."""


def plant(panel: Panel, rng: np.random.Generator, n: int = N_PLANTED) -> Panel:
    """The panel with `n` series that truly lead as its indicators, beside its baselines. The event of a censored run is
    put up to half a decade past its budget."""
    n_runs, n_grid = panel.seen.shape
    T = np.where(panel.event, panel.T, panel.budget * 10 ** rng.uniform(0, 0.5, n_runs))
    made = np.empty((n, n_runs, n_grid, panel.values.shape[-1]), np.float32)
    for block in made:
        move = T * rng.uniform(*PLANTED_LEAD) * 10 ** (PLANTED_JITTER * rng.standard_normal(n_runs))
        noise = rng.uniform(*PLANTED_NOISE) * rng.standard_normal((n_runs, n_grid))
        block[:] = features(panel.step, (panel.step >= move[:, None]) + noise)
    keep = panel.of("baseline")
    return replace(
        panel,
        series=(*(panel.series[k] for k in keep), *(Series(measure=f"planted {k}") for k in range(n))),
        values=np.concatenate([panel.values[keep], made]),
    )


def planted_gains(panel: Panel, spec: Spec, factor: float = 1.0) -> Gains:
    """Gains of planted leaders in runs like these: in the panel itself, or in `factor` times as many runs, drawn again
    within each setting with signals of their own; copies of one run lie in one fold, so that none teaches another."""
    rng = np.random.default_rng([spec.seed, 31, round(100 * factor)])
    fold_of = folds(panel, "run", spec.folds, spec.seed)
    if factor > 1:
        members = [np.flatnonzero(panel.setting == code) for code in np.unique(panel.setting)]
        extra = [rng.choice(here, round((factor - 1) * len(here))) for here in members]
        chosen = np.concatenate([np.arange(len(panel.runs)), *extra])
        panel, fold_of = panel.take(chosen), fold_of[chosen]
    rich = plant(panel, rng)
    return series_gains(rich, rich.of("indicator"), rich.of("baseline"), spec, nulls=False, fold_of=fold_of)
