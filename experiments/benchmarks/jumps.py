"""Populations of curves with a planted truth, judged by each detector: `python experiments/benchmarks/jumps.py`.

Per population the shares that are right, undetermined and wrong. A curve is wrong where a verdict contradicts its truth: an
abrupt change that is gradual or the other way round, one that is not there, one that is missed or misplaced (its interval,
a checkpoint to spare on either side, does not hold the true middle, or its size is off by more than a fifth and .1).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from interp.jumps import Jump, find_jumps
from interp.jumps.curve import log_axis, make_curve
from interp.jumps.describe import describe
from interp.jumps.null import autoregressive
from interp.jumps.verdict import Limits
from interp.plugins import load

PYTHIA = np.array([0, *2.0 ** np.arange(10), 1000, 3000, *range(13000, 143001, 10000)])
NOISES = ("binomial, told", "binomial, not told", "Gaussian", "dependent .6", "dependent .9", "Student t3")
Rng = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Truth:
    """A change of the true curve: log10 of the step at half of it, its height, and the kinds that are right."""

    middle: float
    height: float
    kinds: tuple[str, ...] = ("abrupt",)


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A curve without noise, with its changes. free: other changes may be reported (of these kinds) without being
    wrong."""

    steps: np.ndarray
    values: np.ndarray
    truths: tuple[Truth, ...] = ()
    free: tuple[str, ...] = ()
    spike: bool = False


def grid(rng: Rng) -> np.ndarray:
    """Steps of a schedule: logarithmic, linear, doubling then linear, Pythia's."""
    m = int(rng.integers(27, 61))
    schedules = (
        np.unique(np.geomspace(10, 20000, m).round()),
        np.arange(m) * 200.0,
        np.concatenate([[0], 2.0 ** np.arange(12), np.linspace(3000, 20000, m - 13).round()]),
        PYTHIA,
    )
    return schedules[rng.integers(4)]


def climb(x: np.ndarray, middle: float, width: float, rng: Rng | None = None) -> np.ndarray:
    """A rise with its half-way point and 10-90 % width: a logistic, or one of five shapes."""
    forms: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
        lambda u: 1 / (1 + np.exp(-u)),
        lambda u: np.clip(u, 0, 1),
        lambda u: np.exp(-np.exp(-u)),
        lambda u: 1 - np.exp(-np.maximum(u, 0)),
        lambda u: 0.5 + np.arctan(3 * u) / np.pi / 0.97 * 0.97,
    )
    form = forms[0 if rng is None else rng.integers(4)]
    fine = np.linspace(-30, 30, 60001)
    low, half, high = (float(np.interp(level, form(fine), fine)) for level in (0.1, 0.5, 0.9))
    return form(np.clip((x - middle) / width * (high - low) + half, -500, 500))


def inner(x: np.ndarray, rng: Rng, share: float = 0.2) -> float:
    """A place between checkpoints, at least four from either end."""
    at = int(rng.integers(4, len(x) - 5))
    return float(rng.uniform(x[at], x[at + 1]))


def resolvable(x: np.ndarray, middle: float, width: float) -> tuple[str, ...]:
    """The kinds that are right for a change: by its width, and undetermined where the grid could not tell."""
    at = int(np.clip(np.searchsorted(x, middle), 1, len(x) - 1))
    kind = "abrupt" if width <= 0.5 else "gradual"
    return (kind, "undetermined") if x[at] - x[at - 1] > 0.45 else (kind,)


def jump(rng: Rng) -> Planted:
    steps = grid(rng)
    x, rise = log_axis(steps), np.zeros(len(steps))
    while rise[3] > 0.03 or rise[-4] < 0.97:
        middle, width = inner(x, rng), rng.uniform(0.02, 0.4)
        rise = climb(x, middle, width, rng)
    height = rng.uniform(0.25, 0.9) * rng.choice([1, -1])
    low = rng.uniform(0, 0.1) if height > 0 else rng.uniform(0.9, 1)
    truth = Truth(middle=middle, height=height, kinds=resolvable(x, middle, width))
    return Planted(steps=steps, values=low + height * rise, truths=(truth,))


