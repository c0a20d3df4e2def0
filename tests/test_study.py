"""The study from its table to its page: pooling in closed form, parts and locks, and a page without a number of its own."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from experiments.study import across, boards, causes, forming, frequency, lock, rows, timing
from experiments.study.boards import Judged
from experiments.study.drawing import Axis, Row, lines, rows_of_intervals, stacked
from experiments.study.evaluate import DIGITS, _rounded, evaluate, read_results
from experiments.study.pooling import agreement, random_effects
from experiments.study.protocol import PROTOCOL, read_protocol
from experiments.study.report import PROSE, fills, report, text
from interp.errors import InputError
from interp.table import read_table
from interp.table.rolling import rolling
from tests.simulate_leads import family

FAMILIES = ("one", "two", "three")


def planted(name: str, seed: int, indicators: tuple[str, ...] = ("lead_step", "noise", "synchronous")) -> pd.DataFrame:
    made = family(
        np.random.default_rng(seed),
        n_settings=2,
        n_seeds=14,
        n_controls=4,
        budget=1000,
        n_steps=40,
        between=0.4,
        indicators=indicators,
    )
    held = made["seed"] >= 4
    return made.assign(
        family=name, run=name + ":" + made["run"], task=name, size="s", n_params=100, cost=1.0,
        part=np.where(held, "held out", "explore"), lock=np.where(held, "sha256:" + "0" * 64, ""),
    )  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small table of three families, and its protocol."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "table").mkdir()
    for seed, name in enumerate(FAMILIES):
        planted(name, seed).to_parquet(folder / "table" / f"{name}.parquet")
    given = yaml.safe_load(PROTOCOL.read_text())
    given |= {
        "families": {name: {"target": "exact_match", "controls": ["s2"]} for name in FAMILIES},
        "primary": {},
        "largest": [],
    }
    given["leads"] = {"permutations": 19, "shifts": 0, "bootstraps": 200, "seed": 0}
    (folder / "protocol.yaml").write_text(yaml.safe_dump(given))
    return folder


@pytest.fixture(scope="module")
def results(study: Path) -> dict:
    return evaluate(
        table=study / "table",
        formation=study / "none",
        out=study / "results",
        protocol=study / "protocol.yaml",
        quiet=True,
    )


@pytest.fixture(scope="module")
def judged(study: Path) -> Judged:
    """The held-out part of one family."""
    protocol, table = read_protocol(study / "protocol.yaml"), rows.read_rows(study / "table")["one"]
    found = boards.judge(table, "one", "held out", protocol, frequency.changes(table, protocol))
    assert found is not None
    return found


# Pooling


def test_equal_errors_give_the_t_interval_of_the_mean():
    y, s = np.array([0.1, 0.5, -0.3, 0.9, 0.4]), 0.05
    found = random_effects(y, np.full(5, s))
    assert found.mean == pytest.approx(y.mean())
    assert found.tau**2 == pytest.approx(y.var(ddof=1) - s**2)
    assert found.error == pytest.approx(y.std(ddof=1) / np.sqrt(5))


def test_families_that_agree_are_a_weighted_mean_never_narrower_than_its_error():
    y, s = np.array([0.20, 0.21, 0.19]), np.array([0.1, 0.2, 0.4])
    found = random_effects(y, s)
    w = 1 / s**2
    assert found.tau == 0
    assert found.mean == pytest.approx((w @ y) / w.sum())
    assert found.error == pytest.approx(1 / np.sqrt(w.sum()))


def test_the_vaccine_trials_pool_as_published():
    """Log risk ratios of 13 BCG trials (Colditz et al. 1994): DerSimonian-Laird gives −0.7141 with τ² 0.3088."""
    cases = [(4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619), (33, 5036, 47, 5761),
             (180, 1361, 372, 1079), (8, 2537, 10, 619), (505, 87886, 499, 87892), (29, 7470, 45, 7232), (17, 1699, 65, 1600),
             (186, 50448, 141, 27197), (5, 2493, 3, 2338), (27, 16886, 29, 17825)]  # fmt: skip
    a, b, c, d = np.array(cases, float).T
    found = random_effects(
        np.log(a / (a + b)) - np.log(c / (c + d)), np.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d))
    )
    assert found.mean == pytest.approx(-0.7141, abs=5e-5)
    assert found.tau**2 == pytest.approx(0.3088, abs=5e-5)
    assert found.i2 == pytest.approx(0.9212, abs=5e-5)


def test_two_families_have_no_mean():
    assert np.isnan(random_effects(np.array([1.0, 2.0, np.nan]), np.ones(3)).mean)


def test_families_of_one_order_agree_and_of_none_do_not():
    rng = np.random.default_rng(0)
    order = np.arange(12.0)
    same = agreement(np.stack([order, order**3, np.exp(order)]), draws=99, rng=rng)
    assert same.mean == pytest.approx(1.0)
    assert same.p == pytest.approx(0.01)
    p = [agreement(rng.standard_normal((4, 12)), draws=99, rng=rng).p for _ in range(20)]
    assert np.mean(np.array(p) <= 0.05) <= 0.25


# From rows to boards


def test_an_indicator_by_head_enters_as_one_curve():
    base = {"run": "r", "task": "t", "kind": "indicator", "position": ""}
    made = [
        base | {"step": s, "measure": m, "component": f"L0H{h}", "value": h + s}
        for s in (0, 1)
        for m in ("copying", "entropy")
        for h in (0, 1)
    ]
    made += [
        base | {"step": s, "measure": "exact_match", "kind": "behaviour", "component": "", "value": s} for s in (0, 1)
    ]
    table = rows.for_board(read_table(pd.DataFrame(made)), {"target": "exact_match"}, ("copying",))
    value = table.set_index(["measure", "step"])["value"]
    assert value["copying"].tolist() == [1, 2]
    assert value["entropy"].tolist() == [0.5, 1.5]


def test_the_statistic_of_a_state_sees_all_its_components():
    rng, base = np.random.default_rng(0), {"run": "r", "task": "t", "kind": "indicator", "position": ""}
    made = [
        base | {"step": s, "measure": "q", "component": f"c{k}", "value": rng.standard_normal()}
        for s in range(20)
        for k in range(3)
    ]
    made += [
        base | {"step": s, "measure": "exact_match", "kind": "behaviour", "component": "", "value": 0.0}
        for s in range(20)
    ]
    table = read_table(pd.DataFrame(made))
    names = ("q.dmd_residual", "nothing.mean")
    ours = (
        rows.for_board(table, {"target": "exact_match"}, (), names)
        .query("measure == 'q.dmd_residual'")["value"]
        .to_numpy()
    )
    theirs = rolling(table, measures=names[:1])["value"].to_numpy()
    np.testing.assert_allclose(ours[np.isfinite(ours)], theirs[np.isfinite(theirs)])
    assert np.isfinite(ours).any()


def test_a_sub_task_is_a_target_of_its_own():
    base = {"run": "r", "task": "t", "kind": "behaviour", "position": "", "step": 0}
    made = [base | {"measure": "group_accuracy", "component": f"subtask{k}", "value": k / 10} for k in range(3)]
    entry = {"target": "group_accuracy", "component": "subtask2", "parts": "each"}
    table = rows.for_board(read_table(pd.DataFrame(made)), entry, ()).set_index("measure")
    assert rows.target_name(entry) == "subtask2_accuracy"
    assert table.loc["subtask2_accuracy", "value"] == pytest.approx(0.2)
    assert table.loc["group_accuracy", "component"].tolist() == ["subtask0", "subtask1"]


def test_concordance_is_whole_for_an_indicator_that_knows_and_half_for_one_that_does_not(judged: Judged):
    panel = judged.panel
    T = np.where(panel.event, panel.T, 1e9)
    values = panel.values.copy()
    values[1, ..., timing.LEVEL], values[2, ..., timing.LEVEL] = -T[:, None], 0.0
    names = [panel.series[k].measure for k in (1, 2)]
    found = {row["indicator"]: row for row in timing.orders(replace(panel, values=values), draws=50, seed=0)}
    assert found[names[0]]["concordance"] == found[names[0]]["low"] == 1
    assert found[names[1]]["concordance"] == 0.5
    told = timing.orders(replace(panel, values=values), {names[0]: -1}, draws=50, seed=0)
    assert next(row for row in told if row["indicator"] == names[0])["concordance"] == 0


# Over families


def test_the_planted_leader_leads_over_families_and_noise_does_not(results: dict):
    found = {row["indicator"]: row for row in results["across_held_out"]["indicators"]}
    assert found["lead_step"]["gain_low"] > 0
    assert found["lead_step"]["verdict"] == "leading"
    assert found["noise"]["verdict"] != "leading"
    assert found["synchronous"]["verdict"] != "leading"
    assert results["across_held_out"]["bound"] >= found["lead_step"]["gain"]
    elsewhere = found["lead_step"]["rule_coverage"]["0.05"]
    assert elsewhere["coverage"] > 0.5 > elsewhere["false"]


def test_nothing_is_leading_whose_nulls_do_not_support_it():
    row = {
        "gain_low": 0.1,
        "gain_high": 0.3,
        "p_fwer": 0.01,
        "coverage_low": 0.5,
        "false": 0.1,
        "rates": [0.05],
        "n_families": 4,
    }
    power = {"over_families": 1.0}
    assert across._verdict(row, 0.02, power)["verdict"] == "leading"
    for change in (
        {"gain_low": 0.0},
        {"p_fwer": 0.06},
        {"p_fwer": np.nan},
        {"coverage_low": 0.1},
        {"gain_low": np.nan},
        {"false": 0.6},
    ):
        assert across._verdict(row | change, 0.02, power)["verdict"] == "undetermined"
    low = row | {"gain_low": -0.01, "gain_high": 0.01}
    assert across._verdict(low, 0.02, power)["verdict"] == "not leading"
    assert across._verdict(low, 0.02, {"over_families": 0.5})["verdict"] == "undetermined"
    assert across._verdict(low, 0.02, {"over_families": np.nan})["verdict"] == "undetermined"


def test_controls_do_not_jump_and_parts_do_not_share_runs(study: Path, results: dict):
    found = results["events"]
    assert found["controls_that_jump"] == 0
    assert found["n_runs"] + found["n_controls"] == 3 * (2 * 14 + 4)
    table = rows.read_rows(study / "table")["one"]
    explore, held_out = (set(rows.of_part(table, part)["run"]) for part in rows.PARTS)
    assert not explore & held_out


def test_a_circuit_is_there_at_T_only_where_its_first_checkpoint_is_not_after_it(judged: Judged):
    panel = judged.panel
    run, T = next((panel.runs[k], panel.T[k]) for k in np.flatnonzero(panel.event))
    about = {"run": run, "model_before": np.nan, "model_after": T / 4, "strict_before": T / 2, "strict_after": 2 * T}
    found = forming.forming([judged], pd.DataFrame([about | {"formed_before": T / 4, "formed_after": T / 2}]))
    weak, strict = found
    assert (weak["before"], weak["model_by_then"], weak["n"]) == (1, 1, 1)
    assert (strict["before"], strict["perhaps"], strict["formed"]) == (0, 1, 1)


# The page


def test_the_page_is_made_of_the_results_alone(study: Path, results: dict):
    path = report(results, folder=study, protocol=study / "protocol.yaml")
    page = path.read_text()
    assert "{{" not in page
    for name in re.findall(r"\(figures/(\w+\.svg)\)", page):
        assert (study / "figures" / name).read_text().startswith("<svg")
    again = json.loads(json.dumps(results))
    again["events"]["n_events"] = 123456
    assert "123456" in text(again, read_protocol(study / "protocol.yaml"), [])
    assert page == text(
        read_results(study / "results"),
        read_protocol(study / "protocol.yaml"),
        sorted(p.stem for p in (study / "figures").glob("*")),
    )


def test_every_fill_has_a_place_and_every_place_a_fill(study: Path, results: dict):
    asked = set(re.findall(r"\{\{(\w+)\}\}", PROSE.read_text()))
    assert asked == set(fills(results, read_protocol(study / "protocol.yaml"), []))


def test_the_prose_types_no_result():
    """Digits of the prose are published numbers with their source, section numbers, arXiv ids and the 5 % of the verdicts."""
    known = {
        ".93",
        "41",
        "56",
        "74",
        ".05",
        ".10",
        ".20",
        "52–69",
        "18–31",
        "10",
        "1",
        "0.5",
        "2602.15997",
        "2605.08237",
        "2202.07785",
        "4",
    }
    body = re.sub(r"^#.*$", "", PROSE.read_text(), flags=re.MULTILINE)
    found = set(
        re.findall(r"(?<![\w.])\.?\d[\d.–]*\d|(?<![\w.])\d(?![\w])", body.replace("v0.5", "").replace("log10", ""))
    )
    assert {number.rstrip(".") for number in found} <= known | {"2022"}


@pytest.mark.slow
def test_the_same_table_gives_the_same_bytes(study: Path, results: dict):
    first = {path.name: path.read_bytes() for path in (study / "results").glob("*.json")}
    evaluate(
        table=study / "table",
        formation=study / "none",
        out=study / "again",
        protocol=study / "protocol.yaml",
        quiet=True,
    )
    assert first == {path.name: path.read_bytes() for path in (study / "again").glob("*.json")}


def test_committed_results_are_rounded():
    for path in sorted((rows.HERE / "results").glob("*.json")):
        data = json.loads(path.read_text())
        assert data == _rounded(data), f"{path.name} has numbers of more than {DIGITS} digits"


def test_figures_hold_what_they_are_given_within_their_axes():
    axis = Axis(title="x", low=0, high=1)
    drawn = rows_of_intervals(
        [Row(name="a<b", value=0.5, low=-3, high=9, group="g"), Row(name="none")], title="t", axis=axis
    )
    xs = [float(x) for x in re.findall(r"x[12]='([\d.-]+)'", drawn)]
    assert "a&lt;b" in drawn
    assert min(xs) >= 250
    assert max(xs) <= 836
    assert "polyline" in lines({"n": [(0, 0), (1, 1)]}, title="t", x=axis, y=axis)
    widths = [float(w) for w in re.findall(r"width='([\d.]+)' height='15'", stacked([("r", {"a": 0.25, "b": 0.75})], title="t", unit="u",
              colours={"a": "#111111", "b": "#222222"}))]  # fmt: skip
    assert widths[1] == pytest.approx(3 * widths[0], rel=0.01)


# Protocol and lock


def test_a_wrong_protocol_is_refused_by_name(tmp_path: Path):
    given = yaml.safe_load(PROTOCOL.read_text())
    wrong = (
        (given | {"margn": 1}, "margn"),
        (given | {"parts": {"explore": [0], "held out": [0, 1]}}, "seed 0"),
        ({key: given[key] for key in given if key != "margin"}, "margin"),
        (given | {"leads": {"permutatons": 3}}, "permutatons"),
        (given | {"families": {"f": {"targt": "x"}}}, "targt"),
    )
    for content, word in wrong:
        (tmp_path / "p.yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(InputError, match=word):
            read_protocol(tmp_path / "p.yaml")


def test_every_held_out_row_carries_a_lock_of_the_file():
    known = {name for name, _, _ in lock.locks()}
    for name, table in rows.read_rows().items():
        held = table["part"] == rows.HELD_OUT
        assert set(table.loc[held, "lock"]) <= known, f"{name}: held-out rows of no lock"
        assert set(table.loc[~held, "lock"]) <= {""}, f"{name}: exploring rows with a lock"


def test_rows_of_a_part_are_of_its_seeds():
    protocol = read_protocol()
    for family_name, table in rows.read_rows().items():
        if family_name.endswith(rows.CAUSES):
            continue  # pairs, all under the lock
        for part, seeds in protocol.parts.items():
            assert set(table.loc[table["part"] == part, "seed"]) <= set(seeds)


def test_held_out_rows_were_committed_after_their_lock():
    told = lock.out_of_order()
    if told is None:
        pytest.skip("git has no whole history here")
    assert not told


def test_rows_committed_before_their_lock_are_found(tmp_path: Path):
    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words],
            check=True,
            capture_output=True,
        )

    def commit(name: str, content: str | pd.DataFrame) -> None:
        (tmp_path / "table").mkdir(exist_ok=True)
        if isinstance(content, str):
            (tmp_path / name).write_text(content)
        else:
            content.to_parquet(tmp_path / name)
        git("add", "-A")
        git("commit", "-q", "-m", name)

    one, two = ("sha256:" + letter * 64 for letter in "ab")
    frame = pd.DataFrame({"part": ["explore", "held out"], "lock": ["", one]})
    git("init", "-q")
    commit("LOCK", f"{one} 2026-01-01\n")
    commit("table/a.parquet", frame)
    ask = {"root": tmp_path, "table": tmp_path / "table", "path": tmp_path / "LOCK"}
    assert lock.out_of_order(**ask) == []
    commit("table/b.parquet", frame.assign(lock=["", two]))
    assert "no commit adds the lock" in str(lock.out_of_order(**ask))
    commit("LOCK", f"{one} 2026-01-01\n{two} 2026-01-02 again\n")
    assert "does not come after its lock" in str(lock.out_of_order(**ask))
    assert [entry[0] for entry in lock.locks(tmp_path / "LOCK")] == [one, two]


def test_the_shortlist_alone_is_judged_under_the_lock(study: Path):
    protocol = replace(read_protocol(study / "protocol.yaml"), primary={"lead_step": "it leads"})
    table = rows.read_rows(study / "table")["one"]
    assert protocol.spec("one", table, primary=True).indicators == ("lead_step",)
    assert protocol.spec("one", table, primary=False).indicators is None


def test_interventions_are_read_by_their_family(tmp_path: Path):
    rng, made = np.random.default_rng(0), []
    step = np.unique(np.r_[0, np.geomspace(4, 1000, 40).round()])
    for seed in range(8):
        centre = 200 * 10 ** rng.normal(0, 0.1)
        for setting, factor in (("base", 1.0), ("clamp=1", 0.5), ("clamp.placebo=1", 1.0)):
            rise = 1 / (1 + (np.maximum(step, 0.5) / (centre * factor)) ** -12.0)
            made.append(pd.DataFrame({"run": f"f:d/{setting}/seed{seed}", "step": step, "task": "t", "measure": "exact_match",
                        "value": rise + 0.01 * rng.standard_normal(len(step)), "kind": "behaviour", "family": "one_causes", "size": "d",
                        "setting": f"d/{setting}", "seed": seed, "budget": 1000}))  # fmt: skip
    entry = {"one": {"target": "exact_match"}}
    protocol = replace(read_protocol(), families=entry, leads=replace(read_protocol().leads, bootstraps=300))
    found = {
        row["setting"]: row for row in causes.causes({"one_causes": read_table(pd.concat(made))}, protocol)["effects"]
    }
    assert found["clamp=1"]["verdict"] == "earlier"
    assert found["clamp=1"]["effect"] == pytest.approx(np.log10(0.5), abs=0.08)
    assert found["clamp.placebo=1"]["verdict"] == "undetermined"
    with pytest.raises(InputError, match="two"):
        causes.causes({"two_causes": read_table(pd.concat(made))}, protocol)


def test_a_changed_analysis_has_another_digest():
    found = lock.files()
    assert "experiments/study/protocol.yaml" in found
    assert "experiments/study/across.py" in found
    assert "experiments/study/drawing.py" not in found
    changed = found | {"experiments/study/protocol.yaml": "0"}
    assert lock.digest(changed) != lock.digest(found) == lock.digest(dict(reversed(found.items())))
