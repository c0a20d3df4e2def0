"""Activations over a data set larger than memory: to disk in shards, or into reductions of constant size.

A stream is any iterable of token batches [prompt, pos] of one length, or of (tokens, mask) pairs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError, unknown
from interp.hooks.activations import capture
from interp.models.site_tensors import check_indices, resolve_positions
from interp.models.sites import DIMS, SCORE_SITES

if TYPE_CHECKING:
    from torch import Tensor

    from interp.models import Model

Stream = Iterable["Tensor | tuple[Tensor, Tensor]"]
INDEX = "index.json"
REDUCTIONS = ("mean", "variance", "covariance", "max", "histogram", "top_k")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Activations on disk. shapes: of one prompt at one site, [layer, …] without the prompt axis."""

    folder: Path
    sites: tuple[str, ...]
    layers: tuple[int, ...]
    n_prompts: int
    complete: bool
    shards: tuple[tuple[str, int, int], ...]

    def read(self, site: str, *, prompts: slice = slice(None), layers: int | Sequence[int] | None = None) -> Tensor:
        """[layer, prompt, …] of these prompts and layers (by their numbers in the model); nothing else is read from disk."""
        from safetensors import safe_open

        if site not in self.sites:
            raise unknown("stored site", site, self.sites)
        wanted = list(self.layers) if layers is None else [layers] if isinstance(layers, int) else list(layers)
        for layer in wanted:
            if layer not in self.layers:
                raise InputError(f"layer {layer} is not stored; these are: {', '.join(map(str, self.layers))}")
        first, last, step = prompts.indices(self.n_prompts)
        if step != 1:
            raise InputError("prompts are read in steps of one")
        parts = []
        for name, start, n in self.shards:
            low, high = max(first, start) - start, min(last, start + n) - start
            if low < high:
                with safe_open(self.folder / name, framework="pt") as shard:
                    view = shard.get_slice(site)
                    rows = [self.layers.index(layer) for layer in wanted] if view.get_shape()[0] > 1 else [0]
                    parts.append(torch.stack([view[row, low:high] for row in rows]))
        if not parts:
            raise InputError(f"there are no stored prompts in {first}:{last} of {self.n_prompts}")
        return torch.cat(parts, dim=1)


def capture_to_disk(
    model: Model,
    stream: Stream,
    folder: Path | str,
    sites: str | Sequence[str] = ("resid_post",),
    *,
    layers: int | Sequence[int] | None = None,
    heads: int | Sequence[int] | None = None,
    positions: int | Sequence[int] | None = None,
    dtype: str = "float16",
    shard_prompts: int = 1024,
) -> Stored:
    """Captures a stream into safetensors shards of `shard_prompts` prompts and an index, in memory of one shard.

    Interrupted and called again, it goes on after the last whole shard; it refuses to mix weights, requests or data.

    Raises:
        InputError: the folder holds something else.
    """
    from safetensors.torch import save_file

    wanted = (sites,) if isinstance(sites, str) else tuple(sites)
    chosen = check_indices("layer", layers, model.n_layers)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "weights": _digest(model),
        "sites": list(wanted),
        "layers": chosen,
        "heads": heads,
        "positions": positions,
        "dtype": dtype,
        "shard_prompts": shard_prompts,
        "dims": {site: list(DIMS[site]) for site in wanted},
    }
    index = _resumed(folder, about)
    n_done = sum(shard["n_prompts"] for shard in index["shards"])
    for number, (tokens, mask) in enumerate(_shards(stream, shard_prompts)):
        seen = sha256(tokens.numpy().tobytes() + mask.numpy().tobytes()).hexdigest()
        if number < len(index["shards"]):
            if index["shards"][number]["data"] != seen:
                raise InputError(f"{folder} was made from other data: shard {number} differs")
            continue
        kept = capture(
            model, tokens, wanted, layers=chosen, heads=heads, positions=positions, mask=mask, dtype=dtype, device="cpu"
        )
        name = f"shard-{number:05d}.safetensors"
        save_file({site: kept[site].contiguous().clone() for site in wanted} | {"mask": mask}, folder / f"{name}.part")
        os.replace(folder / f"{name}.part", folder / name)
        index["shards"].append({"file": name, "first": n_done, "n_prompts": len(tokens), "data": seen})
        n_done += len(tokens)
        _write(folder, index)
    index["complete"] = True
    _write(folder, index)
    return open_stored(folder)


def open_stored(folder: Path | str) -> Stored:
    """The activations that `capture_to_disk` put in a folder."""
    path = Path(folder) / INDEX
    if not path.is_file():
        raise InputError(f"{folder} holds no stored activations (no {INDEX})")
    index = json.loads(path.read_text())
    shards = tuple((shard["file"], shard["first"], shard["n_prompts"]) for shard in index["shards"])
    return Stored(
        folder=Path(folder),
        sites=tuple(index["sites"]),
        layers=tuple(index["layers"]),
        n_prompts=sum(n for _, _, n in shards),
        complete=index["complete"],
        shards=shards,
    )


