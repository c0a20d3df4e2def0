"""Another indicator on the study's runs: they are grown again where their weights are not there, measured, and the indicator is
judged on each family's board, beside the same baselines and against the same nulls as those that are.

The recipes give the same bits on the same kind of processor: the weights' norm is measured again too, and compared with what
the table has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.study import boards
from experiments.study.frequency import changes
from experiments.study.protocol import Protocol, read_protocol
from experiments.study.rows import HELD_OUT, HERE, TABLE, of_part, read_rows
from interp.engine.checks import read_experiment
from interp.engine.config import Experiment, FamilySpec, MeasureSpec
from interp.engine.sweep import run_experiment
from interp.errors import InputError, unknown
from interp.table import read_table

SAME = "weight_norm"
CLOSE = 1e-5  # relative: the table has single precision, and other processors round otherwise
TOLD = ("gain", "gain_low", "gain_high", "verdict", "reason", "coverage_at_far_05", "lead", "p_family", "runs_needed")


def score(
    name: str,
    *,
    families: Sequence[str] = (),
    part: str = HELD_OUT,
    out: Path = Path("runs/study_score"),
    root: Path | None = None,
    table: Path = TABLE,
    workers: int = 2,
) -> pd.DataFrame:
    """One row a family: what the indicator adds to the baseline there, its verdict, and how many runs were found as the table
    has them.

    name: an indicator's name, or `package.module:function`.
    families: as `study_induction`; all that have rows of the part by default.

    Raises:
        InputError: no such family or indicator, no rows, or a measure of the run that failed.
    """
    protocol, rows = read_protocol(), read_rows(table)
    for family in families:
        if family not in protocol.families:
            raise unknown("family of the study", family, protocol.families)
    there = [family for family in families or protocol.families if family in rows]
    told = [_of_family(name, family, rows[family], protocol, part, out, root, workers) for family in there]
    if not (found := [row for row in told if row is not None]):
        raise InputError(f"there are no rows of the part {part!r} in {table}")
    return pd.DataFrame(found)


def _of_family(
    name: str,
    family: str,
    rows: pd.DataFrame,
    protocol: Protocol,
    part: str,
    out: Path,
    root: Path | None,
    workers: int,
) -> dict[str, Any] | None:
    own = of_part(rows, part, protocol.controls(family) if protocol.reuse_controls else ())
    if not (own["part"] == part).any():
        return None
    folder = out / family
    done = run_experiment(_experiment(name, family, own), folder, root=root, workers=workers)
    if done["failures"]:
        raise InputError(f"{family}: {done['failures'][0]['error']}")
    measured = read_table(folder)
    same, n = _as_before(own, measured)
    new = measured[measured["measure"] != SAME]
    label = str(new["measure"].iloc[0])
    parts = own.drop_duplicates("run").set_index("run")[["part", "lock"]]
    both = pd.concat([own[own["measure"] != label], new.join(parts, on="run")], ignore_index=True).reindex(
        columns=own.columns
    )
    alone = replace(protocol, primary={label: ""})
    judged = boards.judge(read_table(both), family, part, alone, changes(own, protocol), primary=True)
    assert judged is not None
    row = next(row for row in judged.board.leaderboard if row["indicator"] == label)
    return {
        "family": family,
        "indicator": label,
        **{key: row.get(key) for key in TOLD},
        "runs as before": f"{same}/{n}",
    }


def _experiment(name: str, family: str, own: pd.DataFrame) -> Experiment:
    """The family's experiment with this measure alone, over the runs that the rows are of."""
    stem = family.removeprefix("study_")
    experiment = read_experiment(HERE / f"{stem}.yaml")
    runs = own.drop_duplicates("run")
    chosen = tuple(
        FamilySpec(
            recipe=experiment.families[0].recipe,
            sizes=(str(size),),
            settings=(str(setting).partition("/")[2],),
            seeds=tuple(sorted(int(seed) for seed in some["seed"])),
        )
        for (size, setting), some in runs.groupby(["size", "setting"], observed=True)
    )
    return replace(
        experiment,
        name=f"{family}_score",
        families=chosen,
        measures=(MeasureSpec(name=name), MeasureSpec(name=SAME)),
        circuits=None,
    )


def _as_before(own: pd.DataFrame, measured: pd.DataFrame) -> tuple[int, int]:
    """How many runs have the weights' norm that the table has at every checkpoint, and how many there are."""
    keys = ["run", "step"]
    before, now = (table[table["measure"] == SAME].set_index(keys)["value"].astype(float) for table in (own, measured))
    close = pd.Series(np.isclose(now, before.reindex(now.index), rtol=CLOSE, atol=0), index=now.index)
    by_run = close.groupby(level="run").all()
    return int(by_run.sum()), len(by_run)
