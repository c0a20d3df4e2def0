"""Operating characteristics of `rank_leads` on simulated families, and how its run time grows.

    python experiments/benchmarks/leads.py [--draws 10] [--null 50] [--sizes none|small|full]

Tables: how often each kind of indicator is called leading, in several generative forms; family-wise error, and coverage
of the gain's interval, where no indicator knows anything; processor seconds against runs, indicators and checkpoints.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from simulate_leads import DULL, LEADING, WEAK, family, rise

from interp.leads import Spec, rank_leads
from interp.leads.evidence import series_gains
from interp.leads.features import features
from interp.leads.nulls import p_family
from interp.leads.panel import Series
from interp.leads.rank import make_panels
from interp.table import read_table

FORMS: dict[str, dict[str, Any]] = {
    "default": {},
    "narrow spread, linear tail": {"spread": 0.1, "steps": "mixed", "n_steps": 60},
    "wide jumps, noisy": {"width": 0.4, "noise": 0.15, "target_noise": 0.03},
    "late alarms, many censored": {"lead": 0.7, "between": 0.2, "spread": 0.25},
    "coarse grid": {"n_steps": 30},
    "clean indicators, noisy target": {"noise": 0.01, "target_noise": 0.05, "width": 0.4},
}
SIZES = {
    "small": ((100, 10, 50), (200, 10, 50), (100, 20, 50), (100, 10, 100)),
    "full": ((100, 10, 50), (200, 10, 50), (100, 20, 50), (100, 10, 100), (500, 40, 100)),
}


def called(draws: int, spec: Spec) -> None:
    """How often each indicator is called leading, form by form."""
    names = (*LEADING, *WEAK, *DULL)
    print(f"\ncalled leading, of {draws} draws of 4 settings × 20 seeds and 8 controls")
    print(f"{'form':30s}" + "".join(f"{name[:12]:>14s}" for name in names))
    for form, options in FORMS.items():
        count: Counter[str] = Counter()
        for draw in range(draws):
            board = rank_leads(family(np.random.default_rng([draw, len(form)]), **options), spec=spec)
            count.update(row["indicator"] for row in board.leaderboard if row["leading"])
        print(f"{form:30s}" + "".join(f"{count[name]:14d}" for name in names), flush=True)


def null_series(form: str, kind: int, at: np.ndarray, setting: int, rng: np.random.Generator) -> np.ndarray:
    """A series that knows the step and the setting, and nothing of its run: white, a random walk, or one of eight kinds
    (trend, clock, setting, another run's rise, drift, a clock of its own, a constant, a variance that grows)."""
    e, u = 0.1 * rng.standard_normal(len(at)), np.log10(np.maximum(at, 5))
    if form == "noise":
        return e
    if form == "walk":
        return (1 + setting) * np.cumsum(e) + 0.5 * rng.standard_normal()
    clock, other = 3000 / (1 + setting), 6000 / (1 + setting) * 10 ** (0.2 * rng.standard_normal())
    return [
        u * np.exp(0.1 * rng.standard_normal()) + e, rise(at, clock, 0.15) + e, setting * (1 + 0.3 * u) + e,
        rise(at, 0.5 * other, 0.15) + e, np.cumsum(e), rise(at, clock * 10 ** (0.3 * rng.standard_normal()), 0.2) + e,
        np.full(len(at), setting + rng.standard_normal()), e * (1 + 5 * rise(at, other, 0.2)),
    ][kind]  # fmt: skip


def global_null(draws: int, spec: Spec) -> None:
    """Family-wise error where no indicator knows anything: families of eight indicators, 25 of them on one set of runs,
    and how often the gain's interval holds the mean gain."""
    print(f"\n{'global null':24s}{'families':>9s}{'p ≤ .05':>9s}{'95 % of it':>14s}{'and low > 0':>13s}{'covered':>9s}")
    sizes = {
        "4 × 20 + 8 controls": {},
        "2 × 8 + 4 controls": {"n_settings": 2, "n_seeds": 8, "n_controls": 4, "between": 0.1},
    }
    for form, (size, options) in product(("noise", "walk", "mixed"), sizes.items()):
        p, called, gains = [], [], []
        for draw in range(-(-draws // 25)):
            rng = np.random.default_rng([7, draw, len(form), len(options)])
            panel = make_panels(read_table(family(rng, indicators=(), n_steps=24, **options)), spec)[0][0]
            kinds = [kind for _ in range(25) for kind in range(8)]
            new = [
                features(panel.step, np.stack([null_series(form, kind, panel.step, s, rng) for s in panel.setting]))
                for kind in kinds
            ]
            first = len(panel.series)
            panel = replace(
                panel,
                series=(*panel.series, *(Series(measure=str(k)) for k in range(len(new)))),
                values=np.concatenate([panel.values, np.stack(new).astype(np.float32)]),
            )
            found = series_gains(panel, range(first, len(panel.series)), panel.of("baseline"), spec)
            if found.exchanged is None:
                continue
            for here in np.split(np.arange(len(new)), 25):
                own = p_family(found.gain[here], found.exchanged[:, here], standardise=True)
                p.append(own.min())
                called.append(((found.low[here] > 0) & (own <= 0.05)).any())
                gains.append((found.gain[here], found.low[here], found.high[here]))
        if not p:
            print(f"{form}, {size}: no p")
            continue
        gain, low, high = np.moveaxis(np.array(gains), 1, 0)
        inside = (low <= gain.mean(axis=0)) & (gain.mean(axis=0) <= high)
        k, n = int((np.array(p) <= 0.05).sum()), len(p)
        ends = binomtest(k, n).proportion_ci(method="exact")
        print(
            f"{form + ', ' + size:24s}{n:9d}{k / n:9.3f}{ends.low:7.3f}–{ends.high:.3f}{np.mean(called):13.3f}"
            f"{inside.mean():9.3f}",
            flush=True,
        )


def growth(sizes: tuple[tuple[int, int, int], ...], spec: Spec) -> None:
    """Processor seconds of a whole `rank_leads`, nulls and splits included."""
    print(f"\n{'runs':>6s}{'indicators':>12s}{'checkpoints':>13s}{'rows':>10s}{'seconds':>9s}")
    kinds = (*LEADING, *DULL)
    for runs, indicators, checkpoints in sizes:
        names = [f"{kinds[k % len(kinds)]}#{k}" for k in range(indicators)]
        table = family(
            np.random.default_rng(0),
            indicators=names,
            n_settings=5,
            n_seeds=runs // 5,
            n_controls=0,
            n_steps=checkpoints,
        )
        start = time.process_time()
        rank_leads(table, spec=spec)
        spent = time.process_time() - start
        print(f"{runs:6d}{indicators:12d}{checkpoints:13d}{len(table):10d}{spent:9.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--null", type=int, default=50, help="families of each form and size")
    parser.add_argument("--sizes", choices=("none", *sorted(SIZES)), default="small")
    args = parser.parse_args()
    spec = Spec()
    if args.draws:
        called(args.draws, replace(spec, permutations=99, shifts=0))
    if args.null:
        global_null(args.null, replace(spec, permutations=19, shifts=0, bootstraps=400))
    if args.sizes != "none":
        growth(SIZES[args.sizes], spec)


if __name__ == "__main__":
    main()
