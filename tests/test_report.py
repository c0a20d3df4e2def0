"""The report: honest sentences, a page that loads nothing, every section that has data, and a reason for the others."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_family import BUDGET, INDICATORS, SIZES, board, circuits_of, family, onsets_of

from interp.errors import InputError
from interp.figures import style
from interp.report import (
    aligned_data,
    aligned_figure,
    behaviour_data,
    behaviour_figure,
    circuit_data,
    draw_circuit,
    draw_circuits,
    formation_data,
    formation_figure,
    headline,
    heatmap_data,
    heatmap_figure,
    jump_step_data,
    jump_step_figure,
    leads_figures,
    onset_data,
    outcomes,
    run_styles,
    trajectory_data,
    trajectory_figure,
    write_report,
)
from interp.report.formation_section import verdict_of
from interp.report.tables import jumps_table
from interp.table import read_table

TARGET = ("modular_addition", "exact_match")


@pytest.fixture(scope="module")
def grown() -> tuple[pd.DataFrame, list[dict]]:
    table, jumps = family(np.random.default_rng(0), n_steps=40)
    return read_table(table), jumps


@pytest.fixture(scope="module")
def ranked() -> dict:
    return board(np.random.default_rng(1))


@pytest.fixture(scope="module")
def page(grown, ranked, tmp_path_factory) -> Path:
    table, jumps = grown
    circuits = circuits_of(table, jumps, np.random.default_rng(2))
    out = tmp_path_factory.mktemp("page") / "report.html"
    return write_report(
        table,
        out,
        jumps=jumps,
        board=ranked,
        onsets=onsets_of(table, jumps),
        circuits=circuits,
        provenance={"configuration": "name: x\nseed: 0\n"},
        csv=True,
    )


CIRCUIT = {
    "nodes": {"L0H0": 0.2, "L0H1": -0.1, "L0.mlp": 0.5},
    "edges": {"embed->L0H0.q": 0.3, "embed->L0H0.k": 0.1, "L0H0->L0.mlp": 0.4, "L0.mlp->logits": -0.2},
}


class Tags(HTMLParser):
    """Every tag with its attributes, the ids, and the text of the JSON blocks."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[str] = []
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag == "script" and dict(attrs).get("type") == "application/json"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.blocks.append(data)

    def handle_endtag(self, tag: str) -> None:
        self.inside = False


# --- the page ---------------------------------------------------------------------------------------------------------


