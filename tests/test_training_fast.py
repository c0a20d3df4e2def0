"""The fast training step has the native module's own gradients, for every configuration that it takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

import interp
from interp.models.native import build
from interp.training.fast import can_run, loss, scored

BASE: dict[str, Any] = {
    "architecture": "native", "d_model": 12, "d_head": 4, "n_heads": 3, "n_layers": 2, "d_mlp": 20, "n_ctx": 9, "d_vocab": 7,
    "d_vocab_out": 7, "act_fn": "gelu", "normalization_type": "LN",
}  # fmt: skip
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one layer": {"n_layers": 1},
    "three layers": {"n_layers": 3},
    "no norm, relu": {"normalization_type": None, "act_fn": "relu"},
    "RMS, gated, grouped keys": {
        "normalization_type": "RMS", "gated_mlp": True, "act_fn": "silu", "n_key_value_heads": 1, "final_rms": True,
    },
    "norm without weights": {"normalization_type": "LNPre"},
    "rotary": {"positional_embedding_type": "rotary"},
    "rotary, one layer": {"positional_embedding_type": "rotary", "n_layers": 1},
    "attention only": {"attn_only": True},
    "capped logits": {"output_logits_soft_cap": 3.0},
    "scale of its own": {"attn_scale": 5.0},
    "solu": {"act_fn": "solu_ln"},
    "another vocabulary out": {"d_vocab_out": 5},
    "bidirectional": {"attention_dir": "bidirectional"},
    "capped scores (left to the module)": {"attn_scores_soft_cap": 2.0},
}  # fmt: skip
PLACES = {
    "last": [8], "one inside": [4], "several": [3, 4, 6], "all": list(range(9)), "first": [0], "uneven": None,
}  # fmt: skip


def batch_of(n: int, places: list[int] | None, vocab: int, seed: int = 0) -> interp.Batch:
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(7, (n, 9), generator=rng)
    targets = torch.full((n, 9), -1)
    answers = torch.randint(vocab, (n, 9), generator=rng)
    chosen = (
        torch.rand(n, 9, generator=rng) < 0.4 if places is None else torch.isin(torch.arange(9), torch.tensor(places))
    )
    return interp.Batch(tokens=tokens, targets=torch.where(chosen, answers, targets))


@pytest.mark.parametrize("n", [3, 60], ids=["few sequences", "a table of tokens is smaller"])
@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_gradients_are_those_of_the_module(name: str, places: str, n: int) -> None:
    config = {**BASE, **CONFIGURATIONS[name]}
    module = build(config, seed=0).double().train()
    batch = batch_of(n, PLACES[places], config["d_vocab_out"])
    real = batch.targets >= 0
    found = []
    for how in ("module", "fast"):
        module.zero_grad()
        if how == "module":
            value = cross_entropy(module(batch.tokens)[real], batch.targets[real])
        else:
            value = loss(module, scored(batch, causal=config.get("attention_dir") != "bidirectional"))
        value.backward()
        grads = {k: torch.zeros_like(p) if p.grad is None else p.grad.clone() for k, p in module.named_parameters()}
        found.append((value.item(), grads))
    (plain, expected), (fast, got) = found
    single = config["normalization_type"] in ("RMS", "LNPre")  # TransformerLens computes these norms in float32
    rtol, atol = (1e-3, 1e-5) if single else (1e-7, 1e-10)
    assert fast == pytest.approx(plain, abs=atol)
    for key, gradient in expected.items():
        torch.testing.assert_close(got[key], gradient, rtol=rtol, atol=atol, msg=key)


def test_what_is_not_as_it_was_built_is_left_to_the_module() -> None:
    assert can_run(build(BASE, seed=0))
    assert not can_run(build({**BASE, "attn_scores_soft_cap": 2.0}, seed=0))
    hooked = build(BASE, seed=0)
    hooked.layers[0].attn.register_forward_hook(lambda *_: None)
    assert not can_run(hooked)
    exchanged = build(BASE, seed=0)
    exchanged.layers[1].mlp = torch.nn.Sequential(torch.nn.Linear(12, 12))
    assert not can_run(exchanged)
    patched = build(BASE, seed=0)
    patched.head.forward = lambda x: x
    assert not can_run(patched)
    assert not can_run(torch.nn.Linear(2, 2))


def test_a_model_that_was_changed_trains_as_it_is() -> None:
    """A hook that scales the attention's output is part of the loss."""
    module = build(BASE, seed=0).train()
    batch = batch_of(4, [8], 7)
    plain = loss(module, scored(batch)).item()
    handle = module.layers[0].attn.o.register_forward_hook(lambda _, __, out: 3 * out)
    hooked = loss(module, scored(batch)).item()
    expected = cross_entropy(module(batch.tokens)[:, 8].double(), batch.targets[:, 8]).item()
    handle.remove()
    assert hooked == pytest.approx(expected, rel=1e-6)
    assert hooked != pytest.approx(plain, rel=1e-3)