def _resumed(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    path = folder / INDEX
    if not path.is_file():
        return {**about, "complete": False, "shards": []}
    index = json.loads(path.read_text())
    differing = [name for name, value in about.items() if index.get(name) != value]
    if differing:
        raise InputError(f"{folder} holds activations of another request: {', '.join(differing)} differ")
    return index


def _write(folder: Path, index: dict[str, Any]) -> None:
    part = folder / f"{INDEX}.part"
    part.write_text(json.dumps(index, indent=1))
    os.replace(part, folder / INDEX)


def _digest(model: Model) -> str:
    """Of the weights, whatever device they are on."""
    digest = sha256()
    for name, tensor in sorted(model.module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _pairs(stream: Stream) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in stream:
        tokens, mask = batch if isinstance(batch, tuple) else (batch, torch.ones_like(batch, dtype=torch.bool))
        yield tokens, mask.bool()


def _shards(stream: Stream, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The stream cut anew, into batches of `size` prompts."""
    held: list[tuple[Tensor, Tensor]] = []
    for pair in _pairs(stream):
        held.append(pair)
        while sum(len(tokens) for tokens, _ in held) >= size:
            tokens, mask = (torch.cat(parts) for parts in zip(*held, strict=True))
            yield tokens[:size], mask[:size]
            held = [(tokens[size:], mask[size:])] if len(tokens) > size else []
    if held:
        tokens, mask = (torch.cat(parts) for parts in zip(*held, strict=True))
        yield tokens, mask


@dataclass(slots=True, kw_only=True, eq=False)
class Reduced:
    """Reductions of one site so far, over the unmasked positions seen; feature axes are the site's own ([head,] dimension).

    n: positions seen. mean, variance (of the population), max: [layer, …feature]. covariance: [layer, (head,) d, d].
    histogram: [layer, …feature, bin], counts below, between and above the edges. top_k: the largest values [layer, …feature,
    k], top_k_examples: [layer, …feature, k, 2], prompt and position of each. Sums are kept in float64 (Chan et al. 1979).
    """

    n: int = 0
    mean: Tensor | None = None
    scatter: Tensor | None = None
    spread: Tensor | None = None
    max: Tensor | None = None
    histogram: Tensor | None = None
    top_k: Tensor | None = None
    top_k_examples: Tensor | None = None
    asked: frozenset[str] = field(default_factory=frozenset)

    @property
    def variance(self) -> Tensor | None:
        return None if self.scatter is None else self.scatter / self.n

    @property
    def covariance(self) -> Tensor | None:
        return None if self.spread is None else self.spread / self.n


def reduce_stream(
    model: Model,
    stream: Stream,
    sites: str | Sequence[str] = ("resid_post",),
    reductions: Sequence[str] = ("mean", "variance"),
    *,
    layers: int | Sequence[int] | None = None,
    heads: int | Sequence[int] | None = None,
    positions: int | Sequence[int] | None = None,
    edges: Sequence[float] | None = None,
    k: int = 10,
) -> Mapping[str, Reduced]:
    """Site -> reductions over all prompts and positions of a stream, in memory that does not grow with it.

    reductions: any of `REDUCTIONS`; `histogram` needs `edges`, `top_k` takes `k`.
    """
    wanted = (sites,) if isinstance(sites, str) else tuple(sites)
    for name in reductions:
        if name not in REDUCTIONS:
            raise unknown("reduction", name, REDUCTIONS)
    if "histogram" in reductions and edges is None:
        raise InputError("a histogram needs the edges of its bins")
    for site in wanted:
        if site in SCORE_SITES:
            raise InputError(f"{site} has pairs of positions; capture it to disk instead")
    found = {site: Reduced(asked=frozenset(reductions)) for site in wanted}
    n_prompts = 0
    for tokens, mask in _pairs(stream):
        kept = capture(model, tokens, wanted, layers=layers, heads=heads, positions=positions, mask=mask, device="cpu")
        at = resolve_positions(positions, tokens, mask)
        places = torch.arange(tokens.shape[1]).expand_as(tokens) if at is None else at
        valid = mask.gather(1, places)
        examples = torch.stack([torch.arange(len(tokens))[:, None].expand_as(places) + n_prompts, places], -1)[valid]
        for site in wanted:
            update(found[site], kept[site][:, valid].double(), examples, edges=edges, k=k)
        n_prompts += len(tokens)
    return found


def update(state: Reduced, x: Tensor, examples: Tensor, *, edges: Sequence[float] | None = None, k: int = 10) -> None:
    """Takes in x [layer, sample, …feature] (float64) that was seen at `examples` [sample, 2]."""
    n = x.shape[1]
    if n == 0:
        return
    total = state.n + n
    mean = x.mean(1)
    old = torch.zeros_like(mean) if state.mean is None else state.mean
    delta, centred = mean - old, x - mean[:, None]
    weight = state.n * n / total
    if "variance" in state.asked:
        added = (centred**2).sum(1) + delta**2 * weight
        state.scatter = added if state.scatter is None else state.scatter + added
    if "covariance" in state.asked:
        by_feature = centred.movedim(1, -2)  # layer (head) sample d
        added = by_feature.mT @ by_feature + delta[..., :, None] * delta[..., None, :] * weight
        state.spread = added if state.spread is None else state.spread + added
    state.mean, state.n = old + delta * (n / total), total
    if "max" in state.asked:
        state.max = x.amax(1) if state.max is None else torch.maximum(state.max, x.amax(1))
    if "histogram" in state.asked:
        counts = torch.nn.functional.one_hot(
            torch.bucketize(x, torch.tensor(edges, dtype=x.dtype)), len(edges or ()) + 1
        ).sum(1)
        state.histogram = counts if state.histogram is None else state.histogram + counts
    if "top_k" in state.asked:
        _update_top(state, x.movedim(1, -1), examples, k)


def _update_top(state: Reduced, x: Tensor, examples: Tensor, k: int) -> None:
    """x: [layer, …feature, sample]."""
    values, index = x.topk(min(k, x.shape[-1]), dim=-1)
    where = examples[index]
    if state.top_k is not None and state.top_k_examples is not None:
        values, where = torch.cat([state.top_k, values], -1), torch.cat([state.top_k_examples, where], -2)
        values, index = values.topk(min(k, values.shape[-1]), dim=-1)
        where = where.gather(-2, index[..., None].expand(*index.shape, 2))
    state.top_k, state.top_k_examples = values, where
