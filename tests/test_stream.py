"""A stream's logits are those of a fresh load at every step, whatever changes between two files."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

import interp

TOKENS = torch.arange(7)[None]


def _module(seed: int, *, tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=29, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=tied, initializer_range=0.3, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def _write(root: Path, step: int, *, own_head: bool, sharded: bool = False, both: bool = False) -> None:
    """A checkpoint whose configuration says tied, with an unembedding of its own, the embedding under both names, or none."""
    module, folder = _module(step, tied=not own_head), root / f"checkpoint-{step}"
    module.save_pretrained(folder, max_shard_size="4KB" if sharded else "5GB")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    if both:
        weights = load_file(folder / "model.safetensors")
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("own", [(0, 0, 1, 0, 1), (1, 1, 0, 1, 0), (0, 1, 1, 0, 0)])
def test_files_with_and_without_an_unembedding_of_their_own(own, tmp_path):
    for step, head in enumerate(own):
        _write(tmp_path, step, own_head=bool(head), sharded=step == 2, both=step == 3 and not head)
    refs = interp.family(str(tmp_path)).checkpoints()
    assert [ref.step for ref in refs] == [0, 1, 2, 3, 4]
    for ref, model in interp.stream(refs):
        fresh = interp.load(ref)
        torch.testing.assert_close(model(TOKENS), fresh(TOKENS), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model(TOKENS), _module(ref.step, tied=not own[ref.step])(TOKENS).logits)


def test_two_values_for_one_tensor_are_refused():
    model = interp.wrap(_module(0, tied=True))
    weights = {name: value.clone() for name, value in model.module.state_dict().items()}
    model.swap(weights)
    before = model(TOKENS)
    weights["lm_head.weight"] += 1
    weights["model.norm.weight"] *= 2
    with pytest.raises(interp.InputError, match=r"two values for model\.embed_tokens\.weight and lm_head\.weight"):
        model.swap(weights)
    torch.testing.assert_close(model(TOKENS), before)


def test_a_swap_follows_an_exchanged_part():
    model = interp.wrap(_module(0, tied=False))
    weights = {name: value.clone() for name, value in model.module.state_dict().items()}
    model.swap(weights)
    model.module.model.layers[1].mlp.down_proj = torch.nn.Linear(32, 24, bias=False)
    model.swap(weights)
    torch.testing.assert_close(model(TOKENS), _module(0, tied=False)(TOKENS).logits)


def test_two_threads_load_at_once(tmp_path):
    for step in range(2):
        _write(tmp_path, step, own_head=False, sharded=True)
    refs, found = interp.family(str(tmp_path)).checkpoints(), {}

    def load(ref):
        found[ref.step] = [interp.load(ref)(TOKENS) for _ in range(3)]

    threads = [threading.Thread(target=load, args=(ref,)) for ref in refs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for step, logits in found.items():
        for one in logits:
            torch.testing.assert_close(one, _module(step, tied=True)(TOKENS).logits)
