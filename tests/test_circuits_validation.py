"""What a circuit's validation says, held against circuits whose gates were built in."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import pytest
import torch

import interp
from interp.circuits import _masked, graph_of, named
from interp.circuits._circuit import Circuit
from interp.circuits._masked import masked_logits
from interp.circuits.testing.faithfulness import checked_pair, means_under, normalised
from interp.circuits.testing.hypotheses import sign_test
from interp.circuits.validation import MARGIN, Validation, _effects
from interp.circuits.validation._tests import smallest_share
from interp.testbed.built import Built, build_program
from interp.testbed.normed import with_norm
from interp.testbed.program import Layer
from interp.testbed.programs.gates import GATES, N_CTX, SIZE, Gate, gate_program, mover, named_parts


def built_gate(name: str, seed: int = 0) -> tuple[Gate, Built, interp.Prompts]:
    gate = GATES[name]()
    built = build_program(gate.program, seed=seed)
    return gate, built, built.prompts(48, rng=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", GATES)
def test_a_gate_computes_its_program(name: str) -> None:
    _, built, prompts = built_gate(name)
    with torch.no_grad():
        logits = built.model.module(prompts.clean)[torch.arange(48), prompts.position]
    assert bool((logits.argmax(-1) == prompts.answer).all())


BOTH = ("or_two", "two_gates", "cancelling_pair", "negative_head")
CASES = [(name, method) for name in GATES for method in (("eap-ig", "acdc") if name in BOTH else ("acdc",))]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_groups_are_those_that_were_built(name: str, method: str) -> None:
    """Whether the circuit holds all members of a group (eap-ig) or the method kept one of them (acdc)."""
    gate, built, prompts = built_gate(name)
    circuit = interp.find_circuit(built.model, prompts, method=method)
    found = interp.validate_circuit(built.model, prompts, circuit.top(8) if method == "eap-ig" else circuit)
    assert set(found.backups) == {named_parts(built, group) for group in gate.backups}
    assert set(found.cancelling) == {named_parts(built, group) for group in gate.cancelling}
    assert set(found.negative) == set(named_parts(built, gate.negative))
    assert all(name in found.summary() for group in found.backups + found.cancelling for name in group)


def true_circuit(built: Built) -> Circuit:
    return named(graph_of(built.model), built.edges)


@pytest.mark.parametrize("name", ["or_two", "and_two", "negative_head"])
def test_minimality_is_the_maximum_over_the_subsets_that_it_names(name: str) -> None:
    """Worked out again, subset by subset, from the definition."""
    gate, built, prompts = built_gate(name)
    circuit = true_circuit(built)
    found = interp.validate_circuit(built.model, prompts, circuit)
    pair = checked_pair(built.model, prompts, circuit, None)

    def f(edges: frozenset[str]) -> float:
        (value,), clean, empty = means_under(pair, named(circuit.graph, edges).included[None].float())
        return normalised(value, clean, empty)

    everything = frozenset(circuit.edges())
    for edge in everything:
        sets = [frozenset[str](), *(frozenset({other}) for other in everything - {edge})]
        for group in (named_parts(built, parts) for parts in gate.backups + gate.cancelling):
            others = [member for member in group if member not in edge]
            sets.append(frozenset(e for e in everything if any(member in e for member in others)) - {edge})
        worst = max(abs(f(everything - k) - f(everything - k - {edge})) for k in sets)
        assert found.minimality[edge] == pytest.approx(worst, abs=1e-5)


@pytest.mark.parametrize("name", ["or_two", "or_three"])
def test_twins_get_equal_scores_above_nothing(name: str) -> None:
    gate, built, prompts = built_gate(name)
    found = interp.validate_circuit(built.model, prompts, true_circuit(built))
    (group,) = (named_parts(built, parts) for parts in gate.backups)
    for pattern in ("embed->{}.v", "{}->" + next(e.split("->")[1] for e in built.edges if e.startswith(group[0]))):
        scores = [found.minimality[pattern.format(head)] for head in group]
        assert np.ptp(scores) < 1e-4
        assert min(scores) > MARGIN


def test_a_circuit_of_one_twin_is_faithful_and_incomplete() -> None:
    gate, built, prompts = built_gate("or_two")
    first, second = named_parts(built, gate.backups[0])
    circuit = true_circuit(built)
    one = named(circuit.graph, [edge for edge in circuit.edges() if second not in edge])
    both, half = (interp.validate_circuit(built.model, prompts, each) for each in (circuit, one))
    assert both.completeness > 0.99
    assert half.completeness < 0.6
    assert half.backups == ((first, second),)  # it is found though it is not in the circuit


def test_live_edges_only() -> None:
    """Edges into a head that nothing reads, or out of a head that nothing enters, are no part of the size."""
    _, built, prompts = built_gate("or_two")
    circuit = true_circuit(built)
    idle = next(h for h in circuit.graph.writers if "H" in h and not any(h in edge for edge in circuit.edges()))
    more = circuit | named(circuit.graph, [f"embed->{idle}.v"])
    assert more.n_edges == circuit.n_edges + 1
    found = interp.validate_circuit(built.model, prompts, more)
    assert found.n_edges == circuit.n_edges
    assert f"embed->{idle}.v" not in found.minimality


def test_nothing_to_explain_is_said() -> None:
    _, built, prompts = built_gate("or_two")
    same = interp.Prompts(
        clean=prompts.clean,
        corrupt=prompts.clean,
        answer=prompts.answer,
        wrong=prompts.wrong,
        position=prompts.position,
    )
    found = interp.validate_circuit(built.model, same, true_circuit(built))
    assert np.isnan(found.faithfulness)
    assert "no behaviour" in found.summary()
    assert found.to_json()["faithfulness"] is None


def test_a_validation_shows_itself_in_a_few_lines_and_leaves_the_model_as_found() -> None:
    _, built, prompts = built_gate("two_gates")
    before = {name: value.clone() for name, value in built.model.module.state_dict().items()}
    found = interp.validate_circuit(built.model, prompts, true_circuit(built))
    assert isinstance(found, Validation)
    assert len(repr(found).splitlines()) < 12
    again = interp.validate_circuit(built.model, prompts, true_circuit(built))
    assert found.to_json() == again.to_json()
    assert all(torch.equal(value, before[name]) for name, value in built.model.module.state_dict().items())


def test_scores_by_three_roads_agree_where_parts_add_up() -> None:
    """Two heads that add up in the logits, without a norm: noising, denoising and the gradient are the same number."""
    _, built, prompts = built_gate("negative_head")
    found = interp.validate_circuit(built.model, prompts, true_circuit(built))
    for row in found.scores.values():
        for a, b in itertools.combinations(row.values(), 2):
            assert a == pytest.approx(b, abs=0.02)
    assert found.disagreement == ""


RANDOM = dict(
    architecture="GPT2LMHeadModel", n_embd=24, n_layer=2, n_head=4, n_positions=16, vocab_size=23, bos_token_id=0,
    eos_token_id=0, initializer_range=0.3,
)  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_a_model_of_random_weights_has_no_backups(seed: int) -> None:
    """Nothing was built into it: what a few prompts seem to show does not hold on others."""
    model = interp.wrap(interp.models.build(RANDOM, seed=seed))
    rng = torch.Generator().manual_seed(seed)
    clean = torch.randint(1, 23, (32, 7), generator=rng)
    corrupt = clean.clone()
    corrupt[:, 3] = 1 + (clean[:, 3] + torch.randint(20, (32,), generator=rng)) % 22
    with torch.no_grad():
        moved = model.module(clean).logits[:, -1] - model.module(corrupt).logits[:, -1]
    prompts = interp.Prompts(clean=clean, corrupt=corrupt, answer=moved.argmax(-1), wrong=moved.argmin(-1))
    circuit = interp.find_circuit(model, prompts, method="eap").top(12)
    assert interp.validate_circuit(model, prompts, circuit, minimal=False).backups == ()


@pytest.mark.parametrize("metric", ["log_prob", "prob", "kl", "rank"])
def test_the_metric_does_not_change_who_stands_in_for_whom(metric: str) -> None:
    gate, built, prompts = built_gate("or_two")
    found = interp.validate_circuit(built.model, prompts, true_circuit(built), metric=metric, minimal=False)
    assert set(found.backups) == {named_parts(built, group) for group in gate.backups}


def test_a_metric_of_ones_own_gets_all_prompts_in_their_order() -> None:
    gate, built, prompts = built_gate("or_two")

    def is_right(logits: torch.Tensor) -> torch.Tensor:
        return (logits.reshape(len(prompts.answer), -1).argmax(-1) == prompts.answer).float()

    found = interp.validate_circuit(built.model, prompts, true_circuit(built), metric=is_right, minimal=False)
    assert set(found.backups) == {named_parts(built, group) for group in gate.backups}
    assert all(np.isnan(row["gradient"]) for row in found.scores.values())  # it has none


@pytest.mark.parametrize("n", [1, 2, 4])
def test_few_prompts_will_do(n: int) -> None:
    gate, built, _ = built_gate("or_two")
    prompts = built.prompts(n, rng=torch.Generator().manual_seed(3))
    found = interp.validate_circuit(built.model, prompts, true_circuit(built), minimal=False)
    assert set(found.backups) == {named_parts(built, group) for group in gate.backups}


@pytest.mark.parametrize("name", ["or_two", "and_two", "cancelling_triple"])
def test_the_cost_is_what_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted where masked runs are made; at most 40 of the whole batch without minimality."""
    _, built, _ = built_gate(name)
    prompts = built.prompts(64, rng=torch.Generator().manual_seed(1))
    runs = [0.0]

    def counted(ready, masks, **options):  # type: ignore[no-untyped-def]
        runs[0] += (
            (3 if masks.requires_grad else 1) * len(masks) * ready.pair.n_prompts / 64
        )  # backwards is twice forwards
        return masked_logits(ready, masks, **options)

    for module in (_masked, _effects):
        monkeypatch.setattr(module, "masked_logits", counted)
    found = interp.validate_circuit(built.model, prompts, true_circuit(built), minimal=False)
    assert runs[0] == pytest.approx(found.passes, abs=1.5)  # a model met for the first time is proved once
    assert found.passes <= 40


