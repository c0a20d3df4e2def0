"""Every public function that is given a model leaves it as it found it, also when it is interrupted anywhere."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from tiny_models import CONFIGS, UNMAPPED, pairs, state_of

import interp
from interp.engine.precision import verify_device
from interp.hooks.interventions import Intervention
from interp.lenses import attention_figure, composition, head_scores
from interp.models import build, wrap
from interp.patching import knock_out, path_patch

TESTS = {
    "equivalence": dict,
    "independence": lambda: {"rng": np.random.default_rng(0), "n_permutations": 9},
    "minimality_tests": lambda: {"rng": np.random.default_rng(0), "n_reference": 2},
    "optimal_faithfulness": lambda: {"steps": 1},
}


def run_test_of(name, model, prompts, _):
    circuit = interp.find_circuit(model, prompts, "eap").top(3)
    getattr(interp, name)(model, prompts, circuit, **TESTS[name]())


CALLS = {
    "capture": lambda m, p, _: interp.capture(m, p.clean, ("z", "pattern", "resid_post"), gradients_of=torch.sum),
    "patch": lambda m, p, _: interp.patch(m, p, site="mlp_post", by=("layer", "neuron")),
    "logit_lens": lambda m, p, _: interp.logit_lens(m, p.clean),
    "direct_logit_attribution": lambda m, p, _: interp.direct_logit_attribution(m, p, by="head"),
    "find_circuit": lambda m, p, _: interp.find_circuit(m, p),
    "faithfulness": lambda m, p, _: interp.faithfulness(m, p, interp.find_circuit(m, p, "eap"), fractions=(0.1, 1.0)),
    "validate_circuit": lambda m, p, _: interp.validate_circuit(m, p, interp.find_circuit(m, p, "eap").top(6)),
    "hypothesis": lambda m, p, _: interp.hypothesis(m, p, "L0H1 -> L1H0.k", n_random=5),
    "intervene": lambda m, p, _: interp.intervene(m, p.clean, [Intervention(site="attn_scores", kind="zero", layer=1)]),
    "reduce_stream": lambda m, p, _: interp.reduce_stream(m, [p.clean]),
    "capture_to_disk": lambda m, p, folder: interp.capture_to_disk(m, [p.clean], folder),
    **{test: partial(run_test_of, test) for test in TESTS},
    "Recorder": lambda m, p, folder: interp.Recorder(
        interp.task("modular_addition", p=11), ["log_prob", "rankme"], folder, n_prompts=8
    )(m, 1),
    "Model": lambda m, p, _: (m(p.clean), m.bridge),
    "wrap": lambda m, p, _: interp.wrap(m.module)(p.clean),
}
NO_MODEL = {
    "InputError", "Prompts", "Task", "Batch", "Address", "CheckpointRef", "family", "load", "stream", "task", "tokenized", "Circuit",
    "find_jumps", "rank_leads", "read_table", "rolling", "open_stored", "Intervention", "harness_model", "evaluate_task",
    "fit_task", "Texts", "TextForm", "Example", "Protocol", "Structure", "read_experiment", "run_experiment", "prevalence",
    "attention_view", "trainer_callback", "lightning_callback", "intervention_effects", "read_logs", "write_logs",
    "forecast", "write_dataset",
}  # fmt: skip
OTHERS = {
    "path_patch": lambda m, p, _: path_patch(m, p, "L0H1", "L1H0.k"),
    "knock_out": lambda m, p, _: knock_out(m, p, queries=-1, keys=0),
    "patch, naive": lambda m, p, _: interp.patch(m, p, site="pattern", road="naive"),
    "head_scores": lambda m, p, _: head_scores(m, p),
    "composition": lambda m, p, _: composition(m),
    "attention_figure": lambda m, p, _: attention_figure(m, p.clean[:1], None, 0),
    "verify_device": lambda m, p, _: verify_device(m, "cpu", "bfloat16"),
}


WRITES = {"track_circuit"}
"""Puts other weights in, and the model's own back: their values are as found (tests/test_circuits_formation.py), not that they were
never written."""


def test_no_public_name_is_forgotten():
    assert {*CALLS, *NO_MODEL, *WRITES} == set(interp._HOME)


@pytest.mark.parametrize("name", ["native", "gpt2"])
@pytest.mark.parametrize("call", [*CALLS, *OTHERS])
def test_a_model_is_left_as_found_even_by_an_interrupt(call, name, tmp_path, monkeypatch):
    model, prompts, function = wrap(build(CONFIGS[name], seed=0).train()), pairs(), (CALLS | OTHERS)[call]
    before, weights = state_of(model), [parameter.clone() for parameter in model.module.parameters()]
    function(model, prompts, tmp_path / "whole")
    assert state_of(model) == before
    plain, left = torch.nn.Linear.forward, [0]

    def interrupted(self, x):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return plain(self, x)

    monkeypatch.setattr(torch.nn.Linear, "forward", interrupted)
    for n in (1, 4, 14, 31):
        left[0] = n
        try:
            function(model, prompts, tmp_path / str(n))
        except KeyboardInterrupt:
            assert left[0] == 0
        assert state_of(model) == before
    assert all(torch.equal(a, b) for a, b in zip(model.module.parameters(), weights, strict=True))


@pytest.mark.parametrize("call", ["capture", "patch", "intervene", "path_patch"])
def test_so_is_one_without_a_map(call):
    model, prompts = wrap(build(UNMAPPED, seed=0).train()), pairs(n_prompts=1, n_pos=4)
    before = state_of(model)
    (CALLS | OTHERS)[call](model, prompts, None)
    assert state_of(model) == before