def test_page_loads_nothing_from_elsewhere(page):
    tags = Tags(page.read_text()).tags
    for tag, attributes in tags:
        assert tag not in ("link", "iframe", "img", "object", "embed")
        for name in ("src", "href", "data", "action", "poster"):
            assert not re.match(r"(https?:)?//", attributes.get(name) or ""), (tag, attributes)
    policy = next(a["content"] for t, a in tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert not re.search(r"@import|url\(", page.read_text().split("</style>")[0])


def test_page_has_every_section_and_is_small(page):
    found = Tags(page.read_text())
    ids = {a.get("id") for t, a in found.tags if t == "section"}
    assert ids >= {"behaviour", "aligned", "components", "when", "formed", "leads", "circuit", "jumps", "provenance"}
    assert page.stat().st_size < 8e6
    figures = {a["id"] for t, a in found.tags if t == "div" and a.get("class") == "figure"}
    assert figures >= {
        "fig-behaviour",
        "fig-aligned",
        "fig-heatmap",
        "fig-jump-step",
        "fig-gain",
        "fig-onsets",
        "fig-coverage",
        "fig-formation",
        "fig-formation-course",
        "fig-circuit",
    }
    specs = [json.loads(block) for block in found.blocks]
    assert len(specs) == len(figures)
    assert all(spec["data"] and not spec["config"]["displaylogo"] for spec in specs)
    links = [a["href"][1:] for t, a in found.tags if t == "a"]
    assert set(links) - {"content"} == ids - {None}


def test_csv_holds_what_the_figures_draw(page, grown):
    folder = page.with_name("report_data")
    behaviour = pd.read_csv(folder / "behaviour.csv")
    table = grown[0]
    assert len(behaviour) == (table["kind"] == "behaviour").sum()
    assert {"aligned.csv", "components.csv", "jump_step.csv", "leads.csv", "onsets.csv", "jumps.csv"} <= {
        f.name for f in folder.iterdir()
    }


def test_names_cannot_become_markup(tmp_path):
    bad = '<img src=x onerror=alert(1)></script><script>alert("&")</script>'
    table, jumps = family(np.random.default_rng(0), seeds=1, n_steps=12)
    for name in ("run", "task", "setting", "size", "family"):
        table[name] = table[name] + bad
    table["component"] = [name + bad if name else name for name in table["component"]]
    for record in jumps:
        for name in ("run", "task", "setting", "reason"):
            record[name] += bad
    rows = board(np.random.default_rng(0))
    for row in [*rows["leaderboard"], *rows["hindsight"], *rows["baselines"]]:
        row["reason"] += bad
        row["task"] += bad
        row["indicator"] += bad
    failures = {"configuration": bad, bad: bad}
    circuits = circuits_of(table, jumps, np.random.default_rng(0))
    for trajectory in circuits.values():
        for circuit in trajectory.values():
            circuit["edges"].append([f"embed{bad}->L0H1.q", 9.0, True])
            circuit["formation"]["roles"][bad] = [bad, 0.5]
    out = write_report(
        table,
        tmp_path / "x.html",
        jumps=jumps,
        board=rows,
        onsets=onsets_of(table, jumps),
        circuits=circuits,
        provenance=failures,
    )
    text = out.read_text()
    clean = write_report(grown_small(), tmp_path / "y.html", jumps=None, board=None, onsets=None).read_text()
    assert "<img" not in text.replace(_library(text), "")
    assert text.count("<script") - len(Tags(text).blocks) == clean.count("<script") - len(Tags(clean).blocks)
    for block in Tags(text).blocks:
        json.loads(block)


def _library(text: str) -> str:
    """plotly.js in the page, which names tags of its own."""
    return max(re.findall(r"<script>(.*?)</script>", text, flags=re.S), key=len)


def grown_small() -> pd.DataFrame:
    table, _ = family(np.random.default_rng(0), seeds=1, n_steps=12)
    return table


def test_report_imports_no_torch():
    code = "import sys, interp.report; assert not {'torch', 'transformer_lens', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_table_in_memory_needs_a_path():
    with pytest.raises(InputError, match=r"write_report\(table"):
        write_report(grown_small())


# --- tables that came from elsewhere ----------------------------------------------------------------------------------


def _bare(n_runs: int = 2) -> pd.DataFrame:
    """The required columns only."""
    step = np.array([0, 1, 2, 4, 8, 16, 32])
    return pd.concat(
        [
            pd.DataFrame({"run": f"r{i}", "step": step, "task": "lambada", "measure": "accuracy", "value": step / 64})
            for i in range(n_runs)
        ]
    )


@pytest.mark.parametrize("n_runs", [1, 2])
def test_behaviour_only_table(tmp_path, n_runs):
    path = tmp_path / "log.csv"
    _bare(n_runs).to_csv(path, index=False)
    out = write_report(path, jumps=None, board=None, onsets=None)
    assert out == tmp_path / "log.report.html"
    text = out.read_text()
    ids = {a.get("id") for t, a in Tags(text).tags if t == "section"}
    assert "behaviour" in ids
    assert not {"aligned", "components", "leads", "circuit"} & ids
    assert "the table holds behaviour only, no indicators" in text
    assert "Jumps have not been looked for" in text


def test_nan_values_one_checkpoint_and_undetermined(tmp_path):
    table = _bare(1).iloc[:1].assign(value=np.nan)
    record = {
        "run": "r0",
        "task": "lambada",
        "measure": "accuracy",
        "kind": "undetermined",
        "reason": "too few checkpoints",
    }
    text = write_report(table, tmp_path / "x.html", jumps=[record], board=None, onsets=None).read_text()
    assert "too few checkpoints" in text
    assert headline(table, [record]) == "One checkpoint a run, so no jump can be judged: accuracy on lambada is –."
    assert "NaN" not in "".join(Tags(text).blocks)


def test_indicators_without_any_jump(tmp_path, grown):
    table, jumps = grown
    flat = [{**record, "kind": "none", "step_before": None, "step_after": None} for record in jumps]
    text = write_report(table, tmp_path / "x.html", jumps=flat, board=None, onsets=None).read_text()
    ids = {a.get("id") for t, a in Tags(text).tags if t == "section"}
    assert "aligned" not in ids
    assert {"behaviour", "components", "when"} <= ids
    assert "there is no jump to align on" in text


# --- the headline -----------------------------------------------------------------------------------------------------


def _with(jumps: list[dict], change) -> list[dict]:
    return [{**r, **(change(r) or {})} for r in jumps]


NOTHING = {"kind": "none", "step_before": None, "step_after": None, "midpoint": None, "width_decades": None}


def test_headline_of_a_family_that_jumps(grown, ranked):
    table, jumps = grown
    sentence = headline(table, jumps, ranked)
    assert sentence.startswith("9 of 9 runs jumped: exact match rose from ")
    assert "to 100 %" in sentence
    assert "none of the 3 controls jumped" in sentence
    assert "1 indicator of 13 is called leading: gini embed" in sentence
    found = outcomes(table, jumps, *TARGET)
    steps = found.loc[found["jumped"], ["step_before", "step_after"]].median()
    assert f"between steps {style.number(steps.iloc[0])} and {style.number(steps.iloc[1])} (medians)" in sentence


def test_headline_names_the_earliest_repeating_mover(grown):
    table, jumps = grown
    onsets = onsets_of(table, jumps)
    medians = onsets[onsets["online"]].groupby("indicator")["lead"].median()
    sentence = headline(table, jumps, onsets=onsets)
    assert f"earliest mover that repeats across runs: {style.pretty(medians.idxmax())} " in sentence
    assert "ahead in 9 of 9)" in sentence
    assert "leads have not been ranked" in sentence


def test_headline_warns_where_the_mover_also_moves_without_a_jump(grown):
    onsets = onsets_of(*grown)
    first = onsets[onsets["online"]].groupby("indicator")["lead"].median().idxmax()
    onsets.loc[(onsets["indicator"] == first) & ~onsets["event"], "onset"] = 100.0
    assert "but it also moves in 3 of the 3 that did not jump" in headline(*grown, onsets=onsets)


def test_headline_says_where_nothing_moves_first(grown):
    onsets = onsets_of(*grown)
    onsets["lead"] = -onsets["lead"].abs()
    assert "no indicator's own onset comes before the jump" in headline(*grown, onsets=onsets)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda r: NOTHING, "None of the 9 runs jumped: exact match went from"),
        (lambda r: NOTHING if "seed0" not in r["run"] else None, "3 of 9 runs jumped"),
        (lambda r: {**NOTHING, "kind": "undetermined", "reason": "few"}, "(9 could not be judged)"),
        (lambda r: {**NOTHING, "kind": "artefact"}, "9 changed only as an artefact of the measure"),
        (lambda r: {"kind": "spike"}, "9 showed only a spike"),
        (lambda r: {"magnitude": 0.05} if r["measure"] == "exact_match" else None, "None of the 9 runs jumped"),
        (lambda r: {"magnitude": -0.9} if r["measure"] == "exact_match" else None, "None of the 9 runs jumped"),
    ],
)
def test_headline_follows_the_records(grown, change, expected):
    table, jumps = grown
    assert expected in headline(table, _with(jumps, change))


