"""Methods against models whose circuit is known, against TransformerLens, and against each other."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from test_circuits import random_model, random_prompts

import interp
from interp import plugins
from interp.circuits import faithfulness, find_circuit, graph_of, named
from interp.circuits._attribution import pair_of
from interp.circuits._graph import edge_names
from interp.circuits._masked import masked_values
from interp.circuits._quadrature import RULES, points
from interp.circuits.attribution import attribute
from interp.circuits.testing.criteria import completeness
from interp.circuits.testing.faithfulness import FRACTIONS, of_circuit
from interp.circuits.testing.hypotheses import equivalence, holm, hsic_test, independence, minimality_tests, sign_test
from interp.circuits.testing.optimal import optimal_faithfulness, optimal_masker
from interp.circuits.testing.size import smallest_faithful
from interp.circuits.testing.stability import stability, transfer
from interp.circuits.testing.truth import edge_auroc
from interp.testbed import PROGRAMS, build

NAMES = ("histogram", "brackets", "induction", "other_name", "carry")


def built_with_prompts(name: str, seed: int = 0, n: int = 48):  # type: ignore[no-untyped-def]
    built = build(name, seed=seed)
    return built, built.prompts(n, rng=torch.Generator().manual_seed(seed + 100))


def test_methods_find_the_circuits_that_were_built() -> None:
    """Median edge AUROC over programs and seeds, and the circuits themselves: faithful, and of the right size."""
    aurocs = defaultdict(list)
    for seed, name in enumerate(NAMES):
        built, prompts = built_with_prompts(name, seed)
        true = named(graph_of(built.model), built.edges)
        for method in ("eap-ig", "acdc", "exact", "eap-ig-activations", "random"):
            circuit = find_circuit(built.model, prompts, method)
            aurocs[method].append(edge_auroc(circuit, built.edges))
            if method == "eap-ig":
                chosen = circuit.top(len(built.edges))
                assert abs(1 - of_circuit(built.model, prompts, chosen)) <= 0.02
                curves = [faithfulness(built.model, prompts, c) for c in (circuit, true)]
                assert curves[0].cmd <= curves[1].cmd + 0.02
            if method == "acdc":
                assert set(circuit.edges()) == set(built.edges)
    medians = {method: float(np.median(values)) for method, values in aurocs.items()}
    assert all(medians[method] >= 0.99 for method in medians if method != "random"), medians
    assert min(aurocs["eap-ig"]) >= 0.95
    assert 0.2 < medians["random"] < 0.8


def test_edge_pruning_learns_the_circuit() -> None:
    built, prompts = built_with_prompts("induction", 2, n=32)
    circuit = find_circuit(built.model, prompts, "edge-pruning", options={"steps": 120})
    assert edge_auroc(circuit, built.edges) > 0.97
    assert of_circuit(built.model, prompts, circuit) > 0.9
    assert circuit.n_edges <= 2 * len(built.edges)


def test_sharp_attention_hides_edges_from_eap_and_from_fixed_points_but_not_from_spread_ones() -> None:
    """Attention scores times six: selections switch over in a thirtieth of the path."""
    found = defaultdict(list)
    for name in ("induction", "pointer", "other_name", "count"):
        built, prompts = built_with_prompts(name, 1)
        state = built.model.module.state_dict()
        built.model.swap({n: 6 * tensor if ".q." in n else tensor for n, tensor in state.items()})
        found["eap"].append(edge_auroc(find_circuit(built.model, prompts, "eap"), built.edges))
        found["spread"].append(edge_auroc(find_circuit(built.model, prompts), built.edges))
    assert np.median(found["eap"]) < 0.9
    assert min(found["spread"]) > 0.95


def test_eap_equals_transformer_lens() -> None:
    """(clean − corrupt)·gradient on clean: TransformerLens' with the runs exchanged and the sign turned, summed over positions."""
    from transformer_lens.tools.analysis.attribution_patching import EdgeAttributionConfig, attribution_patch

    model, prompts = random_model("gpt2", 3), random_prompts(3, n=1)

    def metric(logits: torch.Tensor) -> torch.Tensor:
        return logits[0, -1, prompts.answer[0]] - logits[0, -1, prompts.wrong[0]]

    config = EdgeAttributionConfig(granularity="edge")
    theirs = attribution_patch(model.bridge, prompts.corrupt, prompts.clean, metric, config=config)
    summed: dict[str, float] = defaultdict(float)
    for (writer, reader), value in theirs.edge_scores.items():
        summed[f"{_name(writer)}->{_name(reader)}"] -= value
    assert find_circuit(model, prompts, "eap").edge_scores() == pytest.approx(summed, abs=1e-5)


