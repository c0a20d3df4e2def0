"""A built model again with a norm before every reader and the logits.

A constant direction, put in by the position embedding, carries most of the norm: the larger it is, the closer the norm comes
to one fixed factor, which the readers undo. Where it is small, writers share the norm, and what a second head adds no longer
counts: an OR gate that no MLP makes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch

from interp.testbed.built import Built
from interp.testbed.compiler import DTYPE

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

EMBEDDED = 2.0  # squared norm of a token and its position, one-hot each
SPARE = 2  # directions beside the program's: the constant, and the mean that LayerNorm takes away


def with_norm(built: Built, *, constant: float = 10.0, kind: Literal["LN", "RMS"] = "LN", seed: int = 0) -> Built:
    """The same program behind norms. constant: the length of the constant direction; a token with its position has √2.

    The true edges stay those of the program as long as the constant is the longest thing in the stream.
    """
    from interp.models import build, wrap

    rng = torch.Generator().manual_seed(seed)
    old = built.model
    width = old.d_model + SPARE
    frame = torch.randn(width, width, generator=rng, dtype=DTYPE)
    frame[:, 0] = 1.0
    rows = torch.linalg.qr(frame).Q.T
    still, into = rows[1], rows[SPARE:]  # [d'] and [d, d'], all at right angles to the mean
    undo = ((constant**2 + EMBEDDED) / width) ** 0.5
    state = {name: _moved(name, weight.to(DTYPE), into, undo) for name, weight in old.module.state_dict().items()}
    state["pos.weight"] = state["pos.weight"] + constant * still
    config = {**old.config, "d_model": width, "normalization_type": kind}
    model = wrap(build(config, seed=0), config=config)
    norms = {name: weight for name, weight in model.module.state_dict().items() if name not in state}  # 1 and 0
    model.swap({**norms, **{name: weight.float().contiguous() for name, weight in state.items()}})
    return replace(built, model=model)


def _moved(name: str, weight: Tensor, into: Float[Tensor, "d_model width"], undo: float) -> Tensor:
    """A weight of the narrow stream on the wide one."""
    if name in ("tok_embed.weight", "pos.weight"):
        return weight @ into
    if name.endswith((".o.weight", ".fc_out.weight")):
        return into.T @ weight
    if name.endswith((".o.bias", ".fc_out.bias")):
        return weight @ into
    return weight if name.endswith(".bias") else undo * weight @ into
