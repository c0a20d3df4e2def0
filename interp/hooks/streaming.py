"""Activations over a data set larger than memory, to disk in shards.

A stream is any iterable of token batches [prompt, pos] of one length, or of (tokens, mask) pairs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError, unknown
from interp.hooks.activations import capture
from interp.models.site_tensors import check_indices
from interp.models.sites import DIMS

if TYPE_CHECKING:
    from torch import Tensor

    from interp.models import Model

Stream = Iterable["Tensor | tuple[Tensor, Tensor]"]
INDEX = "index.json"


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


def pairs_of(stream: Stream) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in stream:
        tokens, mask = batch if isinstance(batch, tuple) else (batch, torch.ones_like(batch, dtype=torch.bool))
        yield tokens, mask.bool()


def _shards(stream: Stream, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The stream cut anew, into batches of `size` prompts."""
    held: list[tuple[Tensor, Tensor]] = []
    for pair in pairs_of(stream):
        held.append(pair)
        while sum(len(tokens) for tokens, _ in held) >= size:
            tokens, mask = (torch.cat(parts) for parts in zip(*held, strict=True))
            yield tokens[:size], mask[:size]
            held = [(tokens[size:], mask[size:])] if len(tokens) > size else []
    if held:
        tokens, mask = (torch.cat(parts) for parts in zip(*held, strict=True))
        yield tokens, mask
