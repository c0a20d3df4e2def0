"""Capture: activations by site, layer, head and position, from one forward pass that stops where nothing more is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError, NoSuchKey, nearest
from interp.figures.text import html, number, told
from interp.hooks.buffers import Buffers, rows_of
from interp.hooks.interventions import Intervention, changes_of
from interp.models.building import torch_dtype
from interp.models.handle import check_inside, check_model
from interp.models.running import run
from interp.models.site_tensors import (
    Change,
    Look,
    Spot,
    check_indices,
    n_heads_at,
    n_layers_at,
    read_at,
    resolve_positions,
)
from interp.models.sites import DIMS, GLOBAL_SITES, SCORE_SITES, check_site
from interp.models.state import is_plain

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import xarray
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from interp.models import Model


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Activations(Mapping[str, "Tensor"]):
    """Site -> tensor [layer, prompt, pos, …]; `dims(site)` names the axes, `coords` what is on them.

    Sites outside of the blocks (`embed`, `ln_final`, `logits`) have a layer axis of length 1. `coords["pos"]` is absent
    where each prompt has its own positions. gradients: the same sites' gradients, where asked for.
    """

    tensors: Mapping[str, Tensor]
    coords: Mapping[str, Mapping[str, list[int]]]
    gradients: Activations | None = None

    def __repr__(self) -> str:
        lines = [
            f"{site} [{', '.join(f'{name} {n}' for name, n in zip(self.dims(site), tensor.shape, strict=True))}] "
            f"{str(tensor.dtype).removeprefix('torch.')} on {tensor.device}"
            for site, tensor in self.tensors.items()
        ]
        shown = lines if len(lines) <= 8 else [*lines[:7], f"and {len(lines) - 7} more"]
        size = sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())
        beside = "" if self.gradients is None else ", with gradients"
        return told(
            f"Activations of {len(lines)} sites, {number(size / 1e6)} MB{beside}; .plot(), .to_xarray()", *shown
        )

    def _repr_html_(self) -> str:
        return html(repr(self))

    def plot(
        self,
        site: str | None = None,
        *,
        prompt: int | None = None,
        layer: int = -1,
        labels: Sequence[str] | None = None,
    ) -> go.Figure:
        """A site (the first one, unless named) as a figure. Attention: the `layer`'s heads on one prompt (the first, unless
        named), as squares. Everything else: L2 norms over the last axis, averaged over prompts (of one, where `prompt` names
        it) as layers × positions, of heads and experts averaged over positions too, as layers × heads.

        layer, prompt: places among those that were captured. labels: what stands at the positions, as the tokens' texts.

        Raises:
            InputError: a site, prompt or layer that was not captured; attention at some queries only.
        """
        from interp.hooks.figure import activation_figure

        return activation_figure(self, site, prompt=prompt, layer=layer, labels=labels)

    def __getitem__(self, site: str) -> Tensor:
        if site not in self.tensors:
            raise NoSuchKey(f"{site!r} was not captured{nearest(site, self.tensors)}")
        return self.tensors[site]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def dims(self, site: str) -> tuple[str, ...]:
        """The names of the axes of a site's tensor."""
        return DIMS[site]

    def to_xarray(self) -> xarray.Dataset:
        """A labelled data set with one variable a site (needs the `xarray` extra). Axes that sites disagree on get the site's
        name in front."""
        import xarray

        lengths: dict[str, list[int]] = {}
        arrays: dict[str, xarray.DataArray] = {}
        for site, tensor in self.tensors.items():
            coords = dict(self.coords[site])
            names = []
            for name, length in zip(DIMS[site], tensor.shape, strict=True):
                labels = coords.get(name, list(range(length)))
                own = name if lengths.setdefault(name, labels) == labels else f"{site}_{name}"
                names.append(own)
                if name in coords:
                    coords[own] = coords.pop(name)
            values = tensor.detach().cpu()
            values = values.float() if values.dtype == torch.bfloat16 else values
            arrays[site] = xarray.DataArray(
                values.numpy(), dims=names, coords={n: coords[n] for n in names if n in coords}
            )
        return xarray.Dataset(arrays)


