"""The native model is TransformerLens' NativeModel to the bit, and needs no TransformerLens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import interp
from interp.errors import InputError
from interp.models import native, wrap
from interp.table import store
from interp.training import fast

BASE: dict[str, Any] = {
    "architecture": "native", "d_model": 12, "d_head": 4, "n_heads": 4, "n_layers": 2, "n_ctx": 9, "d_vocab": 7,
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "heads to be found": {"n_heads": -1},
    "no layers": {"n_layers": 0, "init_mode": "xavier_normal"},
    "null": {"normalization_type": None},
    "null, RMS at the end": {"normalization_type": None, "final_rms": True},
    "LNPre": {"normalization_type": "LNPre", "eps": 1e-3},
    "LNPre, RMS at the end": {"normalization_type": "LNPre", "final_rms": True},
    "RMS": {"normalization_type": "RMS", "eps": 1e-3},
    "RMSPre": {"normalization_type": "RMSPre"},
    "rotary": {"positional_embedding_type": "rotary"},
    "rotary in part, another base": {"positional_embedding_type": "rotary", "rotary_dim": 2, "rotary_base": 100},
    "grouped keys": {"n_key_value_heads": 2},
    "rotary, one key": {"n_key_value_heads": 1, "positional_embedding_type": "rotary"},
    "gated": {"gated_mlp": True, "act_fn": "silu", "d_mlp": 20},
    "gated, as Llama": {
        "gated_mlp": True, "act_fn": "swish", "normalization_type": "RMS", "positional_embedding_type": "rotary",
        "n_key_value_heads": 2, "final_rms": True,
    },
    "attention only": {"attn_only": True},
    **{act: {"act_fn": act} for act in ("relu", "gelu", "gelu_new", "silu", "swish", "solu", "solu_ln")},
    **{f"gated {act}": {"act_fn": act, "gated_mlp": True} for act in ("gelu_new", "solu_ln")},
    "bidirectional": {"attention_dir": "bidirectional"},
    "unscaled": {"use_attn_scale": False, "attn_scale": 1.0},
    "scale of its own": {"attn_scale": 5.0},
    "scale by layer": {"scale_attn_by_inverse_layer_idx": True},
    "capped": {"attn_scores_soft_cap": 2.0, "output_logits_soft_cap": 3.0},
    "another vocabulary out": {"d_vocab_out": 5},
    "seed of its own": {"seed": 3},
    "spread": {"initializer_range": 0.3},
    "no spread": {"initializer_range": 0.0},
    **{mode: {"init_mode": mode} for mode in ("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal")},
    "gain": {"init_mode": "kaiming_uniform", "initializer_range": 0.3},
}  # fmt: skip
"""All that recipes may say (`interp.families.recipe.MODEL`) and what else a config.json may hold."""


def theirs(config: dict[str, Any], seed: int | None) -> Any:
    """TransformerLens' own model of that configuration."""
    from transformer_lens.model_bridge.sources.native.init import initialize_native_model
    from transformer_lens.model_bridge.sources.native.model import NativeModel

    cfg = native.bridge_config(config)
    with torch.random.fork_rng(devices=[]):
        module = NativeModel(cfg)
        initialize_native_model(module, cfg, seed=seed)
    return module.eval()


def tokens() -> torch.Tensor:
    return torch.randint(7, (3, 8), generator=torch.Generator().manual_seed(1))


