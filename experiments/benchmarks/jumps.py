"""Operating curves of the jump detector on simulated curves, beside what they cost: `python
experiments/benchmarks/jumps.py`.

Curves have 27 to 60 checkpoints on a log, a linear or a doubling-then-linear grid, scores of 100 or 400 examples with
errors that are independent or serially dependent (lag-1 coefficient .5 or .9), rises of .3 to .9. Flat, gradual (wide
sigmoid, line, power law, exponential) and spiked curves must not be called abrupt; abrupt ones rise within .02 to .4
decades.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd

from interp.jumps import find_jumps
from interp.jumps.curve import log_axis, make_curve
from interp.jumps.detectors.sigmoid_fit import sigmoid_fit
from interp.jumps.null import autoregressive
from interp.jumps.verdict import Limits

NOISES = ((100, 0.0), (400, 0.0), (400, 0.5), (400, 0.9))
KINDS = ("abrupt", "flat", "spiked", "gradual", "gradual + spike")


def grid(rng: np.random.Generator) -> np.ndarray:
    """Steps of a schedule."""
    n_points = int(rng.integers(27, 61))
    schedules = (
        np.unique(np.geomspace(10, 20000, n_points).round()),
        np.arange(n_points) * 200.0,
        np.concatenate([[0], 2.0 ** np.arange(12), np.linspace(3000, 20000, n_points - 13).round()]),
    )
    return schedules[rng.integers(3)]


def sigmoid(x: np.ndarray, middle: float, width: float) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip((x - middle) * 2 * np.log(9) / width, -50, 50)))


def gradual(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A slow rise from 0 to about 1."""
    form, t = rng.integers(4), 10 ** (x - x[0])
    middle = rng.uniform(0.35, 0.65) * (x[-1] - x[0])
    if form == 0:
        return sigmoid(x, x[0] + middle, rng.uniform(1.0, 2.0))
    if form == 1:
        return (x - x[0]) / (x[-1] - x[0])
    return 1 - t ** -rng.uniform(0.3, 0.8) if form == 2 else 1 - np.exp(-t / 10**middle)


