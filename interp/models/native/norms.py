"""The norms of a native model; those without weights leave them to the layer that reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from interp.models.native.config import NativeConfig

if TYPE_CHECKING:
    from jaxtyping import Float


class RMSNormPre(nn.Module):
    """x / √(mean x² + eps), in float32 whatever the dtype of x (Zhang & Sennrich 2019)."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Float[Tensor, "*row d"]) -> Float[Tensor, "*row d"]:
        wide = x.to(torch.float32)
        return (wide * torch.rsqrt(wide.pow(2).mean(dim=-1, keepdim=True) + self.eps)).to(x.dtype)


class RMSNorm(RMSNormPre):
    """RMSNormPre with a weight for every dimension."""

    def __init__(self, d_model: int, eps: float) -> None:
        super().__init__(eps)
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "*row d"]) -> Float[Tensor, "*row d"]:
        return self.weight * super().forward(x)


class LayerNormPre(nn.Module):
    """LayerNorm without weights, in float32 whatever the dtype of x."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Float[Tensor, "*row d"]) -> Float[Tensor, "*row d"]:
        wide = x.to(torch.float32)
        wide = wide - wide.mean(dim=-1, keepdim=True)
        return (wide / (wide.pow(2).mean(dim=-1, keepdim=True) + self.eps).sqrt()).to(x.dtype)


def norm(cfg: NativeConfig, *, rms: bool = False) -> nn.Module:
    """The norm that the configuration names. rms: of that family in any case, with weights unless the named one has none."""
    kind = None if cfg.normalization_type is None else cfg.normalization_type.upper()
    if rms or kind in ("RMS", "RMSPRE"):
        return RMSNormPre(cfg.eps) if kind in ("RMSPRE", "LNPRE") else RMSNorm(cfg.d_model, cfg.eps)
    if kind == "LNPRE":
        return LayerNormPre(cfg.eps)
    return nn.Identity() if kind is None else nn.LayerNorm(cfg.d_model, eps=cfg.eps)
