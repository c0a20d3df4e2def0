"""Building and wrapping models."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch

from interp.errors import InputError, nearest, unknown
from interp.models import native
from interp.models.handle import Model
from interp.models.sites import Sites, find_sites

if TYPE_CHECKING:
    from torch import nn


LOADING = threading.RLock()
"""Held while transformers makes or loads a module: it sets defaults of the whole process meanwhile (dtype, initialisation)."""


def build(config: Mapping[str, Any], seed: int | None = None) -> nn.Module:
    """A freshly initialised plain module in eval mode, from what config.json holds; the global generator is left as it was.

    `config["architecture"]` is "native" (the other fields are those of TransformerLens' native models) or a Hugging Face class name such as
    "GPTNeoXForCausalLM" (the other fields are that architecture's).
    """
    architecture = config.get("architecture")
    if architecture == native.ARCHITECTURE:
        return native.build(config, seed=seed)
    import transformers

    kind = getattr(transformers, str(architecture), None)
    if kind is None or not hasattr(kind, "config_class"):
        raise InputError(
            f"config.json names no architecture that can be built: {architecture!r}{nearest(architecture, [native.ARCHITECTURE])}"
        )
    with LOADING, torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        return kind(_hf_config(kind, config)).eval()


def _hf_config(kind: Any, config: Mapping[str, Any]) -> Any:
    return kind.config_class.from_dict({k: v for k, v in config.items() if k != "architecture"})


def wrap(
    module: nn.Module,
    tokenizer: Any = None,
    *,
    config: Mapping[str, Any] | None = None,
    sites: Mapping[str, Any] | Sites | None = None,
) -> Model:
    """The handle over a module in memory: Hugging Face's, a NativeModel, TransformerLens' own too (not a bridge, which is hooked),
    or, with `sites`, one of your own whose forward maps tokens [prompt, pos] to logits [prompt, pos, vocab].

    config: what config.json holds (None: what the module says of itself). What it leaves out is as the module has it. Of a
        module of one's own: `n_heads`, and where the module does not show them `n_key_value_heads`, `d_head`, `n_ctx`.
    sites: where the activations of a module of one's own are: dotted paths of sub-modules, by the keys of
        `interp.models.Sites`. `embed`, `blocks`, `unembed`, `attn`, `q`, `k`, `v`, `o` are needed, the others where the module has such
        parts (docs/own-module.md). Every site is proved on arrival.

    Raises:
        InputError: a module of another kind; a config of another architecture, or that asks for what the module does not do; a
            map with a site that does not fit, named.
    """
    module = _unwrapped(module)
    if sites is not None:
        from interp.models.own import own_model  # it runs the model, and running stands on the handle

        return own_model(module, sites, config, tokenizer)
    own = _describe(module)
    described = own if config is None else dict(config)
    sites = find_sites(own)
    if described.get("architecture") != own["architecture"] or find_sites({**own, **described}) != sites:
        raise InputError(
            f"this config ({described.get('architecture')}) is not that of the {own['architecture']} given"
        )
    return Model(module=module, config=described, tokenizer=tokenizer, sites=sites)


def _unwrapped(module: nn.Module) -> nn.Module:
    """What torch.compile or data parallelism put an envelope around: the same parameters, run plainly."""
    while type(module).__name__ in ("OptimizedModule", "DataParallel", "DistributedDataParallel"):
        module = cast(Any, module)._orig_mod if hasattr(module, "_orig_mod") else cast(Any, module).module
    return module


def opaque(module: nn.Module, d_vocab: int) -> Model:
    """The handle over a module of one's own, whose forward takes tokens [prompt, pos] as its first argument and gives logits
    [prompt, pos, vocab], or an object that has them as `.logits`.

    Its logits and its weights are all that is known of it: activations and padded prompts are refused. d_vocab: about how
    many logits a position has, by which batches are sized.
    """
    config = {"architecture": type(module).__name__, "n_layers": 0, "d_vocab": d_vocab}
    return Model(module=module, config=config, sites=None, opaque=True)


def is_known(module: nn.Module) -> bool:
    """Whether the module can be wrapped, or is refused for a reason: native models, Hugging Face's and TransformerLens'."""
    is_lens = type(module).__module__.partition(".")[0] == "transformer_lens"
    return is_lens or native.is_native(module) or hasattr(getattr(module, "config", None), "to_dict")


def _describe(module: nn.Module) -> dict[str, Any]:
    """What config.json would hold for this module."""
    if native.is_native(module):
        return native.described(module.cfg)
    config: Any = getattr(module, "config", None)
    if hasattr(config, "to_dict"):
        return {**config.to_dict(), "architecture": type(module).__name__}
    raise InputError(
        f"cannot wrap a {type(module).__name__}: expected a Hugging Face module or TransformerLens' NativeModel"
        " (of a bridge, wrap the module that it was built from)"
    )


def torch_dtype(name: str | torch.dtype) -> torch.dtype:
    """The floating-point dtype of that name."""
    if isinstance(name, torch.dtype):
        return name
    choices = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name not in choices:
        raise unknown("dtype", name, choices)
    return choices[name]
