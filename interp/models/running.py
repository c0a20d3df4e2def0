"""One forward pass of the plain module with edits and look-outs at chosen sites, leaving everything as it was.

Where a pass is only wanted for what it keeps, it stops as soon as the last of it has gone by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch

from interp.models.attention import attention_module, edited_attention
from interp.models.by_bridge import run_bridge
from interp.models.reaching import Done, reach, stop_after_the_last
from interp.models.shadowing import alone, evaluating, on_input, shadowing
from interp.models.site_tensors import (
    Change,
    Look,
    Spot,
    as_it_is,
    blocks,
    mapped,
    n_layers_at,
    part_of,
    place,
    read_at,
)
from interp.models.sites import EXPERT_SITES, GLOBAL_SITES, SCORE_SITES, in_stack
from interp.models.state import agree, is_plain, proved, refusal, state_of, uncompiled
from interp.models.tokens import check_tokens

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from interp.models.handle import Model
    from interp.models.state import State


def run(
    model: Model,
    tokens: Int[Tensor, "prompt pos"],
    mask: Bool[Tensor, "prompt pos"] | None = None,
    *,
    changes: Mapping[Spot, Sequence[Change]] | None = None,
    looks: Mapping[Spot, Look] | None = None,
    logits_at: Int[Tensor, "prompt chosen"] | None = None,
    logits: bool = True,
) -> Float[Tensor, "prompt pos vocab"] | None:
    """The logits of a pass with these changes and looks; None (and no unembedding) if `logits` is false.

    At one site the changes come first, in their order, and the look sees what they leave. `logits_at` unembeds these
    positions only. Gradients flow as the caller's grad mode says; dropout is off, whatever the module's mode.
    """
    if model.opaque:
        with evaluating(model.module):
            everywhere = model(tokens, mask)
        return everywhere if logits_at is None else everywhere[_at(model, logits_at)]
    if model.sites is None:
        return run_bridge(model, tokens, mask, changes=changes or {}, looks=looks or {}, logits_at=logits_at)
    changes, looks = changes or {}, looks or {}
    check_tokens(model, tokens, mask)  # before anything is proved on them: wrong tokens say nothing of the module
    with alone:
        state = state_of(model)
        if changes or looks:
            _prove(model, state, tokens, mask, changes, looks)
        return _pass(model, state, tokens, mask, changes, looks, logits_at, logits=logits)


def _at(model: Model, logits_at: Int[Tensor, "prompt chosen"]) -> tuple[Tensor, Tensor]:
    return torch.arange(len(logits_at), device=model.device)[:, None], logits_at.to(model.device)


def _pass(
    model: Model,
    state: State,
    tokens: Tensor,
    mask: Tensor | None,
    changes: Mapping[Spot, Sequence[Change]],
    looks: Mapping[Spot, Look],
    logits_at: Tensor | None = None,
    *,
    logits: bool = True,
) -> Tensor | None:
    inputs = model.inputs(tokens, mask)
    calls: dict[Spot, int] = dict.fromkeys((*changes, *looks), 0)
    # somebody's hook on the unembedding or on the whole may count positions: then all of them are unembedded
    early = logits_at is not None and state.is_plain
    at = None if logits_at is None else _at(model, logits_at)
    with evaluating(model.module), uncompiled(state), shadowing() as put:
        scores, patterns = reach(
            model, put, changes, looks if logits else stop_after_the_last(looks), calls, tokens.shape
        )
        if early:
            on_input(put, part_of(model, mapped(model).unembed), lambda stream: stream[at])
        with edited_attention(model, scores, patterns):
            try:
                output = model.module(**inputs)
            except Done:
                output = None
    _check_calls(model, calls, looks, stopped=output is None)
    if output is None:
        return None
    found = output if isinstance(output, torch.Tensor) else output.logits
    return found if at is None or early else found[at]


def _check_calls(model: Model, calls: Mapping[Spot, int], looks: Mapping[Spot, Look], *, stopped: bool = False) -> None:
    """Each change and look was called once: a part that is passed by, or through twice, has no one activation.

    stopped: the pass ended with the last look; changes in its layer and behind it matter no more.
    """
    last = max((_depth(*spot) for spot in looks), default=(False, 0))
    for (site, layer), n in calls.items():
        if n != 1 and not (stopped and n == 0 and (site, layer) not in looks and _depth(site, layer) >= last):
            times = "never passes" if n == 0 else f"passes {n} times through"
            raise refusal(
                model, f"a forward pass {times} {site} of layer {layer}, so it cannot be seen or changed there"
            )


def _depth(site: str, layer: int) -> tuple[bool, int]:
    """What comes first in a pass: an encoder's blocks before a decoder's."""
    return in_stack(site)[0] != "encoder", layer


def _prove(
    model: Model,
    state: State,
    tokens: Tensor,
    mask: Tensor | None,
    changes: Mapping[Spot, Any],
    looks: Mapping[Spot, Any],
) -> None:
    """What a pass with these changes and looks relies on, tried where it has not been.

    Raises:
        InputError: layers that share a part; attention of somebody's own; a residual stream out of reach.
    """
    for site in {site for site, _ in (*changes, *looks)} - set(GLOBAL_SITES):
        if not proved(model, ("own", site), partial(_each_its_own, model, site), whatever_hooks=True, state=state):
            raise refusal(model, f"two layers share the sub-module that {site} is read from, or lack it")
    spots = sorted({(in_stack(site)[0], layer) for site, layer in (*changes, *looks) if site in SCORE_SITES})
    attends = partial(_attends, model, tokens, mask, spots)
    if spots and not proved(model, ("attention", *spots), attends, whatever_hooks=True, state=state):
        raise refusal(model, "attention whose scores are in reach gives other logits than the module's own")
    written = any(site in ("embed", "attn_out", "mlp_out") for site, _ in (*changes, *looks)) and state.is_plain
    if written and not proved(model, "written", partial(_is_written, model, tokens[:1], mask), state=state):
        raise refusal(model, "embedding, attention and MLPs do not write what the map says to the residual stream")
    for site, layer in [spot for spot in changes if in_stack(spot[0])[1] == "resid_mid"]:
        if not proved(model, (site, layer), partial(_is_stream, model, tokens, mask, in_stack(site)[0], layer)):
            raise refusal(model, f"what enters the MLP's norm in layer {layer} is not the residual stream itself")


def _each_its_own(model: Model, site: str) -> bool:
    stack, n = in_stack(site)[0], n_layers_at(model, site)
    parts = blocks(model, stack)
    if site in SCORE_SITES:
        return len({id(attention_module(model, layer, stack)) for layer in range(n)}) == n
    if site in EXPERT_SITES:
        return len({id(part) for part in parts}) == n
    return len({id(place(model, site, layer, parts).module) for layer in range(n)}) == n


def _attends(model: Model, tokens: Tensor, mask: Tensor | None, spots: Sequence[Spot]) -> bool:
    """Attention with its scores in reach gives the module's own logits."""
    read, real = read_at(model, "logits", tokens, mask)
    kept = (torch.ones_like(read) if real is None else real).bool().to(model.device)
    with torch.no_grad(), evaluating(model.module), uncompiled(state_of(model)):
        want = model(tokens, mask)[kept]
        with edited_attention(model, dict.fromkeys(spots, as_it_is), {}):
            return agree(model(tokens, mask)[kept], want)


