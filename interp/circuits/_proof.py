"""Whether the arithmetic of circuits is this module's: what a run left behind is rebuilt from the parts that edges are made of.

Edges take the residual stream for a sum of what heads and MLPs write, a projection for `x W + b` behind its norm, an MLP for a
function of what it reads. A hook, an adapter or an exchanged part can break each of these without an error. They are tried on
the prompts at hand; of a plain module (`interp.models.state`) once, of any other for every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from interp.circuits._record import Record
from interp.models.shadowing import evaluating
from interp.models.site_tensors import mapped, part_of
from interp.models.state import agree, refusal, state_of, uncompiled
from interp.models.weights import linear, logits, mlp, norm

if TYPE_CHECKING:
    from torch import Tensor

    from interp.models import Model

_TRIPS = (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError)
"""What a part that was exchanged for one of another kind ends in."""


def prove_record(model: Model, kept: Record, mask: Tensor | None, read: Tensor) -> None:
    """The run `kept`, rebuilt.

    Raises:
        InputError: what cannot be rebuilt, and what of the module is not its architecture's own.
    """
    state = state_of(model)
    if state.is_plain and "record" in state.proofs:
        return
    real = torch.ones(kept.pre[0].shape[:2], dtype=torch.bool) if mask is None else mask.bool()
    real = real.to(model.device)
    try:
        with torch.no_grad(), evaluating(model.module), uncompiled(state):
            for what, got, want in _rebuilt(model, kept, read):
                is_whole = got.shape[:2] == real.shape and want.shape[:2] == real.shape
                if not (agree(got[real], want[real]) if is_whole else agree(got, want)):
                    raise refusal(model, f"{what} is not what its parts make of it")
    except _TRIPS as error:
        raise refusal(
            model, f"the parts of a run cannot be put together again ({str(error).splitlines()[0]})"
        ) from error
    state.proofs["record"] = True


def _rebuilt(model: Model, kept: Record, read: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name, rebuilt, as it was in the run) of everything, first to last."""
    sites, after = mapped(model), [*kept.pre[1:], kept.final]
    for layer in range(model.n_layers):
        where = f"{sites.blocks}.{layer}"
        normed = norm(model, "ln1", layer)(kept.pre[layer])
        seen = dict(zip((sites.q, sites.k, sites.v), (kept.q[layer], kept.k[layer], kept.v[layer]), strict=True))
        for path, projected in seen.items():
            yield f"{where}.{path}", _affine(model, path, layer, normed), projected
        flat = kept.z[layer].flatten(-2)
        yield f"{where}.{sites.o}", _affine(model, sites.o, layer, flat), kept.o[layer]
        yield f"{where}.{sites.o}", _first(part_of(model, sites.o, layer)(flat)), kept.o[layer]
        yield f"{where}.{sites.attn_out}", norm(model, "ln1_post", layer)(kept.o[layer]), kept.attn[layer]
        stream = kept.pre[layer] + kept.attn[layer]
        if sites.mlp is not None:
            if kept.mid and not sites.parallel:
                yield f"the residual stream in {where}", stream, kept.mid[layer]
            reads = norm(model, "ln2", layer)(kept.mid[layer])
            yield f"what {where}.{sites.mlp} reads", reads, kept.mlp_in[layer]
            written = norm(model, "ln2_post", layer)(mlp(model, layer)(reads))
            yield f"{where}.{sites.mlp}", written, kept.mlp[layer]
            stream = stream + kept.mlp[layer]
        yield f"the residual stream after {where}", stream, after[layer]
    rows = torch.arange(len(read), device=model.device)[:, None]
    yield "the logits", logits(model, kept.final[rows, read.to(model.device)]), kept.logits


def _affine(model: Model, path: str, layer: int, x: Tensor) -> Tensor:
    weight, bias = linear(model, path, layer, d_in=x.shape[-1])
    return x @ weight if bias is None else x @ weight + bias


def _first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output[0] if isinstance(output, tuple) else output