def wide(rng: Rng) -> Planted:
    steps = np.unique(np.geomspace(1, 10 ** rng.uniform(4, 5.5), int(rng.integers(25, 60))).round())
    x = log_axis(steps)
    width, height = rng.uniform(0.9, 2), rng.uniform(0.3, 0.9)
    middle = rng.uniform(x[0] + width / 2 + 0.2, x[-1] - width / 2 - 0.2)
    truth = Truth(middle=middle, height=height, kinds=("gradual",))
    return Planted(steps=steps, values=0.05 + height * climb(x, middle, width, rng), truths=(truth,))


def power_law(rng: Rng) -> Planted:
    steps = np.unique(np.geomspace(1, 10 ** rng.uniform(3, 5), int(rng.integers(25, 60))).round())
    x = log_axis(steps)
    values = 0.05 + rng.uniform(0.4, 0.9) * (1 - 10 ** (-rng.uniform(0.2, 0.7) * x))
    return Planted(steps=steps, values=values, free=("gradual", "undetermined"))


def narrow_line(rng: Rng) -> Planted:
    """A straight line over a factor of 1.5 to 4 in step."""
    first, m = 10 ** rng.uniform(2, 5), int(rng.integers(11, 41))
    steps = np.unique(np.linspace(first, first * rng.uniform(1.5, 4), m).round())
    height = rng.uniform(0.2, 0.7) * rng.choice([1, -1])
    axis = steps if rng.random() < 0.5 else np.log(steps)
    values = (0.15 if height > 0 else 0.85) + height * (axis - axis[0]) / (axis[-1] - axis[0])
    return Planted(steps=steps, values=values, free=("gradual", "undetermined"))


def coarse_wide(rng: Rng) -> Planted:
    steps = np.unique(np.geomspace(10, 100_000, int(rng.integers(6, 10))).round())
    x = log_axis(steps)
    values = 0.02 + rng.uniform(0.5, 0.9) * climb(x, rng.uniform(2.2, 3.8), rng.uniform(0.8, 1.6))
    return Planted(steps=steps, values=values, free=("gradual", "undetermined"))


def two_steps(rng: Rng) -> Planted:
    steps = np.unique(np.geomspace(10, 10 ** rng.uniform(4.5, 5.5), int(rng.integers(35, 60))).round())
    x = log_axis(steps)
    first, second = rng.uniform(x[4], x[4] + 0.8), rng.uniform(x[-5] - 0.8, x[-5])
    heights = rng.uniform(0.2, 0.45, 2)
    widths = rng.uniform(0.02, 0.4, 2)
    values = 0.05 + sum(h * climb(x, m, w, rng) for h, m, w in zip(heights, (first, second), widths, strict=True))
    return Planted(
        steps=steps,
        values=values,
        truths=tuple(Truth(middle=m, height=h) for h, m in zip(heights, (first, second), strict=True)),
    )


def first_step(rng: Rng) -> Planted:
    """Published grokking runs with label noise: .01 to .50 before the second checkpoint, a plateau, a rise to .92."""
    steps = np.unique(np.r_[1, 500 * np.unique(np.round(np.geomspace(1, 300, int(rng.integers(35, 60)))))])
    x = log_axis(steps)
    middle, width = rng.uniform(4.3, 4.75), rng.uniform(0.15, 0.9)
    values = np.where(steps < 2, 0.01, 0.5 + 0.42 * climb(x, middle, width))
    kinds = ("abrupt",) if width < 0.4 else ("gradual",) if width > 0.65 else ("abrupt", "gradual", "undetermined")
    return Planted(
        steps=steps, values=values, truths=(Truth(middle=middle, height=0.42, kinds=kinds),), free=("censored",)
    )


def overshoot(rng: Rng) -> Planted:
    steps = np.unique(np.r_[0, np.geomspace(1, 10 ** rng.uniform(3.3, 4.5), int(rng.integers(40, 90))).round()])
    x = log_axis(steps)
    middle = rng.uniform(1.9, 2.6)
    over, width = rng.uniform(0.01, 0.06), rng.uniform(0.1, 0.35)
    values = 0.8 * (1 + over * climb(x, middle - 0.45, 0.4)) * (1 - climb(x, middle, width))
    return Planted(steps=steps, values=values, truths=(Truth(middle=middle, height=-0.8 * (1 + over)),))


