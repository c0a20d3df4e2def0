"""Which way round the matrices of a TransformerLens-style state dict lie, and zeros for the biases that it leaves out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

_ALIASES = {"W_E": "embed.W_E", "W_pos": "pos_embed.W_pos", "W_U": "unembed.W_U", "b_U": "unembed.b_U"}
_MASK = re.compile(r".*attn\.mask")
_BUFFERS = re.compile(r".*(attn\.(IGNORE|rotary_sin|rotary_cos)|hook_.*)")
_TURNED = ("W_E", "W_Q", "W_K", "W_V", "W_O", "W_in", "W_out")
"""The matrices that the grokking studies' own code keeps transposed against TransformerLens; W_pos and W_U are as there."""


def is_lens(state: Mapping[str, Tensor]) -> bool:
    """Whether the names are TransformerLens' older ones (`embed.W_E`, `blocks.0.attn.W_Q`)."""
    return any(name.rpartition(".")[2].startswith("W_") for name in state)


def straightened(state: Mapping[str, Tensor], config: Any, *, where: Path) -> dict[str, Tensor]:
    """The state dict with every matrix in TransformerLens' own layout, and without buffers.

    A matrix tells by its shape which way it lies. Where the shape is the same both ways, it follows the layout of the file: of
    the two that are in use (TransformerLens', and that of the grokking studies) the one that all others agree with.

    Raises:
        InputError: a shape that fits neither way; a matrix that could lie both ways in a file of mixed layout; a mask that
            hides other keys than the later ones (one that hides none says nothing: config.json does).
    """
    plain = {_ALIASES.get(name, name): value for name, value in state.items() if not _BUFFERS.fullmatch(name)}
    for name in [name for name in plain if _MASK.fullmatch(name)]:
        mask = plain.pop(name).bool()
        causal = getattr(config, "attention_dir", "causal") == "causal"
        if causal and not bool(mask.all() or (mask == mask.new_ones(mask.shape).tril()).all()):
            raise InputError(f"{where}: {name} hides other keys than the later ones, which config.json says nothing of")
    ways = {name: _ways(name, value, config, where=where) for name, value in plain.items()}
    sure = {name: next(iter(way)) for name, way in ways.items() if len(way) == 1}
    lens = not any(sure.values())
    grokking = all(turned == (_last(name) in _TURNED) for name, turned in sure.items() if _last(name)[:2] == "W_")
    found = {}
    for name, value in plain.items():
        if len(ways[name]) == 2 and not (lens or grokking):
            raise InputError(f"{where}: {name} {tuple(value.shape)} could lie both ways, and the others lie in several")
        turned = sure.get(name, not lens and _last(name) in _TURNED)
        found[name] = _turn(name, value, config) if turned else value
    return found


def with_biases(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, where: Path) -> dict[str, Tensor]:
    """The weights with zeros for each kind of bias that is in no layer.

    Raises:
        InputError: a weight is missing, or a bias in some of the layers only.
    """
    missing = [name for name in wanted if name not in weights]
    for name in missing:
        kind = re.compile(re.sub(r"\\\.\d+\\\.", r"\\.\\d+\\.", re.escape(name)))
        if not name.endswith(".bias") or any(kind.fullmatch(other) for other in weights):
            raise InputError(f"{where} lacks {name}")
    return {**weights, **{name: wanted[name].new_zeros(wanted[name].shape, device="cpu").float() for name in missing}}


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _shapes(last: str, config: Any) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """A matrix' shape in TransformerLens' layout, and in the other; None for what is no matrix of a known kind."""
    d, heads, d_head, d_mlp = config.d_model, config.n_heads, config.d_head, config.d_mlp
    out = config.d_vocab_out if config.d_vocab_out and config.d_vocab_out > 0 else config.d_vocab
    kv = config.n_key_value_heads or heads
    return {
        "W_E": ((config.d_vocab, d), (d, config.d_vocab)),
        "W_pos": ((config.n_ctx, d), (d, config.n_ctx)),
        "W_U": ((d, out), (out, d)),
        "W_Q": ((heads, d, d_head), (heads, d_head, d)),
        "W_K": ((kv, d, d_head), (kv, d_head, d)),
        "W_V": ((kv, d, d_head), (kv, d_head, d)),
        "W_O": ((heads, d_head, d), (d, heads * d_head)),
        "W_in": ((d, d_mlp), (d_mlp, d)),
        "W_gate": ((d, d_mlp), (d_mlp, d)),
        "W_out": ((d_mlp, d), (d, d_mlp)),
    }.get(last)


def _ways(name: str, value: Tensor, config: Any, *, where: Path) -> set[bool]:
    """Whether a tensor may lie as in TransformerLens (False), the other way round (True), or both."""
    shapes = _shapes(_last(name), config)
    if shapes is None:
        return {False}
    found = {turned for turned, shape in zip((False, True), shapes, strict=True) if tuple(value.shape) == shape}
    if not found:
        raise InputError(f"{where}: {name} is {tuple(value.shape)}; expected {shapes[0]}, or {shapes[1]} transposed")
    return found


def _turn(name: str, value: Tensor, config: Any) -> Tensor:
    from einops import rearrange

    if _last(name) == "W_O":
        return rearrange(value, "d_model (head d_head) -> head d_head d_model", head=config.n_heads)
    return value.mT
