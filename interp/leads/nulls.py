"""Worlds without information: whole series exchanged between the runs of a setting, and series shifted in time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import lgamma, log

import numpy as np
from jaxtyping import Float, Int

from interp.leads.gain import Contest, gains_by_run
from interp.leads.spec import Spec


def exchange(setting: Int[np.ndarray, "run"], rng: np.random.Generator) -> Int[np.ndarray, "run"]:
    """The run whose series each run is given: a random permutation within each setting."""
    donor = np.arange(len(setting))
    for code in np.unique(setting):
        here = np.flatnonzero(setting == code)
        donor[here] = rng.permutation(here)
    return donor


def log_exchanges(setting: Int[np.ndarray, "run"]) -> float:
    """ln of the number of different exchanges."""
    return sum(lgamma(count + 1) for count in np.bincount(setting))


def too_few(setting: Int[np.ndarray, "run"]) -> str | None:
    """Why the runs cannot give a p-value of .05, or None."""
    if log_exchanges(setting) < log(20):
        return "fewer than 20 exchanges of series between runs of one setting: give several seeds a setting"
    return None


def least_more(setting: Int[np.ndarray, "run"]) -> int:
    """How many more runs, all of the largest setting, there must be for 20 exchanges."""
    count, more = np.bincount(setting), 0
    while log_exchanges(np.r_[setting, np.full(more, count.argmax())]) < log(20):
        more += 1
    return more


def exchanged_gains(
    game: Contest, values: Float[np.ndarray, "cell series feature"], setting: Int[np.ndarray, "run"], spec: Spec
) -> Float[np.ndarray, "draw series"]:
    """Gain (bits a row) of every series in each exchange; one serves all series, to keep their dependence."""
    rng = np.random.default_rng([spec.seed, 23])
    donors = [exchange(setting, rng)[game.rows.run] for _ in range(spec.permutations)]
    return _draws(game, values, [donor * game.n_grid + game.rows.grid for donor in donors])


def shifted_gains(
    game: Contest, values: Float[np.ndarray, "cell series feature"], spec: Spec
) -> Float[np.ndarray, "draw series"]:
    """Gain of every series when each run's series is turned in time by an offset of its own."""
    rng = np.random.default_rng([spec.seed, 29])
    offsets = [rng.integers(1, max(2, game.n_grid), size=game.n_runs)[game.rows.run] for _ in range(spec.shifts)]
    turned = [(game.rows.grid + offset) % game.n_grid for offset in offsets]
    return _draws(game, values, [game.rows.run * game.n_grid + grid for grid in turned])


def _draws(
    game: Contest, values: Float[np.ndarray, "cell series feature"], worlds: Sequence[Int[np.ndarray, "row"]]
) -> Float[np.ndarray, "draw series"]:
    """Every world's gains, over the cores that there are: the arithmetic is numpy's, which lets go of the interpreter."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = pool.map(lambda cell: gains_by_run(game, values, cell).sum(axis=1) / len(cell), worlds)
        return np.array(list(found))


def p_family(
    observed: Float[np.ndarray, "series"], null: Float[np.ndarray, "draw series"], *, standardise: bool
) -> Float[np.ndarray, "series"]:
    """Family-wise p by the maximum over series: (1 + #{draws whose maximum ≥ observed}) / (1 + draws).

    Standardised, each series is first centred and scaled by all its values, the observed one among them, which keeps
    the draws exchangeable. A series that no exchange changes has no scale and gets p = 1 (Westfall and Young 1993).
    """
    whole = np.concatenate([observed[None], null])
    if standardise:
        spread = whole.std(axis=0)
        alive = spread > 1e-7
        whole = np.where(alive, (whole - whole.mean(axis=0)) / np.where(alive, spread, 1), -np.inf)
    top = whole.max(axis=1)
    return np.where(np.isfinite(whole[0]), (top[:, None] >= whole[0]).mean(axis=0), 1.0)


def p_single(
    observed: Float[np.ndarray, "series"], null: Float[np.ndarray, "draw series"]
) -> Float[np.ndarray, "series"]:
    """(1 + #{draws ≥ observed}) / (1 + draws), for each series alone."""
    return (1 + (null >= observed).sum(axis=0)) / (1 + len(null))