def _name(node) -> str:  # type: ignore[no-untyped-def]
    if node.kind in ("embed", "logits"):
        return node.kind
    if node.kind.startswith("mlp"):
        return f"L{node.layer}.mlp"
    head = f"L{node.layer}H{node.head}"
    return head if node.kind == "attn_head_out" else f"{head}.{node.kind[0]}"


def test_integrated_gradients_come_closer_to_exact_effects_than_one_gradient() -> None:
    """Of weights at which attention moves but does not saturate, on average over models; each node's own path comes closest."""
    near = defaultdict(list)
    for seed in range(4):
        model, prompts = random_model("gpt2", seed), random_prompts(seed, n=12, same=0)
        model.swap({name: 0.6 * tensor for name, tensor in model.module.state_dict().items()})
        edges = graph_of(model).edges
        exact = find_circuit(model, prompts, "exact").scores[edges]
        for method in ("eap", "eap-ig", "eap-ig-activations"):
            scores = find_circuit(model, prompts, method).scores[edges]
            near[method].append(float(torch.corrcoef(torch.stack([exact, scores]))[0, 1]))
    assert np.mean(near["eap"]) < np.mean(near["eap-ig-activations"])
    assert np.mean(near["eap-ig"]) > 0.8


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [2, 5])
def test_quadrature_integrates_constants_and_tends_to_the_integral(rule: str, steps: int) -> None:
    assert sum(weight for _, weight in points(rule, steps)) == pytest.approx(1)
    fine = sum(weight * np.exp(float(at)) for at, weight in points(rule, 400))
    assert fine == pytest.approx(math.e - 1, abs=5e-3)
    if rule == "gauss":
        powers = [sum(w * a**k for a, w in points(rule, steps)) for k in range(2 * steps)]
        assert powers == pytest.approx([1 / (k + 1) for k in range(2 * steps)])


def test_spread_points_cover_the_path_and_are_midpoints_for_one_prompt() -> None:
    spread = torch.cat([at for at, _ in points("spread", 5, 40)]).sort().values  # type: ignore[misc]
    assert float(spread[0]) >= 0
    assert float(spread[-1]) <= 1
    assert float(spread.diff().max()) < 0.02
    alone = [float(at) for at, _ in points("spread", 5, 1)]
    assert alone == pytest.approx([at for at, _ in points("midpoint", 5)])


def test_atp_star_mends_saturated_queries() -> None:
    """Where the softmax is saturated the plain gradient of a head's queries vanishes; with the QK fix the head that needs them shows."""
    built, prompts = built_with_prompts("pointer", 1)
    state = built.model.module.state_dict()
    built.model.swap({n: 6 * tensor if ".q." in n else tensor for n, tensor in state.items()})
    mover = next(edge.split("->")[0] for edge in built.edges if edge.endswith("->logits"))
    inputs = find_circuit(built.model, prompts, "atp-star").about["inputs"]
    plain = find_circuit(built.model, prompts, "eap").edge_scores()
    into_query = sum(value for edge, value in plain.items() if edge.endswith(f"->{mover}.q"))
    assert abs(into_query) < 0.01
    assert inputs[f"{mover}.q"] > 1


def test_information_flow_shares_sum_to_one() -> None:
    for kind in ("gpt2", "gemma2", "llama_gqa"):
        scores = find_circuit(random_model(kind), random_prompts(padded=True), "information-flow").scores
        assert torch.allclose(scores.nansum(1), torch.ones(len(scores)), atol=1e-4)
        assert float(scores.nan_to_num().min()) >= 0


def test_attributions_by_position_and_neuron_add_up() -> None:
    model, prompts = random_model("gpt2", 4), random_prompts(4)
    nodes = find_circuit(model, prompts, "attribution").node_scores()
    by_pos = attribute(model, prompts, site="mlp_out", by_pos=True)
    assert by_pos.shape == (2, 7, 1)
    assert by_pos.sum((1, 2)).tolist() == pytest.approx([nodes["L0.mlp"], nodes["L1.mlp"]], abs=1e-4)
    assert attribute(model, prompts, site="z").flatten().tolist() == pytest.approx(
        [nodes[f"L{layer}H{head}"] for layer in range(2) for head in range(4)], abs=1e-4
    )
    neurons = attribute(model, prompts)
    assert neurons.shape == (2, 64)
    assert float(neurons[0].sum()) == pytest.approx(nodes["L0.mlp"], abs=1e-4)


def test_areas_of_the_curve() -> None:
    """MIB's grid; a perfect ranking of a circuit pays CMD only below the circuit's size, and CPR + CMD is the width where f <= 1."""
    built, prompts = built_with_prompts("modular_sum")
    curve = faithfulness(built.model, prompts, find_circuit(built.model, prompts))
    total = int(graph_of(built.model).edges.sum())
    assert curve.fractions == FRACTIONS
    assert curve.n_edges == tuple(int(k * total) for k in FRACTIONS)
    assert curve.values[-1] == pytest.approx(1, abs=1e-5)
    assert curve.cpr + curve.cmd == pytest.approx(0.999, abs=1e-3)
    assert curve.cmd < 0.05
    assert faithfulness(built.model, prompts, named(graph_of(built.model), set()), fractions=(0,)).values == (0.0,)


