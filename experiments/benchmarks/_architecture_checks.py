"""What an architecture's map is held to, a column of the table each: relative errors of the library against plain hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from typing import Any

import torch

import interp
from experiments.benchmarks._plain_hooks import (
    answered,
    difference,
    exchanged,
    handing_on,
    noted,
    of_head,
    off,
    plain,
    prompts_for,
    seen_at,
    sites_of,
)
from interp.circuits._attribution import pair_of
from interp.circuits._masked import masked_logits, masked_values, masker, measure
from interp.hooks.interventions import Intervention
from interp.models import Model
from interp.models.site_tensors import n_heads_at, n_layers_at
from interp.models.sites import EXPERT_SITES, in_stack
from interp.types import Prompts

TOLERANCE = 1e-4  # relative; float32 errors of these models are below 1e-5


def wraps(model: Model) -> Iterator[float]:
    prompts = prompts_for(model)
    own = plain(model, prompts.clean).logits
    with torch.no_grad():
        yield off(model(prompts.clean), own)
        real = slice(None) if model.is_encoder_decoder else slice(0, 5)
        shorter = plain(model, prompts.clean[:, :5]).logits
        right = torch.ones(3, 7, dtype=torch.bool)
        right[:, 5:] = False
        yield off(model(prompts.clean, right)[:, real], shorter)
        left = torch.cat([torch.zeros(3, 2, dtype=torch.long), prompts.clean[:, :5]], 1)
        yield off(model(left, right.flip(1))[:, -shorter.shape[1] :], shorter)


def captures(model: Model) -> Iterator[float]:
    prompts, sites = prompts_for(model), model.sites
    if model.is_encoder_decoder:
        model = model.reading(torch.cat([model.decoder_tokens(3), prompts.corrupt[:, :4]], 1))
    also = [] if sites.parallel or sites.mlp is None else ["resid_mid"]
    also = [*also, "embed", "ln_final"]
    if model.is_encoder_decoder:
        also = [f"{stack}.{site}" for stack in ("encoder", "decoder") for site in also]
    also += list(EXPERT_SITES) if sites.experts else []
    found = interp.capture(model, prompts.clean, [*sites_of(model), *also, "logits"], decoder=model.decoder)
    for site in sites_of(model):
        for layer in range(n_layers_at(model, site)):
            yield off(found[site][layer].flatten(2), seen_at(model, prompts.clean, site, layer))
    own = plain(model, prompts.clean, **({} if model.is_native else {"output_hidden_states": True}))
    yield off(found["logits"][0], own.logits)
    for stack in ("encoder.", "decoder.") if model.is_encoder_decoder else ("",):
        yield from _streams(model, stack, found, own)
    if sites.experts:
        yield from _experts(model, prompts.clean, found)
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[0, :2] = mask[1, 5:] = False
    site = "encoder.z" if model.is_encoder_decoder else "z"
    whole = interp.capture(replace(model, decoder=None), prompts.clean, site, mask=mask)[site]
    for row, real in ((0, slice(2, 7)), (1, slice(0, 5))):
        alone = interp.capture(replace(model, decoder=None), prompts.clean[row : row + 1, real], site)[site]
        yield off(whole[:, row, real], alone[:, 0])


def _streams(model: Model, stack: str, found: Any, own: Any) -> Iterator[float]:
    """The residual stream is the sum of what is written to it, and what transformers calls the hidden states."""
    pre, post, middle = (found.get(f"{stack}resid_{part}") for part in ("pre", "post", "mid"))
    written = found[f"{stack}attn_out"] + (found["cross.attn_out"] if stack == "decoder." else 0)
    if not model.sites.post_norm:
        yield off(pre + written + (found[f"{stack}mlp_out"] if model.sites.mlp is not None else 0), post)
        yield 0.0 if middle is None else off(pre + written, middle)
    if not model.is_native:
        hidden = getattr(own, f"{stack.replace('.', '_')}hidden_states")
        yield off(pre, torch.stack(hidden[: len(pre)]))
        yield off((post if model.sites.post_norm else found[f"{stack}ln_final"])[-1], hidden[-1])


def _experts(model: Model, tokens: torch.Tensor, found: Any) -> Iterator[float]:
    """Router and experts against plain hooks on their modules."""
    for layer in range(model.n_layers):
        block = model.module.get_submodule(model.sites.blocks)[layer]
        router, experts = (block.get_submodule(path) for path in (model.sites.router, model.sites.experts))
        logits, weights, indices = noted(router, lambda: plain(model, tokens))
        given = noted(experts, lambda: plain(model, tokens))
        n = found["router_logits"].shape[-1]
        one_by_one = torch.stack([((indices == e) * weights).sum(-1) for e in range(n)], -1)
        yield off(found["router_logits"][layer].flatten(0, 1), logits)
        yield off(found["expert_weights"][layer].flatten(0, 1), one_by_one)
        yield off(found["expert_out"][layer].sum(2).flatten(0, 1), given.reshape(-1, model.d_model))
        idle = found["expert_weights"][layer] == 0
        yield float(found["expert_out"][layer][idle].abs().max()) if bool(idle.any()) else 0.0


def patches(model: Model) -> Iterator[float]:
    prompts, sites = prompts_for(model), model.sites
    for site in sites_of(model):
        if in_stack(site)[1] == "mlp_pre":
            continue
        n_layers, n_heads = n_layers_at(model, site), n_heads_at(model, site)
        theirs = [seen_at(model, prompts.clean, site, layer) for layer in range(n_layers)]
        place = min(3, theirs[0].shape[1] - 1)
        by = ("layer", "head") if n_heads else ("layer",)
        for at, axes in ((slice(None), by), (place, (*by, "pos"))):
            want = torch.zeros(n_layers, n_heads or 1)
            for layer, head in product(range(n_layers), range(n_heads or 1)):
                which = head if n_heads else None
                cell = (site, layer, which, at, of_head(model, theirs[layer], site, which))
                want[layer, head] = difference(prompts, exchanged(model, prompts.corrupt, [cell])).mean()
            for road in (None, "naive"):
                values = interp.patch(model, prompts, site=site, by=axes, road=road).values
                values = values if at == slice(None) else values[..., place]
                yield off(values.reshape(n_layers, -1), want)
    if not sites.parallel and sites.mlp is not None and sites.written:
        yield from _middle(model, prompts)
    if sites.experts:
        yield from _expert_patches(model, prompts)


def _middle(model: Model, prompts: Prompts) -> Iterator[float]:
    """`resid_mid` of the other run is: attention adds what leads there."""
    want = []
    for layer in range(model.n_layers):
        theirs = seen_at(model, prompts.clean, "resid_pre", layer) + seen_at(model, prompts.clean, "attn_out", layer)
        needed = theirs - seen_at(model, prompts.corrupt, "resid_pre", layer)
        logits = exchanged(model, prompts.corrupt, [("attn_out", layer, None, slice(None), needed)])
        want.append(difference(prompts, logits).mean())
    yield off(interp.patch(model, prompts, site="resid_mid", by="layer").values, torch.stack(want))


def _expert_patches(model: Model, prompts: Prompts) -> Iterator[float]:
    """The router's whole answer, and what all experts give, out of the other run."""
    for path, patched in (
        (model.sites.router, ("router_logits", "expert_weights")),
        (model.sites.experts, ("expert_out",)),
    ):
        want = []
        for layer in range(model.n_layers):
            module = model.module.get_submodule(model.sites.blocks)[layer].get_submodule(path)
            theirs = noted(module, lambda: plain(model, prompts.clean))
            output = answered(module, theirs, lambda: plain(model, prompts.corrupt))
            want.append(difference(prompts, output.logits).mean())
        for site in patched:
            yield off(interp.patch(model, prompts, site=site, by="layer").values, torch.stack(want))


