"""The observation: shared passes give what single ones do, none sees more than it asked for, failures stay alone."""

import math
import sys
import types
from dataclasses import replace

import pytest
import torch
from observed import adding, inducing, look, native, summing

import interp
from interp.circuits import find_circuit, graph_of, whole
from interp.circuits.testing.faithfulness import of_circuit
from interp.errors import InputError
from interp.hooks.activations import capture
from interp.measure.metrics import questions
from interp.measure.needs import need, needs_in, needs_of
from interp.measure.observe import Observation, measure, observe
from interp.measure.passes import answer_positions, run_passes
from interp.models import build, wrap
from interp.seeds import generator
from interp.types import Batch, Estimate, Prompts

SITES = ("resid_post", "z", "pattern", "mlp_post", "ln_final")


def third_party(monkeypatch, function, **constants):
    """A function of another package, named as a configuration names it."""
    module = types.ModuleType("someone_elses")
    for name, constant in {"NEEDS": {}, "DIMS": (), "UNIT": "", "ONLINE": True, **constants}.items():
        setattr(module, name, constant)
    module.mine = function
    monkeypatch.setitem(sys.modules, "someone_elses", module)
    return "someone_elses:mine"


@pytest.mark.parametrize("make", [adding, summing])
@pytest.mark.parametrize("site", SITES)
def test_what_is_kept_is_what_capture_gives(make, site):
    """Alone at the answer, everywhere, and at the answer of a pass that kept everything: the same numbers."""
    model, task = make()
    prompts = task.prompts(5, rng=generator(2))
    whole = capture(model, prompts.clean, site)[site]
    at = prompts.clean.shape[1] - 1
    expected = whole[:, :, :, at] if site == "pattern" else whole[:, :, at]
    answer = run_passes(model, prompts, {}, needs_in({site: "answer"}))[site]
    everywhere = run_passes(model, prompts, {}, needs_in({site: "all", "logits": "answer"}))[site]
    assert torch.allclose(answer, expected, atol=1e-6)
    assert torch.allclose(everywhere, whole, atol=1e-6)


@pytest.mark.parametrize(
    ("position", "expected"),
    [(torch.tensor([4, 2, 3]), [4, 2, 3]), (-1, [5, 3, 4]), (-2, [4, 2, 3]), (1, [1, 1, 1])],
)
def test_each_prompt_has_its_own_answer_position(position, expected):
    model, task = inducing()
    tokens = task.prompts(3, rng=generator(0)).clean[:, :6]
    mask = torch.arange(6) < torch.tensor([[6], [4], [5]])
    prompts = Prompts(
        clean=tokens, corrupt=tokens, answer=tokens[:, 0], wrong=tokens[:, 1], position=position, mask=mask
    )
    assert answer_positions(prompts).tolist() == expected
    logits = run_passes(model, prompts, {}, needs_in({"logits": "answer"}))["logits"]
    whole = model(tokens, mask).detach()
    assert torch.allclose(logits[:, 0], whole[torch.arange(3), torch.tensor(expected)], atol=1e-5)


def test_longer_answers_are_written_behind_their_prompts():
    tokens = torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0]])
    mask = torch.tensor([[True, True, True, False], [True, True, False, False]])
    answer = torch.tensor([[7, 8, 9], [6, 5, -1]])
    prompts = Prompts(clean=tokens, corrupt=tokens, answer=answer, wrong=answer, mask=mask)
    asked = questions(prompts, inducing()[0])
    assert asked.clean.tolist() == [[1, 2, 3, 7, 8], [4, 5, 6, 5, 0]]
    assert asked.read.tolist() == [[2, 3, 4], [1, 2, 3]]
    assert asked.mask is not None
    assert asked.mask.tolist() == [[True] * 5, [True] * 4 + [False]]


