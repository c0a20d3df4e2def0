"""Is the jump in the capability or in the metric? A discontinuous measure beside its continuous companion.

A sharp rise is a metric artefact when the companion changes smoothly inside the jump's window and, passed
through the metric's map, reproduces the rise (Schaeffer et al. 2023). The window begins at the companion's
last trough before the jump: a test log-probability that dips while the model memorises would otherwise be
misread. Maps: p^L for an answer of L tokens, a soft threshold on the companion, a monotone map fitted to the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from interp.jumps.curve import Curve, base_name, select
from interp.jumps.instrument import INSTRUMENT
from interp.jumps.record import Jump
from interp.jumps.verdict import Limits, Rise, Verdict
from interp.table.events import sign_of

_CONTINUOUS = ("log_prob", "answer_log_prob", "ppl", "perplexity", "test_loss", "loss", "brier", "logit_diff")
COMPANIONS: dict[str, tuple[str, ...]] = {
    "exact_match": _CONTINUOUS,
    "accuracy": _CONTINUOUS,
    "acc_norm": _CONTINUOUS,
    "token_accuracy": _CONTINUOUS,
    "digit_accuracy": ("digit_loss",),
    "group_accuracy": ("group_loss",),
}
# Log-likelihoods of the answer, of either sign.
LOGARITHMS = ("log_prob", "answer_log_prob", "ppl", "perplexity", "loss", "nll")

REPRODUCED = 0.9
SLOW = 0.1

Judge = Callable[[Curve, Limits], Verdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """kind: what the companion does in the window. map, reproduced: the best metric map and the share of
    variance it explains, relative to what the jump's own fit explains. width: 10-90 % width of the companion
    in the window, decades."""

    kind: str
    map: str | None = None
    reproduced: float = float("nan")
    width: float = float("nan")


def companion_names(measure: str, pairs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The companions of a measure in order of preference, looked up by its name, then by its base name."""
    return tuple(pairs.get(measure, pairs.get(base_name(measure), ())))


def judge_artefact(
    jump: Jump, curve: Curve, verdict: Verdict, companions: Mapping[str, Curve], limits: Limits, judge: Judge
) -> Jump:
    """The jump with the comparison noted, and `artefact` as its kind where the first usable companion says so."""
    if jump.kind not in ("abrupt", "gradual", "undetermined") or jump.step_before is None or jump.step_after is None:
        return jump
    for name, companion in companions.items():
        comparison = compare(jump, curve, verdict, name, companion, limits, judge)
        if comparison is None:
            continue
        width = jump.width_decades or 0.0
        sharp = jump.kind in ("abrupt", "undetermined") or (
            width <= 1.5 * limits.max_width and comparison.width >= 2 * width
        )
        artefact = sharp and comparison.kind == "gradual" and comparison.reproduced >= REPRODUCED
        return replace(
            jump,
            kind="artefact" if artefact else jump.kind,
            companion=name,
            companion_kind=comparison.kind,
            map=comparison.map,
            reproduced=comparison.reproduced,
        )
    return jump


def compare(
    jump: Jump, curve: Curve, verdict: Verdict, name: str, companion: Curve, limits: Limits, judge: Judge
) -> Comparison | None:
    """The companion inside the jump's window; None where fewer than five checkpoints carry both."""
    steps, here, there = np.intersect1d(curve.steps, companion.steps, return_indices=True)
    if len(steps) < INSTRUMENT.fewest:
        return None
    direction = float(np.sign(jump.magnitude or 0.0))
    sign = direction * sign_of(name)
    start = _trough(companion, sign, jump)
    window = select(companion, np.arange(start, len(companion)))
    window = replace(window, y=sign * window.y, span=float(np.ptp(window.y)))
    judged = judge(window, replace(limits, confirm=False))
    near = [
        rise for rise in judged.rises if rise.kind == "abrupt" and rise.magnitude > 0 and _meets(rise, window, jump)
    ]
    if near:
        return Comparison(kind="abrupt", width=near[0].width)
    if not any(rise.kind in ("gradual", "abrupt") and rise.magnitude > 0 for rise in judged.rises):
        return Comparison(kind="undetermined" if judged.reason else "none")
    inside = there >= start
    smooth = (window.y if judged.fitted is None else judged.fitted)[there[inside] - start]
    values = direction * curve.y[here[inside]]
    own = direction * (curve.y if verdict.fitted is None else verdict.fitted)[here[inside]]
    x = curve.x[here[inside]]
    name_of_map, share = _best_map(values, own, smooth, _moves(smooth, x, jump), base_name(name) in LOGARITHMS)
    low, high = (float(np.interp(q, _rank(smooth), x)) for q in (0.1, 0.9))
    return Comparison(kind="gradual", map=name_of_map, reproduced=share, width=max(high - low, 0.0))


