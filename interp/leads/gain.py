"""What an indicator adds: held-out bits a row of baseline + indicator over the baseline alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtri, stdtrit

from interp.leads.baseline import USED, Fitted, Rows, at_risk, design, fit_baseline, standardised
from interp.leads.logistic import IN_CACHE, fit_many, log_loss
from interp.leads.panel import Panel
from interp.leads.spec import Spec

STRENGTH = 0.3  # of the indicator's ridge, in runs' worth of rows
TRUST = 0.3  # of what an indicator moves the baseline's logit: near 0 the score's signal to noise, at 1 the full fit
WIDEN = 1.3  # of the gain's interval: the folds share training runs, so that gains vary more than runs do
SKEW, MOST_SKEW = 1.5, 1.4  # of its upper end
LEAST_SCALE = 0.01  # a residual smaller than this is rounding, not a signal
LEAST_EVENTS = 10
TILE = 512  # rows that are gone through at a time, so that they stay near the core


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fold:
    """One held-out fold: rows to train and test on, the baseline without the test rows, and how to take it out."""

    train: Int[np.ndarray, "train"]
    test: Int[np.ndarray, "test"]
    label: Float[np.ndarray, "train"]
    offset: Float[np.ndarray, "train"]
    test_label: Float[np.ndarray, "test"]
    test_offset: Float[np.ndarray, "test"]
    test_loss: Float[np.ndarray, "test"]
    projector: Float[np.ndarray, "train column"]
    columns: Float[np.ndarray, "train column"]
    test_columns: Float[np.ndarray, "test column"]
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contest:
    """All that does not depend on the indicators' values: the rows, and the baseline in every fold."""

    rows: Rows
    folds: tuple[Fold, ...]
    n_runs: int
    n_grid: int

    @property
    def cell(self) -> Int[np.ndarray, "row"]:
        """Where each row lies in the table of all runs and grid steps, run-major."""
        return self.rows.run * self.n_grid + self.rows.grid


def contest(panel: Panel, trivial: Sequence[int], fold_of: Int[np.ndarray, "run"], spec: Spec) -> Contest | str:
    """Fit the baseline in every fold. A text where the runs cannot tell: too few events or only one outcome."""
    rows = at_risk(panel, spec.horizon)
    n_events = len(np.unique(rows.run[rows.label == 1]))
    if n_events < LEAST_EVENTS:
        return f"{n_events} runs jump with a checkpoint before it; a gain needs {LEAST_EVENTS}"
    if (rows.label == 1).all():
        return "every at-risk row is followed by a jump: nothing to tell apart"
    columns = design(panel, rows, standardised(panel, trivial))
    of_row = fold_of[rows.run]
    if len(np.unique(of_row)) < 2:
        return "all at-risk rows lie in one fold"
    if any(rows.label[of_row != held].min() == rows.label[of_row != held].max() for held in np.unique(of_row)):
        return "a training fold holds only one outcome"
    folds = [
        _fold(columns, rows, np.flatnonzero(of_row != fitted.held), np.flatnonzero(of_row == fitted.held), fitted)
        for fitted in fit_baseline(columns, rows, of_row)
    ]
    return Contest(rows=rows, folds=tuple(folds), n_runs=len(panel.runs), n_grid=len(panel.step))


def _fold(columns: np.ndarray, rows: Rows, train: np.ndarray, test: np.ndarray, fitted: Fitted) -> Fold:
    x, y = columns[train], rows.label[train].astype(np.float32)
    strength = STRENGTH * len(train) / len(np.unique(rows.run[train]))
    logit = _recalibrated(fitted.logit, rows.label, train, strength)
    weight = 0.25 / np.cosh(0.5 * logit[train]) ** 2  # p (1 − p)
    gram = (x * weight[:, None]).T @ x
    gram[np.diag_indices_from(gram)] += 1e-3 * fitted.penalty + 1e-6
    return Fold(
        train=train,
        test=test,
        label=y,
        offset=logit[train].astype(np.float32),
        test_label=rows.label[test].astype(np.float32),
        test_offset=logit[test].astype(np.float32),
        test_loss=log_loss(logit[test], rows.label[test]),
        projector=np.linalg.solve(gram, (x * weight[:, None]).T).T.astype(np.float32),
        columns=x.astype(np.float32),
        test_columns=columns[test].astype(np.float32),
        strength=strength,
    )


def _recalibrated(logit: np.ndarray, label: np.ndarray, train: np.ndarray, strength: float) -> np.ndarray:
    """The baseline's logits after the same fit that an indicator gets, without an indicator: so that what its free
    slope and intercept gain is not counted as the indicator's."""
    own = np.stack([logit - logit[train].mean(), np.ones_like(logit)])
    weight = fit_many(own[None, :, train], label[train], logit[train], strength)[0]
    return logit + weight @ own


