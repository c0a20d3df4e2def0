"""Is the jump in the capability or in the metric? A discontinuous measure beside its continuous companion.

A sharp rise is a metric artefact when the companion changes smoothly inside the jump's window and, passed through the
metric's own map, reproduces the rise (Schaeffer et al. 2023). Nearly any smooth climb reproduces nearly any jump through a
threshold that is free, a count of steps included; so the map has to be known before the run is looked at:

- p^L, the probability that L tokens are right: exp(log_prob) where the table also has `log_prob_per_token`, with the run's
  own floor and ceiling; where L is not known, it alone is free, from 0 to 1 without any offset;
- the share of margins above 0, where the companion is a margin whose spread (stderr times root n) was measured;
- p^L or a soft threshold with L, threshold and spread fitted to the *other* runs of the task; floor and ceiling are the
  run's own. It has to beat a clock that is fitted in the same way.

A measure of other things (a loss, a norm, a count of steps) that does no better than a clock proves nothing, and leaves
the jump as it is. The log-probability or the margin of the judged answers is what the metric is made of: where it is
smooth through the jump and its map is not known, the jump is undetermined, one run alone included.

The window begins at the companion's last trough before the jump: a test log-probability that dips while the model
memorises would otherwise be misread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import ndtr

from interp.jumps.about.maps import Pair, Run, Window, explained, power, shared, tells_more, threshold
from interp.jumps.curve import Curve, base_name, select
from interp.jumps.instrument import INSTRUMENT
from interp.jumps.record import Jump
from interp.jumps.verdict import Limits, Rise, Verdict
from interp.table.events import sign_of

_CONTINUOUS = ("log_prob", "answer_log_prob", "ppl", "perplexity", "test_loss", "loss", "brier", "logit_diff", "margin")
COMPANIONS: dict[str, tuple[str, ...]] = {
    "exact_match": _CONTINUOUS,
    "exact_match_under": ("log_prob_under",),
    "accuracy": _CONTINUOUS,
    "acc_norm": _CONTINUOUS,
    "token_accuracy": _CONTINUOUS,
    "digit_accuracy": ("digit_loss",),
    "group_accuracy": ("group_loss",),
}
PER_TOKEN = "log_prob_per_token"
# Log-likelihoods of the answer, of either sign.
LOGARITHMS = (
    "log_prob",
    "log_prob_under",
    "answer_log_prob",
    "ppl",
    "perplexity",
    "loss",
    "nll",
    "digit_loss",
    "group_loss",
)
MARGINS = ("logit_diff", "margin")
_OF_ANSWERS = (
    "log_prob",
    "log_prob_under",
    "answer_log_prob",
    "ppl",
    "perplexity",
    *MARGINS,
    "digit_loss",
    "group_loss",
)
"""Companions that are of the judged examples by what they are; others have to show it by an equal `n`."""

Judge = Callable[[Curve, Limits], Verdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """kind: what the companion does in the window. map, reproduced: a metric map and the share of variance that it
    explains, of what the jump's own fit explains. width: 10-90 % width of the companion in the window, decades.
    verdict: "artefact", "undetermined" or "" (the map does not reproduce the jump), with the reason."""

    kind: str
    map: str | None = None
    reproduced: float = float("nan")
    width: float = float("nan")
    verdict: str = ""
    reason: str | None = None


def companion_names(measure: str, pairs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The companions of a measure in order of preference, looked up by its name, then by its base name; those of another
    split (train_ beside test_) are left out."""
    found = tuple(pairs.get(measure, pairs.get(base_name(measure), ())))
    split = _split(measure)
    own = tuple(f"{split}_{name}" for name in found if split and not _split(name))
    return tuple(dict.fromkeys([*own, *(name for name in found if not split or _split(name) in ("", split))]))


def _split(measure: str) -> str:
    return next((each for each in ("test", "train", "val", "eval") if measure.startswith(f"{each}_")), "")


def same_examples(name: str, n: Float[ndarray, "point"], n_companion: Float[ndarray, "point"]) -> bool:
    """Whether a companion is shown to be of the measure's examples: by an equal `n`, or, where one is missing, by its
    nature."""
    n, beside = n[np.isfinite(n)], n_companion[np.isfinite(n_companion)]
    if len(n) and len(beside):
        return bool(np.median(n) == np.median(beside))
    return base_name(name) in _OF_ANSWERS or not (len(n) or len(beside))


def judge_artefact(
    jump: Jump,
    curve: Curve,
    verdict: Verdict,
    companions: Mapping[str, Curve],
    limits: Limits,
    judge: Judge,
    *,
    others: Mapping[str, Sequence[Pair]] | None = None,
    known_length: bool = False,
) -> Jump:
    """The jump with the comparison noted, and `artefact` or `undetermined` as its kind where the first usable companion
    says so.

    others: for each companion, the measure and the companion in the other runs of the task. known_length: `log_prob` is
    of whole answers, since the table has it per token too.
    """
    if jump.kind not in ("abrupt", "gradual", "undetermined") or jump.step_before is None or jump.step_after is None:
        return jump
    for name, companion in companions.items():
        pairs = (others or {}).get(name, ())
        found = compare(jump, curve, verdict, name, companion, limits, judge, others=pairs, known_length=known_length)
        if found is None:
            continue
        width = max(jump.width_decades or 0.0, 1e-9)
        beside = width <= 2 * limits.max_width and found.width >= 2 * width
        sharp = jump.kind == "abrupt" or beside
        noted = replace(jump, companion=name, companion_kind=found.kind, map=found.map, reproduced=found.reproduced)
        if not (sharp and found.verdict):
            return noted
        return replace(noted, kind=found.verdict, reason=found.reason)
    return jump


