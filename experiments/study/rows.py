"""The study's table: committed rows of finished runs, and what the evaluation makes of them before it looks.

`table/<family>.<part>.parquet` holds them (`table/README.md` says what every column is); a family whose name ends on `_causes`
has runs with and without interventions. Three choices are made here once for everybody: an indicator that is measured by layer
or head enters as one curve a run (its mean, or its maximum for roles that one head plays), so that families of unlike shape
share it; a target that is one sub-task becomes a behaviour of its own; and of Markov chains the target is where the model stands
between the two predictors, `bigram_share`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from interp.errors import InputError
from interp.table import read_table
from interp.table.rolling import rolling

HERE = Path(__file__).parent
TABLE = HERE / "table"
FORMATION = HERE / "formation"
CAUSES = "_causes"
EXPLORE, HELD_OUT = "explore", "held out"
PARTS = (EXPLORE, HELD_OUT)


def read_rows(folder: Path = TABLE) -> dict[str, pd.DataFrame]:
    """The rows of every family in a folder, by family; empty where the folder holds none.

    Raises:
        InputError: a file that is no table, that lacks `part` or `lock`, or has another part than those of PARTS.
    """
    found: dict[str, list[pd.DataFrame]] = {}
    for path in sorted(folder.glob("*.parquet")):
        frame = pd.read_parquet(path)
        for name in ("part", "lock", "family"):
            if name not in frame:
                raise InputError(f"{path} has no column {name!r}; see {TABLE / 'README.md'}")
        wrong = sorted(set(frame["part"].unique()) - set(PARTS))
        if wrong:
            raise InputError(f"{path} has part {wrong[0]!r}; expected {' or '.join(map(repr, PARTS))}")
        for family, own in frame.groupby("family", sort=True, observed=True):
            found.setdefault(str(family), []).append(own)
    return {
        family: read_table(with_bigram_share(pd.concat(parts, ignore_index=True)))
        for family, parts in sorted(found.items())
    }


def with_bigram_share(rows: pd.DataFrame) -> pd.DataFrame:
    """With `bigram_share` = KL to unigram ÷ (KL to unigram + KL to bigram) where both are measured: 0 for a model that predicts
    from the states' frequencies, 1 for one that predicts from what followed the last state. Either distance alone falls first
    as the model leaves the uniform prediction, which is not the event of interest."""
    parts = [rows[rows["measure"] == name].set_index(["run", "task", "step"]) for name in ("unigram_kl", "bigram_kl")]
    if parts[0].empty or parts[1].empty:
        return rows
    unigram, bigram = (part["value"].astype(float) for part in parts)
    share = (unigram / (unigram + bigram)).reindex(parts[0].index)
    made = parts[0].assign(measure="bigram_share", value=share, stderr=float("nan"), unit="share").reset_index()
    return pd.concat([rows, made[list(rows.columns)]], ignore_index=True)


def read_formation(folder: Path = FORMATION) -> pd.DataFrame:
    """When the circuit of each run formed, of all families; empty where nothing is known."""
    found = [pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def of_part(table: pd.DataFrame, part: str, controls: tuple[str, ...] = ()) -> pd.DataFrame:
    """The rows of one part. controls: settings whose runs never jump and count among the negatives of either part."""
    return _with(table, table[(table["part"] == part) | table["setting"].isin(controls)])


def for_board(
    table: pd.DataFrame, family: Mapping[str, Any], largest: tuple[str, ...], rolled: tuple[str, ...] = ()
) -> pd.DataFrame:
    """One curve a run and indicator, the target without a component, and of behaviours measured by part each or the mean.

    family: the protocol's entry, with `target`, `component` of the target where it has one, and `parts`: `each` or `mean`.
    largest: the indicators whose maximum over components is taken. rolled: rolling statistics to add, made before components
    are gathered: that of a state needs all of them.
    """
    table = _with(table, table[table["value"].notna()])
    rolled = tuple(name for name in rolled if name.rpartition(".")[0] in set(table["measure"]))
    if rolled:
        table = _with(table, pd.concat([table, rolling(table, measures=rolled)], ignore_index=True))
    target, component = family["target"], family.get("component", "")
    if component:
        table = own_target(table, component)
    indicator = table["kind"] == "indicator"
    split = (table["component"] != "") | (table["position"] != "")
    gathered = split & (indicator | (family.get("parts", "mean") == "mean"))
    gathered &= ~table["measure"].isin(table.loc[~split, "measure"].unique())
    pieces = [table[~split | (~indicator & ~gathered)]]
    for largest_of, how in ((True, "max"), (False, "mean")):
        chosen = table[gathered & (table["measure"].isin(largest) == largest_of)]
        if len(chosen):
            pieces.append(_gathered(chosen, how))
    made = _with(table, pd.concat(pieces, ignore_index=True))
    if target_name(family) not in set(made["measure"]):
        raise InputError(f"the rows have no {target!r}{f' of {component}' if component else ''} to take as target")
    return made


def target_name(family: Mapping[str, Any]) -> str:
    """What the target of a family is called in the table that `for_board` makes."""
    component = family.get("component", "")
    return f"{component}_{family['target'].rpartition('_')[2]}" if component else str(family["target"])


def own_target(table: pd.DataFrame, component: str) -> pd.DataFrame:
    """The behaviours of one component under names of their own, without a component: `subtask2_accuracy`."""
    here = (table["component"] == component) & (table["kind"] == "behaviour")
    named = component + "_" + table["measure"].str.rpartition("_")[2]
    return _with(
        table,
        table.assign(
            measure=table["measure"].where(~here, named).astype("str"),
            component=table["component"].where(~here, "").astype("str"),
        ),
    )


def _gathered(rows: pd.DataFrame, how: str) -> pd.DataFrame:
    """One value a run, step and measure; every other column as its first row has it."""
    keys = ["run", "task", "measure", "step"]
    first = {name: "first" for name in rows.columns if name not in (*keys, "value", "component", "position", "stderr")}
    made = rows.groupby(keys, sort=False, observed=True, as_index=False).agg({"value": how, **first})
    return made.assign(component="", position="", stderr=float("nan"))[list(rows.columns)]


def _with(source: pd.DataFrame, made: pd.DataFrame) -> pd.DataFrame:
    made = made.reset_index(drop=True)
    made.attrs = dict(source.attrs)
    return made
