"""From the committed table to `results/*.json`: every number of the report, rounded and in a fixed order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.study import across, boards, causes, forming, frequency, outcomes, timing
from experiments.study.boards import Judged
from experiments.study.lock import standing
from experiments.study.protocol import PROTOCOL, Protocol, read_protocol
from experiments.study.rows import CAUSES, EXPLORE, FORMATION, HELD_OUT, HERE, PARTS, TABLE, read_formation, read_rows
from interp.errors import InputError, unknown
from interp.leads.board import plain
from interp.table.events import Change

RESULTS = HERE / "results"
DIGITS = 4  # significant ones: more than any interval here supports
NOTHING = 1e-12  # rounding of an optimiser, which differs between machines
DRAWS = 2000  # of the concordance's bootstrap


def evaluate(
    *,
    table: Path = TABLE,
    formation: Path = FORMATION,
    out: Path = RESULTS,
    protocol: Path = PROTOCOL,
    pythia: Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Judge every family's parts, pool them, and write what came out.

    pythia: a folder of evaluation logs, whose prevalence is counted too; without it, what was found before stays.

    Raises:
        InputError: no rows, or a family that the protocol does not name.
    """
    plan, every = read_protocol(protocol), read_rows(table)
    tables = _known(every, plan, table, protocol)
    say = (lambda text: None) if quiet else print
    say("changes of every curve ...")
    changes = {family: frequency.changes(own, plan) for family, own in tables.items()}
    found: dict[str, Any] = {"table": _about(tables)}
    judged = {part: _judged(tables, changes, part, plan, say, primary=part == HELD_OUT) for part in PARTS}
    for part in PARTS:
        if judged[part]:
            name = part.replace(" ", "_")
            say(f"over families, {part} ...")
            found[f"boards_{name}"] = {each.family: boards.told(each) for each in judged[part]}
            found[f"across_{name}"] = across.across(judged[part], plan.leads)
            found[f"timing_{name}"] = _timing(judged, part, plan)
    if plan.primary and judged[HELD_OUT]:
        say("everything else, held out ...")
        found["secondary_held_out"] = _secondary(tables, changes, plan)
    both = [each for part in PARTS for each in judged[part]]
    found["events"] = outcomes.outcomes(both, plan)
    found["circuits"] = {"rows": forming.forming(both, read_formation(formation))}
    say("interventions and prevalence ...")
    found["interventions"] = causes.causes({name: own for name, own in every.items() if name.endswith(CAUSES)}, plan)
    found["prevalence"] = frequency.own_prevalence(tables, changes, plan)
    if pythia is not None:
        found["prevalence_pythia"] = frequency.published(pythia)
    found["lock"] = standing(every)
    _write(found, out)
    return read_results(out)


def _known(every: dict[str, pd.DataFrame], plan: Protocol, table: Path, protocol: Path) -> dict[str, pd.DataFrame]:
    """The families' rows in the protocol's order, interventions apart."""
    for family in every:
        if family not in plan.families and not family.endswith(CAUSES):
            raise InputError(f"{protocol} does not name the family {family!r}")
    tables = {family: every[family] for family in plan.families if family in every}
    have = {name for own in tables.values() for name in own["measure"].unique()} | set(plan.leads.rolling)
    for name in plan.primary:
        if tables and name not in have:
            raise unknown("primary indicator of the protocol", name, have)
    if not tables:
        raise InputError(f"{table} holds no rows; `python -m experiments.study measure` makes them")
    return tables


def read_results(folder: Path = RESULTS) -> dict[str, Any]:
    """What was written, by file name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def _judged(
    tables: dict[str, pd.DataFrame],
    changes: dict[str, list[Change]],
    part: str,
    plan: Protocol,
    say: Any,
    *,
    primary: bool,
) -> list[Judged]:
    out = []
    for family, own in tables.items():
        each = boards.judge(own, family, part, plan, changes[family], primary=primary)
        if each is not None:
            say(f"{family}, {part}: {int(each.panel.event.sum())} of {len(each.panel.runs)} runs jump")
            out.append(each)
    return out


def _secondary(
    tables: dict[str, pd.DataFrame], changes: dict[str, list[Change]], plan: Protocol
) -> list[dict[str, Any]]:
    """What the indicators outside the shortlist add over families: description, without nulls and verdicts."""
    plain_spec = replace(plan, leads=replace(plan.leads, permutations=0, shifts=0))
    judged = _judged(tables, changes, HELD_OUT, plain_spec, lambda text: None, primary=False)
    kept = ("indicator", "gain", "gain_low", "gain_high", "n_families", "coverage", "false", "median_lead", "cost",
            "rule_elsewhere", "rule_elsewhere_low", "rule_elsewhere_high")  # fmt: skip
    rows = across.across(judged, plain_spec.leads)["indicators"]
    return [{name: row.get(name) for name in kept} for row in rows if row["indicator"] not in plan.primary]


def _timing(judged: dict[str, list[Judged]], part: str, plan: Protocol) -> dict[str, Any]:
    """Concordance; on the held-out part, the direction of each series is that of the family's exploring part."""
    seed, by_family = plan.leads.seed, {}
    fitted = (
        {each.family: timing.orders(each.panel, draws=1, seed=seed) for each in judged[EXPLORE]}
        if part == HELD_OUT
        else {}
    )
    for each in judged[part]:
        directions = {row["indicator"]: row["sign"] for row in fitted.get(each.family, [])}
        by_family[each.family] = timing.orders(each.panel, directions, draws=DRAWS, seed=seed)
    return {"by_family": by_family, "together": timing.together(by_family), "forecast": _forecast(judged[part])}


def _forecast(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Error of a forecast of T from the setting alone, and from the best indicator and trivial measure beside it, by family
    and share of the budget. The best of many is chosen on the rows that score it, and flattered by that."""
    out = []
    for each in judged:
        online, trivial = each.board.leaderboard, each.board.baselines
        for k, first in enumerate(trivial[0]["timing"]):
            if first["reason"]:
                continue
            best = [min(((row["timing"][k]["mdape"], row["indicator"]) for row in rows if np.isfinite(row["timing"][k]["mdape"])),
                        default=(np.nan, "")) for rows in (online, trivial)]  # fmt: skip
            out.append({"family": each.family, "share": first["share"], "n": first["n"], "setting": first["mdape_setting"],
                        "indicator": best[0][0], "indicator_name": best[0][1], "trivial": best[1][0],
                        "trivial_name": best[1][1]})  # fmt: skip
    return out


def _about(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    return {
        family: {
            "rows": len(table), "runs": {part: int(table.loc[table["part"] == part, "run"].nunique()) for part in PARTS},
            "checkpoints": int(table.groupby("run")["step"].nunique().median()),
            "curves": len(table[["measure", "component", "position"]].drop_duplicates()), "sizes": sorted(table["size"].unique()),
            "n_params": sorted({int(n) for n in table["n_params"].dropna().unique()}),
        }
        for family, table in tables.items()
    }  # fmt: skip


def _write(found: dict[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for path in out.glob("*.json"):
        if path.stem not in found and path.stem != "prevalence_pythia":
            path.unlink()
    for name, data in found.items():
        text = json.dumps(_rounded(plain(data)), indent=1, sort_keys=False, ensure_ascii=False)
        (out / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _rounded(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _rounded(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_rounded(value) for value in data]
    if isinstance(data, float):
        return 0.0 if abs(data) < NOTHING else float(f"{data:.{DIGITS}g}")
    return data