def test_headline_of_one_run(grown):
    table, jumps = grown
    run = table["run"].iloc[0]
    sentence = headline(table[table["run"] == run], [r for r in jumps if r["run"] == run])
    assert sentence.startswith("1 of 1 runs jumped: exact match rose from")
    assert "medians" not in sentence
    assert "control" not in sentence


def test_headline_of_several_tasks(grown):
    table, jumps = grown
    other = table[table["measure"] == "exact_match"].assign(task="copying")
    sentence = headline(pd.concat([table, other]), jumps)
    assert "exact match on modular_addition rose" in sentence
    assert "other tasks: copying 0 of 12" in sentence


@pytest.mark.parametrize(
    ("leading", "reason", "expected"),
    [
        (False, "gain interval includes 0", "no indicator is called leading (because gain interval includes 0)"),
        (
            None,
            "too few events",
            "whether any indicator leads cannot be told from these runs (because too few events)",
        ),
        (True, "", "13 indicators of 13 are called leading"),
    ],
)
def test_headline_of_the_board(grown, ranked, leading, reason, expected):
    table, jumps = grown
    rows = [{**row, "leading": leading, "reason": reason} for row in ranked["leaderboard"]]
    assert expected in headline(table, jumps, {"leaderboard": rows})


def test_controls_that_jump_are_told(grown):
    table, jumps = grown
    settings = sorted({s for s in table["setting"] if "control" not in s})
    sentence = headline(table, jumps, controls=settings)
    assert "9 of the 9 controls jumped" in sentence


# --- data of the figures ----------------------------------------------------------------------------------------------


def test_run_styles_order_sizes_and_grey_controls(grown):
    looks = run_styles(grown[0])
    ordered = list(dict.fromkeys(look.label for look in sorted(looks.values(), key=lambda look: look.order)))
    assert ordered[:3] == list(SIZES)
    assert all("control" in label for label in ordered[3:])
    assert {look.colour for look in looks.values() if look.control} == {style.GREY}
    plain = {look.label: look.colour for look in looks.values() if not look.control}
    assert len(set(plain.values())) == 3


def test_sizes_are_ordered_by_number_where_parameters_are_unknown():
    sizes = ["12b", "70m", "1.4b", "160m"]
    table = pd.concat([_bare(1).assign(run=s, size=s, setting=s) for s in sizes])
    looks = run_styles(table)
    assert sorted(sizes, key=lambda s: looks[s].order) == ["70m", "160m", "1.4b", "12b"]


def test_labels_leave_out_the_size_and_what_all_runs_share():
    table = pd.concat([_bare(1).assign(run=s, size=s, setting=f"pythia-v1-{s}-deduped") for s in ("70m", "1b")])
    assert {look.label for look in run_styles(table).values()} == {"70m", "1b"}
    twice = pd.concat([table, table.assign(run=table["run"] + "b", setting=table["setting"] + "/wd0")])
    expected = {"70m", "1b", "70m pythia-v1-deduped wd0", "1b pythia-v1-deduped wd0"}
    assert {look.label for look in run_styles(twice).values()} == expected


@pytest.mark.parametrize("name", ["shuffled", "no_decay", "no-weight-decay", "little_data", "control", "few examples"])
def test_controls_are_known_by_their_names(name):
    table = pd.concat(
        [_bare(1).assign(size="d32", setting="d32/base"), _bare(1).assign(run="c", size="d32", setting=f"d32/{name}")]
    )
    looks = run_styles(table)
    assert looks["c"].control
    assert not looks["r0"].control
    assert not run_styles(table, controls=[])["c"].control


@pytest.mark.parametrize("seed", range(3))
def test_step_zero_stands_half_a_first_step_and_order_is_kept(seed):
    rng = np.random.default_rng(seed)
    steps = np.unique(np.r_[0, rng.integers(1, 10_000, 20)])
    zero = style.zero_place(steps)
    places = style.placed(steps, zero)
    assert places[0] == steps[1] / 2
    assert (np.diff(places) > 0).all()
    axis = style.step_axis(steps)
    assert axis["ticktext"][0] == "0"
    assert axis["tickvals"][0] == zero
    assert axis["range"][0] < np.log10(zero) < np.log10(steps[-1]) < axis["range"][1]


