"""Results show themselves: few lines however much they hold, and figures whose numbers are the record's own."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import types
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_models import CONFIGS, VOCAB

import interp
from interp.cli import main
from interp.figures.text import in_columns
from interp.jumps.record import Jump, Jumps
from interp.leads.board import Board
from interp.leads.forecast import Forecast
from interp.models import build, wrap
from interp.prevalence import Prevalence

N_LAYERS, N_HEADS = 2, 4
LONG = "a_measure_with_a_name_that_is_far_too_long_for_any_axis_of_any_figure"


@pytest.fixture(scope="module")
def model():
    return wrap(build(CONFIGS["gpt2"], seed=0))


@pytest.fixture(scope="module")
def prompts():
    rng = torch.Generator().manual_seed(0)
    clean = torch.randint(1, VOCAB, (8, 7), generator=rng)
    corrupt = torch.where(torch.arange(7) == 2, torch.randint(1, VOCAB, (8, 7), generator=rng), clean)
    return interp.Prompts(clean=clean, corrupt=corrupt, answer=clean[:, 2], wrong=clean[:, 2] % 20 + 1)


@pytest.fixture(scope="module")
def circuit(model, prompts):
    return interp.find_circuit(model, prompts, method="eap")


@pytest.fixture(scope="module")
def tracked(model, prompts):
    final = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    states = [(step, {name: value * (step / 100) for name, value in final.items()}) for step in (0, 10, 100)]
    with pytest.warns(UserWarning, match="too few"):
        return interp.track_circuit(model, states, prompts, method="eap", n_resamples=20)


def _jumps(n: int) -> Jumps:
    kinds = ("abrupt", "gradual", "artefact", "none", "undetermined", "spike")
    made = [
        Jump(run=f"run{k}", task="t" * 80, measure=LONG, kind=kinds[k % 6], step_before=10 * k, step_after=10 * k + 20,
             midpoint=10 * k + 5.0, magnitude=0.5, width_decades=0.2)
        for k in range(n)
    ]  # fmt: skip
    return Jumps(made)


def _board(n: int) -> Board:
    rows = tuple(
        {"indicator": LONG, "component": f"L{k}H0", "position": None, "task": "t", "verdict": "undetermined",
         "reason": "too few runs " * 10, "gain": math.nan if k == 0 else 0.1 * k, "gain_low": 0.1 * k - 1,
         "gain_high": 0.1 * k + 1, "leading": None, "runs_needed": 40, "median_lead": math.nan}
        for k in range(n)
    )  # fmt: skip
    return Board(leaderboard=rows, hindsight=(), baselines=rows[:2], spec="sha256:0")


def _prevalence(n: int) -> Prevalence:
    shares = tuple(
        {"measure": LONG, "group": f"g{k}", "kind": kind, "share": k / n, "low": 0.0, "high": 1.0, "n": 9, "observed": 0.5}
        for k in range(n)
        for kind in ("abrupt", "jump")
    )  # fmt: skip
    return Prevalence(shares=shares, undetermined=(), power=(), by="room")


def _forecast(n: int) -> Forecast:
    points = [
        {"step": 10.0 * (k + 1), "p_next": 0.1, "p_by_budget": 0.9, "predicted": 500.0, "low": 400.0, "high": 700.0 + k}
        for k in range(n)
    ]
    now = {"p_next": 0.1, "p_by_budget": 0.9, "predicted": 500.0, "low": 400.0, "high": 700.0}
    return Forecast(run="r" * 60, task="t", target="exact_match", status="in progress", T=None, now=200.0, budget=1000.0,
                    horizon=1.5, level=0.9, reason="", points=points, **now)  # fmt: skip


def _results(model, prompts, circuit, tracked):
    yield model
    yield interp.capture(model, prompts.clean, ("resid_pre", "resid_post", "z", "q", "k", "v", "pattern", "attn_out",
                                                "mlp_out", "mlp_post", "embed", "ln_final", "logits"))  # fmt: skip
    yield interp.patch(model, prompts, site="z", by=("layer", "head", "pos"), metric="logit_diff")
    yield interp.direct_logit_attribution(model, prompts, by="neuron")
    yield interp.logit_lens(model, prompts.clean)
    yield circuit
    yield interp.faithfulness(model, prompts, circuit, fractions=tuple(np.linspace(0.01, 1, 30)))
    yield interp.validate_circuit(model, prompts, circuit.top(20), minimal=False)
    yield tracked
    yield from (_jumps(300), _jumps(0), _board(60), _board(0), _prevalence(40), _forecast(30), _forecast(0))


def test_every_result_is_told_in_a_few_lines(model, prompts, circuit, tracked):
    for result in _results(model, prompts, circuit, tracked):
        lines = repr(result).split("\n")
        name = type(result).__name__
        assert 1 <= len(lines) <= 12, name
        assert max(map(len, lines)) < 400, name
        assert "tensor(" not in repr(result), name
        page = result._repr_html_()
        assert page.startswith("<div>"), name
        assert page.count("<tr>") <= 14, name
        figure = result.plot()
        assert figure.layout.height > 100, name
        json.loads(figure.to_json())


def test_what_stands_in_a_name_is_text_in_a_page():
    jumps = Jumps([Jump(run="<script>alert(1)</script>", task="t", measure="m", kind="abrupt", midpoint=5.0)])
    assert "<script>" not in jumps._repr_html_()
    assert "<script>" not in "".join(jumps.plot().layout.yaxis.ticktext)


@pytest.mark.parametrize(
    ("by", "rows"), [(("layer", "head"), N_LAYERS), (("layer", "head", "pos"), N_LAYERS * N_HEADS)]
)
def test_a_patching_figure_has_the_values(model, prompts, by, rows):
    found = interp.patch(model, prompts, site="z", by=by, metric="logit_diff")
    for normalised, values in ((False, found.values), (True, found.normalised())):
        drawn = found.plot(normalised=normalised).data[0]
        np.testing.assert_allclose(drawn.z, values.reshape(rows, -1))
        middle = 0.0 if normalised else found.corrupt
        assert drawn.zmin + drawn.zmax == pytest.approx(2 * middle)  # white is "nothing changed"
    frame = found.to_pandas()
    assert list(frame.columns) == [*by, "value", "normalised"]
    np.testing.assert_allclose(frame["value"], found.values.flatten())
    one = frame[(frame["layer"] == 1) & (frame["head"] == 2)]["value"].to_numpy()
    np.testing.assert_allclose(one, found.values[1, 2].flatten())


def test_activation_figures_have_the_norms_and_the_patterns(model, prompts):
    acts = interp.capture(model, prompts.clean, ("resid_post", "z", "pattern"), layers=[1])
    np.testing.assert_allclose(acts.plot().data[0].z, acts["resid_post"].norm(dim=-1).mean(1), rtol=1e-5)
    np.testing.assert_allclose(acts.plot("z", prompt=3).data[0].z, acts["z"][:, 3].norm(dim=-1).mean(1), rtol=1e-5)
    squares = acts.plot("pattern", prompt=2).data
    np.testing.assert_array_equal(np.stack([one.z for one in squares]), acts["pattern"][0, 2])
    with pytest.raises(interp.InputError, match="did you mean 'pattern'"):
        acts.plot("patern")
    with pytest.raises(interp.InputError, match="expected 7 labels"):
        acts.plot(labels=["a"])


@pytest.mark.parametrize("by", ["component", "head", "neuron"])
def test_an_attribution_figure_has_the_means(model, prompts, by):
    found = interp.direct_logit_attribution(model, prompts, by=by)
    drawn = found.plot(most=1000).data[0]
    if by == "head":
        np.testing.assert_allclose(np.array(drawn.z)[:, :N_HEADS], found["head"].mean(-1))
    else:
        np.testing.assert_allclose(drawn.x, list(found.means().values()))
        assert sum(drawn.x) == pytest.approx(float(found.logit_diff.mean()), abs=1e-4)
    frame = found.to_pandas()
    np.testing.assert_allclose(frame.groupby("prompt")["contribution"].sum(), found.total(), atol=1e-6)


def test_the_lens_is_a_plain_tensor_in_whatever_is_made_of_it(model, prompts):
    found = interp.logit_lens(model, prompts.clean)
    assert isinstance(found, torch.Tensor)
    assert {type(found[0]), type(found + 1), type(found.argmax(-1))} == {torch.Tensor}
    likely = found[:, 1].softmax(-1)
    drawn = found.plot(1).data[0]
    np.testing.assert_allclose(drawn.z, likely.max(-1).values, rtol=1e-5)
    assert [list(map(int, row)) for row in drawn.text] == likely.argmax(-1).tolist()
    np.testing.assert_allclose(found.plot(1, token=3).data[0].z, likely[..., 3], rtol=1e-5)


def test_circuit_figures_and_tables_have_the_scores(model, prompts, circuit, tracked):
    frame = circuit.to_pandas()
    assert dict(zip(frame["source"] + "->" + frame["target"], frame["score"], strict=True)) == circuit.edge_scores()
    small = circuit.top(5)
    assert set(small.to_pandas().query("included")["source"]) == {edge.split("->")[0] for edge in small.edges()}
    curve = interp.faithfulness(model, prompts, circuit)
    np.testing.assert_array_equal(curve.plot().data[0].y, curve.values)
    found = interp.validate_circuit(model, prompts, small, minimal=False)
    for bar in found.plot().data:
        np.testing.assert_array_equal(bar.x, [row[bar.name] for row in found.scores.values()])
    shares = {line.name: line.y for line in tracked.plot().data}
    np.testing.assert_allclose(shares["circuit"], [snap.carried.mean() for snap in tracked.snapshots])
    assert len(tracked.film().layout.sliders[0].steps) == len(tracked.snapshots)


def test_verdict_figures_have_the_records_numbers():
    jumps = _jumps(12)
    marks = {x for line in jumps.plot().data if line.mode == "markers" for x in line.x}
    assert marks == {jump.midpoint for jump in jumps.events()}
    assert len(jumps.to_pandas()) == 12
    board = _board(5)
    (marks_of,) = (line.x for line in board.plot().data if line.mode == "markers")
    np.testing.assert_array_equal(marks_of, [row["gain"] for row in board.leaderboard])
    shares = _prevalence(3)
    drawn = sorted(x for line in shares.plot().data if line.mode == "markers" for x in line.x)
    assert drawn == sorted(row["share"] for row in shares.shares)
    forecast = _forecast(4)
    lines = {line.name: list(line.y) for line in forecast.plot().data}
    assert all(lines[key] == [point[key] for point in forecast["points"]] for key in ("predicted", "low", "high"))


def test_a_models_figure_has_the_size_of_its_weights(model):
    frame = model.to_pandas()
    assert frame["n"].sum() == sum(p.numel() for p in model.module.parameters())
    shown = {round(float(z), 9) for row in model.plot().data[0].z for z in row if z == z}
    in_blocks = frame[frame["name"].str.contains(r"\.\d+\.")]["rms"]
    assert shown == {round(float(rms), 9) for rms in in_blocks}


def test_a_family_shows_its_checkpoints():
    family = interp.family("grokking_mini")
    assert len(repr(family).split("\n")) <= 12
    frame = family.to_pandas()
    assert len(frame) == len(family.refs)
    drawn = family.plot().data
    assert sum(len(run.x) for run in drawn) == len(frame)
    assert min(min(run.x) for run in drawn) > 0  # step 0 has a place on the log axis


def test_shown_results_load_no_plotly_before_they_are_drawn():
    code = "import interp, sys; interp.find_jumps; interp.rank_leads; interp.Circuit; interp.patch; assert 'plotly' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tables_on_a_terminal_hold_every_row_of_the_json(tmp_path, capsys):
    x = np.unique(np.geomspace(1, 1e4, 30).round())
    rows = [
        {"run": f"run{k}", "step": step, "task": "t", "measure": "exact_match", "kind": "behaviour",
         "value": 1 / (1 + np.exp(-12 * (np.log10(step) - 1.5 - 0.2 * k)))}
        for k in range(4) for step in x
    ]  # fmt: skip
    path = tmp_path / "curves.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    assert main(["jumps", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["jumps"]
    assert main(["jumps", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "interval (steps)" in lines[0]
    assert [line.split()[0] for line in lines[1 : 1 + len(found)]] == [entry["run"] or "all" for entry in found]
    for what in ("measures", "tasks", "methods", "families"):
        assert main(["list", what, "--json"]) == 0
        names = [entry["name"] for entry in json.loads(capsys.readouterr().out)]
        assert main(["list", what]) == 0
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == names


def test_a_plan_on_a_terminal_holds_the_numbers_of_the_json(tmp_path, capsys):
    experiment = tmp_path / "e.yaml"
    experiment.write_text(
        "name: shown\nfamilies: [{recipe: grokking_mini, sizes: [d16], settings: [base], seeds: [0]}]\n"
        "tasks: [{name: modular_addition, n_prompts: 16}]\nmeasures: [exact_match]\n"
    )
    command = ["plan", str(experiment), "--root", str(tmp_path / "c")]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert not set("{[") & set(shown.replace("modular_addition {", ""))  # but for the task's parameters
    rows = {line.split("  ")[0].strip(): line.split()[-1] for line in shown.splitlines() if line}
    assert int(rows["checkpoints"]) == found["checkpoints"]
    assert float(rows["measuring (FLOPs)"]) == pytest.approx(found["measuring_flops"], rel=0.01)


@pytest.mark.parametrize("method", ["eap-ig", "patching", "exact", "atp-star"])
def test_what_a_circuit_costs_is_what_is_counted_when_it_is_found(method):
    from interp.engine.config import CircuitSpec
    from interp.engine.planning_circuits import _measured, passes_at

    task = interp.task("modular_addition", p=5)
    planned = passes_at(task, 0, CircuitSpec(method=method), (3, 2))
    assert planned == pytest.approx(_measured(task, 0, method, "logit_diff", (3, 2)), rel=0.1)


def test_numbers_stand_to_the_right_and_words_to_the_left():
    assert in_columns([["name", "n"], ["a", "5"], ["long", "-"], ["b", "12 %"]]) == [
        "name     n",
        "a        5",
        "long     -",
        "b     12 %",
    ]


def test_the_attention_view_is_one_page_that_fetches_nothing(model, prompts, tmp_path):
    view = interp.attention_view(model, prompts.clean[0], [f"</script>{k}" for k in range(7)])
    page = view.save(tmp_path / "view.html").read_text()
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert data["heads"] == [f"L{layer}H{head}" for layer in range(N_LAYERS) for head in range(N_HEADS)]
    assert data["tokens"] == [f"</script>{k}" for k in range(7)]
    pattern = interp.capture(model, prompts.clean[:1], "pattern")["pattern"][:, 0].flatten(0, 1)
    np.testing.assert_allclose(data["weights"], pattern, atol=5e-4)
    assert "http" not in page
    assert view._repr_html_().startswith("<iframe sandbox=")
    assert len(repr(view).split("\n")) <= 12
    with pytest.raises(interp.InputError, match="expected 7 labels"):
        interp.attention_view(model, prompts.clean[0], ["a"])


@pytest.mark.parametrize("task", ["modular_addition:p=7", "window_sum", "ioi"])
def test_the_first_files_of_a_study_are_planned_as_they_are(task, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["init", task]) == 0
    name = task.partition(":")[0]
    assert main(["plan", f"{name}.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "circuits at" in shown
    before = (tmp_path / f"{name}.yaml").read_text()
    assert main(["init", task]) == 2  # nothing is written over
    assert (tmp_path / f"{name}.yaml").read_text() == before
    assert main(["init", "modular_adition"]) == 2
    assert "did you mean 'modular_addition'" in capsys.readouterr().err


def test_doctor_names_what_is_there_and_changes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (
        found["installed"]["torch"] == torch.__version__.partition("+")[0]
        or found["installed"]["torch"] == torch.__version__
    )
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*found["installed"], *found["extras"], *found["places"]))
    assert not list(tmp_path.iterdir())


def test_a_trainer_records_its_first_step_every_so_many_and_its_last(model, tmp_path):
    from transformers import TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_callback import CallbackHandler

    recorder = interp.Recorder(interp.task("modular_addition", p=7), ["weight_norm"], tmp_path / "run", n_prompts=8)
    with pytest.raises(interp.InputError, match="every is 0"):
        interp.trainer_callback(recorder, every=0)
    callback = interp.trainer_callback(recorder, every=4)
    args, control = TrainingArguments(output_dir=str(tmp_path / "out"), report_to=[]), TrainerControl()
    handler = CallbackHandler([callback], model.module, None, None, None)
    state = TrainerState(max_steps=10, is_world_process_zero=True)
    handler.on_train_begin(args, state, control)
    for step in range(1, 11):
        state.global_step = step
        handler.on_step_end(args, state, control)
    table = interp.read_table(tmp_path / "run")
    assert sorted(table["step"]) == [0, 4, 8, 10]
    assert set(table["budget"]) == {10}


class LightningLike:
    """As Lightning's Trainer drives its callbacks (lightning.pytorch 2.6): two batches a step, and the facts it tells them."""

    def __init__(self, callback, *, max_steps=-1, epochs=0, batches=20):
        self.callback, self.max_steps, self.batches, self.global_step = callback, max_steps, batches, 0
        self.estimated_stepping_batches = epochs * batches // 2 if epochs else float("inf")
        self.is_global_zero = True

    def fit(self, module):
        self.callback.on_train_start(self, module)
        for batch_idx in range(self.batches):
            self.global_step = (batch_idx + 1) // 2
            self.callback.on_train_batch_end(self, module, None, None, batch_idx)
        self.callback.on_train_end(self, module)


