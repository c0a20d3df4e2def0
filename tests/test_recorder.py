"""Measuring inside somebody's own training loop."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import interp
from interp.errors import InputError
from interp.table import read_table

CONFIG = {
    "architecture": "native", "n_layers": 1, "n_heads": 2, "d_model": 8, "d_head": 4, "d_mlp": 16, "n_ctx": 3,
    "d_vocab": 8, "d_vocab_out": 8, "act_fn": "relu", "normalization_type": None,
}  # fmt: skip
MEASURES = ["exact_match", "weight_norm", "update_norm", "distance_from_init", ("attention_entropy", {})]


@pytest.fixture
def module():
    from interp.models import build

    torch.set_num_threads(1)
    return build(CONFIG, seed=0).train()


def train(module, recorder, steps):
    task = interp.task("modular_addition", p=7, train_fraction=0.6)
    batch = task.batch(None, rng=torch.Generator(), seed=0)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    for step in steps:
        recorder(module, step)
        loss = torch.nn.functional.cross_entropy(module(batch.tokens)[:, -1], batch.targets[:, -1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def recorder(folder, **more):
    task = interp.task("modular_addition", p=7, train_fraction=0.6)
    return interp.Recorder(task, MEASURES, folder, run="mine", budget=20, n_prompts=8, **more)


def test_it_writes_the_table_and_no_weights(module, tmp_path):
    train(module, recorder(tmp_path), range(0, 20, 5))
    table = read_table(tmp_path)
    assert set(table["measure"]) == {
        "exact_match",
        "weight_norm",
        "update_norm",
        "distance_from_init",
        "attention_entropy",
    }
    assert set(table["step"]) == {0, 5, 10, 15}
    assert (table["budget"] == 20).all()
    assert not list(tmp_path.rglob("*.safetensors"))


def test_values_are_those_of_the_module_now(module, tmp_path):
    rec = recorder(tmp_path)
    first = rec(module, 0)
    squares = sum(float(p.detach().double().square().sum()) for p in module.parameters())
    assert first["weight_norm"] == pytest.approx(squares, rel=0.02)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(2.0)
    second = rec(module, 1)
    assert second["weight_norm"] == pytest.approx(4 * first["weight_norm"], rel=1e-5)
    assert second["update_norm"] > 0
    assert second["update_norm"] == pytest.approx(second["distance_from_init"], rel=1e-4)


def test_training_is_left_as_found(module, tmp_path):
    from copy import deepcopy

    twin = deepcopy(module)
    train(module, recorder(tmp_path / "a"), range(6))
    train(twin, lambda model, step: None, range(6))
    assert module.training
    for mine, theirs in zip(module.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_step_recorded_again_replaces_the_first(module, tmp_path):
    recorder(tmp_path)(module, 0)
    recorder(tmp_path)(module, 0)
    table = read_table(tmp_path)
    assert (table.groupby(["step", "measure", "component"]).size() == 1).all()


def test_what_cannot_be_known_live_is_refused(tmp_path):
    task = interp.task("modular_addition", p=7)
    with pytest.raises(InputError, match="restricted_loss"):
        interp.Recorder(task, ["restricted_loss"], tmp_path)
    with pytest.raises(InputError, match="did you mean 'rankme'"):
        interp.Recorder(task, ["rankmee"], tmp_path)


def test_a_step_is_one_number_whatever_holds_it(module, tmp_path):
    rec = recorder(tmp_path)
    for step in (100, 100.0, np.int64(100), np.float32(100), torch.tensor(100), torch.tensor([100.0])):
        rec(module, step)
    rec(module, 0)
    table = read_table(tmp_path)
    assert (table.groupby(["step", "measure", "component"]).size() == 1).all()
    assert set(table["step"]) == {0, 100}


@pytest.mark.parametrize(
    "step", [1.5, float("nan"), float("inf"), None, True, "100", torch.tensor([1, 2]), np.array([1, 2]), np.bool_(True)]
)
def test_a_step_that_is_no_whole_number_is_refused_before_anything_is_written(module, tmp_path, step):
    with pytest.raises(InputError, match=r"step is .*; expected a whole number"):
        recorder(tmp_path)(module, step)
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("step", [-1, 2**53 + 2])
def test_a_step_that_no_table_holds_is_refused_before_anything_is_written(module, tmp_path, step):
    with pytest.raises(InputError, match=r"step is .*; a table counts steps"):
        recorder(tmp_path)(module, step)
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("budget", [0, -5, 10.5, "many"])
def test_a_budget_that_is_no_number_of_steps_is_refused(tmp_path, budget):
    with pytest.raises(InputError, match="budget is"):
        interp.Recorder("modular_addition", MEASURES, tmp_path, budget=budget)


def test_a_run_is_resumed_as_what_it_was(module, tmp_path):
    first = recorder(tmp_path, setting="wd1", seed=3)
    first(module, 0)
    recorder(tmp_path, setting="wd1", seed=3)(module, 5)
    for changed in ({"setting": "wd2", "seed": 3}, {"setting": "wd1", "seed": 4}):
        with pytest.raises(InputError, match=r"holds run 'mine' with (setting wd1|seed 3), not (wd2|4)"):
            recorder(tmp_path, **changed)
    assert set(read_table(tmp_path)["step"]) == {0, 5}


def test_two_tasks_of_one_run_lie_side_by_side(module, tmp_path):
    for name in ("modular_addition", "modular_subtraction"):
        interp.Recorder(interp.task(name, p=7), ["exact_match"], tmp_path, n_prompts=8)(module, 0)
    assert set(read_table(tmp_path)["task"]) == {"modular_addition", "modular_subtraction"}


def test_a_measure_that_fails_is_warned_of_once_with_the_file_that_says_why(module, tmp_path):
    rec = interp.Recorder(interp.task("modular_addition", p=7), ["exact_match", f"{__name__}:broken"], tmp_path)
    with pytest.warns(UserWarning, match=r"broken failed at step 0: ZeroDivisionError.*failures") as warned:
        first = rec(module, 0)
    assert "exact_match" in first
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rec(module, 1)
    path = str(warned[0].message).partition("(see ")[2].partition(";")[0]
    assert "ZeroDivisionError" in Path(path).read_text()


NEEDS: dict[str, str] = {}
DIMS, UNIT, ONLINE = (), "none", True


def broken(obs):
    return 1 / 0


class Recurrent(torch.nn.Module):
    """Somebody's own module: an LSTM over tokens."""

    def __init__(self, n_tokens, *, as_record=False):
        super().__init__()
        self.embed = torch.nn.Embedding(n_tokens, 6)
        self.drop = torch.nn.Dropout(0.5)
        self.cell = torch.nn.LSTM(6, 10, batch_first=True)
        self.head = torch.nn.Linear(10, n_tokens)
        self.as_record = as_record

    def forward(self, x):
        logits = self.head(self.cell(self.drop(self.embed(x)))[0])
        return SimpleNamespace(logits=logits) if self.as_record else logits


