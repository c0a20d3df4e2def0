"""Estimates of several families as one: random effects (DerSimonian and Laird 1986) with the interval of Hartung and Knapp
(2001), never narrower than the one without it (Röver et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2, rankdata
from scipy.stats import t as student

LEAST_FAMILIES = 3
"""Below, the spread between families is not known. A choice: of two, the interval is 12.7 standard errors wide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """mean with its standard error; tau: standard deviation between families; i2: share of the spread that is between them;
    p_equal: of Cochran's Q. n: families. All NaN below LEAST_FAMILIES."""

    mean: float = np.nan
    error: float = np.nan
    tau: float = np.nan
    i2: float = np.nan
    p_equal: float = np.nan
    n: int = 0

    def ends(self, level: float) -> tuple[float, float]:
        """The two-sided interval of this level, by Student's t with n − 1 degrees of freedom."""
        if not np.isfinite(self.error):
            return np.nan, np.nan
        half = float(student.ppf(0.5 + level / 2, self.n - 1)) * self.error
        return self.mean - half, self.mean + half


def random_effects(effect: Float[np.ndarray, "family"], error: Float[np.ndarray, "family"]) -> Pooled:
    """The mean effect of families of which each gives an effect with its standard error; what is NaN is left out.

    τ² = max(0, (Q − (k − 1)) / (Σw − Σw²/Σw)) with w = 1/s²; weights 1/(s² + τ²); variance of the mean
    max(1, Σw*(y − μ)²/(k − 1)) / Σw*.
    """
    known = np.isfinite(effect) & np.isfinite(error) & (error > 0)
    y, v = effect[known], error[known] ** 2
    k = len(y)
    if k < LEAST_FAMILIES:
        return Pooled(n=k)
    w = 1 / v
    q = float((w * (y - (w @ y) / w.sum()) ** 2).sum())
    tau2 = max(0.0, (q - (k - 1)) / float(w.sum() - (w**2).sum() / w.sum()))
    w = 1 / (v + tau2)
    mean = float((w @ y) / w.sum())
    wider = max(1.0, float((w * (y - mean) ** 2).sum()) / (k - 1))
    return Pooled(
        mean=mean,
        error=float(np.sqrt(wider / w.sum())),
        tau=float(np.sqrt(tau2)),
        i2=max(0.0, 1 - (k - 1) / q) if q > 0 else 0.0,
        p_equal=float(chi2.sf(q, k - 1)),
        n=k,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Spearman's ρ of a family's gains with the mean gains of the others, by family, their mean, and p of "a family's order
    says nothing of another's" (one-sided, by exchanging the indicators' names within families)."""

    by_family: tuple[float, ...]
    mean: float
    p: float


def agreement(gain: Float[np.ndarray, "family series"], *, draws: int, rng: np.random.Generator) -> Agreement:
    """Does what leads elsewhere lead here? A gain that is not defined stands in the middle of its family's ranks; a family
    without any is left out (NaN)."""
    known = np.isfinite(gain).sum(axis=1) >= 3
    rank = np.array([_rank(row) for row in gain])[known]
    by_family = np.full(len(gain), np.nan)
    if len(rank) < 2:
        return Agreement(by_family=tuple(by_family), mean=np.nan, p=np.nan)
    by_family[known] = _each(rank)
    mean = float(np.nanmean(by_family))
    null = [_each(rng.permuted(rank, axis=1)).mean() for _ in range(draws)]
    p = (1 + sum(drawn >= mean for drawn in null)) / (1 + draws)
    return Agreement(by_family=tuple(by_family), mean=mean, p=p)


def _each(rank: Float[np.ndarray, "family series"]) -> Float[np.ndarray, "family"]:
    """Correlation of every family's ranks with the ranks of the mean of the others'."""
    others = rankdata((rank.sum(axis=0) - rank) / (len(rank) - 1), axis=1)
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (rank, others))
    return (a * b).sum(axis=1) / np.maximum(np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)), 1e-12)


def _rank(row: np.ndarray) -> np.ndarray:
    out, known = np.zeros(len(row)), np.isfinite(row)
    out[known] = rankdata(row[known]) - (known.sum() + 1) / 2
    return out