@pytest.mark.parametrize(("planned", "budget"), [({"max_steps": 10}, {10}), ({"epochs": 1}, {10})])
def test_lightning_records_its_first_step_every_so_many_and_its_last(model, tmp_path, monkeypatch, planned, budget):
    stand_in = types.ModuleType("lightning.pytorch")
    stand_in.Callback = type("Callback", (), {})
    monkeypatch.setitem(sys.modules, "lightning.pytorch", stand_in)
    recorder = interp.Recorder(interp.task("modular_addition", p=7), ["weight_norm"], tmp_path / "run", n_prompts=8)
    with pytest.raises(interp.InputError, match="every is True"):
        interp.lightning_callback(recorder, every=True)
    module = types.SimpleNamespace(model=model.module)
    LightningLike(interp.lightning_callback(recorder, every=4, model=lambda own: own.model), **planned).fit(module)
    table = interp.read_table(tmp_path / "run")
    assert sorted(table["step"]) == [0, 4, 8, 10]
    assert set(table["budget"]) == budget
    other = interp.lightning_callback(recorder, every=4, model=lambda own: own.model)
    with pytest.raises(interp.InputError, match="plans 12 steps, the recorder's budget is 10"):
        LightningLike(other, max_steps=12).fit(module)


def test_without_lightning_its_callback_says_what_to_install(model, tmp_path, monkeypatch):
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(interp.InputError, match="pip install lightning"):
        interp.lightning_callback(None, every=1)


