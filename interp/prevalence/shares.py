"""From what was found to what is: shares by maximum likelihood under a known confusion, with intervals over clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

Z = 1.959964
"""The normal quantile of a 95 % interval."""
LEAST_TOLD = 0.2
"""A kind of which plants are told more seldom counts no more than five times: fewer of 40 plants say little (a choice)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shares:
    """Of the curves that can be told, n: the corrected share of each true kind with its interval, and observed: the plain
    share of each found kind."""

    share: Float[np.ndarray, "true"]
    low: Float[np.ndarray, "true"]
    high: Float[np.ndarray, "true"]
    observed: Float[np.ndarray, "found"]
    n: int


def unconfused(
    count: Float[np.ndarray, "*draw told"], confusion: Float[np.ndarray, "*draw true found"], rounds: int = 300
) -> Float[np.ndarray, "*draw true"]:
    """The shares of the true kinds under which the counts are most likely, by expectation-maximisation.

    count: curves found to be each kind, those that cannot be told left out; they are the last column of the confusion.
    Each kind then counts as much more as it is more seldom told: what cannot be told adds to nothing by itself.
    """
    p = confusion / np.maximum(confusion.sum(axis=-1, keepdims=True), 1e-12)
    told = p[..., :-1].sum(axis=-1)
    p = p[..., :-1] / np.maximum(told[..., None], 1e-12)
    share = np.full((*count.shape[:-1], p.shape[-2]), 1 / p.shape[-2])
    for _ in range(rounds):
        joint = share[..., :, None] * p
        owner = joint / np.maximum(joint.sum(axis=-2, keepdims=True), 1e-300)
        share = (owner * count[..., None, :]).sum(axis=-1)
        share = share / np.maximum(share.sum(axis=-1, keepdims=True), 1e-300)
    share = share / np.maximum(told, LEAST_TOLD)
    return share / np.maximum(share.sum(axis=-1, keepdims=True), 1e-300)


def cluster_weights(curves: pd.DataFrame, draws: int, rng: np.random.Generator) -> Float[np.ndarray, "draw curve"]:
    """Bootstrap weights of crossed clusters (Owen 2007): tasks, families and seeds are drawn with replacement, each on its
    own, and a curve counts as often as the product says. What there is one of is not drawn."""
    weight = np.ones((draws, len(curves)))
    for codes in _factors(curves):
        n = int(codes.max()) + 1
        weight *= rng.multinomial(n, np.full(n, 1 / n), size=draws)[:, codes]
    return weight


def _factors(curves: pd.DataFrame) -> list[np.ndarray]:
    """Codes of the clusters that vary: task; family; seed within its family; without any of them, the run."""
    seed = curves["family"].astype(str) + "\x1f" + curves["seed"].astype(str)
    found = [pd.factorize(values)[0] for values in (curves["task"], curves["family"], seed)]
    if np.array_equal(found[1], found[2]):
        found.pop()
    found = [codes for codes in found if len(codes) and codes.max() > 0]
    return found or [pd.factorize(curves["run"])[0]]


def shares(
    curves: pd.DataFrame,
    found: tuple[str, ...],
    confusion: Float[np.ndarray, "true found"],
    *,
    draws: int,
    rng: np.random.Generator,
) -> Shares:
    """Corrected shares of a group of curves; found: the kinds, that of curves which cannot be told the last.

    The interval is that of the percentiles over cluster draws, in each of which the confusion is drawn anew too, and no
    narrower than Wilson's for as many independent curves as the largest cluster factor has levels: a share of 0 or 1
    has no spread of its own.
    """
    told = curves[curves["found"] != found[-1]]
    if told.empty:
        nothing = np.full(len(confusion), np.nan)
        return Shares(share=nothing, low=nothing, high=nothing, observed=np.full(len(found) - 1, np.nan), n=0)
    member = np.eye(len(found) - 1)[pd.Categorical(told["found"], categories=list(found[:-1])).codes]
    count = member.sum(axis=0)
    share = unconfused(count, confusion)
    drawn = cluster_weights(told, draws, rng) @ member
    drawn = drawn[drawn.sum(axis=1) > 0]
    errors = rng.gamma(confusion + 1e-3, size=(len(drawn), *confusion.shape))  # a Dirichlet draw, not yet divided
    low, high = np.quantile(unconfused(drawn, errors), [0.025, 0.975], axis=0)
    n = max(int(codes.max()) + 1 for codes in _factors(told))
    wilson = _wilson(share, n)
    return Shares(
        share=share,
        low=np.clip(np.minimum(low, wilson[0]), 0, share),
        high=np.clip(np.maximum(high, wilson[1]), share, 1),
        observed=count / count.sum(),
        n=len(told),
    )


def _wilson(share: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return middle - half, middle + half


def permutation_p(curves: pd.DataFrame, group: pd.Series, *, draws: int, rng: np.random.Generator) -> float:
    """Chance that the shares of jumps differ as much between the groups when these are dealt out anew: to whole tasks
    where every task has one group, else to whole runs where every run has one, else to curves. Undetermined curves have
    no part in it; NaN where fewer than two groups or jumps of one sort are left."""
    keep = (curves["found"] != "undetermined") & group.notna()
    part, label = curves[keep], group[keep].astype(str)
    jumped = (part["found"] != "none").to_numpy(float)
    if label.nunique() < 2 or jumped.min(initial=1) == jumped.max(initial=0):
        return float("nan")
    unit = pd.Series(np.arange(len(part)), index=part.index)
    for name in ("task", "run"):
        if (label.groupby(part[name]).nunique() == 1).all():
            unit = part[name]
            break
    codes, _ = pd.factorize(unit)
    names, _ = pd.factorize(label)
    of_unit = np.zeros(codes.max() + 1, int)
    of_unit[codes] = names
    if len(of_unit) <= names.max() + 1:  # as many groups as clusters: nothing to deal out
        return float("nan")

    def spread(owner: np.ndarray) -> float:
        label = owner[codes]
        n = np.bincount(label, minlength=names.max() + 1)
        mean = np.bincount(label, jumped, minlength=names.max() + 1) / np.maximum(n, 1)
        return float((n * (mean - jumped.mean()) ** 2).sum())

    seen = spread(of_unit)
    null = [spread(rng.permutation(of_unit)) for _ in range(draws)]
    return (1 + sum(x >= seen * (1 - 1e-12) for x in null)) / (1 + draws)
