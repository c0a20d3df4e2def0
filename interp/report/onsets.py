"""Each indicator's own onset beside the run's jump, within the time that a page may take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from interp.engine.profile import stage
from interp.errors import InputError
from interp.report.outcomes import as_table, jump_frame
from interp.report.rows import rows_of
from interp.table import CURVE

MAX_CURVES = 1200
MAX_COMPONENTS = 8
COLUMNS = [
    "run",
    "task",
    "target",
    "indicator",
    "component",
    "position",
    "online",
    "T",
    "event",
    "onset",
    "lead_steps",
    "lead",
]


@stage("statistics")
def onset_data(table: Any, jumps: Any = None) -> pd.DataFrame:
    """`interp.leads.lead_times` of the tasks that have a target: one row a run and indicator curve, with the
    run's T (NaN where censored), the indicator's onset, lead_steps = T − onset and lead = that ÷ T.

    A measure with more than 8 components or positions (single heads, say) is left out: its picture is the heat map.
    Where there are more than 1200 curves, an even choice of runs is judged. jumps: what `find_jumps` gave for the whole
    table, so that the events are those of the page and of the board.
    """
    from interp.leads import lead_times

    records = rows_of(jump_frame(jumps)) or None
    table = _thinned(as_table(table))
    parts = []
    for _, rows in table.groupby("task", sort=True):
        try:
            parts.append(lead_times(rows, jumps=records))
        except InputError:
            continue
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def _thinned(table: pd.DataFrame) -> pd.DataFrame:
    indicator = table["kind"] == "indicator"
    curves = table.loc[indicator, CURVE].drop_duplicates()
    many = curves.groupby(["run", "task", "measure"])["component"].transform("size") > MAX_COMPONENTS
    left_out = set(curves.loc[many, "measure"].unique())
    runs = sorted(table["run"].unique())
    share = min(1.0, MAX_CURVES / max(int((~many).sum()), 1))
    chosen = [runs[i] for i in np.linspace(0, len(runs) - 1, max(1, int(share * len(runs)))).astype(int)]
    return table[table["run"].isin(chosen) & ~(indicator & table["measure"].isin(left_out))]