def curves(
    kind: str, n: int, rho: float, repeats: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Steps, observed scores and the log10 of the true step (NaN where there is none)."""
    for _ in range(repeats):
        steps = grid(rng)
        x, middle = log_axis(steps), np.nan
        low = rng.uniform(0, 0.1)
        p = np.full(len(x), rng.uniform(0.05, 0.95))
        if kind == "abrupt":
            at = int(rng.integers(4, len(x) - 5))
            middle = rng.uniform(x[at], x[at + 1])
            p = low + rng.uniform(0.3, 0.9) * sigmoid(x, middle, rng.uniform(0.02, 0.4))
        elif kind.startswith("gradual"):
            p = low + rng.uniform(0.3, 0.9) * gradual(x, rng)
        noise = autoregressive(1, len(x), rho, rng)[0] * np.sqrt(p * (1 - p) / n)
        scores = np.clip(np.round(n * (p + noise)) / n, 0, 1)
        if "spike" in kind:
            at = int(rng.integers(2, len(x) - 2))
            scores[at] += (0.5 if scores[at] < 0.5 else -0.5) * rng.uniform(0.7, 1)
        yield steps, scores, middle


SETTINGS = (0.001, 0.01, 0.05, 0.2)


def is_abrupt(steps: np.ndarray, scores: np.ndarray, n: int, limits: Limits) -> bool:
    """Whether the detector calls a curve abrupt."""
    verdict = sigmoid_fit(make_curve(steps, scores, measure="accuracy", n=n), limits)
    return any(rise.kind == "abrupt" for rise in verdict.rises)


def operating_curves(repeats: int, seed: int) -> pd.DataFrame:
    """Share of curves that are called abrupt, by kind and noise, over the level that is asked for."""
    rows = []
    for n, rho in NOISES:
        for place, kind in enumerate(KINDS):
            rng = np.random.default_rng([seed, n, round(10 * rho), place])
            drawn = list(curves(kind, n, rho, repeats, rng))
            for level in SETTINGS:
                limits = Limits(level=level)
                share = np.mean([is_abrupt(steps, scores, n, limits) for steps, scores, _ in drawn])
                rows.append({"n": n, "rho": rho, "level": level, "kind": kind, "share": share})
    keys = ["n", "rho", "level"]
    return pd.DataFrame(rows).pivot_table(index=keys, columns="kind", values="share")[list(KINDS)]


def steps_and_bands(repeats: int, seed: int) -> pd.DataFrame:
    """Of the abrupt jumps that are found: true step inside the interval give or take a checkpoint, inside the 95 %
    band."""
    rows = []
    for n, rho in NOISES:
        inside, band, found = 0, 0, 0
        for steps, y, middle in curves("abrupt", n, rho, repeats, np.random.default_rng([seed, n, round(10 * rho)])):
            rises = sigmoid_fit(make_curve(steps, y, measure="accuracy", n=n), Limits()).rises
            abrupt = [rise for rise in rises if rise.kind == "abrupt"]
            if not abrupt:
                continue
            found += 1
            x = log_axis(steps)
            rise = min(abrupt, key=lambda r: abs(r.midpoint - middle))
            inside += x[max(rise.before - 1, 0)] <= middle <= x[min(rise.after + 1, len(x) - 1)]
            band += rise.low <= middle <= rise.high
        rows.append({"n": n, "rho": rho, "found": found, "within one": inside / found, "in the band": band / found})
    return pd.DataFrame(rows).set_index(["n", "rho"])


def pair(truth: str, x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Exact match and log-probability, without noise."""
    smooth = -5 + 4.98 * (x - x[0]) / (x[-1] - x[0])
    if truth == "p^L":
        return np.exp(rng.uniform(4, 8) * smooth), smooth
    if truth == "threshold":
        return 0.9 / (1 + np.exp(-(smooth + rng.uniform(1, 4)) / 0.1)), smooth
    middle = rng.uniform(2.4, 3.6)
    step = sigmoid(x, middle, 0.2)
    dip = 6 * sigmoid(x, middle - 0.8, 0.5) * (1 - step) if "dip" in truth else 0
    return np.exp(-4 + 3.95 * step - dip), -4 + 3.95 * step - dip


def artefacts(repeats: int, seed: int) -> pd.DataFrame:
    """Verdicts on a sharp exact match whose log-probability is smooth (p^L, threshold) or jumps too."""
    rng = np.random.default_rng(seed)
    steps = np.unique(np.geomspace(10, 30000, 50).round())
    x = log_axis(steps)
    rows = []
    for truth in ("p^L", "threshold", "both jump", "both jump after a dip"):
        kinds = []
        for _ in range(repeats):
            exact, log_prob = pair(truth, x, rng)
            noise = rng.standard_normal(len(x)) * np.sqrt(exact * (1 - exact) / 300)
            values = {"exact_match": np.clip(exact + noise, 0, 1)}
            values["log_prob"] = log_prob + 0.03 * rng.standard_normal(len(x))
            table = pd.DataFrame({"run": "r", "step": steps, "task": "t", **values})
            table = table.melt(["run", "step", "task"], var_name="measure")
            found = find_jumps(table, measures=["exact_match"])
            kinds.append(max(found, key=lambda jump: abs(jump.magnitude or 0)).kind)
        rows.append({"truth": truth, **{kind: kinds.count(kind) / repeats for kind in sorted(set(kinds))}})
    return pd.DataFrame(rows).set_index("truth").fillna(0)


def costs(seed: int) -> pd.DataFrame:
    """Milliseconds of processor time a curve, nulls simulated already."""
    rows = []
    for n_points in (27, 50, 100, 200, 1000):
        steps = np.unique(np.geomspace(10, 1e6, n_points).round())
        row: dict[str, float] = {"checkpoints": n_points}
        for name, rise in (("flat", 0.0), ("jump", 0.6)):
            rng = np.random.default_rng(seed)
            y = 0.2 + rise * sigmoid(log_axis(steps), 3, 0.2) + 0.03 * rng.standard_normal((12, len(steps)))
            sigmoid_fit(make_curve(steps, y[0], measure="accuracy"), Limits())
            start = time.process_time()
            for values in y:
                sigmoid_fit(make_curve(steps, values, measure="accuracy"), Limits())
            row[name] = 1000 * (time.process_time() - start) / len(y)
        rows.append(row)
    return pd.DataFrame(rows).set_index("checkpoints")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100, help="curves a cell (default 100; two to three minutes)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("Share called abrupt (level .05 is the default)")
    print(operating_curves(options.repeats, options.seed).round(3).to_string(), end="\n\n")
    print("Step of the abrupt jumps that were found")
    print(steps_and_bands(options.repeats, options.seed).round(3).to_string(), end="\n\n")
    print("Sharp exact match beside its log-probability")
    print(artefacts(options.repeats // 2, options.seed).round(3).to_string(), end="\n\n")
    print("Milliseconds a curve")
    print(costs(options.seed).round(1).to_string())


if __name__ == "__main__":
    main()
