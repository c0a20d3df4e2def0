"""Activations of a plain module by plain hooks of torch, and runs in which such hooks put values in: what the library is held
against. Where each site is, is written down here once more, from the modules' own code."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from interp.models import Model
from interp.models.site_tensors import read_at
from interp.models.sites import in_stack
from interp.types import Prompts


def prompts_for(model: Model, seed: int = 0) -> Prompts:
    """Three prompts of seven tokens that differ in the middle."""
    rng = torch.Generator().manual_seed(seed)
    clean = torch.randint(model.d_vocab, (3, 7), generator=rng)
    corrupt = clean.clone()
    corrupt[:, 3] = (clean[:, 3] + 5) % model.d_vocab
    answer = torch.randint(model.d_vocab, (3,), generator=rng)
    return Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=(answer + 7) % model.d_vocab)


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest error relative to the largest number expected; infinite where shapes differ or a number is missing."""
    if found.shape != expected.shape or bool(found.isnan().any()):
        return float("inf")
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6))


def plain(model: Model, tokens: torch.Tensor, **more: Any) -> Any:
    """The module's own forward."""
    own = {} if model.is_native else {"use_cache": False}
    if model.is_encoder_decoder:
        own["decoder_input_ids"] = model.decoder_tokens(len(tokens))
    with torch.no_grad():
        output = model.module(input_ids=tokens, **own, **more)
    return output if hasattr(output, "logits") else argparse.Namespace(logits=output)


def where(model: Model, site: str, layer: int, head: int | None = None) -> tuple[torch.nn.Module, bool, Any, float]:
    """(module, whether its input, which features, factor) of a site: from the modules' code."""
    stack, site = in_stack(site)
    sites, d = model.sites.of(stack), model.d_head
    block = model.module.get_submodule(sites.blocks)[layer]
    every = slice(None)
    if site in ("resid_pre", "resid_post"):
        return block, site == "resid_pre", every, 1.0
    if site == "z":
        return block.get_submodule(sites.o), True, every if head is None else slice(head * d, head * d + d), 1.0
    if site in ("attn_out", "mlp_out"):
        path = (sites.ln1_post or sites.o) if site == "attn_out" else (sites.ln2_post or sites.mlp_chain[-1])
        return block.get_submodule(path), False, every, sites.resid_scale
    if site == "mlp_post":
        return block.get_submodule(sites.mlp_final), True, every, 1.0
    if site == "mlp_pre":
        module = block.get_submodule(sites.mlp_in)
        n = len(module.bias) if module.bias is not None else module(torch.zeros(1, model.d_model)).shape[-1]
        return module, False, slice(0, n // 2) if sites.fused_gate else every, 1.0
    which, n = "qkv".index(site), model.n_heads if site == "q" else model.n_kv_heads
    first = {"split": 0, "concat": d * (0, model.n_heads, model.n_heads + n)[which], "interleaved": which * d}[
        sites.qkv
    ]
    step = 3 * d if sites.qkv == "interleaved" else d
    listed = [first + step * one + i for one in (range(n) if head is None else [head]) for i in range(d)]
    return block.get_submodule(getattr(sites, site)), False, listed, 1.0


@contextmanager
def hooked(module: torch.nn.Module, is_input: bool, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Within, a plain hook of torch changes what enters the module first, or what it gives first."""

    def before(_: Any, args: Any) -> Any:
        return (change(args[0]), *args[1:])

    def after(_: Any, args: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    handle = module.register_forward_pre_hook(before) if is_input else module.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


def seen_at(model: Model, tokens: torch.Tensor, site: str, layer: int) -> torch.Tensor:
    """The site as plain hooks see it, [prompt, pos, feature]."""
    module, is_input, features, factor = where(model, site, layer)
    kept: list[torch.Tensor] = []

    def note(x: torch.Tensor) -> torch.Tensor:
        kept.append(x.clone())
        return x

    with hooked(module, is_input, note):
        plain(model, tokens)
    return kept[0].reshape(*read_at(model, site, tokens, None)[0].shape, -1)[..., features] * factor


def exchanged(model: Model, tokens: torch.Tensor, cells: list[tuple[str, int, Any, Any, torch.Tensor]]) -> torch.Tensor:
    """Logits of a run in which hooks put values [prompt, pos, feature] in: (site, layer, head, positions, value) each."""
    with ExitStack() as stack:
        for site, layer, head, positions, value in cells:
            module, is_input, features, factor = where(model, site, layer, head)

            def change(x: Any, features: Any = features, at: Any = positions, v: Any = value, f: float = factor) -> Any:
                new = x.clone().reshape(*v.shape[:2], -1)
                part = new[..., features].clone()
                part[:, at] = v[:, at] / f
                new[..., features] = part
                return new.reshape(x.shape)

            stack.enter_context(hooked(module, is_input, change))
        return plain(model, tokens).logits


def difference(prompts: Prompts, logits: torch.Tensor) -> torch.Tensor:
    """The logit difference, by prompt."""
    last = logits[:, -1]
    return (last.gather(1, prompts.answer[:, None]) - last.gather(1, prompts.wrong[:, None]))[:, 0]


def sites_of(model: Model) -> list[str]:
    """The sites that plain hooks can see."""
    if model.is_encoder_decoder:
        both = [f"{stack}.{site}" for stack in ("encoder", "decoder") for site in (*_USUAL, *_OF_MLP)]
        return [*both, *(f"cross.{site}" for site in _USUAL if not site.startswith("resid"))]
    sites = model.sites
    return [*_USUAL, *_OF_MLP[: 0 if sites.mlp is None else 1 if sites.mlp_final is None else 3]]


_USUAL, _OF_MLP = ("resid_pre", "resid_post", "attn_out", "z", "q", "k", "v"), ("mlp_out", "mlp_pre", "mlp_post")


def noted(module: torch.nn.Module, run: Callable[[], Any]) -> Any:
    """What the module gives in a run."""
    kept: list[Any] = []
    handle = module.register_forward_hook(lambda _, args, output: kept.append(output))
    run()
    handle.remove()
    return kept[0]


def answered(module: torch.nn.Module, output: Any, run: Callable[[], Any]) -> Any:
    """What a run gives in which the module answers with `output`."""
    handle = module.register_forward_hook(lambda *_: output)
    found = run()
    handle.remove()
    return found


def of_head(model: Model, value: torch.Tensor, site: str, head: int | None) -> torch.Tensor:
    """A head's features out of all heads' (as `where` lists them)."""
    return value if head is None else value[..., head * model.d_head : (head + 1) * model.d_head]


@contextmanager
def handing_on(block: torch.nn.Module) -> Iterator[None]:
    """Within, a block hands on the residual stream as it is."""
    kept: list[Any] = []
    before = block.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    after = block.register_forward_hook(
        lambda _, args, output: (kept[-1], *output[1:]) if isinstance(output, tuple) else kept[-1]
    )
    try:
        yield
    finally:
        before.remove()
        after.remove()