def patterns(model: Model) -> Iterator[float]:
    prompts = prompts_for(model)
    eager = None
    if not model.is_native:
        before = model.module.config._attn_implementation
        model.module.set_attn_implementation("eager")
        eager = plain(model, prompts.clean, output_attentions=True)
        model.module.set_attn_implementation(before)
        if off(eager.logits, plain(model, prompts.clean).logits) > TOLERANCE:  # Falcon's eager form adds ALiBi twice
            eager = None
    names = {"": "attentions"}
    if model.is_encoder_decoder:
        names = {"encoder.": "encoder_attentions", "decoder.": "decoder_attentions", "cross.": "cross_attentions"}
    for stack, name in names.items():
        yield from _patterns(model, prompts, stack, None if eager is None else torch.stack(getattr(eager, name)))
        yield from _own_heads(model, prompts, stack)


def _patterns(model: Model, prompts: Prompts, stack: str, eager: torch.Tensor | None) -> Iterator[float]:
    found = interp.capture(model, prompts.clean, [f"{stack}{site}" for site in ("pattern", "attn_scores", "v", "z")])
    pattern, scores, v, z = found.values()
    group = model.n_heads // model.n_kv_heads
    yield off(torch.einsum("lbhqk,lbkhd->lbqhd", pattern, v.repeat_interleave(group, 3)), z)
    if eager is not None:
        yield off(pattern, eager)
    if model.config["architecture"] != "GptOssForCausalLM":  # its heads may attend to nothing
        yield off(torch.softmax(scores, -1), pattern)
    want = torch.zeros(len(pattern), model.n_heads)
    for layer in range(len(pattern)):
        own = seen_at(model, prompts.corrupt, f"{stack}v", layer).unflatten(-1, (model.n_kv_heads, -1))
        for head in range(model.n_heads):
            new = pattern[layer][:, head] @ own[:, :, head // group]
            logits = exchanged(model, prompts.corrupt, [(f"{stack}z", layer, head, slice(None), new)])
            want[layer, head] = difference(prompts, logits).mean()
    for road in (None, "naive"):
        yield off(interp.patch(model, prompts, site=f"{stack}pattern", road=road).values, want)


def _own_heads(model: Model, prompts: Prompts, stack: str) -> Iterator[float]:
    """A changed query tells in its own head's pattern, a key in its group's; no other moves at all."""
    site, group = f"{stack}pattern", model.n_heads // model.n_kv_heads
    if model.is_encoder_decoder:
        model = model.reading(torch.cat([model.decoder_tokens(3), prompts.corrupt[:, :4]], 1))
    usual = interp.capture(model, prompts.clean, site, layers=1)[site][0]
    for side, n, wide in (("q", model.n_heads, 1), ("k", model.n_kv_heads, group)):
        for head in range(n if not model.sites.flat_qk_norm else 0):
            turned = Intervention(site=f"{stack}{side}", layer=1, heads=head, kind="scale", value=-1.0)
            moved = interp.capture(model, prompts.clean, site, layers=1, interventions=[turned])[site][0]
            which = ((moved - usual).abs().amax((0, 2, 3)) > 1e-5).nonzero()[:, 0].tolist()
            yield 0.0 if which == list(range(head * wide, head * wide + wide)) else float("inf")


def attributes(model: Model) -> Iterator[float]:
    prompts, own = prompts_for(model), plain(model, prompts_for(model).clean).logits
    for by in ("layer", "component", "head") + (("neuron",) if model.sites.mlp_final is not None else ()):
        yield off(interp.direct_logit_attribution(model, prompts, by=by).total().float(), difference(prompts, own))
    lens = interp.logit_lens(model, prompts.clean)
    blocks = list(model.module.get_submodule(model.sites.blocks))
    for layer in range(model.n_layers):
        with ExitStack() as stack:
            for block in blocks[layer + 1 :]:
                stack.enter_context(handing_on(block))
            yield off(lens[layer], plain(model, prompts.clean).logits)


def circuits(model: Model) -> Iterator[float]:
    prompts = prompts_for(model)
    own, other = (difference(prompts, plain(model, t).logits).mean() for t in (prompts.clean, prompts.corrupt))
    pair = pair_of(model, prompts)
    graph = pair.graph
    cut = {}
    for layer in range(graph.n_layers):
        for head in range(graph.n_heads):
            cut[graph.head_columns(layer).start + head] = ("z", layer, head)
        if graph.mlps:
            cut[graph.mlp_column(layer)] = ("mlp_out", layer, None)
    masks = graph.edges.float().repeat(len(cut), 1, 1)
    want = torch.zeros(len(cut), len(prompts.clean))
    for row, (column, (site, layer, head)) in enumerate(cut.items()):
        masks[row, :, column] = 0
        value = of_head(model, seen_at(model, prompts.corrupt, site, layer), site, head)
        # a norm on the way out belongs to what the heads write: each head's part keeps the scale of its own run
        cells = (
            _share(model, prompts, layer, head)
            if site == "z" and model.sites.ln1_post
            else [(site, layer, head, slice(None), value)]
        )
        want[row] = difference(prompts, exchanged(model, prompts.clean, cells))
    yield off(masked_values(masks, pair), want)
    found = interp.find_circuit(model, prompts, method="eap")
    whole = graph.edges.float()[None].requires_grad_()
    ready = masker(pair)
    measure(ready, masked_logits(ready, whole)).mean().backward()
    live = graph.edges
    yield off(found.scores[live], whole.grad[0][live])
    for method in ("eap-ig", "eap"):
        curve = interp.faithfulness(
            model, prompts, interp.find_circuit(model, prompts, method=method), fractions=(0.2, 1.0)
        )
        yield off(torch.tensor([curve.clean, curve.empty]), torch.stack([own, other]))
        yield abs(float(curve.values[-1]) - 1)


def _share(model: Model, prompts: Prompts, layer: int, head: int) -> list[Any]:
    """What attention adds in the clean run, but for one head's share, which is as in the corrupt run. Shares of what a norm on
    the way out makes of the heads' sum (and its bias, in equal parts) have that run's scale."""
    block = model.module.get_submodule(model.sites.blocks)[layer]
    o, norm = block.get_submodule(model.sites.o), block.get_submodule(model.sites.ln1_post)
    shares = []
    for tokens in (prompts.clean, prompts.corrupt):
        z = seen_at(model, tokens, "z", layer)
        with torch.no_grad():
            total = o(z)
            alone = torch.zeros_like(z)
            alone[..., head * model.d_head : (head + 1) * model.d_head] = of_head(model, z, "z", head)
            constant = o(torch.zeros_like(z))
            part = o(alone) - constant + constant / model.n_heads
            shares.append(part * norm(total) / total)
    value = seen_at(model, prompts.clean, "attn_out", layer) - shares[0] + shares[1]
    return [("attn_out", layer, None, slice(None), value)]


CHECKS: dict[str, Callable[[Model], Iterator[float]]] = {
    "wrap": wraps,
    "capture": captures,
    "patch": patches,
    "pattern": patterns,
    "attribution": attributes,
    "circuit": circuits,
}
