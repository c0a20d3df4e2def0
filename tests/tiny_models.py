"""Tiny random models of every architecture with a map of sites, one without, and padded prompts for them."""

from __future__ import annotations

from functools import cache

import torch

from interp.models import Model, build, wrap
from interp.types import Prompts

VOCAB = 23
_NATIVE = dict(
    architecture="native", d_model=24, d_head=6, n_heads=4, n_layers=2, n_ctx=16, d_mlp=32, d_vocab=VOCAB,
    d_vocab_out=VOCAB, initializer_range=0.3,
)  # fmt: skip
_HF = dict(vocab_size=VOCAB, bos_token_id=0, eos_token_id=0, pad_token_id=None, initializer_range=0.3)
_LLAMA = dict(
    hidden_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=32,
    max_position_embeddings=32, **_HF,
)  # fmt: skip
CONFIGS = {
    "native": _NATIVE,
    "native-no-norm": {**_NATIVE, "normalization_type": None},
    "native-attn-only": {**_NATIVE, "attn_only": True, "n_layers": 3, "normalization_type": "LNPre"},
    "native-rotary": {
        **_NATIVE, "gated_mlp": True, "normalization_type": "RMS", "positional_embedding_type": "rotary",
        "n_key_value_heads": 2, "act_fn": "silu", "rotary_dim": 6,
    },
    "gpt2": dict(architecture="GPT2LMHeadModel", n_embd=24, n_layer=2, n_head=4, n_positions=32, **_HF),
    "neox": dict(
        architecture="GPTNeoXForCausalLM", hidden_size=24, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=32, max_position_embeddings=32, rotary_pct=0.34, **_HF,
    ),
    "neox-sequential": dict(
        architecture="GPTNeoXForCausalLM", hidden_size=24, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=32, max_position_embeddings=32, use_parallel_residual=False, **_HF,
    ),
    "llama": dict(architecture="LlamaForCausalLM", **_LLAMA),
    "mistral": dict(architecture="MistralForCausalLM", **{**_LLAMA, "sliding_window": 4}),
    "qwen2": dict(architecture="Qwen2ForCausalLM", **_LLAMA),
    "qwen3": dict(architecture="Qwen3ForCausalLM", head_dim=6, **_LLAMA),
    "olmo": dict(architecture="OlmoForCausalLM", **_LLAMA),
    "olmo2": dict(architecture="Olmo2ForCausalLM", **_LLAMA),
    "gemma": dict(architecture="GemmaForCausalLM", head_dim=6, **_LLAMA),
    "gemma2": dict(
        architecture="Gemma2ForCausalLM", head_dim=6, query_pre_attn_scalar=6, sliding_window=4,
        attn_logit_softcapping=2.0, final_logit_softcapping=5.0, **_LLAMA,
    ),
    "gemma3": dict(architecture="Gemma3ForCausalLM", head_dim=6, query_pre_attn_scalar=6, sliding_window=4, **_LLAMA),
    "gpt-neo": dict(
        architecture="GPTNeoForCausalLM", hidden_size=24, num_layers=2, num_heads=4, window_size=4,
        attention_types=[[["global", "local"], 1]], max_position_embeddings=32, **_HF,
    ),
}  # fmt: skip
UNMAPPED = dict(architecture="ArceeForCausalLM", **_LLAMA)
UNMAPPED_MORE = {
    "codegen": dict(architecture="CodeGenForCausalLM", n_embd=24, n_layer=2, n_head=4, n_positions=32, rotary_dim=4, **_HF),
    "glm": dict(architecture="GlmForCausalLM", head_dim=6, **_LLAMA),
    "nemotron": dict(architecture="NemotronForCausalLM", **_LLAMA),
    "seed-oss": dict(architecture="SeedOssForCausalLM", head_dim=6, **_LLAMA),
}  # fmt: skip
MAIN = ("native", "gpt2", "neox", "llama", "qwen2", "gemma", "gemma2")


@cache
def tiny(name: str, seed: int = 0) -> Model:
    """Shared between tests, which leave it as found."""
    return wrap(build(CONFIGS[name], seed=seed))


def padding(n_prompts: int = 3, n_pos: int = 7) -> torch.Tensor:
    """The first prompt padded on the left, the second on the right."""
    mask = torch.ones(n_prompts, n_pos, dtype=torch.bool)
    mask[0, :2] = False
    mask[1, n_pos - 1 :] = False
    return mask


def pairs(*, masked: bool = False, seed: int = 0, position=-1, n_prompts: int = 3, n_pos: int = 7) -> Prompts:
    """Prompts that differ from the third position on."""
    rng = torch.Generator().manual_seed(seed)
    clean = torch.randint(VOCAB, (n_prompts, n_pos), generator=rng)
    corrupt = clean.clone()
    corrupt[:, 3] = (clean[:, 3] + 1) % VOCAB
    corrupt[0, 2] = (clean[0, 2] + 5) % VOCAB
    answer = torch.randint(VOCAB, (n_prompts,), generator=rng)
    return Prompts(
        clean=clean, corrupt=corrupt, answer=answer, wrong=(answer + 3) % VOCAB, position=position,
        mask=padding(n_prompts, n_pos) if masked else None,
    )  # fmt: skip


def state_of(model: Model) -> list:
    """Everything that a call must leave as it was."""
    modules = list(model.module.modules())
    config = getattr(model.module, "config", None)
    return [
        [(len(m._forward_hooks), len(m._forward_pre_hooks), m.training, frozenset(vars(m))) for m in modules],
        [(p.requires_grad, p.grad is None, p.dtype, p.device, p._version) for p in model.module.parameters()],
        getattr(config, "_attn_implementation", None),
        torch.is_grad_enabled(),
    ]
