"""The part-by-part section: every digit, sub-task or group with its own curve and its own jump."""

import numpy as np
import pandas as pd
import pytest

from interp import find_jumps, read_table
from interp.report.parts import MAX_RUNS, parts_data, parts_figure, parts_jumps

STEPS = np.unique(np.geomspace(1, 2000, 60).round()).astype(int)
JUMPS = {"subtask0": 60, "subtask1": 300, "subtask2": 900}


def table(n_runs: int = 2) -> pd.DataFrame:
    """Three sub-tasks that jump one after the other in every run, and a measure of the whole."""
    rows = []
    for seed in range(n_runs):
        common = {"run": f"fam:d8/base/seed{seed}", "task": "several", "setting": "base", "seed": seed, "size": "d8"}
        for component, at in {**JUMPS, "": 300}.items():
            values = 0.5 + 0.5 / (1 + np.exp(-14 * np.log(STEPS / (at * (1 + 0.05 * seed)))))
            name = "group_accuracy" if component else "exact_match"
            rows += [
                {**common, "step": step, "measure": name, "value": value, "component": component,
                 "kind": "behaviour", "unit": "share", "n": 400}
                for step, value in zip(STEPS, values, strict=True)
            ]  # fmt: skip
    return read_table(pd.DataFrame(rows))


@pytest.fixture(scope="module")
def judged():
    made = table()
    return made, find_jumps(made)


def test_every_part_has_its_own_interval_around_its_planted_jump(judged):
    made, jumps = judged
    assert set(parts_data(made)["part"]) == set(JUMPS)
    assert set(parts_data(made)["measure"]) == {"group_accuracy"}
    found = parts_jumps(jumps)
    assert len(found) == 2 * len(JUMPS)
    for row in found.itertuples():
        at = JUMPS[row.part] * (1 + 0.05 * int(row.run[-1]))
        assert row.step_before < at < row.step_after


def test_the_rows_below_stand_in_the_order_of_the_parts(judged):
    figure = parts_figure(*judged)
    bars = {t.legendgroup: t for t in figure.data if t.showlegend is False}
    assert list(figure.layout.yaxis2.ticktext) == list(JUMPS)
    heights = [figure.layout.yaxis2.tickvals[list(JUMPS).index(part)] for part in bars]
    assert heights == sorted(heights, reverse=True)
    for part, height in zip(bars, heights, strict=True):
        drawn = [y for y in bars[part].y if y is not None]
        assert len(drawn) == 4, "two runs, two ends each"
        assert all(abs(y - height) < 0.5 for y in drawn)


def test_tokens_of_an_answer_are_parts_in_the_order_of_numbers():
    made = table(1)
    parts = made[made["component"] != ""].assign(measure="digit_accuracy", component="")
    places = {"subtask0": "2", "subtask1": "10", "subtask2": "1"}
    parts["position"] = [places[name] for name in made.loc[made["component"] != "", "component"]]
    both = read_table(pd.concat([made, parts])[[c for c in made.columns if c != "key"]])
    figure = parts_figure(both)
    labels = [button.label for button in figure.layout.updatemenus[0].buttons]
    assert labels == ["several: digit accuracy", "several: group accuracy"]
    assert list(figure.layout.yaxis2.ticktext) == ["token 1", "token 2", "token 10"]


def test_without_parts_there_is_nothing_to_draw():
    made = table(1)
    whole = read_table(made[made["component"] == ""])
    assert parts_data(whole).empty


def test_many_runs_are_thinned():
    figure = parts_figure(table(MAX_RUNS + 3))
    drawn = {text.split(",")[1] for trace in figure.data for text in trace.text if text}
    assert len({text.split("<br>")[0] for text in drawn}) == MAX_RUNS
