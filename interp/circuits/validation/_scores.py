"""What a component is worth by three roads, and where they part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from interp.circuits.validation._effects import Ground, ground, turned_round
from interp.circuits.validation._groups import MARGIN, Group


def component_scores(
    here: Ground, names: Sequence[str], single: Mapping[str, float], slopes: np.ndarray
) -> dict[str, dict[str, float]]:
    edges, writers = here.pair.graph.edges, here.pair.graph.writers
    denoised = [math.nan] * len(names)
    if here.ablation == "corrupt":
        other = replace(ground(turned_round(here.pair), "corrupt", keep=True), clean=here.empty, empty=here.clean)
        denoised = other.effects([(name,) for name in names], edges)
    return {
        name: {"noising": single[name], "denoising": gained, "gradient": float(slopes[writers.index(name)])}
        for name, gained in zip(names, denoised, strict=True)
    }


def saturated(scores: Mapping[str, Mapping[str, float]], spare: Sequence[Group]) -> tuple[str, ...]:
    """A gradient below a twentieth of what the component can do, by itself or as one of a group."""
    found = []
    for name, row in scores.items():
        large = max(
            abs(row["noising"]), abs(np.nan_to_num(row["denoising"])), float(any(name in group for group in spare))
        )
        if large >= MARGIN and abs(row["gradient"]) < 0.05 * large:
            found.append(name)
    return tuple(found)


def disagreement(scores: Mapping[str, Mapping[str, float]]) -> str:
    spread = {
        name: max(row.values()) - min(row.values())
        for name, row in scores.items()
        if not any(map(math.isnan, row.values()))
    }
    if not spread or max(spread.values()) < MARGIN:
        return ""
    name = max(spread, key=lambda n: spread[n])
    told = ", ".join(f"{kind} {value:.2f}" for kind, value in scores[name].items())
    return f"the methods disagree most about {name}: {told}"
