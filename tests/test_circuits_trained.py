"""Circuits of trained models: each test grows a run of a family and asks which heads and MLPs carry its skill.

Held-out prompts throughout: a circuit is found on some and tried on others, with everything outside of it replaced by
its value on other prompts or by its mean. Behaviour is the exact match beside the metric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

import interp
from interp.circuits import Circuit, among, exact_match, find_circuit, graph_of, named
from interp.circuits.formation import role_scores
from interp.circuits.testing.criteria import completeness
from interp.circuits.testing.faithfulness import of_circuit
from interp.circuits.testing.size import smallest_faithful
from interp.circuits.testing.stability import stability
from interp.engine.config import TaskSpec
from interp.engine.units import task_of
from interp.families.planned import planned_runs
from interp.training.grow import grow as grow_run
from interp.types import Prompts

pytestmark = pytest.mark.slow
RECIPES = Path(__file__).parent.parent / "experiments" / "recipes"
SIZES = {"induction": "d48", "addition": "d64", "grokking_demo": "d48"}
Grown = tuple[interp.Model, Prompts, Prompts]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Grown]:
    """Recipe -> the last checkpoint of its first run, prompts to find circuits on and prompts to try them on."""
    root = tmp_path_factory.mktemp("checkpoints")

    @cache
    def grow(name: str) -> Grown:
        recipe = yaml.safe_load((RECIPES / f"{name}.yaml").read_text())
        size = SIZES[name]
        recipe |= {"seeds": [0], "sizes": {size: recipe["sizes"][size]}, "checkpoints": {"every": recipe["steps"]}}
        for several in ("settings", "runs"):
            recipe.pop(several, None)
        path = root / f"{name}.yaml"
        path.write_text(yaml.safe_dump(recipe))
        grow_run(planned_runs(path)[0], root)
        ref = interp.family(name, root=root).checkpoints()[-1]
        model = interp.load(ref)
        task, split = task_of(TaskSpec(name=recipe["task"]["name"], params={}), ref)
        rng = torch.Generator().manual_seed(1)
        found_on, tried_on = (task.prompts(256, rng=rng, seed=split) for _ in range(2))
        return model, found_on, tried_on

    return grow


def smallest(model: interp.Model, prompts: Prompts, ablation: str, metric: str = "log_prob") -> Circuit:
    """The default method's best edges, as few as keep .95 of the exact match."""
    circuit = find_circuit(model, prompts, metric=metric, options={"ablation": ablation})
    found = smallest_faithful(model, prompts, circuit, target=0.95, ablation=ablation, metric=exact_match)
    assert found is not None
    return found


@pytest.mark.parametrize("ablation", ["corrupt", "mean"])
def test_modular_addition_goes_through_all_heads_and_the_mlp(grown: Callable[[str], Grown], ablation: str) -> None:
    """Tokens into the heads' values (and keys), heads into the MLP, the MLP into the logits; no direct way is needed."""
    model, found_on, tried_on = grown("grokking_demo")
    circuit = smallest(model, found_on, ablation)
    needed = {f"L0H{head}->L0.mlp" for head in range(4)} | {f"embed->L0H{head}.v" for head in range(4)}
    assert needed | {"L0.mlp->logits"} <= set(circuit.edges())
    assert circuit.n_edges <= 16
    assert of_circuit(model, tried_on, circuit, ablation=ablation) > 0.95
    assert of_circuit(model, tried_on, circuit, ablation=ablation, metric=exact_match) > 0.95
    through = set(circuit.edges()) - {"embed->logits", "embed->L0.mlp", *(f"L0H{head}->logits" for head in range(4))}
    bare = replace(circuit, included=named(circuit.graph, through).included)
    assert of_circuit(model, tried_on, bare, ablation=ablation, metric=exact_match) > 0.95
    rng = torch.Generator().manual_seed(0)
    assert completeness(model, tried_on, bare, rng=rng, ablation=ablation, n_subsets=8).worst < 0.25
    worth = interp.validate_circuit(model, tried_on, bare, ablation=ablation).minimality
    assert min(worth[edge] for edge in needed) > 0.02
    for head in range(4):
        rest = among(circuit.graph, {"L0.mlp", *(f"L0H{other}" for other in range(4) if other != head)})
        assert of_circuit(model, tried_on, rest, ablation=ablation, metric=exact_match) < 0.9


