"""Growing the study's families and measuring them: from recipes to the rows that are committed.

Seeds 0 to 3 of every setting are the exploring part, the others the held-out part, which is measured only once the
analysis is locked. A run that has rows is not grown again: a clean clone makes only what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from interp.engine.checks import read_experiment
from interp.engine.config import Experiment
from interp.engine.sweep import run_experiment
from interp.families.planned import planned_runs
from interp.report.formation import formation_data, trajectory_data
from interp.report.sources import read_source

HERE = Path(__file__).parent
TABLE = HERE / "table"
"""`<family>.<part>.parquet`: rows of the contract, with `part` and `lock`."""
FORMATION = HERE / "formation"
"""Files of the same names: a row a run, when its circuit formed."""
FAMILIES = ("addition_mod", "subtraction_mod", "induction", "markov", "addition", "parity", "window_sum")
CAUSES = ("induction_causes", "addition_mod_causes")
"""Families whose settings differ in what is done to a run while it trains."""
PARTS = {"explore": tuple(range(4)), "held out": tuple(range(4, 12)), "causes": tuple(range(8))}
"""Seeds."""
LABEL = {"causes": "held out"}
"""What a part is called in the table: interventions too were measured after their recipes and their analysis had been locked.
What each should do was not written down beforehand."""
COLUMNS = (
    "run", "step", "task", "measure", "component", "position", "value", "stderr", "n", "unit", "kind", "online",
    "family", "size", "n_params", "setting", "seed", "tokens", "budget", "cost",
)  # fmt: skip


def file_of(folder: Path, family: str, part: str) -> Path:
    """Where the rows of a family's part are."""
    return folder / f"{family}.{part.replace(' ', '_')}.parquet"


def still_to_do(family: str, part: str, table: Path = TABLE) -> tuple[int, ...]:
    """The seeds of a part of which a run has no rows."""
    path = file_of(table, family, part)
    there = set(pd.read_parquet(path, columns=["run"])["run"].unique()) if path.is_file() else set()
    runs = planned_runs(HERE / "recipes" / f"{family}.yaml")
    return tuple(sorted({run.seed for run in runs if run.seed in PARTS[part] and run.name not in there}))


def experiment_of(family: str, seeds: Iterable[int]) -> Experiment:
    """The family's experiment, of some seeds only."""
    experiment = read_experiment(HERE / f"{family}.yaml")
    return replace(experiment, families=tuple(replace(one, seeds=tuple(seeds)) for one in experiment.families))


def measure(
    family: str,
    part: str,
    *,
    lock: str,
    out: Path,
    only: Sequence[int] | None = None,
    root: Path | None = None,
    table: Path = TABLE,
    workers: int = 2,
) -> int:
    """Grows and measures what has no rows yet and writes the rows; gives how many were added.

    only: of the part's seeds, these.
    lock: the hash of the analysis under which held-out rows are made; "" while exploring.

    Raises:
        RuntimeError: units that failed; what is done stays in the run directory, and the same call goes on from there.
    """
    seeds = tuple(seed for seed in still_to_do(family, part, table) if only is None or seed in only)
    if not seeds:
        return 0
    done = run_experiment(experiment_of(family, seeds), out / family, root=root, workers=workers)
    if done["failures"] or done["missing"]:
        raise RuntimeError(f"{family}: {len(done['missing'])} checkpoints are missing; {done['failures'][:1]}")
    rows, formed = rows_of(out / family)
    for folder, new in ((table, rows), (table.parent / FORMATION.name, formed)):
        if len(new):
            add(file_of(folder, family, part), new.assign(part=LABEL.get(part, part), lock=lock))
    return len(rows)


def rows_of(run: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of a run directory, with the circuit's presence by the strict criterion as one more curve; and when each
    circuit formed."""
    source = read_source(run)
    rows = source.table
    if not source.circuits:
        return rows.reindex(columns=COLUMNS), pd.DataFrame()
    formed = formation_data(source.circuits, rows)
    strict = _strict(rows, trajectory_data(source.circuits, rows))
    return pd.concat([rows, strict]).reindex(columns=COLUMNS), formed


def _strict(rows: pd.DataFrame, trajectory: pd.DataFrame) -> pd.DataFrame:
    """`circuit_strict` beside each `circuit_carried`: the share of the same prompts on which the circuit alone gives the right
    answer among all."""
    found = trajectory.loc[trajectory["quantity"] == "strict", ["run", "task", "step", "value"]]
    weak = rows[rows["measure"] == "circuit_carried"].drop(columns=["value", "stderr"])
    return found.merge(weak, on=["run", "task", "step"]).assign(measure="circuit_strict")


def add(path: Path, rows: pd.DataFrame) -> None:
    """Rows put behind those that a file has, in single precision; those of a run that was measured again in their place."""
    rows = rows.copy()
    for column in rows.select_dtypes("float64"):
        rows[column] = rows[column].astype("float32")
    if path.is_file():
        before = pd.read_parquet(path)
        rows = pd.concat([before[~before["run"].isin(set(rows["run"]))], rows], ignore_index=True)
    order = [name for name in ("run", "task", "measure", "component", "position", "step") if name in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.sort_values(order).to_parquet(path, index=False, compression="zstd", compression_level=19)