def test_same_prompts_on_both_sides_have_no_faithfulness() -> None:
    model, prompts = random_model("gpt2"), random_prompts(same=7)
    assert math.isnan(faithfulness(model, prompts, find_circuit(model, prompts, "eap")).values[0])
    assert smallest_faithful(model, prompts, find_circuit(model, prompts, "eap")) is None


@pytest.mark.parametrize("ablation", ["corrupt", "zero", "mean"])
def test_criteria_of_the_true_circuit(ablation: str) -> None:
    """The built circuit is complete and minimal where edges outside carry the corrupt run or its mean; one edge too many shows."""
    built, prompts = built_with_prompts("induction")
    graph = graph_of(built.model)
    true = named(graph, built.edges)
    rng = torch.Generator().manual_seed(0)
    if ablation == "zero":  # position edges carry nothing that depends on the prompt, and are needed all the same
        assert of_circuit(built.model, prompts, true, ablation="zero") < 0.9
        return
    whole = completeness(built.model, prompts, true, rng=rng, n_subsets=8, ablation=ablation)
    assert len(whole.circuit) == 9
    if ablation == "corrupt":
        assert whole.worst < 0.01
        needed = interp.validate_circuit(built.model, prompts, true).minimality
        assert min(needed.values()) > 0.05
        extra = next(edge for edge in _all_edges(graph) if edge not in built.edges)
        assert (
            interp.validate_circuit(built.model, prompts, true | named(graph, {extra})).minimality.get(extra, 0) < 0.01
        )
        part = named(graph, sorted(built.edges)[1:])
        assert completeness(built.model, prompts, part, rng=rng).worst > 0.2


def _all_edges(graph):  # type: ignore[no-untyped-def]
    return edge_names(graph, graph.edges)


def test_hypothesis_tests_of_a_true_and_of_a_broken_circuit() -> None:
    built, prompts = built_with_prompts("modular_sum", n=80)
    true = named(graph_of(built.model), built.edges)
    broken = named(graph_of(built.model), [e for e in sorted(built.edges) if not e.endswith("logits")][:-1])
    rng = np.random.default_rng(0)
    assert equivalence(built.model, prompts, true).p > 0.5
    assert equivalence(built.model, prompts, broken).p < 1e-3
    assert independence(built.model, prompts, true, rng=rng, n_permutations=99).p > 0.05
    tests = minimality_tests(built.model, prompts, true, rng=rng)
    assert set(tests) == set(built.edges)
    assert all(test.statistic > 1 for test in tests.values())
    assert max(test.p for test in tests.values()) < 0.05
    extra = next(edge for edge in _all_edges(true.graph) if edge.startswith("embed") and edge not in built.edges)
    assert minimality_tests(built.model, prompts, true | named(true.graph, {extra}), rng=rng)[extra].p > 0.2