def _trough(companion: Curve, sign: float, jump: Jump) -> int:
    """The last minimum of the (upward) companion before the jump is over; early enough that five checkpoints remain."""
    up = sign * companion.y
    until = max(int(np.searchsorted(companion.steps, jump.step_after or 0.0, side="right")), 1)
    padded = np.pad(up, 1, mode="edge")
    median = np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)[:until]
    start = until - 1 - int(median[::-1].argmin())
    return max(min(start, len(companion) - INSTRUMENT.fewest), 0)


def _meets(rise: Rise, window: Curve, jump: Jump) -> bool:
    """Whether a rise of the companion lies in the jump's interval or ends within its own width of it."""
    low, high = window.x[rise.before], window.x[rise.after]
    reach = max(float(high - low), rise.width)
    first, last = np.interp([jump.step_before or 0.0, jump.step_after or 0.0], window.steps, window.x)
    return bool(low - reach <= last and high + reach >= first)


def _moves(smooth: Float[ndarray, "point"], x: Float[ndarray, "point"], jump: Jump) -> bool:
    """Whether the smooth companion climbs through the jump, at a tenth of its mean speed at least."""
    low, high = np.log10(max(jump.midpoint_low or 1, 1e-300)), np.log10(max(jump.midpoint_high or 1, 1e-300))
    first = max(int(np.searchsorted(x, low)) - 1, 0)
    last = min(int(np.searchsorted(x, high)) + 1, len(x) - 1)
    if x[last] <= x[first]:
        return False
    speed = (smooth[last] - smooth[first]) / (x[last] - x[first])
    return bool(speed > SLOW * np.ptp(smooth) / (x[-1] - x[0]))


def _best_map(
    values: Float[ndarray, "point"],
    own: Float[ndarray, "point"],
    smooth: Float[ndarray, "point"],
    moves: bool,
    logarithm: bool,
) -> tuple[str | None, float]:
    """The map with the largest share of the variance that the measure's own fit explains; p^L where it will do."""
    total = float(((values - values.mean()) ** 2).sum())
    mine = 1 - float(((values - own) ** 2).sum()) / max(total, 1e-300)
    if total == 0 or mine <= 0:
        return None, float("nan")
    shares: dict[str, float] = {}
    if logarithm:
        exponents = np.geomspace(0.1, 64, 80)
        shares["p^L"] = _explained(values, np.exp((smooth[:, None] - smooth.max()) * exponents)) / mine
    if moves:
        scales = np.ptp(smooth) * np.geomspace(0.003, 0.6, 12)
        centre, scale = (a.ravel() for a in np.meshgrid(np.linspace(smooth.min(), smooth.max(), 120), scales))
        soft = 1 / (1 + np.exp(-np.clip((smooth[:, None] - centre) / scale, -50, 50)))
        shares["threshold"] = _explained(values, soft) / mine
        shares["monotone"] = _isotonic_share(values, smooth) / mine
    if not shares:
        return None, float("nan")
    name = next((name for name, share in shares.items() if share >= REPRODUCED), max(shares, key=shares.__getitem__))
    return name, float(min(shares[name], 1.0))


def _explained(values: Float[ndarray, "point"], maps: Float[ndarray, "point map"]) -> float:
    """The largest R^2 of values = a + b map with b > 0."""
    centred, maps = values - values.mean(), maps - maps.mean(0)
    overlap = centred @ maps
    power = (maps**2).sum(0)
    gain = np.where((overlap > 0) & (power > 1e-12), overlap**2 / np.maximum(power, 1e-12), 0.0)
    return float(gain.max() / max((centred**2).sum(), 1e-300))


def _isotonic_share(values: Float[ndarray, "point"], smooth: Float[ndarray, "point"]) -> float:
    """R^2 of the best non-decreasing function of the companion (pool adjacent violators)."""
    blocks: list[list[float]] = []
    for value in values[np.argsort(smooth, kind="stable")]:
        blocks.append([float(value), 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, count = blocks.pop()
            before = blocks[-1]
            before[0] = (before[0] * before[1] + mean * count) / (before[1] + count)
            before[1] += count
    explained = sum(count * (mean - values.mean()) ** 2 for mean, count in blocks)
    return float(explained / max(((values - values.mean()) ** 2).sum(), 1e-300))


def _rank(smooth: Float[ndarray, "point"]) -> Float[ndarray, "point"]:
    """The companion's progress from 0 to 1, made non-decreasing."""
    climbed = np.maximum.accumulate(smooth)
    return (climbed - climbed[0]) / max(float(climbed[-1] - climbed[0]), 1e-300)
