"""A pass through TransformerLens' bridge, for architectures without a map of their own: slower, never wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError
from interp.models.laws import prove
from interp.models.shadowing import evaluating
from interp.models.site_tensors import Change, Look, Spot, n_heads_at
from interp.models.sites import HEAD_SITES, RESIDUAL_SITES, SCORE_SITES

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge

    from interp.models.handle import Model

_NAMES = {
    **{site: f"blocks.{{}}.hook_{site}" for site in RESIDUAL_SITES},
    **{site: f"blocks.{{}}.attn.hook_{site}" for site in (*HEAD_SITES, *SCORE_SITES)},
    "mlp_pre": "blocks.{}.mlp.hook_pre",
    "mlp_post": "blocks.{}.mlp.hook_post",
    "embed": "embed.hook_out",
    "ln_final": "ln_final.hook_out",
}


_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3, torch.float16: 5e-2, torch.bfloat16: 5e-2}


def run_bridge(
    model: Model,
    tokens: Int[Tensor, "prompt pos"],
    mask: Bool[Tensor, "prompt pos"] | None = None,
    *,
    changes: Mapping[Spot, Sequence[Change]],
    looks: Mapping[Spot, Look],
    logits_at: Int[Tensor, "prompt chosen"] | None = None,
) -> Float[Tensor, "prompt pos vocab"]:
    """As `interp.models.running.run`, on the bridge's copy of the model.

    Raises:
        InputError: a site that the bridge does not have for this architecture, or that does not keep the laws of
            `interp.models.laws` there; a bridge whose logits are not the module's.
    """
    bridge = _trusted(model, padded=mask is not None)
    for site, layer in {**changes, **looks}:
        _prove(model, bridge, site, layer)
    logits = _pass(model, bridge, tokens, mask, changes, looks)
    if logits_at is None:
        return logits
    rows = torch.arange(len(tokens), device=model.device)[:, None]
    return logits[rows, logits_at.to(model.device)]


def _pass(
    model: Model,
    bridge: TransformerBridge,
    tokens: Tensor,
    mask: Tensor | None,
    changes: Mapping[Spot, Sequence[Change]],
    looks: Mapping[Spot, Look],
) -> Tensor:
    known = set(bridge.hook_dict)
    called: set[str] = set()
    hooks: list[tuple[Any, Callable[..., Any]]] = []
    for site, layer in [*changes, *(spot for spot in looks if spot not in changes)]:
        name = _name(model, site, layer)
        if name not in known:
            raise InputError(f"TransformerLens has no {name} for {model.config['architecture']}")
        heads = n_heads_at(model, site) if site in HEAD_SITES else None
        hook = _hook(site, heads, changes.get((site, layer), ()), looks.get((site, layer)))
        hooks.append((name, _noting(called, name, hook)))
    logits = _called(bridge.run_with_hooks, model, tokens, mask, fwd_hooks=hooks)
    silent = [name for name, _ in hooks if name not in called]
    if silent:
        raise InputError(
            f"TransformerLens names {silent[0]} for {model.config['architecture']}, but shows nothing there"
        )
    return logits


def _name(model: Model, site: str, layer: int) -> str:
    if site not in _NAMES:
        raise InputError(f"{site} is shown by maps of sites alone, and {model.config['architecture']} has none")
    return _NAMES[site].format(layer)


def _prove(model: Model, bridge: TransformerBridge, site: str, layer: int) -> None:
    """The site of that layer, proved when it is first used with this handle."""
    claim = f"bridge, {site} of layer {layer}"
    if claim in model._proved:
        return
    _name(model, site, layer)

    def run(tokens: Tensor, changes: Mapping[str, Change], see: Sequence[str]) -> dict[str, Tensor]:
        seen: dict[str, Tensor] = {}

        def note(name: str, tensor: Tensor) -> None:
            seen[name] = tensor.detach().clone()

        looks = {(name, layer): partial(note, name) for name in see if name != "logits"}
        seen["logits"] = _pass(model, bridge, tokens, None, {(n, layer): [c] for n, c in changes.items()}, looks)
        return seen

    known = set(bridge.hook_dict)
    with torch.no_grad(), evaluating(model.module):
        prove(
            model,
            run,
            lambda name: _name(model, name, layer) in known,
            site,
            parallel=bool(bridge.cfg.parallel_attn_mlp),
            tolerance=_TOLERANCE[model.dtype],
        )
    model._proved[claim] = True


def _trusted(model: Model, *, padded: bool) -> TransformerBridge:
    """The bridge, once it has been seen to compute the module's own logits: it was silently wrong on architectures before."""
    bridge, claim = model.bridge, "bridge, padded" if padded else "bridge"
    if claim not in model._proved:
        tokens = (torch.arange(8, device=model.device).reshape(2, 4) * 7 + 3) % model.d_vocab
        mask = torch.ones_like(tokens, dtype=torch.bool)
        mask[0, 0] = mask[1, 3] = not padded
        with torch.no_grad(), evaluating(model.module):
            expected = model(tokens, mask if padded else None)[mask]
            found = _called(bridge, model, tokens, mask if padded else None)[mask]
        model._proved[claim] = bool((found - expected).abs().max() <= _TOLERANCE[model.dtype] * expected.abs().max())
    if not model._proved[claim]:
        how = " under a mask: give prompts of one length" if padded else ""
        raise InputError(f"TransformerLens' bridge computes other logits than this {model.config['architecture']}{how}")
    return bridge


def _called(run: Callable[..., Tensor], model: Model, tokens: Tensor, mask: Tensor | None, **others: Any) -> Tensor:
    """What the bridge computes, without a cache, as the module is run too: modules without attention cannot keep one.

    Raises:
        InputError: TransformerLens fails on the way.
    """
    beside = {} if mask is None else {"attention_mask": mask.to(model.device).long()}
    try:
        return run(tokens.to(model.device), use_cache=False, **beside, **others)
    except InputError:  # of a hook of ours
        raise
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise InputError(f"TransformerLens' bridge over {model.config['architecture']} fails: {told}") from error


def _noting(called: set[str], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def hook(raw: Tensor, hook: Any) -> Tensor:
        called.add(name)
        return function(raw, hook)

    return hook


def _hook(site: str, n_heads: int | None, changes: Sequence[Change], look: Look | None) -> Callable[..., Any]:
    """`resid_mid` is changed in place: the bridge's hook sees what the MLP reads, and it must stay the residual stream."""

    def hook(raw: Tensor, hook: Any) -> Tensor:
        raw = raw if site == "resid_mid" or not changes else raw.clone()
        seen = raw if n_heads is None or raw.dim() == 4 else raw.unflatten(-1, (n_heads, -1))
        if n_heads is not None and seen.shape[2] != n_heads:
            raise InputError(f"TransformerLens shows {site} here as {tuple(raw.shape)}, not by {n_heads} heads")
        for change in changes:
            change(seen)
        if look is not None:
            look(seen)
        return raw

    return hook