def drift(rng: Rng) -> Planted:
    """A jump or none, with a drift below the least magnitude."""
    steps = grid(rng)
    x = log_axis(steps)
    slope = rng.uniform(-0.07, 0.07) * (x - x[0]) / (x[-1] - x[0])
    if rng.random() < 0.5:
        return Planted(steps=steps, values=rng.uniform(0.2, 0.8) + slope)
    planted = jump(rng)
    x = log_axis(planted.steps)
    slope = rng.uniform(-0.05, 0.05) * (x - x[0]) / (x[-1] - x[0])
    return Planted(steps=planted.steps, values=np.clip(planted.values + slope, 0, 1), truths=planted.truths)


def spiked(rng: Rng) -> Planted:
    steps = grid(rng)
    values = np.full(len(steps), rng.uniform(0.1, 0.9))
    at, length = int(rng.integers(3, len(steps) - 6)), int(rng.integers(1, 3))
    values[at : at + length] += (0.5 if values[0] < 0.5 else -0.5) * rng.uniform(0.6, 1)
    return Planted(steps=steps, values=values, spike=True)


def left_censored(rng: Rng) -> Planted:
    steps = grid(rng)
    values = np.full(len(steps), rng.uniform(0.4, 0.9))
    values[0] = 0.02
    return Planted(steps=steps, values=values, free=("censored",))


def flat(rng: Rng) -> Planted:
    steps = grid(rng)
    return Planted(steps=steps, values=np.full(len(steps), rng.uniform(0.05, 0.95)))


POPULATIONS = (
    *(jump, wide, power_law, narrow_line, coarse_wide, two_steps, first_step),
    *(overshoot, drift, spiked, left_censored, flat),
)


def observed(planted: Planted, noise: str, rng: Rng) -> tuple[np.ndarray, float]:
    """The values with noise, at least eight times smaller than the smallest change; and n where it is told (else NaN)."""
    p, n = planted.values, int(rng.choice([200, 500]))
    rho = {"dependent .6": 0.6, "dependent .9": 0.9}.get(noise, 0.0)
    sigma = np.sqrt(np.clip(p * (1 - p), 1e-4, None) / n)
    if noise.startswith("binomial"):
        return rng.binomial(n, np.clip(p, 0, 1)) / n, n if noise.endswith(", told") else np.nan
    if noise == "Student t3":
        return p + 0.012 * rng.standard_t(3, len(p)), np.nan
    if rho:
        return p + sigma * autoregressive(1, len(p), rho, rng)[0], np.nan
    return p + rng.uniform(0.005, 0.02) * rng.standard_normal(len(p)), np.nan


def outcome(planted: Planted, found: list[Jump]) -> str:
    """right, undetermined or wrong."""
    x = log_axis(planted.steps)
    events = [j for j in found if j.kind in ("abrupt", "gradual", "undetermined") and j.step_before is not None]
    unsure = False
    for truth in planted.truths:
        near = [j for j in events if _holds(j, truth.middle, planted.steps, x)]
        near = [j for j in near if abs((j.magnitude or 0) - truth.height) <= max(0.1, 0.2 * abs(truth.height))]
        if not near:
            return "wrong"
        best = near[0]
        events.remove(best)
        if best.kind not in truth.kinds:
            if best.kind != "undetermined":
                return "wrong"
            unsure = True
    for other in events:
        if "censored" in planted.free and other.left_censored:
            continue
        if other.kind in planted.free:
            unsure = unsure or other.kind == "undetermined"
            continue
        if other.kind != "undetermined":
            return "wrong"
        unsure = True
    if planted.spike and not any(j.kind == "spike" for j in found):
        return "wrong"
    return "undetermined" if unsure else "right"


def _holds(found: Jump, middle: float, steps: np.ndarray, x: np.ndarray) -> bool:
    before = int(np.searchsorted(steps, found.step_before or 0))
    after = int(np.searchsorted(steps, found.step_after or 0))
    return bool(x[max(before - 1, 0)] <= middle <= x[min(after + 1, len(x) - 1)])