@pytest.mark.parametrize("as_record", [False, True])
def test_a_module_of_ones_own_is_measured_by_its_logits_and_weights(tmp_path, as_record):
    torch.manual_seed(0)
    task = interp.task("modular_addition", p=7, train_fraction=0.6)
    module = Recurrent(len(task.vocab), as_record=as_record).train()
    measures = ["exact_match", "log_prob", "train_loss", "test_loss", "weight_norm", "update_norm", "gradient_norm"]
    inner = ["rankme", "attention_entropy", "prefix_matching", "copying", "gini_embed"]
    rec = interp.Recorder(task, [*measures, *inner], tmp_path)
    with pytest.warns(UserWarning, match="failed at step 0") as warned:
        first = rec(module, 0)
    said = [str(warning.message) for warning in warned]
    assert sorted(text.split()[0] for text in said) == sorted(inner)
    assert all("Recurrent" in text for text in said)
    assert "no resid_post of Recurrent, a module of one's own: only its logits and weights are known" in said[0]
    assert set(first) == set(measures)
    assert module.training
    assert set(read_table(tmp_path)["measure"]) == set(measures)

    prompts = rec.prompts
    with torch.no_grad():
        out = module.eval()(prompts.clean)
        logits = (out.logits if as_record else out)[torch.arange(len(prompts.clean)), prompts.position]
    right = prompts.answer.view(len(prompts.clean), -1)[:, 0]
    assert first["exact_match"] == pytest.approx(float((logits.argmax(dim=-1) == right).float().mean()))
    own = logits.double().log_softmax(dim=-1).gather(1, right[:, None]).mean()
    assert first["log_prob"] == pytest.approx(float(own), rel=1e-5)

    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(2.0)
    assert rec(module, 1)["weight_norm"] == pytest.approx(4 * first["weight_norm"], rel=1e-5)


class LastOnly(Recurrent):
    """Logits of the last position only."""

    def forward(self, x):
        return super().forward(x)[:, -1]


class Several(Recurrent):
    """The logits and the loss, as a tuple."""

    def forward(self, x):
        return super().forward(x), None


@pytest.mark.parametrize(("kind", "got"), [(LastOnly, r"\(8, \d+\)"), (Several, "a tuple")])
def test_a_forward_of_another_form_is_refused_with_what_it_gives(tmp_path, kind, got):
    task = interp.task("modular_addition", p=7)
    rec = interp.Recorder(task, ["exact_match"], tmp_path, n_prompts=8)
    with pytest.raises(InputError, match=rf"{kind.__name__} gives {got} .*expected logits \[prompt, pos, vocab\]"):
        rec(kind(len(task.vocab)), 0)
    with pytest.raises(InputError, match="expected a Hugging Face module"):
        rec("a model", 0)
