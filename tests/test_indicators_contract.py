"""The contract of indicators: every file of the folder is taken in and checked on arrival."""

import math
from dataclasses import replace

import pytest
import torch
from observed import CHEAP, INDICATORS, adding, inducing, look, native, reordered, summing

from interp import plugins
from interp.cli.listing import listing
from interp.measure.needs import indicator
from interp.measure.observe import measure
from interp.types import Estimate

MODELS = {"adding": adding, "inducing": inducing, "summing": summing}
SITES = {"layer": lambda m: m.n_layers, "head": lambda m: m.n_heads, "digit": lambda m: 2}
FROM_CIRCUIT = [name for name in INDICATORS if "circuit" in plugins.module("indicators", name).NEEDS]
PLAIN = [name for name in INDICATORS if name not in FROM_CIRCUIT]


@pytest.fixture(scope="module", params=MODELS, ids=str)
def seen(request):
    """An observation of a random model, with an earlier, first and last checkpoint beside it (other random weights), and
    nine more before."""
    model, task = MODELS[request.param]()
    return beside_another(model, other_weights(model, task), task)


@pytest.fixture(scope="module")
def turned(seen):
    """The same with its prompts in another order."""
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    return beside_another(seen.model, seen.previous.model, seen.task, prompts=reordered(seen.prompts, order))


@pytest.fixture(scope="module")
def single(seen):
    """The same with one prompt."""
    one = reordered(seen.prompts, torch.tensor([2]))
    return beside_another(seen.model, seen.previous.model, seen.task, prompts=one)


@pytest.fixture(scope="module")
def alone(seen):
    """The same without any other checkpoint."""
    return look(seen.model, seen.task, prompts=seen.prompts)


def other_weights(model, task):
    return native(task, seed=1, **{key: value for key, value in model.config.items() if key != "architecture"})


def beside_another(model, other, task, measures=INDICATORS, **prompts):
    beside = look(other, task, measures, **prompts)
    window = [*(walked(beside, steps) for steps in range(9, 0, -1)), beside]
    return look(model, task, measures, previous=beside, window=window, initial=beside, final=beside, **prompts)


def walked(obs, steps):
    """The observation of the same model some random steps further; only its weights are others."""
    if "weights" not in obs.kept:
        return obs
    rng = torch.Generator().manual_seed(steps)
    weights = {name: w + 0.01 * torch.randn(w.shape, generator=rng) for name, w in obs["weights"].items()}
    return replace(obs, kept={**obs.kept, "weights": weights})


def values(obs, name):
    """What one indicator says, (component, position) -> value; its failure is the test's."""
    rows, failures = measure(obs, [(name, CHEAP.get(name, {}))])
    assert failures == []
    return {(row["component"], row["position"]): row["value"] for row in rows}


def close(a, b):
    return a.keys() == b.keys() and all(
        math.isclose(a[k], b[k], rel_tol=1e-4, abs_tol=1e-5) or (math.isnan(a[k]) and math.isnan(b[k])) for k in a
    )


@pytest.mark.parametrize("name", INDICATORS)
def test_a_file_says_what_it_measures(name):
    module = plugins.module("indicators", name)
    doc = module.__doc__ or ""
    assert len(doc) > 60
    assert module.DIMS in ((), ("component",)) or set(module.DIMS) <= {"layer", "head", "pos", "digit"}
    assert isinstance(module.UNIT, str)
    assert module.UNIT
    assert isinstance(module.ONLINE, bool)
    assert getattr(module, "KIND", "indicator") in ("behaviour", "indicator")
    assert set(module.NEEDS.values()) <= {"answer", "all"}
    assert ("final" not in module.NEEDS) == module.ONLINE, "exactly what looks at the final checkpoint is hindsight"
    assert plugins.load("indicators", name).__doc__


@pytest.mark.parametrize("name", PLAIN)
def test_shapes_are_as_declared_and_values_finite_or_nan(seen, name):
    module = plugins.module("indicators", name)
    found = values(seen, name)
    assert found
    assert not any(math.isinf(value) for value in found.values())
    if module.DIMS and module.DIMS != ("component",):
        own = {"digit": lambda m: seen.answers.shape[1], "pos": lambda m: seen.splits["test"].targets.shape[1]}
        expected = math.prod({**SITES, **own}[dim](seen.model) for dim in module.DIMS)
        assert len(found) == expected
    if not module.DIMS:
        assert set(found) == {("", None)}


@pytest.mark.parametrize("name", PLAIN)
def test_same_rng_same_bits_and_the_model_is_left_as_found(seen, name):
    module = seen.model.module
    before = {key: value.clone() for key, value in module.state_dict().items()}
    modes = [part.training for part in module.modules()]
    flags = [(p.requires_grad, p.grad) for p in module.parameters()]
    hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()]
    random_state = torch.get_rng_state()

    first, second = values(seen, name), values(seen, name)

    assert str(first) == str(second)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert modes == [part.training for part in module.modules()]
    assert flags == [(p.requires_grad, p.grad) for p in module.parameters()]
    assert hooks == [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules()]
    assert torch.equal(random_state, torch.get_rng_state())


@pytest.mark.parametrize("name", PLAIN)
def test_the_order_of_the_prompts_does_not_matter(seen, turned, name):
    assert close(values(seen, name), values(turned, name))


@pytest.mark.parametrize("name", PLAIN)
def test_a_single_prompt_works(seen, single, name):
    found = values(single, name)
    assert found.keys() == values(seen, name).keys()
    assert not any(math.isinf(value) for value in found.values())


@pytest.mark.parametrize("name", PLAIN)
def test_without_other_checkpoints_it_is_nan_or_the_same(seen, alone, name):
    found = values(alone, name)
    if {"previous", "window", "initial", "final"} & set(plugins.module("indicators", name).NEEDS):
        assert all(math.isnan(value) for value in found.values())
    else:
        assert close(found, values(seen, name))


@pytest.mark.parametrize("name", PLAIN)
def test_measured_alone_as_among_all(seen, name):
    """The shared pass keeps more than one indicator needs; what that one sees is the same."""
    own = beside_another(seen.model, seen.previous.model, seen.task, [name], prompts=seen.prompts)
    assert close(values(own, name), values(seen, name))


def test_the_cost_class_fits_the_cost(seen):
    """Where an indicator is not defined it may stop before it spends anything."""
    most = {"weights": 0, "forward": 1e3, "backward": 3e3, "many": math.inf}
    for name in PLAIN:
        rows, _ = measure(seen, [(name, CHEAP.get(name, {}))])
        cost, undefined = rows[0]["cost"], all(math.isnan(row["value"]) for row in rows)
        assert cost <= most[indicator(name).cost], name
        assert cost > 0 or undefined or indicator(name).cost == "weights", name


def test_the_list_says_the_class_of_the_cost():
    """Read from the files' text; `indicator` imports them."""
    assert {each["name"]: each["cost"] for each in listing("indicators")} == {n: indicator(n).cost for n in INDICATORS}


def test_estimates_carry_their_error(seen):
    for name in PLAIN:
        result = plugins.load("indicators", name).__annotations__["return"]
        rows, _ = measure(seen, [(name, CHEAP.get(name, {}))])
        assert all((row["n"] is not None) == (result == Estimate.__name__) for row in rows), name