def test_the_sign_test_keeps_its_level_and_has_power() -> None:
    rng = np.random.default_rng(0)
    level = [
        sign_test(rng.normal(size=60) + 0.2533, tolerance=0.1).p for _ in range(400)
    ]  # P(positive) = 0.6: the null's edge
    assert np.mean(np.array(level) <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
    assert sign_test(np.full(60, 1.0), tolerance=0.1).p < 1e-8
    assert sign_test(np.zeros(60), tolerance=0.0).p == pytest.approx(1)
    assert math.isnan(sign_test(np.array([np.nan]), tolerance=0.1).p)


def test_the_independence_test_keeps_its_level_and_has_power() -> None:
    rng = np.random.default_rng(1)
    p = [hsic_test(rng.normal(size=30), rng.normal(size=30), rng=rng, n_permutations=39).p for _ in range(200)]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
    x = rng.normal(size=60)
    assert hsic_test(x, x**2 + 0.1 * rng.normal(size=60), rng=rng, n_permutations=199).p <= 0.01
    assert hsic_test(x, np.ones(60), rng=rng, n_permutations=99).p == 1


def test_holm() -> None:
    assert holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == pytest.approx([1.0, 1.0])


def test_stability_and_transfer() -> None:
    built, prompts = built_with_prompts("induction", n=32)
    other = build("induction", seed=0)
    rng = torch.Generator().manual_seed(0)
    floor = stability(built.model, prompts, n_edges=len(built.edges), rng=rng, n_resamples=4)
    assert len(floor.jaccard) == 6
    assert floor.mean_jaccard == 1
    assert set(floor.frequency) == set(built.edges)
    assert 0.5 < floor.mean_similarity < 1
    noise = stability(built.model, prompts, n_edges=5, rng=rng, method="eap", n_resamples=4)
    assert noise.mean_similarity > 0
    circuit = find_circuit(built.model, prompts).top(len(built.edges))
    fresh = other.prompts(32, rng=rng)
    found = transfer(circuit, {"same weights, other prompts": (other.model, fresh)})
    assert found == {"same weights, other prompts": pytest.approx(1, abs=0.01)}
    small = smallest_faithful(built.model, prompts, circuit)
    assert small is not None
    assert small.n_edges <= len(built.edges)
    assert of_circuit(built.model, prompts, small) >= 0.8


@pytest.mark.parametrize("method", plugins.names("circuits"))
def test_every_method_keeps_the_contract(method: str) -> None:
    """Same bits twice, prompt pairs of one, padding, shared keys and values, its own name, a cost, and a report in JSON."""
    model = random_model("llama_gqa")
    for prompts in (random_prompts(n=1), random_prompts(padded=True)):
        options = {"steps": 5} if method == "edge_pruning" else None
        first, again = (find_circuit(model, prompts, method, options=options) for _ in range(2))
        assert torch.equal(first.scores.nan_to_num(nan=7.0), again.scores.nan_to_num(nan=7.0))
        assert first.method == method.replace("_", "-")
        assert first.metric == "logit_diff"
        assert first.about["passes"] >= 0
        assert (first.nodes is not None) or bool((~first.scores.isnan() == first.graph.edges).all())
        assert all(math.isfinite(value) for value in first.node_scores().values())
        back = type(first).from_json(first.to_json())
        assert back.node_scores() == pytest.approx(first.node_scores(), abs=1e-5)


@pytest.mark.slow
def test_all_programs() -> None:
    found = defaultdict(list)
    for name in PROGRAMS:
        built, prompts = built_with_prompts(name, 7, n=64)
        for method in ("eap-ig", "acdc"):
            found[method].append(edge_auroc(find_circuit(built.model, prompts, method), built.edges))
    assert all(np.median(values) >= 0.95 for values in found.values())


def test_optimal_constants_hurt_less_than_means() -> None:
    """KL to the model falls when the constants are trained for the circuit; the whole model is untouched by them."""
    model, prompts = random_model("native", 2), random_prompts(2, n=12)
    graph = graph_of(model)
    assert optimal_faithfulness(model, prompts, named(graph, _all_edges(graph)), steps=3) == pytest.approx(1, abs=1e-4)
    circuit = find_circuit(model, prompts, "eap").top(60)
    before = optimal_faithfulness(model, prompts, circuit, steps=0)
    assert before == pytest.approx(of_circuit(model, prompts, circuit, ablation="mean"), abs=1e-3)
    pair = pair_of(model, prompts, "kl")
    apart = []
    for steps in (0, 80):
        ready = optimal_masker(pair, circuit, steps=steps)
        apart.append(float(masked_values(circuit.included.float()[None], pair, prepared=ready).mean()))
    assert 0 < apart[1] < 0.7 * apart[0]
    assert all(p.grad is None for p in model.module.parameters())


def test_answers_of_several_tokens() -> None:
    """Masked runs and EAP read the positions that a longer answer is predicted from."""
    model, one = random_model("gpt2", 1), random_prompts(1)
    rng = torch.Generator().manual_seed(0)
    answer, wrong = (torch.randint(0, 23, (5, 3), generator=rng) for _ in range(2))
    prompts = type(one)(clean=one.clean, corrupt=one.corrupt, answer=answer, wrong=wrong)
    for metric in ("logit_diff", "log_prob", "prob"):
        curve = faithfulness(model, prompts, find_circuit(model, prompts, "eap", metric), fractions=(1.0,))
        assert curve.values == (pytest.approx(1, abs=1e-4),)
    with torch.no_grad():
        tokens = torch.cat([prompts.clean, answer[:, :2]], dim=1)
        found = model(tokens)[:, 6:9].log_softmax(-1).gather(-1, answer[:, :, None]).sum((1, 2))
    whole = faithfulness(model, prompts, find_circuit(model, prompts, "eap", "log_prob"), fractions=(1.0,))
    assert whole.clean == pytest.approx(float(found.mean()), abs=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "neox", "llama_gqa"])
def test_exact_edges_are_direct_paths(kind: str) -> None:
    """Every edge that does not start at the embedding, against path patching from its writer straight into its reader."""
    from interp.patching.paths import path_patch

    model, prompts = random_model(kind, 6), random_prompts(6)
    for edge, score in find_circuit(model, prompts, "exact").edge_scores().items():
        writer, reader = edge.split("->")
        if writer != "embed":
            effect = path_patch(model, prompts, writer, reader, direction="noise")
            assert score == pytest.approx(effect.base - effect.value, abs=1e-4), edge
