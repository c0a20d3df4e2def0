"""Path patching: what one component tells another, and nobody else; attention knock-out between positions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from interp.errors import InputError, unknown
from interp.hooks.activations import capture
from interp.hooks.interventions import Intervention, intervene
from interp.measure.metrics import Metric, evaluate, known, questions
from interp.models.site_tensors import check_indices
from interp.models.sites import check_site

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from interp.models import Model
    from interp.types import Prompts

Through = Literal["nothing", "mlps", "everything"]
THROUGH = ("nothing", "mlps", "everything")
_NODE = re.compile(r"L(\d+)(?:H(\d+)(?:\.([qkv]))?|\.(mlp))")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PathEffect:
    """A metric before and after an intervention. Averages over prompts; per prompt (None where the metric gives one number)."""

    value: float
    base: float
    clean: float
    corrupt: float
    per_prompt: Float[Tensor, "prompt"] | None

    def normalised(self) -> float:
        """The value on a scale where the corrupt run is 0 and the clean run 1; NaN where the two do not differ."""
        span = self.clean - self.corrupt
        return (self.value - self.corrupt) / span if span else float("nan")


def path_patch(
    model: Model,
    prompts: Prompts,
    sender: str,
    receivers: str | Sequence[str],
    *,
    through: Through = "nothing",
    metric: Metric = "logit_diff",
    direction: Literal["denoise", "noise"] = "denoise",
) -> PathEffect:
    """The metric when receivers are told what the sender says in the other run (Wang et al. 2022, arXiv 2211.00593).

    A first run replaces the sender's output, holds components between it and the receivers as unpatched, and notes what the
    receivers then compute; a second gives the receivers that, and lets everything after them follow.

    sender: a head `L0H3` or an MLP `L2.mlp`. receivers: `L2H1.q` (`.k`, `.v`: a key/value head), `L2.mlp` or `logits`.
    through: what may carry the message: "nothing" but the residual stream (direct), "mlps" between them too, or "everything".
    direction: as in `patch`.

    Raises:
        InputError: a component that does not exist, or a receiver that does not come after the sender.
    """
    if through not in THROUGH:
        raise unknown("path", through, THROUGH)
    asked = questions(prompts, model)
    base, source = (asked.corrupt, asked.clean) if direction == "denoise" else (asked.clean, asked.corrupt)
    site, layer, head = _sender(model, sender)
    names = [receivers] if isinstance(receivers, str) else list(receivers)
    ends = [_receiver(model, name, site, layer) for name in names if name != "logits"]
    said = capture(model, source, (site,), layers=layer, heads=head, mask=asked.mask)[site][0]
    first = [Intervention(site=site, layer=layer, heads=head, value=said)]
    if through != "everything":
        first = _held(model, base, asked.mask, layer, mlps=through == "nothing") + first
    noted = capture(
        model,
        base,
        tuple({end[0] for end in ends} | {"logits"}),
        mask=asked.mask,
        interventions=first,
        logits_at=asked.read,
    )
    if "logits" in names:
        if ends:
            raise InputError("`logits` is the end of every path: it cannot be one receiver among others")
        patched = noted["logits"][0]
    else:
        second = [
            Intervention(site=at, layer=one, heads=h, value=noted[at][one] if h is None else noted[at][one][:, :, [h]])
            for at, one, h in ends
        ]
        patched = intervene(model, base, second, mask=asked.mask, positions=asked.read)
    return _effect(model, prompts, patched, metric, direction)


def _node(name: str) -> tuple[int, int | None, str | None, bool]:
    match = _NODE.fullmatch(name)
    if match is None:
        raise InputError(f"expected a component such as L0H3, L2H1.q, L2.mlp or logits, got {name!r}")
    layer, head, part, mlp = match.groups()
    return int(layer), None if head is None else int(head), part, mlp is not None


def _sender(model: Model, name: str) -> tuple[str, int, int | None]:
    """Site, layer and head."""
    layer, head, part, is_mlp = _node(name)
    if part is not None:
        raise InputError(f"{name!r} receives; a sender is a head such as L0H3 or an MLP such as L2.mlp")
    check_indices("layer", layer, model.n_layers)
    site = "mlp_out" if is_mlp else "z"
    check_site(site, model.sites)
    if head is not None:
        check_indices("head", head, model.n_heads)
    return site, layer, head


def _receiver(model: Model, name: str, site: str, sender: int) -> tuple[str, int, int | None]:
    """Site, layer and head of what a receiver computes of its input: q, k or v, or the neurons of an MLP."""
    layer, head, part, is_mlp = _node(name)
    if not is_mlp and part is None:
        raise InputError(f"a head receives through one of its inputs: {name}.q, {name}.k or {name}.v")
    check_indices("layer", layer, model.n_layers)
    parallel = model.bridge.cfg.parallel_attn_mlp if model.sites is None else model.sites.parallel
    follows = layer > sender or (layer == sender and is_mlp and site == "z" and not parallel)
    if not follows:
        raise InputError(f"{name} does not come after the sender in layer {sender}")
    if is_mlp:
        check_site("mlp_post", model.sites)
        return "mlp_post", layer, None
    check_indices("head", head, model.n_heads if part == "q" else model.n_kv_heads)
    return str(part), layer, head


def _held(model: Model, tokens: Tensor, mask: Tensor | None, sender: int, *, mlps: bool) -> list[Intervention]:
    """Everything from the sender's layer on as it is in the unpatched run: attention, and the MLPs if they are to be held."""
    has_mlps = mlps and (model.sites is None or model.sites.mlp is not None)
    layers = list(range(sender, model.n_layers))
    unpatched = capture(model, tokens, ("z", "mlp_out") if has_mlps else ("z",), layers=layers, mask=mask)
    held = [Intervention(site="z", layer=layer, value=unpatched["z"][i]) for i, layer in enumerate(layers)]
    if has_mlps:
        held += [Intervention(site="mlp_out", layer=one, value=unpatched["mlp_out"][i]) for i, one in enumerate(layers)]
    return held