def compare(
    jump: Jump,
    curve: Curve,
    verdict: Verdict,
    name: str,
    companion: Curve,
    limits: Limits,
    judge: Judge,
    *,
    others: Sequence[Pair] = (),
    known_length: bool = False,
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
    up = [rise for rise in judged.rises if rise.kind in ("gradual", "abrupt", "undetermined") and rise.magnitude > 0]
    near = [rise for rise in up if rise.kind == "abrupt" and _meets(rise, window, jump)]
    if near:
        return Comparison(kind="abrupt", width=near[0].width)
    if not up:
        return Comparison(kind="undetermined" if judged.reason else "none")
    inside = there >= start
    smooth = (window.y if judged.fitted is None else judged.fitted)[there[inside] - start]
    values = direction * curve.y[here[inside]]
    own = direction * (curve.y if verdict.fitted is None else verdict.fitted)[here[inside]]
    low, high = (float(np.interp(q, _rank(smooth), curve.x[here[inside]])) for q in (0.1, 0.9))
    seen = Window(
        x=curve.x[here[inside]],
        values=values,
        own=own,
        smooth=smooth,
        raw=companion.y[there[inside]],
        fitted=sign * smooth,
        log_p=_log_p(name, sign * smooth),
        spread=companion.sigma[there[inside]] * np.sqrt(companion.n[there[inside]]),
    )
    found = _mapped(seen, name, direction, others, known_length, jump)
    return replace(found, kind="gradual", width=max(high - low, 0.0))


def _log_p(name: str, companion: Float[ndarray, "point"]) -> Float[ndarray, "point"] | None:
    """The companion as a log-probability; None where it is none, by its name or by lying above 0."""
    base = base_name(name)
    if base not in LOGARITHMS:
        return None
    log_p = sign_of(name) * companion
    possible = float(np.median(log_p)) < 0 and float(log_p.max()) < INSTRUMENT.above_one * float(np.ptp(log_p))
    return np.minimum(log_p, 0.0) if possible else None


def _mapped(
    seen: Window, name: str, direction: float, others: Sequence[Pair], known_length: bool, jump: Jump
) -> Comparison:
    """The verdict of the maps that are known, else of those that other runs give, else that none is known."""
    if seen.log_p is not None and direction > 0:
        both = (log_p for log_p in (seen.log_p, _log_p(name, seen.raw)) if log_p is not None)
        share = max(power(seen, np.exp(log_p), known_length) for log_p in both)
        if share >= INSTRUMENT.reproduced:
            return Comparison(kind="", map="p^L", reproduced=share, verdict="artefact")
    if base_name(name) in MARGINS and (seen.spread > 0).all() and direction > 0:
        share = explained(seen, ndtr(seen.raw / seen.spread)[:, None], levels=(0.0, 1.0))
        if share >= INSTRUMENT.reproduced:
            return Comparison(kind="", map="margin", reproduced=share, verdict="artefact")
    known = [(direction * curve.y, curve, companion) for curve, companion in others[: INSTRUMENT.most_runs]]
    runs = [run for run in (shared(*each) for each in known) if len(run.values) >= INSTRUMENT.fewest]
    alone = len(runs) < INSTRUMENT.fewest_runs
    share, clock = (threshold(seen, None if alone else runs, through) for through in ("companion", "clock"))
    found = Comparison(kind="", map="threshold", reproduced=share)
    if share < INSTRUMENT.reproduced or (alone and not _moves(seen.smooth, seen.x, jump)):
        return found
    better = 1 - share <= INSTRUMENT.beats * (1 - clock) - INSTRUMENT.tie
    if better and not alone:
        own = Run(values=seen.values, x=seen.x, companion=seen.raw)
        better = tells_more([own, *runs[: INSTRUMENT.asked_runs]])
    if better and not alone:
        return replace(found, verdict="artefact")
    if not better and base_name(name) not in _OF_ANSWERS:
        return found
    reason = f"the threshold on {name} that other runs give reproduces it, but so does the step alone"
    if alone:
        reason = (
            f"{name} is smooth through it and some threshold on it would give this rise; one run does not tell which"
        )
    return replace(found, verdict="undetermined", reason=reason)


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
    return bool(speed > INSTRUMENT.slow * np.ptp(smooth) / (x[-1] - x[0]))


def _rank(smooth: Float[ndarray, "point"]) -> Float[ndarray, "point"]:
    """The companion's progress from 0 to 1, made non-decreasing."""
    climbed = np.maximum.accumulate(smooth)
    return (climbed - climbed[0]) / max(float(climbed[-1] - climbed[0]), 1e-300)