def test_a_trainers_folder_knows_its_budget(model, tmp_path):
    for step in (5, 10):
        folder = tmp_path / f"checkpoint-{step}"
        model.module.save_pretrained(folder)
        (folder / "trainer_state.json").write_text(
            json.dumps({"max_steps": 40 if step == 10 else 20, "global_step": step})
        )
    refs = interp.family(str(tmp_path)).checkpoints()
    assert [ref.manifest["budget"] for ref in refs] == [40, 40]  # taken up again with another plan


def test_records_print_in_few_lines():
    task = interp.task("modular_addition", p=53)
    prompts, batch = task.prompts(64, rng=torch.Generator().manual_seed(0)), task.batch(7, rng=torch.Generator())
    ref = interp.CheckpointRef(family="f", size="s", setting="base", seed=1, step=9, manifest={"x": "y" * 5000})
    for record, words in (
        (task, ("modular_addition", "p=53", "54 tokens", "chance 0.0189")),
        (prompts, ("64 pairs of 3 tokens", f"clean {prompts.clean[0].tolist()}", f"wrong {prompts.wrong[0].item()}")),
        (batch, (f"{len(batch.tokens)} sequences", f"{int((batch.targets >= 0).sum())} positions scored")),
        (ref, ("f:s/base/seed1@step9",)),
        (replace(prompts, clean=prompts.clean[:0], corrupt=prompts.corrupt[:0]), ("0 pairs",)),
    ):
        shown = repr(record)
        assert len(shown.splitlines()) <= 3
        assert max(map(len, shown.splitlines())) <= 140
        assert all(word in shown for word in words), shown


def test_slips_are_told_with_what_was_expected(model, prompts, tmp_path):
    acts = interp.capture(model, prompts.clean, ("resid_post",))
    for slip, says in (
        (lambda: acts["resid_pots"], "'resid_pots' was not captured; did you mean 'resid_post'"),
        (lambda: interp.capture(model, "hello"), "tokens are a str"),
        (lambda: interp.capture(model.module, prompts.clean), "interp.wrap"),
        (lambda: interp.patch(model.module, prompts), "interp.wrap"),
        (lambda: interp.patch(model, model), "prompts are a Model; expected interp.Prompts"),
        (lambda: interp.fit_task("ioi", model), "task is a str"),
        (lambda: interp.load(3), "cannot load a int"),
        (lambda: next(interp.stream([3])), "cannot load a int"),
    ):
        with pytest.raises(interp.InputError) as caught:
            slip()
        assert says in str(caught.value)
    assert "resid_pots" not in acts
    assert acts.get("resid_pots") is None
