"""What heads attend to, copy and read from each other; and a picture of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from interp.errors import InputError, unknown
from interp.hooks.activations import capture
from interp.models import weights
from interp.models.site_tensors import check_indices
from interp.types import Prompts

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from jaxtyping import Float, Int
    from torch import Tensor

    from interp.figures.attention import AttentionView
    from interp.models import Model


def head_scores(
    model: Model,
    prompts: Prompts | None = None,
    *,
    rng: torch.Generator | None = None,
    length: int = 25,
    sequences: int = 8,
) -> dict[str, Float[Tensor, "layer head"]]:
    """Every head's roles: `previous`, `duplicate`, `induction` (prefix matching), `first` and `answer`, shares of its
    attention as `interp.circuits.formation.roles` defines them, and `copying`, Σλ / Σ|λ| of its OV circuit in [−1, 1].

    prompts: what to read attention on. Without, `sequences` draws from `rng` of `length` random tokens and the same
        tokens again (cut down to the model's context), where no head can know the task.

    Raises:
        InputError: neither prompts nor rng; a context too short for a repeat of two tokens; no map of sites.
    """
    from interp.circuits.formation.roles import role_scores
    from interp.indicators._composition import copying_scores

    copying = copying_scores(model)
    if prompts is None:
        prompts = _repeated(model, rng, min(length, model.n_ctx // 2), sequences)
    return {**role_scores(model, prompts), "copying": copying}


def _repeated(model: Model, rng: torch.Generator | None, length: int, sequences: int) -> Prompts:
    """Random tokens twice; the answer is the one with which a third time would begin."""
    if rng is None:
        raise InputError("give prompts, or a random generator to draw repeated tokens with (rng=torch.Generator())")
    if length < 2:
        raise InputError(f"two tokens and their repeat do not fit: length {length}, context {model.n_ctx}")
    block = torch.randint(min(model.d_vocab, len(weights.W_E(model))), (sequences, length), generator=rng)
    tokens = block.repeat(1, 2)
    return Prompts(clean=tokens, corrupt=tokens, answer=block[:, 0], wrong=block[:, 1])


def composition(
    model: Model, *, baseline: Literal["random", "writers"] | None = None
) -> dict[str, Float[Tensor, "writer_layer writer_head reader_layer reader_head"]]:
    """How much of what one head writes another reads by its queries, keys and values: "q", "k" and "v" composition,
    ‖A B‖ / (‖A‖ ‖B‖) in Frobenius norms with B the writer's OV matrix and A the reader's QK (OV) matrix from that side
    (Elhage et al. 2021). Norms between the weights are left out. NaN where the writer's layer is not below the reader's.

    baseline: what is taken off. `random`: 1/√d_model, the root mean square over all rotations of what is written, whatever
        the ranks; below 0 the reader turns away. `writers`: the mean over the other heads of all layers below this reader: so
        the one that a reader listens to stands out, whatever all heads share. NaN where there is no other.

    Raises:
        InputError: an architecture without a map of sites; an unknown baseline.
    """
    from interp.indicators._composition import product_norm
    from interp.indicators._weights import heads

    if baseline not in (None, "random", "writers"):
        raise unknown("baseline", str(baseline), ("random", "writers"))
    w = heads(model)
    n_layers, n_heads = w.q.shape[:2]
    scores = {side: torch.full((n_layers, n_heads) * 2, torch.nan, dtype=torch.float64) for side in "qkv"}
    for side, reader, onwards in (("q", w.q, w.k), ("k", w.k, w.q), ("v", w.v, w.o)):
        on, v = _rotated(onwards), _rotated(w.v)
        sizes, written = product_norm(onwards, reader), product_norm(w.o, w.v)
        for layer in range(1, n_layers):
            for below in range(layer):
                through = reader[layer] @ w.o[below, :, None].mT
                composed = product_norm(on[layer], through @ v[below, :, None])
                scores[side][below, :, layer] = composed / (sizes[layer] * written[below, :, None])
    if baseline == "random":
        return {side: each - model.d_model**-0.5 for side, each in scores.items()}
    return {side: each - _others(each) for side, each in scores.items()} if baseline else scores


def _others(
    scores: Float[Tensor, "writer_layer writer_head reader_layer reader_head"],
) -> Float[Tensor, "writer_layer writer_head reader_layer reader_head"]:
    """For each reader the mean over all writers but one."""
    there = (~scores.isnan()).sum((0, 1)) - 1
    return torch.where(there > 0, (scores.nansum((0, 1)) - scores) / there, torch.nan)


def _rotated(rows: Float[Tensor, "... d_head d_model"]) -> Float[Tensor, "... d_head rank"]:
    """The same rows in a basis of their span: products of them, and norms, stay what they are and cost less."""
    return torch.linalg.qr(rows.mT, mode="r").R.mT


def attention_figure(
    model: Model,
    tokens: Int[Tensor, "pos"] | Int[Tensor, "1 pos"],
    labels: Sequence[str] | None,
    layer: int,
    *,
    heads: int | Sequence[int] | None = None,
) -> go.Figure:
    """The attention patterns of a layer's heads on one prompt: a square for each, queries down, keys across.

    labels: the tokens' names in the picture (None: their ids).

    Raises:
        InputError: more than one prompt; labels that are not as many as tokens; a layer or head that does not exist.
    """
    from interp.figures.grids import squares

    return squares(*_patterns(model, tokens, labels, layer, heads))


def attention_view(
    model: Model,
    tokens: Int[Tensor, "pos"] | Int[Tensor, "1 pos"],
    labels: Sequence[str] | None = None,
    layer: int | Sequence[int] | None = None,
    *,
    heads: int | Sequence[int] | None = None,
) -> AttentionView:
    """The same to look through: every head of the layers (None: all) as a thumbnail, one of them large, and the tokens as text
    that shows what each attends to. It shows itself in a notebook; `.save("page.html")` writes one self-contained page.

    labels: the tokens' texts (None: as the model's tokenizer writes them, else their ids).

    Raises:
        InputError: as `attention_figure`.
    """
    from interp.figures.attention import AttentionView

    if labels is None and model.tokenizer is not None:
        labels = [model.tokenizer.decode([int(token)]) for token in tokens.flatten()]
    found = [_patterns(model, tokens, labels, one, heads) for one in check_indices("layer", layer, model.n_layers)]
    names, titles = found[0][1], [title for _, _, own in found for title in own]
    return AttentionView(np.concatenate([pattern for pattern, _, _ in found]), names, titles)


def _patterns(
    model: Model, tokens: Tensor, labels: Sequence[str] | None, layer: int, heads: int | Sequence[int] | None
) -> tuple[Any, list[str], list[str]]:
    """A layer's patterns [head, query, key] on one prompt, the tokens' names and the heads'."""
    prompt = tokens[None] if tokens.dim() == 1 else tokens
    if len(prompt) != 1:
        raise InputError(f"a picture shows one prompt, got {len(prompt)}")
    names = [str(int(token)) for token in prompt[0]] if labels is None else list(labels)
    if len(names) != prompt.shape[1]:
        raise InputError(f"expected {prompt.shape[1]} labels, one a token, got {len(names)}")
    shown = check_indices("head", heads, model.n_heads)
    pattern = capture(model, prompt, "pattern", layers=layer, heads=shown)["pattern"][0, 0].float().cpu().numpy()
    return pattern, names, [f"L{check_indices('layer', layer, model.n_layers)[0]}H{head}" for head in shown]
