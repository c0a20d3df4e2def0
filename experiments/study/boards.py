"""One family, one part: its board, and what the pooling over families needs of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from experiments.study.protocol import Protocol
from experiments.study.rows import for_board, of_part
from interp.leads.board import Board
from interp.leads.evidence import Gains, planted_gains
from interp.leads.panel import Panel
from interp.leads.rank import board_of, gains_of, make_panels
from interp.leads.spec import Spec
from interp.table.events import Change


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """A family's rows of one part as they were judged. gains: of its indicators. planted: gains of
    planted leaders, the power."""

    family: str
    part: str
    table: pd.DataFrame
    jumps: list[Change]
    spec: Spec
    panel: Panel
    gains: Gains
    board: Board
    planted: Gains


def judge(
    rows: pd.DataFrame, family: str, part: str, protocol: Protocol, jumps: list[Change], *, primary: bool = False
) -> Judged | None:
    """The board of one part of a family; None where it has no such rows. jumps: every change of the family's behaviours.
    primary: the pre-registered indicators alone, so that the family-wise error is theirs."""
    own = of_part(rows, part, protocol.controls(family) if protocol.reuse_controls else ())
    if not (own["part"] == part).any():
        return None
    table = for_board(own, protocol.families[family], protocol.largest, protocol.leads.rolling)
    spec = protocol.spec(family, table, primary=primary)
    panels, notes = make_panels(table, spec, jumps)
    scored = gains_of(panels, spec)
    panel = panels[0]
    return Judged(
        family=family,
        part=part,
        table=table,
        jumps=jumps,
        spec=spec,
        panel=panel,
        gains=scored[panel.task],
        board=board_of(panels, scored, notes, spec),
        planted=planted_gains(panel, spec),
    )


def told(judged: Judged) -> dict[str, Any]:
    """The board of a family as plain data, without the runs' own rows."""
    board = judged.board.to_json()
    del board["per_run"]
    foresight = own_foresight(judged)
    return board | {
        "part": judged.part, "target": judged.panel.target, "n_runs": len(judged.panel.runs), "series": len(judged.panel.series),
        "n_events": int(judged.panel.event.sum()), "foresight": foresight, "margin": margin(judged),
        "planted_seen": share_seen(judged.planted.low), "no_gain": judged.gains.reason,
    }  # fmt: skip


def own_foresight(judged: Judged) -> float:
    """Bits a row that the target itself adds to step and setting; NaN where it is not defined."""
    own = [row["gain"] for row in judged.board.baselines if row["indicator"] == judged.panel.target]
    return float(own[0]) if own else np.nan


def margin(judged: Judged) -> float:
    """What must be added to matter: the larger of the protocol's margin and its share of the target's own foresight."""
    foresight = own_foresight(judged)
    return (
        max(judged.spec.margin, judged.spec.margin_share * foresight) if np.isfinite(foresight) else judged.spec.margin
    )


def share_seen(low: np.ndarray) -> float:
    """Share of planted leaders whose gain lies above 0 for sure; NaN where gains are not defined."""
    return float((low > 0).mean()) if np.isfinite(low).all() else np.nan