def gains_by_run(
    game: Contest, values: Float[np.ndarray, "cell series feature"], cell: Int[np.ndarray, "row"] | None = None
) -> Float[np.ndarray, "series run"]:
    """Sum over each run's rows of the held-out gain, in bits, of every series.

    values: standardised features, one cell for each run and grid step (run-major).
    cell: the one that each row is given; by default its own.

    In each fold the part of the features that the baseline explains (a weighted projection at the baseline's fit) is
    taken out; the rest, scaled, with the baseline's logit and an intercept, enters a ridge logistic regression on top
    of that logit; baseline and sum are scored on the fold's runs. The sum moves by TRUST of the fitted way only: what a
    small move gains is linear in it and so is its scatter between runs, what a full one loses by overshooting is
    quadratic, so that a small move tells a weak indicator from none where a whole one cannot.
    """
    cell = game.cell if cell is None else cell
    n_series, n_features = values.shape[1:]
    flat, longest = values.reshape(len(values), -1), max(max(len(f.train), len(f.test)) for f in game.folds)
    room = np.empty((longest, flat.shape[1]), flat.dtype)  # made once: large tables are slow to get from the system
    design = np.empty((n_series, n_features + 2, longest), flat.dtype)
    gain = np.zeros((n_series, len(cell)))
    for fold in game.folds:
        x = np.take(flat, cell[fold.train], axis=0, out=room[: len(fold.train)], mode="clip")
        turned = np.ascontiguousarray(x.T) if x.size <= IN_CACHE else x.T  # BLAS rounds small products by their layout
        explained = turned @ fold.projector
        inside = _left(x, fold.columns, explained, fold.offset, fold, design)
        power = np.stack([np.square(features).mean(axis=1, keepdims=True) for features in inside[:, :-2]])
        scale = np.maximum(np.sqrt(power), LEAST_SCALE)
        inside[:, :-2] /= scale
        weight = fit_many(inside, fold.label, fold.offset, fold.strength)
        x = np.take(flat, cell[fold.test], axis=0, out=room[: len(fold.test)], mode="clip")
        outside = _left(x, fold.test_columns, explained, fold.test_offset, fold, design)
        outside[:, :-2] /= scale
        move = TRUST * (weight[:, None, :] @ outside)[:, 0]
        gain[:, fold.test] = fold.test_loss - log_loss(fold.test_offset + move, fold.test_label)
    return _by_run(gain / np.log(2), game.rows.run, game.n_runs)


def _left(
    x: Float[np.ndarray, "row seriesfeature"],
    columns: Float[np.ndarray, "row column"],
    explained: Float[np.ndarray, "seriesfeature column"],
    offset: Float[np.ndarray, "row"],
    fold: Fold,
    room: np.ndarray,
) -> Float[np.ndarray, "series feature2 row"]:
    """The design of each series: what the baseline leaves of its features, the baseline's logit, an intercept. By tiles of
    rows, which stay near the core."""
    out = room[..., : len(x)]
    for first in range(0, len(x), TILE):
        some = slice(first, first + TILE)
        x[some] -= columns[some] @ explained.T
        out[:, :-2, some] = x[some].T.reshape(len(out), -1, len(x[some]))
    out[:, -2], out[:, -1] = offset - fold.offset.mean(), 1
    return out


def _by_run(x: np.ndarray, run: np.ndarray, n_runs: int) -> np.ndarray:
    """Sums over the rows of each run (rows sorted by run); 0 for a run without rows."""
    out = np.zeros((len(x), n_runs))
    present, start = np.unique(run, return_index=True)
    out[:, present] = np.add.reduceat(x, start, axis=1)
    return out


def cells(panel: Panel, series: Sequence[int]) -> Float[np.ndarray, "cell series feature"]:
    """The layout that `gains_by_run` reads: standardised features in single precision, run-major."""
    x = standardised(panel, series).astype(np.float32)
    return np.ascontiguousarray(x.transpose(1, 2, 0, 3).reshape(-1, len(x), len(USED)))


def interval(
    by_run: Float[np.ndarray, "series run"], n_rows: Float[np.ndarray, "run"], spec: Spec
) -> tuple[Float[np.ndarray, "series"], Float[np.ndarray, "series"], Float[np.ndarray, "series"]]:
    """Gain in bits a row with the ends of its interval, by the basic bootstrap over whole runs.

    Basic, 2·gain minus the quantiles of the draws: gains are skewed, and where there is nothing to gain percentiles
    cover too little. The draws know nothing of what other training runs would have taught, nor how few runs there are:
    both ends are moved out by WIDEN (cf. Nadeau and Bengio 2003, whose bound is 1.5 for five folds; 1.3 covers in
    simulation) and by Student's quantile over the normal one. The upper end lies further off: a gain is a product, what
    was learned times what it is worth on runs held out, and both come short together; it is moved by exp(SKEW · half
    width / gain), at most e^MOST_SKEW, where there is a gain.
    """
    rng = np.random.default_rng([spec.seed, 11])
    has = n_rows > 0
    total, rows = by_run[:, has], n_rows[has]
    n = len(rows)
    draws = rng.multinomial(n, np.full(n, 1 / n), size=spec.bootstraps).astype(float)
    means = (draws @ total.T) / (draws @ rows)[:, None]
    tail = (1 - spec.level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    gain = total.sum(axis=1) / rows.sum()
    wider = WIDEN * stdtrit(max(n - 1, 1), 1 - tail) / ndtri(1 - tail)
    half = wider * np.maximum(high - gain, gain - low)
    skew = np.exp(np.where(gain > 0, np.minimum(SKEW * half / np.maximum(gain, 1e-12), MOST_SKEW), 0))
    return gain, gain - wider * (high - gain), gain + half * skew
