"""A simulated grokking family in the contract's form, for the tests of the report: 3 sizes × 3 seeds and 3 controls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

SIZES = {"d24": 9_200, "d32": 15_100, "d48": 31_400}
BUDGET = 4000
INDICATORS = {  # name: (centre as a share of the jump time, width in decades, low, high, online)
    "weight_norm": (0.9, 0.5, 42.0, 21.0, True),
    "logit_scale": (0.55, 0.4, 1.0, 12.0, True),
    "gini_embed": (0.45, 0.35, 0.12, 0.71, True),
    "gini_unembed": (0.5, 0.35, 0.15, 0.74, True),
    "rankme": (0.7, 0.5, 21.0, 7.0, True),
    "participation_ratio": (0.75, 0.5, 15.0, 5.0, True),
    "attention_entropy": (1.1, 0.5, 1.09, 0.62, True),
    "gradient_norm": (0.8, 0.3, 2.0, 0.05, True),
    "llc": (1.0, 0.3, 8.0, 31.0, True),
    "hessian_trace": (1.2, 0.4, 90.0, 12.0, True),
    "circuit_similarity": (1.05, 0.3, 0.2, 0.95, True),
    "update_rank": (0.6, 0.4, 14.0, 3.0, True),
    "lag1_autocorrelation": (0.95, 0.6, 0.2, 0.8, True),
    "restricted_loss": (0.5, 0.4, 4.1, 0.01, False),
    "excluded_loss": (0.6, 0.4, 0.01, 4.6, False),
}


def steps(n: int = 60) -> np.ndarray:
    return np.unique(np.r_[0, np.geomspace(2, BUDGET, n).round().astype(int)])


def rise(step: np.ndarray, centre: float, width: float) -> np.ndarray:
    """0 → 1 around `centre`, the 10-90 % rise taking `width` decades."""
    x = (np.log10(np.maximum(step, 1)) - np.log10(centre)) * 4.394 / width
    return 1 / (1 + np.exp(-x))


def family(rng: np.random.Generator, *, seeds: int = 3, n_steps: int = 60) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """A table, and jump records of every curve (those of `interp.jumps.find_jumps`, here known by construction)."""
    plan = [(size, "frac0.6", seed, False) for size in SIZES for seed in range(seeds)]
    plan += [("d32", f"control-{name}", 0, True) for name in ("little-data", "no-decay", "shuffled")]
    rows: list[dict[str, Any]] = []
    jumps: list[dict[str, Any]] = []
    grid = steps(n_steps)
    for size, setting, seed, control in plan:
        run = f"grokking/{size}/{setting}/seed{seed}"
        base = {"run": run, "task": "modular_addition", "family": "grokking", "size": size, "n_params": SIZES[size],
                "setting": f"{size}/{setting}", "seed": seed, "budget": BUDGET, "component": "", "position": np.nan,
                "online": True}  # fmt: skip
        centre = {"d24": 1500, "d32": 900, "d48": 520}[size] * np.exp(0.18 * rng.standard_normal())
        up = rise(grid, centre, 0.28) if not control else np.zeros(len(grid))
        noise = rng.standard_normal
        memorised = rise(grid, 60, 0.5)
        exact = np.clip(np.where(control, 0.017, 0.017 + 0.983 * up) + 0.006 * noise(len(grid)), 0, 1)
        test_loss = 4.1 + 2.5 * memorised * (1 - up) - 4.09 * up + 0.05 * noise(len(grid))
        curves = {
            "exact_match": (exact, "behaviour", "share"),
            "accuracy": (exact, "behaviour", "share"),
            "log_prob": (-np.maximum(test_loss, 0.005), "behaviour", "nats"),
            "test_loss": (np.maximum(test_loss, 0.005), "behaviour", "nats"),
            "train_loss": (np.maximum(4.1 * (1 - memorised), 1e-4 * (1 + rng.random(len(grid)))), "behaviour", "nats"),
        }
        for name, (values, kind, unit) in curves.items():
            n = 256 if name in ("exact_match", "accuracy") else np.nan
            rows += [{**base, "step": s, "measure": name, "value": v, "kind": kind, "unit": unit, "n": n}
                     for s, v in zip(grid, values, strict=True)]  # fmt: skip
            jumps.append(record(base, name, grid, up if not control else None, 0.98 if "ma" in name else 4.0))
        for name, (share, width, low, high, online) in INDICATORS.items():
            wave = rise(grid, centre * share * np.exp(0.1 * noise()), width) * (0.15 if control else 1)
            values = low + (high - low) * wave + 0.02 * (high - low) * noise(len(grid))
            rows += [{**base, "step": s, "measure": name, "value": v, "kind": "indicator", "online": online}
                     for s, v in zip(grid, values, strict=True)]  # fmt: skip
            jumps.append(record(base, name, grid, wave if not control else None, (high - low)))
        for layer in range(2):
            for part, strength in (("H0", 0.05), ("H1", 0.7), ("H2", 0.25), ("H3", -0.12), (".mlp", 0.9)):
                effect = strength * (0.5 + 0.5 * layer) * rise(grid, centre * 0.7, 0.4) * (0.05 if control else 1)
                values = effect + 0.02 * noise(len(grid))
                rows += [{**base, "step": s, "measure": "patching", "component": f"L{layer}{part}", "value": v,
                          "kind": "indicator"} for s, v in zip(grid, values, strict=True)]  # fmt: skip
    return pd.DataFrame(rows), jumps


def record(
    base: dict[str, Any], measure: str, grid: np.ndarray, wave: np.ndarray | None, size: float
) -> dict[str, Any]:
    """The jump record of one curve: 10 % and 90 % of the rise, or kind none."""
    common = {"run": base["run"], "setting": base["setting"], "task": base["task"], "measure": measure, "component": ""}
    nothing = {"kind": "none", "step_before": None, "step_after": None, "midpoint": None, "width_decades": None}
    if wave is None or wave.max() < 0.9:
        return {**common, **nothing, "magnitude": 0.01, "p_value": 0.4, "reason": ""}
    before, after = int(grid[wave < 0.1].max()), int(grid[wave > 0.9].min())
    middle = float(np.sqrt(max(before, 1) * after))
    width = float(np.log10(after / max(before, 1)))
    return {**common, "kind": "abrupt" if width < 0.5 else "gradual", "step_before": before, "step_after": after,
            "midpoint": middle, "midpoint_low": middle * 0.95, "midpoint_high": middle * 1.05, "width_decades": width,
            "magnitude": size, "p_value": 0.002, "reason": ""}  # fmt: skip


def circuits_of(
    table: pd.DataFrame, jumps: list[dict[str, Any]], rng: np.random.Generator, *, share: float = 0.6, n: int = 64
) -> dict[tuple[str, str], dict[float, Any]]:
    """Stored circuits of every run, at each second checkpoint: one that forms at `share` of the run's jump time (never
    in the controls), its trial on n prompts included."""
    graph = {"n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "mlps": False}
    carriers = ["embed->L0H1.v", "L0H1->L1H0.k", "L1H0->logits"]
    others = ["embed->L0H0.q", "embed->logits", "L0H0->L1H1.v"]
    found: dict[tuple[str, str], dict[float, Any]] = {}
    for record in jumps:
        if record["measure"] != "exact_match":
            continue
        there = bool(record["step_before"])
        steps = sorted(table.loc[table["run"] == record["run"], "step"].unique())[::2]
        wave = rise(np.array(steps), share * record["step_before"], 0.1) if there else np.zeros(len(steps))
        found[(record["run"], record["task"])] = {
            float(step): {
                "graph": graph,
                "method": "eap-ig",
                "metric": "logit_diff",
                "nodes": None,
                "edges": [
                    *([name, 3 * w + 0.1 * rng.standard_normal(), bool(w > 0.5)] for name in carriers),
                    *([name, 0.1 * rng.standard_normal(), False] for name in others),
                ],
                "formation": {
                    "carried": (rng.random(n) < 0.1 + 0.85 * w).astype(int).tolist(),
                    "whole": (rng.random(n) < 0.1 + 0.9 * w).astype(int).tolist(),
                    "metric": 4.0 * w,
                    "noise_floor": 0.3 + 0.6 * w,
                    "roles": {"induction": ["L1H0", 0.1 + 0.8 * w], "previous": ["L0H1", 0.2 + 0.7 * w]},
                    "passes": 74,
                },
            }
            for step, w in zip(steps, wave, strict=True)
        }
    return found


def onsets_of(table: pd.DataFrame, jumps: list[dict[str, Any]]) -> pd.DataFrame:
    """The own onsets of all indicators, in the form of `interp.leads.lead_times`, from the records by construction."""
    at = {record["run"]: record["step_before"] for record in jumps if record["measure"] == "exact_match"}
    online = {name: spec[4] for name, spec in INDICATORS.items()}
    rows = [
        {"run": r["run"], "task": r["task"], "target": "exact_match", "indicator": r["measure"], "component": "",
         "position": "", "online": online[r["measure"]], "T": at[r["run"]], "event": at[r["run"]] is not None,
         "onset": r["step_before"]}
        for r in jumps if r["measure"] in online
    ]  # fmt: skip
    frame = pd.DataFrame(rows).astype({"T": float, "onset": float})
    return frame.assign(lead_steps=frame["T"] - frame["onset"], lead=1 - frame["onset"] / frame["T"])


def board(rng: np.random.Generator, leading: tuple[str, ...] = ("gini_embed",)) -> dict[str, Any]:
    """A leaderboard in the form of `interp leads --json`."""
    common = {"task": "modular_addition", "target": "exact_match", "component": "", "n_events": 9, "n_censored": 3}

    def row(name: str, share: float) -> dict[str, Any]:
        lead = float(np.clip(1 - share - 0.15, -0.5, 0.9))
        gain = lead * 0.3 + 0.05 * rng.standard_normal()
        wins = name in leading
        covered = max(lead, 0)
        return {
            **common,
            "indicator": name,
            "leading": wins,
            "reason": "" if wins else "gain interval includes 0",
            "auroc": 0.5 + 0.4 * covered,
            "coverage_at_far_05": covered,
            "coverage_at_far_10": covered * 1.2,
            "coverage_at_far_20": min(covered * 1.5, 1),
            "realised_far": 0.04,
            "median_lead": lead if lead > 0 else None,
            "concordance": 0.6 + lead / 4,
            "gain": gain,
            "gain_low": gain - 0.08 if not wins else 0.02,
            "gain_high": gain + 0.1,
            "p_fwer": 0.01 if wins else 0.4,
            "cost": 1.0,
        }

    rows = {name: row(name, share) for name, (share, *_) in INDICATORS.items()}
    online = [rows[name] for name, spec in INDICATORS.items() if spec[4]]
    return {
        "leaderboard": sorted(online, key=lambda r: -r["gain"]),
        "hindsight": [rows[name] for name, spec in INDICATORS.items() if not spec[4]],
        "baselines": [row(name, 0.85) for name in ("step", "train_loss", "log_prob")],
        "spec": "sha256:" + "ab" * 32,
    }