def judged(planted: Planted, values: np.ndarray, n: float, detector: str) -> list[Jump]:
    """The records of one curve."""
    curve = make_curve(planted.steps, values, measure="accuracy", n=n)
    return describe(curve, load("jumps.detectors", detector)(curve, Limits()), {}, models=False)


def populations(detector: str, repeats: int, seed: int) -> pd.DataFrame:
    """Shares right, undetermined and wrong of each population; the worst noise by share wrong."""
    rows = []
    for place, draw in enumerate(POPULATIONS):
        by_noise = {}
        for k, noise in enumerate(NOISES):
            rng = np.random.default_rng([seed, place, k])
            outcomes = []
            for _ in range(-(-repeats // len(NOISES))):
                planted = draw(rng)
                values, n = observed(planted, noise, rng)
                outcomes.append(outcome(planted, judged(planted, values, n, detector)))
            by_noise[noise] = outcomes
        every = [one for outcomes in by_noise.values() for one in outcomes]
        worst = max(by_noise, key=lambda noise: by_noise[noise].count("wrong"))
        shares = {name: every.count(name) / len(every) for name in ("right", "undetermined", "wrong")}
        rows.append(
            {
                "population": draw.__name__,
                **shares,
                "worst noise": worst,
                "there": np.mean(np.array(by_noise[worst]) == "wrong"),
            }
        )
    return pd.DataFrame(rows).set_index("population")


STEPS = np.unique(np.geomspace(10, 30000, 50).round())


def pair(truth: str, rng: Rng) -> pd.DataFrame:
    """Exact match of an answer and a measure beside it, of one run or of four."""
    x = log_axis(STEPS)
    seeds = 4 if "four runs" in truth else 1
    length, threshold = int(rng.integers(4, 9)), rng.uniform(0.35, 0.65)
    return pd.concat([_pair(truth, x, length, threshold, run, rng) for run in range(seeds)])


def _pair(truth: str, x: np.ndarray, length: int, threshold: float, run: int, rng: Rng) -> pd.DataFrame:
    middle = rng.uniform(x[8], x[-9])
    sharp = climb(x, middle, rng.uniform(0.05, 0.3))
    line = -5 + 4.98 * (x - x[0]) / (x[-1] - x[0])
    smooth = line if rng.random() < 0.5 else -6 + 5.95 * climb(x, rng.uniform(2.3, 2.9), rng.uniform(1.2, 1.8))
    exact, name, beside, extra = 0.02 + 0.9 * sharp, "loss", np.zeros(len(x)), {}
    if truth.startswith("p^L"):
        per_token = smooth
        exact, name, beside = np.exp(length * per_token), "log_prob", length * per_token
        extra = {"log_prob_per_token": per_token}
    elif truth.startswith("threshold"):
        u = (smooth - smooth.min()) / np.ptp(smooth) + rng.normal(0, 0.04)
        exact, name, beside = 0.02 + 0.9 / (1 + np.exp(-(u - threshold) / 0.03)), "log_prob", 5 * u
    elif truth == "clock":
        beside = -x
    elif truth == "power-law loss":
        beside = 2 + 8 * 10 ** (-rng.uniform(0.1, 0.5) * x)
    elif truth == "wide sigmoid":
        name, beside = "log_prob", -4 + 3.5 * climb(x, middle + rng.uniform(-0.5, 0.5), rng.uniform(1, 2))
    elif truth == "shared jump":
        name, beside = "log_prob", -3.05 + 3 * sharp
        exact = np.exp(beside)
    n = 300
    curve = {"run": f"r{run}", "task": "t", "step": STEPS, "setting": "s", "seed": run}
    rows = [
        pd.DataFrame({**curve, "measure": "exact_match", "value": rng.binomial(n, np.clip(exact, 0, 1)) / n, "n": n})
    ]
    for measure, values in {name: beside, **extra}.items():
        noisy = values + 0.01 * np.ptp(values) * rng.standard_normal(len(x))
        rows.append(pd.DataFrame({**curve, "measure": measure, "value": noisy, "n": n}))
    return pd.concat(rows)


PAIRS = {
    "p^L": "artefact",
    "threshold, four runs": "artefact",
    "clock": "abrupt",
    "power-law loss": "abrupt",
    "wide sigmoid": "abrupt",
    "shared jump": "abrupt",
}


def artefacts(detector: str, repeats: int, seed: int) -> pd.DataFrame:
    """Verdicts on exact match beside a measure that it is made of, one that it is not, and one that jumps with it."""
    rows = []
    for place, truth in enumerate(PAIRS):
        rng, kinds = np.random.default_rng([seed, 100 + place]), []
        for _ in range(repeats):
            found = find_jumps(pair(truth, rng), measures=["exact_match"], detector=detector)
            kinds += [max((j for j in found if j.run == "r0"), key=lambda j: abs(j.magnitude or 0)).kind]
        rows.append({"pair": truth, **{kind: kinds.count(kind) / repeats for kind in sorted(set(kinds))}})
    return pd.DataFrame(rows).set_index("pair").fillna(0)


def mixtures(detector: str, repeats: int, seed: int) -> pd.DataFrame:
    """Verdicts over five seeds: that jump together, at different times, only some of them, or none."""
    rows = []
    x = log_axis(STEPS)
    for place, truth in enumerate(("together", "apart", "some", "none")):
        rng, kinds = np.random.default_rng([seed, 200 + place]), []
        for _ in range(repeats):
            middles = {"together": np.full(5, rng.uniform(2, 3.5)), "apart": np.linspace(1.7, 3.7, 5)}.get(
                truth, np.full(5, 99.0)
            )
            if truth == "some":
                middles[:3] = rng.uniform(2.2, 3.2, 3)
            parts = [
                pd.DataFrame(
                    {"run": f"r{k}", "setting": "s", "seed": k, "task": "t", "measure": "accuracy", "step": STEPS}
                    | {"value": rng.binomial(300, 0.05 + 0.85 * climb(x, m, 0.15)) / 300, "n": 300}
                )
                for k, m in enumerate(middles + rng.normal(0, 0.03, 5))
            ]
            kinds += [j.kind for j in find_jumps(pd.concat(parts), detector=detector) if j.run == ""]
        rows.append({"seeds": truth, **{kind: kinds.count(kind) / repeats for kind in sorted(set(kinds))}})
    return pd.DataFrame(rows).set_index("seeds").fillna(0)


def costs(detector: str, seed: int) -> pd.DataFrame:
    """Milliseconds of processor time a curve, nulls simulated and shapes of the grid made already."""
    rows = []
    judge = load("jumps.detectors", detector)
    for n_points in (27, 60, 200, 1000, 5000):
        steps = np.unique(np.geomspace(10, 1e6, n_points).round())
        row: dict[str, float] = {"checkpoints": n_points}
        for name, height in (("flat", 0.0), ("jump", 0.6)):
            rng = np.random.default_rng(seed)
            y = 0.2 + height * climb(log_axis(steps), 3, 0.2) + 0.03 * rng.standard_normal((12, len(steps)))
            judge(make_curve(steps, y[0], measure="accuracy"), Limits())
            start = time.process_time()
            for values in y:
                judge(make_curve(steps, values, measure="accuracy"), Limits())
            row[name] = 1000 * (time.process_time() - start) / len(y)
        rows.append(row)
    return pd.DataFrame(rows).set_index("checkpoints")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=120, help="curves a population (default 120; two minutes)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--detector", action="append", help="default: every one there is")
    options = parser.parse_args()
    for detector in options.detector or ("sigmoid_fit", "piecewise"):
        print(f"{detector}\n")
        print(populations(detector, options.repeats, options.seed).round(3).to_string(), end="\n\n")
        print(artefacts(detector, options.repeats // 3, options.seed).round(3).to_string(), end="\n\n")
        print(mixtures(detector, options.repeats // 6, options.seed).round(3).to_string(), end="\n\n")
        print(costs(detector, options.seed).round(1).to_string(), end="\n\n")


if __name__ == "__main__":
    main()