@pytest.mark.parametrize("ablation", ["corrupt", "mean"])
def test_three_digit_addition_reads_in_the_first_layer_and_computes_in_both_mlps(
    grown: Callable[[str], Grown], ablation: str
) -> None:
    model, found_on, tried_on = grown("addition")
    circuit = smallest(model, found_on, ablation)
    assert circuit.n_edges <= 0.65 * int(circuit.graph.edges.sum())
    assert of_circuit(model, tried_on, circuit, ablation=ablation) > 0.95
    assert of_circuit(model, tried_on, circuit, ablation=ablation, metric=exact_match) > 0.9
    noise = find_circuit(model, found_on, "random", "log_prob").top(circuit.n_edges)
    assert of_circuit(model, tried_on, noise, ablation=ablation, metric=exact_match) < 0.5
    worth = _worth_of_nodes(model, found_on, ablation)
    best = sorted(worth, key=lambda name: -worth[name])
    assert {"L0.mlp", "L1.mlp"} <= set(best[:6])
    assert sum(name.startswith("L0") for name in best[:5]) >= 4
    carriers = among(circuit.graph, best[:8])
    assert of_circuit(model, tried_on, carriers, ablation=ablation, metric=exact_match) > 0.9
    for mlp in ("L0.mlp", "L1.mlp"):
        rest = among(circuit.graph, set(circuit.graph.writers[1:]) - {mlp})
        assert of_circuit(model, tried_on, rest, ablation=ablation, metric=exact_match) < 0.2


def _worth_of_nodes(model: interp.Model, prompts: Prompts, ablation: str) -> dict[str, float]:
    """Node -> what the log-probability loses when it alone is replaced, exactly."""
    graph = graph_of(model)
    nodes = graph.writers[1:]
    return {
        name: 1 - of_circuit(model, prompts, among(graph, set(nodes) - {name}), ablation=ablation, metric="log_prob")
        for name in nodes
    }


def test_induction_is_a_previous_token_head_feeding_the_keys_of_induction_heads(grown: Callable[[str], Grown]) -> None:
    model, found_on, tried_on = grown("induction")
    roles = role_scores(model, found_on)
    previous = int(roles["previous"][0].argmax())
    movers = [head for head in range(4) if float(roles["induction"][1, head]) > 0.5]
    assert float(roles["previous"][0, previous]) > 0.3
    assert len(movers) >= 2
    circuit = find_circuit(model, found_on)
    scores = circuit.edge_scores()
    for mover in movers:
        into = {edge: score for edge, score in scores.items() if edge.endswith(f"->L1H{mover}.k")}
        assert max(into, key=lambda edge: abs(into[edge])) == f"L0H{previous}->L1H{mover}.k"
    kept = smallest(model, found_on, "corrupt", "logit_diff")
    assert {f"L0H{previous}->L1H{mover}.k" for mover in movers} <= set(kept.edges())
    assert of_circuit(model, tried_on, kept) > 0.9
    assert of_circuit(model, tried_on, kept, metric=exact_match) > 0.9
    for ablation, at_most in (("corrupt", 0.2), ("mean", 0.75)):  # other heads look back a little, too
        without = among(kept.graph, {f"L{at}H{head}" for at in range(2) for head in range(4)} - {f"L0H{previous}"})
        assert of_circuit(model, tried_on, without, ablation=ablation, metric=exact_match) < at_most
        heads = among(kept.graph, {f"L0H{head}" for head in _best_two(roles)} | {f"L1H{head}" for head in range(4)})
        assert of_circuit(model, tried_on, heads, ablation=ablation, metric=exact_match) > 0.9
    mean = smallest(model, found_on, "mean", "logit_diff")
    assert of_circuit(model, tried_on, mean, ablation="mean", metric=exact_match) > 0.9
    floor = stability(model, found_on, n_edges=12, rng=torch.Generator().manual_seed(0), n_resamples=4)
    assert floor.mean_jaccard > 0.8


def _best_two(roles: dict[str, torch.Tensor]) -> list[int]:
    """The two heads of the first layer that look at the previous token most."""
    return roles["previous"][0].topk(2).indices.tolist()