def test_aligned_indicator_equals_its_closed_form():
    """A run whose indicator is a sigmoid in log(step/T) comes out as that sigmoid, whatever T and scale."""
    steps = np.unique(np.geomspace(1, 30_000, 400).round())
    rows, jumps = [], []
    for i, at in enumerate((200.0, 700.0)):
        x = np.log(steps / steps[np.abs(steps - at).argmin()])
        common = {"run": f"r{i}", "task": "t", "step": steps}
        wave = 1 / (1 + np.exp(-6 * x))
        rows.append(pd.DataFrame({**common, "measure": "accuracy", "kind": "behaviour", "value": wave}))
        rows.append(pd.DataFrame({**common, "measure": "norm", "kind": "indicator", "value": 3 - 10**i * wave}))
        at = float(steps[np.abs(steps - at).argmin()])
        common = {"run": f"r{i}", "task": "t", "measure": "accuracy", "kind": "abrupt", "magnitude": 1}
        jumps.append({**common, "step_before": at, "step_after": 2 * at})
    data = aligned_data(pd.concat(rows), jumps)
    norm = data[data["indicator"] == "norm"]
    expected = 1 - 1 / (1 + norm["x"] ** -6.0)
    np.testing.assert_allclose(norm["median"], expected, atol=0.01)
    assert (norm["n"] == 2).all()


def test_aligned_uses_only_runs_that_jumped(grown):
    table, jumps = grown
    data = aligned_data(table, jumps)
    assert data["n"].max() == 9
    assert set(data["indicator"]) == {*INDICATORS, "exact_match"}
    assert set(data.loc[~data["online"], "indicator"]) == {"restricted_loss", "excluded_loss"}


def test_heatmap_data_keeps_every_effect_and_sums_positions(grown):
    table = grown[0]
    data = heatmap_data(table)
    assert data["value"].sum() == pytest.approx(table.loc[table["measure"] == "patching", "value"].sum())
    assert set(data["part"]) == {"H0", "H1", "H2", "H3", "mlp"}
    halves = table[table["measure"] == "patching"]
    split = pd.concat([halves.assign(position=str(p), value=halves["value"] / 2) for p in range(2)])
    pd.testing.assert_frame_equal(heatmap_data(split), data)