def _is_written(model: Model, tokens: Tensor, mask: Tensor | None) -> bool:
    """The residual stream begins with a scaled embedding, and each block adds to it its `attn_out` and `mlp_out`."""
    sites = mapped(model)
    if not sites.written:
        return True  # a norm stands behind the sum, or an encoder beside it: their scales are 1
    written = ("attn_out", "mlp_out") if sites.mlp else ("attn_out",)
    spots = [(site, layer) for site in ("resid_pre", *written, "resid_post") for layer in range(model.n_layers)]
    kept: dict[Spot, Tensor] = {}
    looks: dict[Spot, Look] = {spot: partial(_copy_into, kept, spot) for spot in [("embed", 0), *spots]}
    with torch.no_grad():
        _pass(model, state_of(model), tokens, None if mask is None else mask[:1], {}, looks, logits=False)
    if sites.embed_scale != 1.0 and not agree(kept["embed", 0], kept["resid_pre", 0]):
        return False
    sums = (sum(kept[site, layer] for site in ("resid_pre", *written)) for layer in range(model.n_layers))
    return all(agree(cast("Tensor", total), kept["resid_post", layer]) for layer, total in enumerate(sums))


def _copy_into(kept: dict[Spot, Tensor], spot: Spot, seen: Tensor) -> None:
    kept[spot] = seen.clone()


def _is_stream(model: Model, tokens: Tensor, mask: Tensor | None, stack: str, layer: int) -> bool:
    """A change of `resid_mid` is a change of what the block hands on."""
    if mapped(model).post_norm:  # what it hands on is normed: the map's own word, of a plain module
        return is_plain(model)
    kept: dict[Spot, Tensor] = {}
    mid, out, post = (f"{stack}.{site}" if stack else site for site in ("resid_mid", "mlp_out", "resid_post"))
    looks = {(site, layer): partial(_copy_into, kept, (site, layer)) for site in (mid, out, post)}
    with torch.no_grad():
        _pass(model, state_of(model), tokens, mask, {(mid, layer): [_raise]}, looks, logits=False)
    return agree(kept[mid, layer] + kept[out, layer], kept[post, layer])


def _raise(x: Tensor) -> None:
    x += 1.0