def test_splits_are_kept_at_their_scored_positions_only():
    """Uneven numbers of scored positions, chunk by chunk, against the whole run."""
    model, task = inducing()
    tokens = task.splits(0)["train"].tokens[:7]
    scored = torch.rand(tokens.shape, generator=generator(0)) < 0.2
    batch = Batch(tokens=tokens, targets=torch.where(scored, tokens, -1))
    prompts = task.prompts(2, rng=generator(0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("interp.measure.passes.CHUNK", 1)
        kept = run_passes(
            model, prompts, {"train": batch}, needs_in({"train.logits": "answer", "train.resid_post": "answer"})
        )
    assert torch.allclose(kept["train.logits"], model(tokens).detach()[scored], atol=1e-5)
    assert torch.allclose(kept["train.resid_post"], capture(model, tokens)["resid_post"][:, scored], atol=1e-5)


def test_gradients_are_those_of_the_answers_log_probability():
    model, task = summing()
    prompts = task.prompts(4, rng=generator(0))
    kept = run_passes(
        model, prompts, {}, needs_in({"mlp_post.grad": "all", "mlp_post": "all", "resid_post.grad": "answer"})
    )
    embeds = capture(model, prompts.clean, "resid_post")["resid_post"][-1]
    last = embeds[:, -1].clone().requires_grad_()
    logits = model.module.head(model.module.ln_out(last))
    loss = -logits.log_softmax(-1).gather(1, prompts.answer[:, :1]).sum()
    (expected,) = torch.autograd.grad(loss, last)
    assert torch.allclose(kept["resid_post.grad"][-1], expected, atol=1e-5)
    assert kept["mlp_post.grad"].shape == kept["mlp_post"].shape
    assert all(parameter.grad is None for parameter in model.module.parameters())


def test_weights_are_a_copy_that_outlives_a_swap():
    """The previous checkpoint may have been seen by the very model that now holds other weights."""
    model, task = adding()
    before = look(model, task, ["update_norm", "weight_norm"])
    own = {name: value.clone() for name, value in model.module.state_dict().items()}
    model.swap(native(task, seed=9).module.state_dict())
    now = look(model, task, ["update_norm", "weight_norm"], previous=before)
    rows, _ = measure(now, ["update_norm"])
    change = sum(float((own[n].double() - v.double()).square().sum()) for n, v in model.module.state_dict().items())
    assert rows[0]["value"] == pytest.approx(change**0.5, rel=1e-6)
    assert rows[0]["value"] > 1


def test_a_run_of_observations_does_not_pile_up_in_memory():
    model, task = adding()
    first = look(model, task, ["update_norm"])
    second = look(model, task, ["update_norm"], previous=first, initial=first)
    third = look(model, task, ["update_norm"], previous=second, initial=first)
    assert third.previous is not None
    assert third.previous.previous is None
    assert third.previous.initial is None


def test_an_indicator_sees_only_what_it_asked_for(monkeypatch):
    model, task = adding()
    other = look(model, task)
    seen: list[Observation] = []

    def mine(obs):
        seen.append(obs)
        return 0.0

    name = third_party(monkeypatch, mine, NEEDS={"resid_post": "answer", "previous": "all"})
    obs = look(model, task, [name, "head_importance", "attention_entropy"], previous=other, initial=other, final=other)
    assert measure(replace(obs, circuit="a circuit"), [name])[1] == []
    (view,) = seen
    assert set(view.kept) == {"resid_post"}
    assert view.previous is not None
    assert set(view.previous.kept) == {"resid_post"}
    assert (view.initial, view.final, view.circuit) == (None, None, None)


def test_what_was_not_asked_for_is_named(monkeypatch):
    model, task = adding()
    name = third_party(monkeypatch, lambda obs: obs["resid_pots"], NEEDS={"resid_post": "answer"})
    _, failures = measure(look(model, task, [name]), [name])
    assert failures[0]["measure"] == name
    assert "did you mean 'resid_post'?" in failures[0]["error"]


def test_a_failure_stays_alone(monkeypatch):
    def mine(obs):
        raise RuntimeError("no luck")

    model, task = adding()
    name = third_party(monkeypatch, mine)
    rows, failures = measure(look(model, task, ["log_prob", "weight_norm"]), ["log_prob", name, "weight_norm"])
    assert [row["measure"] for row in rows] == ["log_prob", "weight_norm"]
    assert failures == [{"measure": name, "error": "RuntimeError: no luck"}]


@pytest.mark.parametrize(
    ("result", "dims", "places"),
    [
        (torch.tensor([[1.0, 2.0]]), ("layer", "head"), [("L0H0", None), ("L0H1", None)]),
        (torch.tensor([1.0, 2.0]), ("layer",), [("L0", None), ("L1", None)]),
        (torch.tensor([1.0, 2.0]), ("digit",), [("", 0), ("", 1)]),
        (torch.tensor([[1.0], [2.0]]), ("layer", "pos"), [("L0", 0), ("L1", 0)]),
        ({"L2.mlp": 1.0, "embed": Estimate(2.0, 0.5, 7)}, ("component",), [("L2.mlp", None), ("embed", None)]),
        (torch.tensor(1.0), (), [("", None)]),
    ],
)
def test_axes_become_components_and_positions(monkeypatch, result, dims, places):
    model, task = adding()
    name = third_party(monkeypatch, lambda obs: result, DIMS=dims)
    rows, failures = measure(look(model, task, [name]), [name])
    assert failures == []
    assert [(row["component"], row["position"]) for row in rows] == places
    assert [row["value"] for row in rows] == [1.0, 2.0][: len(places)]


def test_a_shape_that_was_not_declared_is_a_failure(monkeypatch):
    model, task = adding()
    for result, dims in ((torch.ones(2, 3), ("layer",)), ({"L0": 1.0}, ("layer",)), (torch.ones(2), ())):
        name = third_party(monkeypatch, lambda obs, result=result: result, DIMS=dims)
        rows, failures = measure(look(model, task, [name]), [name])
        assert rows == []
        assert len(failures) == 1


def test_measuring_more_does_not_change_the_bits_of_randomised_measures():
    model, task = adding()
    one = ("hessian_trace", {"probes": 2})
    many = [("llc", {"draws": 2, "burn_in": 0}), one, "gradient_noise_scale", ("hessian_trace", {"probes": 3})]
    alone, _ = measure(look(model, task, [one]), [one])
    among, _ = measure(look(model, task, many), many)
    assert alone[0]["value"] == among[1]["value"]
    assert among[3]["value"] != among[1]["value"]


def test_costs_count_the_passes_that_a_measure_needs_alone():
    model, task = adding()
    prompts = task.prompts(10, rng=generator(0))
    names = [
        "weight_norm",
        "log_prob",
        "head_importance",
        "train_loss",
        ("hessian_trace", {"probes": 3}),
        "masking_curve",
    ]
    obs = observe(model, task, prompts, task.splits(0), needs_of(names), generator(0))
    train = obs.splits["train"].tokens.numel() / prompts.clean.numel()
    cost = {row["measure"]: row["cost"] for row in measure(obs, names)[0]}
    assert cost["weight_norm"] == 0
    assert cost["log_prob"] == 1
    assert cost["head_importance"] == 3
    assert cost["train_loss"] == pytest.approx(train)
    assert cost["hessian_trace"] == pytest.approx((3 + 4 * 3) * train)
    assert cost["masking_curve"] == 3 + model.n_heads + 1


def test_dropout_is_off_while_measuring_and_every_mode_comes_back():
    config = {
        "architecture": "GPT2LMHeadModel",
        "vocab_size": 11,
        "n_positions": 8,
        "n_embd": 8,
        "n_layer": 2,
        "n_head": 2,
    }
    task = interp.task("modular_addition", p=10)
    model = wrap(build(config, seed=0))
    calm = look(model, task, ["log_prob", "gradient_norm"])
    model.module.train()
    model.module.transformer.h[0].eval()
    modes = [part.training for part in model.module.modules()]
    wild = look(model, task, ["log_prob", "gradient_norm"])
    found = [[row["value"] for row in measure(obs, ["log_prob", "gradient_norm"])[0]] for obs in (calm, wild)]
    assert found[0] == found[1]
    assert modes == [part.training for part in model.module.modules()]


def test_sites_that_an_architecture_lacks_are_none():
    model, task = inducing()
    kept = run_passes(
        model, task.prompts(2, rng=generator(0)), {}, needs_in({"mlp_post": "answer", "resid_mid": "all"})
    )
    assert kept == {"mlp_post": None, "resid_mid": None}


@pytest.mark.parametrize(
    ("measures", "message"),
    [
        (["rank_me"], "unknown measure 'rank_me'; did you mean 'rankme'?"),
        ([("llc", {"drawz": 3})], "did you mean 'draws'?"),
        (["nowhere_at_all:mine"], "cannot import 'nowhere_at_all'"),
    ],
)
def test_wrong_names_are_answered_with_the_nearest(measures, message):
    with pytest.raises(InputError) as error:
        needs_of(measures)
    assert message in str(error.value)


def test_a_split_that_is_missing_is_named():
    model, task = adding()
    with pytest.raises(InputError, match="the train split"):
        observe(model, task, task.prompts(2, rng=generator(0)), {}, needs_of(["train_loss"]), generator(0))


# a circuit from another run


def test_the_circuit_of_another_run_is_seen_only_where_it_was_asked_for(monkeypatch):
    model, task = adding()
    seen: list[Observation] = []

    def mine(obs):
        seen.append(obs)
        return 0.0

    for needs in ({}, {"reference": "all"}):
        name = third_party(monkeypatch, mine, NEEDS=needs)
        measure(look(model, task, [name], reference="a circuit"), [name])
    assert [view.reference for view in seen] == [None, "a circuit"]


@pytest.mark.parametrize("make", [adding, inducing, summing])
def test_a_transferred_circuit_keeps_all_none_or_some_of_the_behaviour(make):
    """All edges keep all of it; no circuit, an empty one and one of another shape are not defined; what edges keep is
    what they keep anywhere (`of_circuit`)."""
    model, task = make()
    graph = graph_of(model)
    prompts = task.prompts(5, rng=generator(3))

    def value(reference):
        obs = look(model, task, ["circuit_transfer"], prompts=prompts, reference=reference)
        (row,), failures = measure(obs, ["circuit_transfer"])
        assert failures == []
        return row["value"], row["cost"]

    assert value(whole(graph)) == (pytest.approx(1), 5)
    some = find_circuit(model, prompts, "random").top(3)
    assert value(some)[0] == pytest.approx(of_circuit(model, prompts, some))
    assert value(some)[0] != pytest.approx(1)
    other = whole(replace(graph, n_layers=graph.n_layers + 1))
    for nothing in (None, some.top(0), other):
        assert math.isnan(value(nothing)[0])
        assert value(nothing)[1] == 0


def test_the_final_circuit_is_applied_backwards_and_marked():
    model, task = inducing()
    prompts = task.prompts(6, rng=generator(0))
    end = replace(look(model, task, ["final_circuit"], prompts=prompts), circuit=find_circuit(model, prompts).top(9))
    obs = look(native(task, seed=4, n_layers=2, attn_only=True), task, ["final_circuit"], prompts=prompts, final=end)
    (row,), failures = measure(replace(obs, circuit=whole(graph_of(model))), ["final_circuit"])
    assert failures == []
    assert row["online"] is False
    assert row["value"] == pytest.approx(of_circuit(obs.model, prompts, end.circuit))


# needs


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("resid_post", ("prompts", "resid_post", False)),
        ("z.grad", ("prompts", "z", True)),
        ("train.mlp_post", ("train", "mlp_post", False)),
        ("test.logits", ("test", "logits", False)),
        ("question.brier", ("questions", "brier", False)),
        ("weights", ("weights", "weights", False)),
        ("previous", ("beside", "previous", False)),
    ],
)
def test_a_need_is_read_once(name, read):
    found = need(name, "all")
    assert (found.on, found.what, found.gradient) == read
    assert (found.name, found.positions) == (name, "all")
    assert found.site == (read[1] if read[0] in ("prompts", "train") else None)


@pytest.mark.parametrize(
    ("name", "positions", "message"),
    [
        ("resid_pots", "all", "did you mean 'resid_post'?"),
        ("train.z.grad", "all", "unknown need 'train.z.grad'"),
        ("asked.brier", "all", "unknown need"),
        ("z", "answers", "did you mean 'answer'?"),
    ],
)
def test_a_need_that_nothing_meets_is_refused(monkeypatch, name, positions, message):
    mine = third_party(monkeypatch, lambda obs: 0.0, NEEDS={name: positions})
    with pytest.raises(InputError) as error:
        needs_of([mine])
    assert message in str(error.value)
