"""Direct logit attribution: how much of a logit difference each component writes itself.

Direct effects only: a component that matters because a later one reads it contributes nothing here; patching finds those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

from interp.errors import InputError, unknown
from interp.hooks.activations import capture
from interp.lenses.attribution import BREAKDOWNS, Attribution
from interp.lenses.logit import capped
from interp.measure.metrics import questions
from interp.models import weights
from interp.models.shadowing import evaluating
from interp.models.site_tensors import mapped
from interp.models.sites import check_site
from interp.models.state import refusal

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from interp.hooks.activations import Activations
    from interp.models import Model
    from interp.types import Prompts


def direct_logit_attribution(model: Model, prompts: Prompts, *, by: str = "component") -> Attribution:
    """What each component adds directly to logit(answer) − logit(wrong) on the clean prompts, where the answer is predicted.

    The residual stream there is a sum of what the components wrote. The final norm's scale is frozen at the value it has
    there, so that the norm is linear, and its centring and weight are folded into the direction u that the stream is
    read along: a component that wrote c contributes u · c. A norm on the way out of attention or MLP (Gemma 2 and 3,
    OLMo 2) is frozen likewise, and a cap on the logits acts by the slope of the chord between the two logits. `bias`
    is what the biases of the final norm and of the unembedding add; `attn_bias`, `mlp_bias` those of the output
    projections (the bias of the values is in what the heads write). The sum is the logit difference of the model.

    by: "layer", "component" (attention and MLP), "head" (MLPs whole) or "neuron" (activation × output weight · u;
        attention whole). Computed in float64 from the activations; of longer answers, at the first token in which right
        and wrong differ; NaN for prompts where they do not.

    Raises:
        InputError: an unknown breakdown; neurons of a model without MLPs; an architecture without a map of sites; a module in
            which the parts do not add up (somebody's hook or part, which is named).
    """
    if by not in BREAKDOWNS:
        raise unknown("breakdown", by, BREAKDOWNS)
    sites = mapped(model)
    if not sites.written:
        raise InputError(
            f"direct attribution takes a stream that is the sum of what is written to it; in {model.config['architecture']} it "
            "is not (an encoder-decoder, or norms on the stream itself)"
        )
    if by == "neuron":
        check_site("mlp_post", sites)
    asked = questions(prompts, model)
    first, pair, differ = asked.contrast
    at = asked.read.gather(1, first[:, None].to(asked.read.device))
    whole = ["attn_out", *["mlp_out"] * (sites.mlp is not None)]
    wanted = ["embed", "resid_pre", "resid_post", "logits", *whole, *["z"] * (by == "head")]
    wanted += ["mlp_post"] * (by == "neuron")
    found = capture(model, asked.clean, wanted, positions=at, logits_at=at, mask=asked.mask)
    with torch.no_grad(), evaluating(model.module):
        direction, constant = _answer_direction(model, found["resid_post"][-1, :, 0], pair)
        parts = {**_embeddings(model, found, direction), **_blocks(model, found, direction, by), "bias": constant}
    undefined = ~differ.cpu()
    right, wrong = _exact(found["logits"][0, :, 0]).gather(1, pair.cpu()).unbind(-1)
    shown = {part: parts[part].masked_fill(undefined, torch.nan) for part in BREAKDOWNS[by] if part in parts}
    answer = Attribution(by=by, parts=shown, logit_diff=(right - wrong).masked_fill(undefined, torch.nan))
    size = torch.stack([part.reshape(-1, part.shape[-1]).abs().sum(0) for part in shown.values()]).sum(0)
    _check(model, answer.total(), answer.logit_diff, size, "what the components write does not add up to the logits")
    return answer


def _check(model: Model, got: Tensor, want: Tensor, size: Tensor, what: str) -> None:
    """Raises InputError where a sum is off by more than 1e-4 of it and more than the rounding of what it sums (`size`, the sum
    of magnitudes) explains: eight units in the last place, three times what sums of any mapped architecture show."""
    defined = torch.isfinite(want)
    off, rounding = (got - want)[defined].abs(), 8 * torch.finfo(model.dtype).eps * size[defined]
    if not bool((off <= 1e-4 * want[defined].abs() + rounding).all()):
        raise refusal(model, what)


def _answer_direction(
    model: Model, stream: Float[Tensor, "prompt d_model"], pair: Int[Tensor, "prompt 2"]
) -> tuple[Float[Tensor, "prompt d_model"], Float[Tensor, "prompt"]]:
    """u and c with logit(right) − logit(wrong) = u · stream + c."""
    pair = pair.to(model.device)
    final_norm, bias = weights.norm(model, "ln_final"), weights.b_U(model)
    factor = mapped(model).logit_scale
    columns = _exact(weights.W_U(model)[:, pair]).movedim(0, -1) * factor
    offsets = torch.zeros(pair.shape, dtype=torch.float64) if bias is None else _exact(bias[pair]) * factor
    direction, constant = _pull_back(final_norm, stream, columns[:, 0] - columns[:, 1])
    logits = torch.einsum("pad,pd->pa", columns, _exact(final_norm(stream))) + offsets
    slope = _chord(logits, mapped(model).logit_cap)
    return slope[:, None] * direction, slope * (constant + offsets[:, 0] - offsets[:, 1])


def _chord(logits: Float[Tensor, "prompt 2"], cap: float | None) -> Float[Tensor, "prompt"]:
    """Slope of the cap's chord between two logits; of its tangent where they are equal; 1 without a cap."""
    if cap is None:
        return torch.ones(len(logits), dtype=logits.dtype)
    run, rise = logits[:, 0] - logits[:, 1], capped(logits[:, 0], cap) - capped(logits[:, 1], cap)
    return torch.where(run == 0, 1 - torch.tanh(logits[:, 0] / cap) ** 2, rise / run)


def _pull_back(
    norm: Callable[[Tensor], Tensor], at: Float[Tensor, "prompt d_model"], direction: Float[Tensor, "prompt d_model"]
) -> tuple[Float[Tensor, "prompt d_model"], Float[Tensor, "prompt"]]:
    """u and c with direction · norm(x) = u · x + c at x = `at`, with the norm's scale frozen at its value there.

    A norm is b + s(x) g ⊙ x, or the same with x − mean(x). b, g (up to a factor that s takes up) and the centring show in
    what it does to the vectors 0, (1, 1, …) and (1, −1, 1, …), however the architecture keeps its weight.
    """
    if isinstance(norm, torch.nn.Identity):
        return direction, torch.zeros(len(direction), dtype=direction.dtype)
    signs = 1.0 - 2.0 * (torch.arange(at.shape[-1]) % 2)
    probes = torch.stack([torch.zeros_like(signs), torch.ones_like(signs), signs]).to(at)
    offset, flat, alternating = _exact(norm(probes))
    is_centred = bool((flat - offset).norm() < 1e-3 * (alternating - offset).norm())

    def centred(x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True) if is_centred else x

    gain = (alternating - offset) / centred(signs.double())
    unscaled, scaled = gain * centred(_exact(at)), _exact(norm(at)) - offset
    size = unscaled.square().sum(-1, keepdim=True)
    scale = torch.where(size > 0, (scaled * unscaled).sum(-1, keepdim=True) / size, 0.0)
    if bool(((scaled - scale * unscaled).norm(dim=-1) > 0.05 * scaled.norm(dim=-1)).any()):
        raise InputError(
            f"{type(norm).__name__} is not linear at a frozen scale, so nothing can be attributed through it"
        )
    return centred(scale * gain * direction), direction @ offset


def _embeddings(model: Model, found: Activations, direction: Tensor) -> dict[str, Tensor]:
    first = _along(found["resid_pre"][0, :, 0], direction)
    if mapped(model).pos_embed is None:
        return {"embed": first}
    token = _along(found["embed"][0, :, 0], direction)
    return {"embed": token, "pos_embed": first - token}


def _blocks(model: Model, found: Activations, direction: Tensor, by: str) -> dict[str, Tensor]:
    """What attention and MLPs contribute, whole or taken apart."""
    parts: dict[str, Tensor] = {}
    for site, part in (("attn_out", "attn"), ("mlp_out", "mlp")):
        if site in found:
            parts[part] = torch.stack([_along(out[:, 0], direction) for out in found[site]])
    if "z" in found:
        apart = [_heads_of(model, layer, z[:, 0], direction) for layer, z in enumerate(found["z"])]
        parts["head"], parts["attn_bias"] = map(torch.stack, zip(*apart, strict=True))
        _check_parts(model, parts, "attn", "head", "attn_bias")
    if "mlp_post" in found:
        apart = [_neurons_of(model, layer, post[:, 0], direction) for layer, post in enumerate(found["mlp_post"])]
        parts["neuron"], parts["mlp_bias"] = map(torch.stack, zip(*apart, strict=True))
        _check_parts(model, parts, "mlp", "neuron", "mlp_bias")
    if by == "layer":
        return {"layer": sum((parts[part] for part in ("attn", "mlp") if part in parts), start=torch.zeros(()))}
    return parts


def _check_parts(model: Model, parts: Mapping[str, Tensor], whole: str, each: str, rest: str) -> None:
    """The parts of every layer add up to what the layer was seen to write."""
    got, size = parts[each].sum(1) + parts[rest], parts[each].abs().sum(1) + parts[rest].abs()
    what = f"what the {each}s of a layer write by its weights is not what it was seen to write"
    _check(model, got, parts[whole], size, what)


def _along(written: Float[Tensor, "prompt d_model"], direction: Float[Tensor, "prompt d_model"]) -> Tensor:
    return (_exact(written) * direction).sum(-1)


def _heads_of(
    model: Model, layer: int, z: Float[Tensor, "prompt head d_head"], direction: Tensor
) -> tuple[Float[Tensor, "head prompt"], Float[Tensor, "prompt"]]:
    out, bias = weights.W_O(model, layer).flatten(0, 1), weights.b_O(model, layer)
    by_entry, rest = _written(z.flatten(1), out, bias, weights.norm(model, "ln1_post", layer), direction)
    return by_entry.unflatten(0, z.shape[1:]).sum(1), rest


def _neurons_of(
    model: Model, layer: int, post: Float[Tensor, "prompt neuron"], direction: Tensor
) -> tuple[Float[Tensor, "neuron prompt"], Float[Tensor, "prompt"]]:
    out, bias = weights.W_out(model, layer), weights.b_out(model, layer)
    return _written(post, out, bias, weights.norm(model, "ln2_post", layer), direction)


def _written(
    hidden: Float[Tensor, "prompt entry"],
    out: Float[Tensor, "entry d_model"],
    bias: Float[Tensor, "d_model"] | None,
    norm: Callable[[Tensor], Tensor],
    direction: Float[Tensor, "prompt d_model"],
) -> tuple[Float[Tensor, "entry prompt"], Float[Tensor, "prompt"]]:
    """direction · norm(hidden @ out + bias), by entry of `hidden`, and what the biases add."""
    exact, offset = _exact(out), torch.zeros(out.shape[1], dtype=torch.float64) if bias is None else _exact(bias)
    before_norm = (_exact(hidden) @ exact + offset).to(hidden)
    along, constant = _pull_back(norm, before_norm, direction)
    return (_exact(hidden) * (along @ exact.mT)).mT, constant + along @ offset


def _exact(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()
