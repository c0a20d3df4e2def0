"""Rolling statistics on the board: ranked where the spec names them, and the smoothed target, a trap, never called leading."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from simulate_leads import family

from interp.errors import InputError
from interp.leads import Spec, rank_leads
from interp.table import read_table
from interp.table.rolling import rolling

SMALL = {"n_settings": 2, "n_seeds": 14, "n_controls": 4, "n_steps": 30}
TRAPS = ("exact_match.mean", "log_prob.mean", "exact_match.variance")
QUICK = Spec(permutations=39, shifts=9, bootstraps=300, rolling=TRAPS)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return family(np.random.default_rng(5), indicators=("lead_step",), **SMALL)


@pytest.fixture(scope="module")
def board(table: pd.DataFrame):
    return rank_leads(table, spec=QUICK)


def test_a_smoothed_target_is_not_called_leading_beside_one_that_is(board) -> None:
    """A causal mean of the target's own curve rises with it, and says nothing that the target has not said."""
    rows = {row["indicator"]: row for row in board.leaderboard}
    assert set(rows) == {"lead_step", *TRAPS}
    assert rows["lead_step"]["leading"] is True
    for name in TRAPS:
        assert rows[name]["leading"] is not True, (name, rows[name]["reason"])
        assert rows[name]["gain"] < 0.2 * rows["lead_step"]["gain"], name


def test_an_exponentially_smoothed_target_is_not_called_leading_either(table: pd.DataFrame) -> None:
    goal = table[table["measure"] == "exact_match"].sort_values(["run", "step"])
    smooth = goal.groupby("run")["value"].transform(lambda curve: curve.ewm(alpha=0.3).mean())
    trap = goal.assign(measure="smoothed", kind="indicator", value=smooth)
    board = rank_leads(pd.concat([table, trap]), spec=Spec(permutations=39, shifts=9, bootstraps=300))
    verdicts = {row["indicator"]: row["leading"] for row in board.leaderboard}
    assert verdicts["lead_step"] is True
    assert verdicts["smoothed"] is not True


def test_the_spec_gives_the_board_of_the_table_that_holds_the_statistics(table: pd.DataFrame, board) -> None:
    held = pd.concat([read_table(table), rolling(table, measures=TRAPS)], ignore_index=True)
    assert rank_leads(held, spec=QUICK).to_json() == board.to_json()


def test_a_statistic_of_nothing_is_named(table: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"unknown measure 'exactmatch'.*did you mean 'exact_match'"):
        rank_leads(table, spec={"rolling": ["exactmatch.mean"]})
    with pytest.raises(InputError, match="unknown rolling statistic of 'log_prob' 'var'"):
        rank_leads(table, spec={"rolling": ["log_prob.var"]})