@pytest.mark.parametrize("name", ["or_three", "two_gates"])
def test_minimality_costs_at_most_three_runs_an_edge(name: str) -> None:
    """For the true circuit, whose pairs are all tried, and for a larger one, whose nearest are by gradients."""
    _, built, prompts = built_gate(name)
    for circuit in (true_circuit(built), interp.find_circuit(built.model, prompts).top(24)):
        without, found = (interp.validate_circuit(built.model, prompts, circuit, minimal=m) for m in (False, True))
        assert found.passes - without.passes <= 3 * found.n_edges
        assert set(found.minimality) == set(circuit.pruned().edges())
        truth = interp.validate_circuit(built.model, prompts, true_circuit(built)).minimality
        assert all(found.minimality[edge] >= truth[edge] - 0.1 for edge in truth.keys() & found.minimality.keys())


@pytest.mark.parametrize("kind", ["LN", "RMS"])
@pytest.mark.parametrize("name", ["or_three", "sleeping_backup", "two_routes"])
def test_a_norm_does_not_hide_who_stands_in_for_whom(name: str, kind: Literal["LN", "RMS"]) -> None:
    """Behind a norm every component has some effect, so that the ones that have none by themselves are not looked at first."""
    gate = GATES[name]()
    built = with_norm(build_program(gate.program, seed=0, n_distractors=1), constant=30.0, kind=kind)
    prompts = built.prompts(48, rng=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = built.model.module(prompts.clean)[torch.arange(48), prompts.position]
    assert bool((logits.argmax(-1) == prompts.answer).all())
    circuit = interp.find_circuit(built.model, prompts, method="acdc")
    found = interp.validate_circuit(built.model, prompts, circuit, minimal=False)
    assert set(found.backups) == {named_parts(built, group) for group in gate.backups}
    assert (found.cancelling, found.negative) == ((), ())


def test_an_or_that_the_norm_makes_is_found() -> None:
    """Two heads write the same answer straight to the logits; what the norm leaves of two is what it leaves of one."""
    heads = tuple(mover(N_CTX, 1, "out", SIZE, scale=20.0) for _ in range(2))
    program = gate_program("norm_or", (Layer(heads=heads),), lambda tokens: tokens[1])
    for constant, backed in (
        (1.0, True),
        (1000.0, False),
    ):  # beside a long constant the norm hides nothing: they add up
        built = with_norm(build_program(program, seed=0, n_distractors=1), constant=constant)
        prompts = built.prompts(48, rng=torch.Generator().manual_seed(0))
        circuit = interp.find_circuit(built.model, prompts).top(8)
        found = interp.validate_circuit(built.model, prompts, circuit, minimal=False)
        assert found.backups == ((named_parts(built, ((0, 0), (0, 1))),) if backed else ())


def test_hypothesis_tests_come_with_what_they_could_have_seen() -> None:
    _, built, prompts = built_gate("negative_head")
    found = interp.validate_circuit(built.model, prompts, true_circuit(built), minimal=False, tests=True).tests
    assert found is not None
    assert found.equivalence.p > 0.05  # circuit and model are the same function
    assert 0.6 < found.equivalence_sees < 0.9
    assert set(found.minimality) == set(true_circuit(built).edges())
    if np.isnan(found.minimality_sees):  # too few paths: no edge can be told from them
        assert all(test.p > 0.05 for test in found.minimality.values())
    else:
        told = {edge: test.p <= 0.05 for edge, test in found.minimality.items()}
        assert told == {edge: test.statistic > found.minimality_sees for edge, test in found.minimality.items()}


def test_the_smallest_share_is_found_as_often_as_is_said() -> None:
    """By drawing prompts: at that share the sign test rejects in four of five cases, a little below it in fewer."""
    n, rng = 40, np.random.default_rng(0)
    at = smallest_share(n)

    def rejected(share: float) -> float:
        draws = np.where(rng.random((400, n)) < share, 1.0, -1.0)
        return float(np.mean([sign_test(row, tolerance=0.1).p <= 0.05 for row in draws]))

    assert rejected(at) > 0.74
    assert rejected(at - 0.05) < 0.78
    assert smallest_share(200) < at
    assert np.isnan(smallest_share(3))