def capture(
    model: Model,
    tokens: Int[Tensor, "prompt pos"],
    sites: str | Sequence[str] = ("resid_post",),
    *,
    layers: int | Sequence[int] | None = None,
    heads: int | Sequence[int] | None = None,
    positions: int | Sequence[int] | Int[Tensor, "prompt"] | Int[Tensor, "prompt chosen"] | None = None,
    mask: Bool[Tensor, "prompt pos"] | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    interventions: Sequence[Intervention] = (),
    gradients_of: Callable[[Float[Tensor, "prompt pos vocab"]], Tensor] | None = None,
    logits_at: int | Sequence[int] | Int[Tensor, "prompt"] | Int[Tensor, "prompt chosen"] | None = None,
    decoder: Int[Tensor, "prompt pos"] | None = None,
) -> Activations:
    """Activations of the run on `tokens`, in eval mode; only what is asked is kept, and the pass stops after the last of it.

    sites: TransformerLens' names (`interp.models.SITES`): the residual stream before, in the middle of and after a block;
        what attention and MLP add to it; q, k (before rotation) and v; z; `attn_scores` (-inf where masked) and `pattern`;
        the MLP's hidden layer before (`mlp_pre`, the gate's where there is one) and after (`mlp_post`) its non-linearity;
        of a mixture of experts the router's logits, each expert's weight (`expert_weights`, 0 where it was not chosen) and
        what each adds (`expert_out`: weight × output);
        `embed`, `ln_final` (what the unembedding reads) and `logits`.
    layers, heads: which ones, in the order given (None: all). Heads of k and v are key/value heads.
    positions: a number or list for all prompts, a tensor for each prompt's own; None: all. Negative ones count back from the
        prompt's last unmasked position. Of patterns and scores they are the queries.
    mask: True where a position holds a token (None: everywhere).
    dtype, device: of what is kept (None: as computed).
    interventions: applied in the same pass.
    gradients_of: a scalar (or one value a prompt) computed from the logits; `.gradients` then holds its gradients at the
        same sites. The parameters' own gradients are not touched, and the caller may be within `no_grad`.
    logits_at: positions at which to unembed, for `logits` and `gradients_of` (None: all).
    decoder: of an encoder-decoder (`tokens` are its encoder's) the tokens that its decoder reads; None: its start token. Its
        sites begin with `encoder.`, `decoder.` or `cross.`, and have the positions and layers of what they belong to.

    Raises:
        InputError: a site, layer, head or position that does not exist here.
    """
    check_model(model, tokens)
    model = model.reading(decoder)
    wanted = _checked(model, sites, edited=bool(interventions))
    chosen = {site: _layers_of(model, site, layers) for site in wanted}
    inside = {site: chosen[site] for site in wanted if site != "logits"}
    where = {site: resolve_positions(positions, *read_at(model, site, tokens, mask)) for site in wanted}
    unembed_at = resolve_positions(logits_at, *read_at(model, "logits", tokens, mask))
    picks = {site: _pick(model, site, heads, where[site]) for site in wanted}
    changes = changes_of(model, interventions, tokens, mask)
    edited = any(site in ("resid_pre", "resid_post") for site, _ in changes)
    rows = rows_of(inside, apart=edited or (len(wanted) > 1 and not is_plain(model)))
    buffers = Buffers(rows=rows, dtype=None if dtype is None else torch_dtype(dtype), device=device)
    looks: dict[Spot, Look] = {spot: partial(buffers.keep, spot, picks[spot[0]]) for spot in rows}
    leaves = {} if gradients_of is None else _add_leaves(changes, inside)
    unembed = "logits" in wanted or gradients_of is not None
    with torch.no_grad() if gradients_of is None else _with_gradients():
        given = tokens.clone() if tokens.is_inference() else tokens  # no gradient flows through an inference tensor
        logits = run(model, given, mask, changes=changes, looks=looks, logits_at=unembed_at, logits=unembed)
        gradients = None if gradients_of is None else _gradients(gradients_of, logits, leaves, picks)
    values = buffers.values()
    if "logits" in wanted and logits is not None:
        shown = logits.detach()
        values["logits"] = buffers.cast(shown if unembed_at is not None else picks["logits"](shown))[None]
    at = dict.fromkeys(wanted, positions) | ({} if logits_at is None else {"logits": logits_at})
    coords = {site: _coords(model, site, chosen[site], heads, at[site]) for site in wanted}
    return Activations(
        tensors={site: values[site] for site in wanted},
        coords=coords,
        gradients=None if gradients is None else Activations(tensors=gradients, coords=coords),
    )