def test_heatmap_slider_shows_the_grid_of_each_step(grown):
    table, jumps = grown
    figure = heatmap_figure(table, jumps)
    run = figure.layout.updatemenus[0].buttons[0].label
    data = heatmap_data(table)
    part = data[data["run"] == run]
    steps = sorted(part["step"].unique())
    sliders = figure.layout.sliders[0].steps
    assert len(sliders) == len(steps)
    for place in (0, len(steps) // 2, len(steps) - 1):
        grid = sliders[place].args[0]["z"][0]
        now = part[part["step"] == steps[place]].set_index("component")["value"]
        assert grid[1][4] == pytest.approx(now["L1.mlp"], rel=5e-3)
        assert grid[0][3] == pytest.approx(now["L0H3"], rel=5e-3)


def test_jump_steps_are_the_records_and_the_rest_is_censored(grown):
    table, jumps = grown
    data = jump_step_data(table, jumps)
    known = {r["run"]: r for r in jumps if r["measure"] == "exact_match"}
    assert len(data) == 12
    for row in data.itertuples():
        assert row.jumped == (known[row.run]["kind"] in ("abrupt", "gradual"))
        if row.jumped:
            assert (row.step_before, row.step_after) == (known[row.run]["step_before"], known[row.run]["step_after"])
        assert row.budget == BUDGET


def test_onsets_found_agree_with_the_truth():
    """The detector's onsets of a small family lie near the known ones, censored runs are kept, heads are left out."""
    table, jumps = family(np.random.default_rng(3), seeds=1, n_steps=30)
    kept = ["exact_match", "gini_embed", "restricted_loss", "patching"]
    found = onset_data(table[table["measure"].isin(kept)])
    assert set(found["indicator"]) == {"gini_embed", "restricted_loss"}
    assert found.groupby("event")["run"].nunique().to_dict() == {True: 3, False: 3}
    truth = onsets_of(table, jumps).set_index(["run", "indicator"])
    moved = found[found["event"]].set_index(["run", "indicator"])
    error = np.log(moved["onset"] / truth["onset"].reindex(moved.index))
    assert error.abs().max() < 0.6


@pytest.mark.parametrize("draw", [behaviour_figure, jump_step_figure, heatmap_figure, aligned_figure])
def test_figures_stand_alone(grown, draw):
    figure = draw(*grown)
    assert len(figure.data) > 0
    json.loads(figure.to_json())


def test_behaviour_selector_shows_one_measure_at_a_time(grown):
    figure = behaviour_figure(*grown)
    buttons = figure.layout.updatemenus[0].buttons
    assert buttons[0].label == "modular_addition: exact match"
    visible = np.array([button.args[0]["visible"] for button in buttons])
    assert (visible.sum(axis=0) == 1).all()
    assert len(buttons) == 5


@pytest.mark.parametrize("n", [1, 2, 3, 4, 30])
def test_the_label_of_the_jump_rows_fits_beside_them(n):
    steps = np.arange(1, 40)
    rows = [
        pd.DataFrame({"run": f"r{i}", "step": steps, "task": "t", "measure": "accuracy", "value": steps / 40})
        for i in range(n)
    ]
    layout = behaviour_figure(pd.concat(rows)).layout
    label = next(note for note in layout.annotations if note.text.startswith("jump"))
    plot = layout.height - layout.margin.t - layout.template.layout.margin.b
    strip = plot * (layout.yaxis2.domain[1] - layout.yaxis2.domain[0])
    n_lines = label.text.count("<br>") + 1
    assert (label.yref, label.textangle, layout.yaxis2.title.text) == ("y2 domain", None, None)
    assert 1.3 * label.font.size * n_lines <= strip


def test_baselines_are_told_apart(ranked):
    figure = leads_figures(ranked)["coverage"]
    looks = [(line.line.color, line.line.dash, line.marker.symbol) for line in figure.data if line.showlegend]
    assert sum("baseline" in str(line.name) for line in figure.data if line.showlegend) > 1
    assert len(looks) == len(set(looks))


@pytest.mark.parametrize(("n_events", "shown"), [(1, False), (9, False), (10, True), (40, True)])
def test_ranks_of_too_few_events_are_not_shown(ranked, grown, tmp_path, n_events, shown):
    row = {**ranked["leaderboard"][0], "auroc": 0.8125, "concordance": 0.9375, "n_events": n_events}
    told = {**ranked, "leaderboard": [row], "hindsight": [], "baselines": []}
    text = write_report(grown_small(), tmp_path / "x.html", jumps=[], board=told, onsets=None).read_text()
    assert ((">0.81<" in text), (">0.94<" in text)) == (shown, shown)
    assert ("not shown where fewer than 10 runs jump" in text) is not shown


def test_the_jumps_name_their_task_where_there_are_several(grown):
    jumps = grown[1]
    assert ">task<" not in jumps_table(jumps)
    assert ">task<" in jumps_table([*jumps, {**jumps[0], "task": "another"}])


def test_large_tables_are_thinned():
    n = 300
    steps = np.arange(1, 40)
    rows = [
        pd.DataFrame({"run": f"r{i}", "step": steps, "task": "t", "measure": "accuracy", "value": steps / 40})
        for i in range(n)
    ]
    assert len(behaviour_figure(pd.concat(rows)).to_json()) < 1e6
    assert behaviour_data(pd.concat(rows))["run"].nunique() == n


def test_board_pictures_need_their_data(ranked):
    assert set(leads_figures(ranked)) == {"gain", "coverage"}
    assert leads_figures(None) == {}
    points = [{"step": s, "predicted": 900, "low": 500, "high": 2000, "p_next": 0.2} for s in (100, 200, 400)]
    assert set(leads_figures(None, forecast={"points": points})) == {"forecast"}


# --- when circuits formed ---------------------------------------------------------------------------------------------


def _at(share: float, grown) -> tuple[pd.DataFrame, dict, list[dict]]:
    table, jumps = grown
    circuits = circuits_of(table, jumps, np.random.default_rng(5), share=share)
    return formation_data(circuits, table, jumps), circuits, jumps


@pytest.mark.parametrize(("share", "order"), [(0.5, "before"), (2.0, "after")])
def test_a_formation_is_dated_where_it_is_and_set_against_the_jump(grown, share, order):
    found, circuits, jumps = _at(share, grown)
    known = {r["run"]: r for r in jumps if r["measure"] == "exact_match"}
    assert len(found) == 12
    for row in found.itertuples():
        jump = known[row.run]
        if jump["step_before"] is None:
            assert np.isnan([row.formed_after, row.band_after, row.jump_after, row.lead_steps]).all()
            continue
        steps = sorted(circuits[(row.run, row.task)])
        truth = share * jump["step_before"]
        place = np.searchsorted(steps, truth)
        assert abs(steps.index(row.formed_after) - place) <= 1
        assert steps.index(row.formed_after) == steps.index(row.formed_before) + 1
        assert row.band_before <= row.formed_before < row.formed_after <= row.band_after
        assert row.declared_at == steps[steps.index(row.formed_after) + 1]
        assert (row.edges, row.total_edges, row.n_prompts) == (3, 6, 64)
        assert (row.jump_before, row.jump_after) == (jump["step_before"], jump["step_after"])
        assert row.lead_steps == row.jump_before - row.formed_after
        assert (row.lead_steps > 0) == (order == "before")


def test_a_replacement_is_told_where_the_circuit_before_no_longer_carries(grown):
    """The last three checkpoints carry all prompts; at the middle one of them the circuit before carries none, or all."""
    table, jumps = grown
    for kept, replaced in ((0, 1), (1, 0)):
        circuits = circuits_of(table, jumps, np.random.default_rng(5), share=0.5)
        (run, _), trajectory = next(iter(circuits.items()))
        *early, first, second, last = sorted(trajectory)
        for step in early:
            trajectory[step]["formation"] |= {"carried": [0] * 64, "inherited": [0] * 64}
        for step in (first, second, last):
            trajectory[step]["formation"] |= {"carried": [1] * 64, "inherited": [kept if step == second else 1] * 64}
        data = formation_data(circuits, table, jumps)
        found = data.set_index("run")
        row = found.loc[run]
        assert row["replaced"] == replaced
        assert (row["replaced_before"], row["replaced_after"]) == (first, second) or not replaced
        assert found["replaced"].drop(run).isna().all()  # there it was not stored
        assert ("another circuit took over the same prompts" in verdict_of(data)) == bool(replaced)


def test_the_page_says_which_came_first_and_no_more(grown, tmp_path):
    table, jumps = grown
    for share, told in ((0.5, "rose in 9, after the jump in 0; in 0"), (3.0, "rose in 0, after the jump in 8; in 1")):
        circuits = circuits_of(table, jumps, np.random.default_rng(5), share=share)
        options = {"jumps": jumps, "board": None, "onsets": None, "circuits": circuits}
        text = write_report(table, tmp_path / "x.html", **options).read_text()
        assert "The circuit formed in 9 of 12 runs." in text
        assert told in text


def test_what_happens_later_does_not_change_what_is_said(grown):
    """Formations from the checkpoints up to the one at which they were declared are the same."""
    found, circuits, jumps = _at(0.5, grown)
    for row in found[found["formed_after"].notna()].itertuples():
        known = {step: c for step, c in circuits[(row.run, row.task)].items() if step <= row.declared_at}
        then = formation_data({(row.run, row.task): known}, grown[0], jumps).iloc[0]
        assert (then["formed_before"], then["formed_after"]) == (row.formed_before, row.formed_after)


def test_trajectories_are_what_was_stored(grown):
    table, jumps = grown
    circuits = circuits_of(table, jumps, np.random.default_rng(1))
    late = table[table["measure"] == "weight_norm"].assign(measure="final_circuit", online=False)
    data = trajectory_data(circuits, pd.concat([table, late], ignore_index=True))
    (run, task), trajectory = next(iter(circuits.items()))
    own = data[(data["run"] == run) & (data["task"] == task)].set_index(["quantity", "step"])["value"]
    steps = sorted(trajectory)
    for step in steps:
        trial = trajectory[step]["formation"]
        assert own[("carried", step)] == np.mean(trial["carried"])
        assert own[("role: induction", step)] == trial["roles"]["induction"][1]
        assert own[("noise_floor", step)] == trial["noise_floor"]
    assert np.isnan(own[("similarity", steps[0])])
    assert own["similarity"].iloc[-1] > 0.8
    assert own["edges"].iloc[-1] == 0.5
    behaviour = table[(table["run"] == run) & (table["measure"] == "exact_match")].set_index("step")["value"]
    assert own["behaviour"].to_dict() == behaviour.to_dict()
    assert set(data.loc[~data["online"].astype(bool), "quantity"]) == {"final_circuit"}


def test_the_selector_shows_one_run_and_its_bands(grown):
    found, circuits, _ = _at(0.5, grown)
    data = trajectory_data(circuits, grown[0])
    figure = trajectory_figure(data, found, grown[0])
    buttons = figure.layout.updatemenus[0].buttons
    assert len(buttons) == 12
    visible = np.array([button.args[0]["visible"] for button in buttons])
    assert (visible.sum(axis=0) == 1).all()
    formed = found.set_index("run")
    for button in buttons:
        spans = [shape for shape in button.args[1]["shapes"] if shape["type"] == "rect"]
        assert len(spans) == 3 * (0 if np.isnan(formed.loc[button.label, "formed_after"]) else 2)
    json.loads(figure.to_json())


def test_every_run_has_a_bar_or_a_triangle_for_formation_and_jump(grown):
    found, _, _ = _at(0.5, grown)
    figure = formation_figure(found, grown[0])
    for name in ("circuit formed", "behaviour jumped"):
        bars, still = (trace for trace in figure.data if trace.legendgroup == name)
        assert (len(bars.x) // 3, len(still.x)) == (9, 3)


def test_circuits_that_were_not_tried_have_no_formation(grown, tmp_path):
    run = grown[0]["run"].iloc[0]
    circuits = {(run, TARGET[0]): {0.0: CIRCUIT, 500.0: CIRCUIT}, ("elsewhere", TARGET[0]): {0.0: CIRCUIT}}
    assert formation_data(circuits, *grown).empty
    options = {"jumps": grown[1], "board": None, "onsets": None, "circuits": circuits}
    text = write_report(grown[0], tmp_path / "x.html", **options).read_text()
    assert "were not tried on other prompts" in text
    assert "elsewhere" not in text.replace(_library(text), "").replace("from\nelsewhere", "")


# --- the drawing ------------------------------------------------------------------------------------------------------


def test_circuit_forms_are_the_same_drawing():
    """Ours by name, ours in the graph's order with edges that are out, and the EAP-IG form name the same circuit."""
    ordered = {
        "graph": {"n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "mlps": True},
        "nodes": [None, 0.2, -0.1, 0.5],
        "edges": [[name, score, True] for name, score in CIRCUIT["edges"].items()] + [["embed->logits", 9.0, False]],
    }
    peer = {
        "nodes": {},
        "edges": {
            "input->a0.h0<q>": {"score": 0.3, "in_graph": True},
            "input->a0.h0<k>": {"score": 0.1, "in_graph": True},
            "a0.h0->m0": {"score": 0.4, "in_graph": True},
            "m0->logits": {"score": -0.2, "in_graph": True},
            "input->logits": {"score": 9.0, "in_graph": False},
        },
    }
    ours = circuit_data(CIRCUIT)
    pd.testing.assert_frame_equal(circuit_data(ordered), ours)
    edges = ours[ours["kind"] == "edge"].reset_index(drop=True)
    pd.testing.assert_frame_equal(circuit_data(peer), edges)


def test_scores_without_a_choice_are_all_drawn():
    edges = [["embed->L0H0.q", 0.5, False], ["L0H0->logits", 0.1, False]]
    assert len(circuit_data({"edges": edges})) == 2


def test_shared_keys_and_values_are_nodes_of_their_own():
    graph = {"n_layers": 1, "n_heads": 4, "n_kv_heads": 2}
    edges = {"embed->L0H1.k": 1.0, "embed->L0H1.q": 0.5, "L0H3->logits": 1.0}
    nodes = draw_circuit({"graph": graph, "edges": edges}).data[-1]
    place = {text.split(":")[0]: (x, y) for text, x, y in zip(nodes.hovertext, nodes.x, nodes.y, strict=True)}
    assert place["L0.kv1"][0] == 2.5
    assert place["embed"][1] < place["L0.kv1"][1] < place["L0H1"][1]


def test_layers_go_up_and_heads_across():
    edges = {f"L{a}H{h}->L{a + 1}H{g}.v": 1.0 for a in range(3) for h in range(2) for g in range(2)}
    edges |= {"embed->L0H0.q": 1.0, "L3H1->L3.mlp": 1.0, "L3.mlp->logits": 1.0}
    nodes = draw_circuit({"edges": edges}).data[-1]
    place = {text.split(":")[0]: (x, y) for text, x, y in zip(nodes.hovertext, nodes.x, nodes.y, strict=True)}
    assert [place[f"L{a}H0"][1] for a in range(4)] == sorted(place[f"L{a}H0"][1] for a in range(4))
    assert place["L2H0"][0] < place["L2H1"][0]
    assert place["embed"][1] < place["L0H0"][1] < place["L3.mlp"][1] < place["logits"][1]


def test_edge_width_grows_with_the_score_and_colour_tells_the_sign():
    figure = draw_circuit({"edges": {"embed->L0H0": 1.0, "embed->L0H1": 0.05, "embed->L0H2": -1.0}})
    drawn = {(t.line.color, t.line.width) for t in figure.data[:-2] if t.x and t.x[0] is not None}
    widths = sorted(width for colour, width in drawn if colour == style.HELPS)
    assert len(widths) == 2
    assert widths[1] > 3 * widths[0]
    assert (style.HURTS, widths[1]) in drawn


def test_a_trajectory_has_a_slider_on_one_scale():
    small = {"edges": {"embed->L0H0": 0.1}}
    large = {"edges": {"embed->L0H0": 1.0, "L0H0->logits": 0.5}}
    figure = draw_circuit({10: small, 200: large}, marks={200: "after the jump"})
    steps = figure.layout.sliders[0].steps
    assert [step.label for step in steps] == ["10", "200 (after the jump)"]
    for step in steps:
        assert len(step.args[0]["x"]) == len(figure.data)
    assert json.loads(json.dumps(figure.to_plotly_json(), default=str))


def test_a_selector_of_runs_shows_the_last_step_of_each_on_one_scale():
    small = {10: {"edges": {"embed->L0H0.q": 0.1}}, 20: {"edges": {"embed->L0H0.q": 0.2}}}
    large = {5: {"edges": {"embed->L0H0.q": 0.5, "L0H0->L1H1.v": 2.0}}, 9: {"edges": {"L0H0->L1H1.v": 4.0}}}
    figure = draw_circuits({"one": small, "two": large}, marks={"two": {9: "after the jump"}})
    one, two = figure.layout.updatemenus[0].buttons
    assert [button.label for button in (one, two)] == ["one", "two"]
    assert [step["label"] for step in two.args[1]["sliders"][0]["steps"]] == ["5", "9 (after the jump)"]
    for button, trajectory in ((one, small), (two, large)):
        alone = [trace.x for trace in draw_circuit({0: {"edges": {"embed->L0H0.q": 4.0}}, **trajectory}).data]
        assert list(button.args[0]["x"][-2]) == list(alone[-2])
        assert len(button.args[0]["x"]) == len(figure.data) == len(alone)
        assert json.loads(json.dumps(button.args[1], default=list))["sliders"][0]["active"] == len(trajectory) - 1
    widths = [trace.line.width for trace in figure.data[2:-2] if trace.x]
    assert widths == [1.4]  # a twentieth of the largest score of both


@pytest.mark.parametrize("wrong", [{}, {"scores": 1}, {"edges": {}, "nodes": {}}])
def test_what_is_no_circuit_is_refused(wrong):
    with pytest.raises(InputError, match="circuit"):
        draw_circuit(wrong)


def test_many_edges_are_thinned_to_the_strongest():
    rng = np.random.default_rng(0)
    edges = {
        f"L{a}H{h}->L{a + 1}H{g}.q": float(rng.standard_normal()) for a in range(8) for h in range(8) for g in range(8)
    }
    hover = draw_circuit({"edges": edges}, max_edges=20).data[-2]
    assert len(hover.x) == 20
    shown = {text.split(": ")[0].replace(" → ", "->") for text in hover.text}
    assert shown == set(sorted(edges, key=lambda e: -abs(edges[e]))[:20])


# --- scales, names, and what moves ------------------------------------------------------------------------------------


def test_one_run_far_above_the_others_does_not_wash_them_out():
    assert style.end_of_scale([60.0] * 11 + [200.0]) == 60
    assert style.end_of_scale([0.02] * 11 + [1.0]) == 0.1  # most runs show nothing: their noise does not fill the scale
    assert style.end_of_scale([3.0]) == 3
    assert style.end_of_scale([]) == 1
    sizes = np.random.default_rng(0).exponential(size=20)
    assert style.end_of_scale(7 * sizes) == pytest.approx(7 * style.end_of_scale(sizes))
    calm = {"graph": {"n_layers": 1, "n_heads": 1, "n_kv_heads": 1, "mlps": False}, "nodes": None,
            "edges": [["embed->L0H0.q", 60.0, True]]}  # fmt: skip
    wild = {**calm, "edges": [["embed->L0H0.q", 200.0, True]]}
    figure = draw_circuits({**{f"run {i}": calm for i in range(11)}, "far": wild})
    assert len(_widest(figure).x) > 0  # a typical run's strongest edge is drawn as wide as there is


def _widest(figure):
    lines = [trace for trace in figure.data if trace.mode == "lines" and trace.x is not None and len(trace.x) > 2]
    return max(lines, key=lambda trace: trace.line.width)


@pytest.mark.parametrize("name", ["short", "a" * 33, "family/with a setting that says everything/d24/seed17"])
def test_a_long_name_keeps_its_end(name):
    shown = style.shortened(name)
    assert len(shown) <= 32
    whole = len(name) <= 32
    assert (shown == name) is whole
    assert whole or name.endswith(shown.partition("…")[2])


def test_the_behaviour_below_a_circuit_follows_its_slider(grown):
    table, jumps = grown
    circuits = circuits_of(table, jumps, np.random.default_rng(0))
    (run, _), trajectory = next(iter(circuits.items()))
    part = table[(table["run"] == run) & (table["measure"] == "exact_match")].sort_values("step")
    figure = draw_circuits({run: trajectory}, beside={run: (part["step"], part["value"])}, beside_title="exact match")
    line, curve = figure.data[-2:]
    np.testing.assert_allclose(curve.y, part["value"], rtol=1e-6)
    zero = style.zero_place(part["step"])
    steps = sorted(trajectory)
    assert list(line.x) == [steps[-1]] * 2
    for step, entry in zip(steps, figure.layout.sliders[0].steps, strict=True):
        data, moved = entry.args
        assert len(moved) == len(figure.data) - 1  # the curve stays
        assert list(data["x"][-1]) == [step or zero] * 2
    with_none = draw_circuits({run: trajectory})
    assert len(with_none.data) == len(figure.data) - 2


def test_every_section_s_heading_answers_its_question(page, grown):
    text = page.read_text()
    heads = re.findall(
        r'<section id="(\w+)" aria-labelledby="[\w-]+"><p class="asks">(.*?)</p><h2 id="[\w-]+">(.*?)</h2>', text
    )
    assert {place for place, _, _ in heads} >= {
        "behaviour",
        "aligned",
        "components",
        "when",
        "formed",
        "leads",
        "circuit",
    }
    assert all(asks.endswith("?") for _, asks, _ in heads)
    said = {place: answer for place, _, answer in heads}
    jumped = sum(record["measure"] == "exact_match" and record["kind"] in ("abrupt", "gradual") for record in grown[1])
    assert said["behaviour"].startswith(f"{jumped} of 12 runs jumped")
    assert said["components"].startswith("L1.mlp, L1H1")  # the strongest by construction
    assert "L0H1 → L1H0.k" in said["circuit"]


def test_the_page_can_be_reached_by_keyboard_and_printed(page):
    text = page.read_text()
    assert '<a class="skip" href="#content">' in text
    assert '<main id="content">' in text
    assert "@media print" in text
    tags = Tags(text).tags
    assert all(a.get("aria-label") for t, a in tags if t == "div" and a.get("class") == "figure")


def test_the_behaviour_figure_holds_so_many_points_and_no_more(grown, monkeypatch):
    table, jumps = grown
    whole = behaviour_figure(table, jumps)
    monkeypatch.setattr("interp.report.behaviour.MAX_POINTS", 2 * (table["measure"] == "exact_match").sum())
    assert len(behaviour_figure(table, jumps).layout.updatemenus[0].buttons) == 2
    assert len(whole.layout.updatemenus[0].buttons) == 5


def test_many_entries_are_cut_and_the_jumps_kept(grown, tmp_path, monkeypatch):
    table, jumps = grown
    monkeypatch.setattr("interp.report.sections.MAX_ENTRIES", 20)
    page = write_report(table, tmp_path / "cut.html", jumps=jumps, board=None, onsets=None).read_text()
    rows = page.split('<section id="jumps"')[1].split("<tbody>")[1].split("</tbody>")[0]
    assert rows.count("<tr") == rows.count("class=mark") == 20
    assert "20 are shown, jumps first" in page


def test_an_even_choice_of_dots_leaves_the_quartiles(grown, monkeypatch):
    table, jumps = grown
    onsets = onsets_of(table, jumps)
    onsets = onsets[onsets["indicator"] == "rankme"].iloc[[0] * 401].assign(lead=np.linspace(0, 0.9, 401), event=True)
    figure = leads_figures(None, onsets=onsets)["onsets"]
    drawn = np.asarray(figure.data[0].x)
    assert len(drawn) == 100
    np.testing.assert_allclose(np.quantile(drawn, [0, 0.25, 0.5, 0.75, 1]), [0, 22.5, 45, 67.5, 90], atol=0.5)