def gradients(module: nn.Module, **inputs: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    logits = module(**inputs)
    module.zero_grad()
    (logits.log_softmax(-1) * torch.arange(logits.shape[-1])).sum().backward()
    return logits.detach(), [weight.grad for weight in module.parameters()]


@pytest.mark.parametrize("name", OPTIONS)
def test_weights_logits_and_gradients_are_transformer_lenses(name: str) -> None:
    config = {**BASE, **OPTIONS[name]}
    for seed in (0, None):
        torch.manual_seed(5)  # without any seed, both draw on the global generator
        module, other = native.build(config, seed=seed), None
        torch.manual_seed(5)
        other = theirs(config, seed)
        assert list(module.state_dict()) == list(other.state_dict())
        for one, two in zip(module.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(one, two)
    mask = torch.ones(3, 8)
    mask[0, :3] = mask[1, 6:] = 0
    places = torch.arange(8).flip(0).expand(3, 8)
    for inputs in (
        {},
        {"attention_mask": mask},
        {"position_ids": places},
        {"attention_mask": mask, "position_ids": places},
    ):
        for dtype in (torch.float32, torch.float64):
            ours = gradients(module.to(dtype), input_ids=tokens(), **inputs)
            wanted = gradients(other.to(dtype), input_ids=tokens(), **inputs)
            assert torch.equal(ours[0], wanted[0])
            for one, two in zip(ours[1], wanted[1], strict=True):
                assert (one is None and two is None) or torch.equal(one, two)


@pytest.mark.parametrize("name", OPTIONS)
def test_it_says_of_itself_what_transformer_lenses_says(name: str) -> None:
    config = {**BASE, **OPTIONS[name]}
    ours, lens = wrap(native.build(config, seed=0)), wrap(theirs(config, 0))
    assert ours.config == lens.config
    assert ours.sites == lens.sites
    assert torch.equal(native.build(ours.config, seed=0).head.weight, lens.module.head.weight)
    assert fast.can_run(ours.module) == fast.can_run(lens.module)


@pytest.mark.parametrize("name", ["defaults", "gated, as Llama", "solu_ln", "RMSPre", "attention only"])
def test_a_bridge_over_it_is_the_bridge_over_transformer_lenses(name: str) -> None:
    config = {**BASE, **OPTIONS[name]}
    ours, lens = wrap(native.build(config, seed=0)), wrap(theirs(config, 0))
    with torch.no_grad():
        one, seen = ours.bridge.run_with_cache(tokens())
        two, wanted = lens.bridge.run_with_cache(tokens())
        assert torch.equal(one, two)
    torch.testing.assert_close(one, ours(tokens()).detach())  # a bridge sums in another order
    assert set(seen) == set(wanted)
    assert all(torch.equal(seen[hook], wanted[hook]) for hook in wanted)


def test_transformer_lenses_own_model_is_still_taken() -> None:
    module = theirs({**BASE, "n_key_value_heads": 2}, 0)
    model = wrap(module)
    assert model.is_native
    assert model.module is module
    acts = interp.capture(model, tokens(), sites=("resid_post", "z", "pattern"))
    ours = interp.capture(wrap(native.build(model.config, seed=0)), tokens(), sites=("resid_post", "z", "pattern"))
    assert all(torch.equal(acts[site], ours[site]) for site in acts)


def test_fields_that_no_native_model_reads_are_carried_or_named() -> None:
    model = wrap(native.build({**BASE, "tokenizer_name": "gpt2", "window_size": None}, seed=0))
    assert model.config["tokenizer_name"] == "gpt2"
    with pytest.raises(InputError, match=r"unknown field 'rotary_bas'.*did you mean 'rotary_base'"):
        native.build({**BASE, "rotary_bas": 3})
    with pytest.raises(InputError, match="needs 'n_ctx'"):
        native.build({name: value for name, value in BASE.items() if name != "n_ctx"})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n_heads": -1, "d_model": 13}, "must be divisible by d_head"),
        ({"n_key_value_heads": 3}, "must be divisible by n_key_value_heads"),
        ({"positional_embedding_type": "rotary", "rotary_dim": 3}, "positive even"),
        ({"positional_embedding_type": "alibi"}, "expected 'standard' or 'rotary'"),
        ({"attn_scale": 1.0}, "unscaled"),
        ({"act_fn": "tanh"}, "expected one of gelu"),
        ({"parallel_attn_mlp": True}, "no parallel attention"),
        ({"init_mode": "ones"}, "expected one of gpt2"),
        ({"d_model": 0, "n_heads": 1}, "does not work"),
    ],
)
def test_what_does_not_work_is_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        native.build({**BASE, **wrong}, seed=0)


SPY = """
import sys
NEEDS, DIMS, UNIT, ONLINE = {}, (), "modules", True
def heavy(obs):
    return float(sum(name in sys.modules for name in ("transformer_lens", "transformers", "torch._dynamo")))
"""
ROAD = """
import sys
from interp.cli import main
if __name__ == "__main__":
    assert main(["run", "experiment.yaml", "--root", "checkpoints", "--out", "out", "--workers", "1"]) == 0
    import interp
    for _, model in interp.stream(interp.family("tiny", root="checkpoints").checkpoints()):
        model.module
    print(sorted(name for name in ("transformer_lens", "transformers", "torch._dynamo") if name in sys.modules))
"""


def test_the_whole_road_of_a_native_family_imports_neither_transformer_lens_nor_transformers_nor_the_compiler(
    tmp_path: Path,
) -> None:
    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\ntask: {name: modular_addition, params: {p: 5}}\nmodel: {n_layers: 1, n_heads: 2}\n"
        "sizes: {d8: {d_model: 8, d_head: 4, d_mlp: 16}}\nsteps: 4\ncheckpoints: {every: 2}\n"
    )
    (tmp_path / "experiment.yaml").write_text(
        "name: e\nfamilies: [{recipe: tiny.yaml}]\ntasks: [{name: modular_addition, params: {p: 5}, n_prompts: 8}]\n"
        "measures: [exact_match, weight_norm, test_loss, 'spy:heavy']\n"
        "circuits: {method: patching, every: 2, n_prompts: 4}\n"
    )
    (tmp_path / "spy.py").write_text(SPY)
    (tmp_path / "road.py").write_text(ROAD)
    done = subprocess.run(
        [sys.executable, "road.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    table = store.read(tmp_path / "out")
    assert (
        table.loc[table["measure"] == "spy:heavy", "value"] == 0
    ).sum() == 3  # in the workers neither, at each checkpoint


def test_a_trial_of_a_model_leaves_the_generator_as_found() -> None:
    before = torch.random.get_rng_state()
    native.check({**BASE})
    native.check({**BASE, "d_vocab": 3 * native.SMALL, "n_ctx": 10})  # without its numbers
    assert torch.equal(before, torch.random.get_rng_state())