def _checked(model: Model, sites: str | Sequence[str], *, edited: bool) -> list[str]:
    """The sites, each once. Raises InputError for one that the model does not have or nobody can see into."""
    wanted = [sites] if isinstance(sites, str) else list(dict.fromkeys(sites))
    for site in wanted:
        check_site(site, model.sites)
        if site != "logits" or edited:
            check_inside(model, site)
    return wanted


def _layers_of(model: Model, site: str, layers: int | Sequence[int] | None) -> list[int]:
    return [0] if site in GLOBAL_SITES else check_indices("layer", layers, n_layers_at(model, site))


@contextmanager
def _with_gradients() -> Iterator[None]:
    """Within, gradients are followed, whatever the caller's own mode."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _add_leaves(changes: dict[Spot, list[Change]], sites: Mapping[str, list[int]]) -> dict[Spot, Tensor]:
    """Adds a leaf of zeros to each site, after all other changes: its gradient is the site's. Filled as the pass goes by."""
    leaves: dict[Spot, Tensor] = {}

    def add(spot: Spot, seen: Tensor) -> None:
        leaves[spot] = torch.zeros_like(seen, requires_grad=True)
        seen += leaves[spot]

    for site, layers in sites.items():
        for layer in layers:
            changes.setdefault((site, layer), []).append(partial(add, (site, layer)))
    return leaves


def _gradients(
    of: Callable[[Tensor], Tensor],
    logits: Tensor | None,
    leaves: Mapping[Spot, Tensor],
    picks: Mapping[str, Callable[[Tensor], Tensor]],
) -> dict[str, Tensor]:
    """Site -> gradients [layer, …] of what is computed from the logits (zero where it does not depend on the site)."""
    assert logits is not None
    total = of(logits).sum()
    if not total.requires_grad:
        raise InputError("gradients_of gave a number that does not follow from the logits by steps with gradients")
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True, materialize_grads=True)
    by_site: dict[str, list[Tensor]] = {}
    for (site, _), gradient in zip(leaves, found, strict=True):
        by_site.setdefault(site, []).append(picks[site](gradient))
    return {site: torch.stack(gradients) for site, gradients in by_site.items()}


def _pick(model: Model, site: str, heads: int | Sequence[int] | None, at: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Selects the wanted heads and positions of a site's tensor [prompt, pos, …] (scores: [prompt, head, query, key])."""
    n_heads = n_heads_at(model, site)
    chosen = None if heads is None or n_heads is None else check_indices("head", heads, n_heads)
    if at is not None:
        at = at.to(model.device)
        rows = torch.arange(len(at), device=model.device)[:, None]

    def pick(tensor: Tensor) -> Tensor:
        if site in SCORE_SITES:
            tensor = tensor if chosen is None else tensor[:, chosen]
            return (
                tensor
                if at is None
                else tensor[rows[:, None], torch.arange(tensor.shape[1], device=at.device)[:, None], at[:, None]]
            )
        tensor = tensor if at is None else tensor[rows, at]
        return tensor if chosen is None else tensor[:, :, chosen]

    return pick


def _coords(
    model: Model,
    site: str,
    layers: list[int],
    heads: int | Sequence[int] | None,
    positions: Any,
) -> dict[str, list[int]]:
    coords = {} if site in GLOBAL_SITES else {"layer": layers}
    n_heads = n_heads_at(model, site)
    if n_heads is not None:
        coords["head"] = check_indices("head", heads, n_heads)
    listed = [positions] if isinstance(positions, int) else positions
    if isinstance(listed, list | tuple | range) and all(p >= 0 for p in listed):
        coords["query" if site in SCORE_SITES else "pos"] = list(listed)
    return coords