def knock_out(
    model: Model,
    prompts: Prompts,
    *,
    queries: int | Sequence[int],
    keys: int | Sequence[int],
    layers: int | Sequence[int] | None = None,
    heads: int | Sequence[int] | None = None,
    metric: Metric = "logit_diff",
    run: Literal["clean", "corrupt"] = "clean",
) -> PathEffect:
    """The metric when these queries may not attend to these keys in these layers and heads (None: all); the other weights of a
    pattern grow to fill the gap (Geva et al. 2023, arXiv 2304.14767). A query that may attend to nothing moves nothing.

    queries, keys: positions; negative queries count back from the last unmasked position, negative keys from the right end.
    """
    asked = questions(prompts, model)
    tokens = asked.clean if run == "clean" else asked.corrupt
    cut = [
        Intervention(site="attn_scores", layer=layer, heads=heads, positions=queries, keys=keys, value=float("-inf"))
        for layer in check_indices("layer", layers, model.n_layers)
    ]
    patched = intervene(model, tokens, cut, mask=asked.mask, positions=asked.read)
    return _effect(model, prompts, patched, metric, "noise" if run == "clean" else "denoise")


def _effect(model: Model, prompts: Prompts, patched: Tensor, metric: Metric, direction: str) -> PathEffect:
    if isinstance(metric, str):
        known(metric)
    asked = questions(prompts, model)
    runs = [
        intervene(model, tokens, (), mask=asked.mask, positions=asked.read) for tokens in (asked.clean, asked.corrupt)
    ]
    found = evaluate(metric, torch.stack([*runs, patched]), asked, runs[0]).cpu()
    clean, corrupt, value = (found.double().mean(1) if found.dim() == 2 else found).tolist()
    return PathEffect(
        value=value,
        base=corrupt if direction == "denoise" else clean,
        clean=clean,
        corrupt=corrupt,
        per_prompt=found[2] if found.dim() == 2 else None,
    )
