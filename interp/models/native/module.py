"""A small pre-norm transformer, as TransformerLens' NativeModel: the same parameters under the same names, the same arithmetic.

Its own, because importing TransformerLens takes longer than training some of these models, and every worker would.
A bridge can be built over it all the same. Letters of shapes: b sequence, p position, h head, e d_head, d d_model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from interp.models.native.config import NativeConfig
from interp.models.native.norms import norm

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Activation = Callable[[Tensor], Tensor]


def _gelu_new(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _solu(x: Tensor) -> Tensor:
    """Softmax linear units (Elhage et al. 2022)."""
    return x * F.softmax(x, dim=-1)


ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "gelu_new": _gelu_new,
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "solu": _solu,
    "solu_ln": _solu,  # with a LayerNorm behind it, which the MLP has
}


class Rotary(nn.Module):
    """Rotary position embeddings (Su et al. 2021) of the first `rotary_dim` dimensions of queries and keys, by adjacent pairs."""

    cos_cached: Tensor
    sin_cached: Tensor

    def __init__(self, cfg: NativeConfig) -> None:
        super().__init__()
        self.rotary_dim = cfg.d_head if cfg.rotary_dim is None else cfg.rotary_dim
        if self.rotary_dim <= 0 or self.rotary_dim % 2:
            raise ValueError(f"rotary_dim must be a positive even integer, got {self.rotary_dim!r}")
        pairs = torch.arange(0, self.rotary_dim, 2).float() / self.rotary_dim
        angles = torch.outer(torch.arange(cfg.n_ctx).float(), 1.0 / (float(cfg.rotary_base) ** pairs))
        self.register_buffer("cos_cached", angles.cos().repeat_interleave(2, dim=-1), persistent=False)
        self.register_buffer("sin_cached", angles.sin().repeat_interleave(2, dim=-1), persistent=False)

    @staticmethod
    def _rotate_half(x: Tensor) -> Tensor:
        """A quarter turn of each pair: (x0, x1) to (-x1, x0)."""
        return torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)

    def apply_rope(
        self, q: Tensor, k: Tensor, *, position_ids: Int[Tensor, "b p"] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Queries and keys [b, h, p, e], turned by their positions (0, 1, 2, … without `position_ids`)."""
        if position_ids is None:
            cos, sin = self.cos_cached[: q.shape[-2]], self.sin_cached[: q.shape[-2]]
        else:
            cos, sin = self.cos_cached[position_ids].unsqueeze(1), self.sin_cached[position_ids].unsqueeze(1)
        return self._turned(q, cos.to(q.dtype), sin.to(q.dtype)), self._turned(k, cos.to(q.dtype), sin.to(q.dtype))

    def _turned(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        turning, staying = x[..., : self.rotary_dim], x[..., self.rotary_dim :]
        turned = turning * cos + self._rotate_half(turning) * sin
        return torch.cat([turned, staying], dim=-1) if staying.shape[-1] else turned


class NativeAttention(nn.Module):
    """Attention with queries, keys and values of their own, optionally rotary, grouped (GQA), or over later keys too."""

    accepts_pattern_fn = True  # a bridge hands its hook on the pattern in

    causal_mask: Tensor

    def __init__(self, cfg: NativeConfig, rotary: Rotary | None) -> None:
        super().__init__()
        self.cfg = cfg
        self.n_heads, self.n_kv_heads, self.d_head = cfg.n_heads, cfg.n_kv_heads, cfg.d_head
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads ({self.n_heads}) must be divisible by n_key_value_heads ({self.n_kv_heads})")
        self.kv_repeats = self.n_heads // self.n_kv_heads
        self.q = nn.Linear(cfg.d_model, self.n_heads * self.d_head)
        self.k = nn.Linear(cfg.d_model, self.n_kv_heads * self.d_head)
        self.v = nn.Linear(cfg.d_model, self.n_kv_heads * self.d_head)
        self.o = nn.Linear(self.n_heads * self.d_head, cfg.d_model)
        later = torch.triu(torch.ones(cfg.n_ctx, cfg.n_ctx, dtype=torch.bool), diagonal=1)
        self.register_buffer("causal_mask", later, persistent=False)
        self.scale = math.sqrt(cfg.d_head)
        if cfg.use_attn_scale and cfg.attn_scale > 0:
            self.scale = cfg.attn_scale
            if self.d_head > 1 and math.isclose(cfg.attn_scale, 1.0, abs_tol=1e-9):
                raise ValueError(
                    f"attn_scale 1 leaves the scores of heads of {self.d_head} dimensions unscaled, and the softmax saturates;"
                    " -1 divides them by the root of d_head"
                )
        self.rotary = rotary
        self.attn_scores_soft_cap = float(cfg.attn_scores_soft_cap)
        self.causal = cfg.attention_dir == "causal"

    def forward(
        self,
        hidden_states: Float[Tensor, "b p d"],
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "b p"] | None = None,
        pattern_fn: Activation | None = None,
        **_: Any,
    ) -> tuple[Float[Tensor, "b p d"], Float[Tensor, "b h p p"]]:
        """What attention adds to the stream, and its pattern."""
        n_sequences, n_pos, _width = hidden_states.shape
        q, k, v = (
            side(hidden_states).view(n_sequences, n_pos, -1, self.d_head).transpose(1, 2)
            for side in (self.q, self.k, self.v)
        )
        if self.rotary is not None:
            q, k = self.rotary.apply_rope(q, k, position_ids=position_ids)
        if self.kv_repeats > 1:
            k, v = (side.repeat_interleave(self.kv_repeats, dim=1) for side in (k, v))
        scores = _capped(torch.matmul(q, k.transpose(-2, -1)) / self.scale, self.attn_scores_soft_cap)
        hidden = self._hidden(n_pos, attention_mask)
        # a query that may look at nothing would give NaN: it looks at nothing
        pattern = F.softmax(scores.masked_fill(hidden, -torch.inf), dim=-1).masked_fill(hidden, 0.0)
        if pattern_fn is not None:
            pattern = pattern_fn(pattern)
        z = torch.matmul(pattern, v).transpose(1, 2).contiguous().view(n_sequences, n_pos, -1)
        return self.o(z), pattern

    def _hidden(self, n_pos: int, mask: Tensor | None) -> Tensor:
        """Which keys a query may not attend to: later ones, and those out of a mask: [b, p] of what is a token; or [b, ·, p, p],
        true, or a number below -1 to be added, for what is hidden."""
        hidden = self.causal_mask[:n_pos, :n_pos]
        if not self.causal:
            hidden = torch.zeros_like(hidden)
        if mask is None:
            return hidden
        if mask.dim() == 2:
            return hidden | ~mask.bool()[:, None, None, :]
        if mask.dim() == 4:
            return hidden | (mask if mask.dtype is torch.bool else mask < -1.0)
        raise ValueError(f"expected an attention mask [b, p] or [b, ·, p, p], got shape {tuple(mask.shape)}")


class NativeMLP(nn.Module):
    """out(act(in(x))); with act_fn "solu_ln" a LayerNorm before the way out."""

    def __init__(self, cfg: NativeConfig) -> None:
        super().__init__()
        self.fc_in = nn.Linear(cfg.d_model, cfg.d_mlp)
        self.fc_out = nn.Linear(cfg.d_mlp, cfg.d_model)
        self.act = _activation(cfg.act_fn or "gelu")
        self.ln = nn.LayerNorm(cfg.d_mlp, eps=cfg.eps) if (cfg.act_fn or "").lower() == "solu_ln" else None

    def forward(self, hidden_states: Float[Tensor, "*row d"], **_: Any) -> Float[Tensor, "*row d"]:
        mid = self.act(self.fc_in(hidden_states))
        return self.fc_out(mid if self.ln is None else self.ln(mid))


class NativeGatedMLP(nn.Module):
    """out(act(gate(x)) · in(x)), without biases (Shazeer 2020)."""

    def __init__(self, cfg: NativeConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(cfg.d_model, cfg.d_mlp, bias=False)
        self.add_module("in", nn.Linear(cfg.d_model, cfg.d_mlp, bias=False))  # a word of Python
        self.out = nn.Linear(cfg.d_mlp, cfg.d_model, bias=False)
        self.act = _activation(cfg.act_fn or "silu")

    def forward(self, hidden_states: Float[Tensor, "*row d"], **_: Any) -> Float[Tensor, "*row d"]:
        return self.out(self.act(self.gate(hidden_states)) * getattr(self, "in")(hidden_states))


class NativeBlock(nn.Module):
    """Attention, then (unless `attn_only`) an MLP, each added to the stream it reads through its norm."""

    def __init__(self, cfg: NativeConfig, rotary: Rotary | None) -> None:
        super().__init__()
        self.cfg = cfg
        self.ln1 = norm(cfg)
        self.attn = NativeAttention(cfg, rotary)
        if not cfg.attn_only:
            self.ln2 = norm(cfg)
            self.mlp = NativeGatedMLP(cfg) if cfg.gated_mlp else NativeMLP(cfg)

    def forward(
        self,
        hidden_states: Float[Tensor, "b p d"],
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "b p"] | None = None,
        **_: Any,
    ) -> tuple[Float[Tensor, "b p d"]]:
        added, _pattern = self.attn(self.ln1(hidden_states), attention_mask=attention_mask, position_ids=position_ids)
        hidden_states = hidden_states + added
        if not self.cfg.attn_only:
            hidden_states = hidden_states + self.mlp(self.ln2(hidden_states))
        return (hidden_states,)  # a tuple, as Hugging Face's blocks give and bridges expect


class NativeModel(nn.Module):
    """Tokens [b, p] to logits [b, p, vocab]."""

    def __init__(self, cfg: NativeConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.tok_embed = nn.Embedding(cfg.d_vocab, cfg.d_model)
        kind = (cfg.positional_embedding_type or "standard").lower()
        if kind not in ("standard", "rotary"):
            raise ValueError(f"positional_embedding_type is {kind!r}; expected 'standard' or 'rotary'")
        self.pos = nn.Embedding(cfg.n_ctx, cfg.d_model) if kind == "standard" else None
        self.rotary = Rotary(cfg) if kind == "rotary" else None
        self.layers = nn.ModuleList([NativeBlock(cfg, self.rotary) for _ in range(cfg.n_layers)])
        self.ln_out = norm(cfg, rms=cfg.final_rms)
        self.head = nn.Linear(cfg.d_model, cfg.d_vocab_out if cfg.d_vocab_out > 0 else cfg.d_vocab, bias=False)
        self.output_logits_soft_cap = float(cfg.output_logits_soft_cap)

    def forward(
        self,
        input_ids: Int[Tensor, "b p"] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "b p"] | None = None,
        inputs_embeds: Float[Tensor, "b p d"] | None = None,
        **_: Any,
    ) -> Float[Tensor, "b p vocab"]:
        """Of tokens, or of what stands in for their embeddings. attention_mask: as for attention."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("expected either input_ids or inputs_embeds")
        stream = self.tok_embed(input_ids) if inputs_embeds is None else inputs_embeds
        n_sequences, n_pos = stream.shape[:2]
        if n_pos > self.cfg.n_ctx:
            raise ValueError(f"{n_pos} tokens do not fit the model's context of {self.cfg.n_ctx}")
        if position_ids is None:
            position_ids = torch.arange(n_pos, device=stream.device).unsqueeze(0).expand(n_sequences, -1)
        if self.pos is not None:
            stream = stream + self.pos(position_ids)
        for block in self.layers:
            (stream,) = block(stream, attention_mask=attention_mask, position_ids=position_ids)
        return _capped(self.head(self.ln_out(stream)), self.output_logits_soft_cap)


def _activation(name: str) -> Activation:
    if name.lower() not in ACTIVATIONS:
        raise ValueError(f"act_fn is {name!r}; expected one of {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name.lower()]


def _capped(x: Tensor, cap: float) -> Tensor:
    """cap · tanh(x / cap) where there is a cap (a positive one)."""
    return cap * torch.tanh(x / cap) if cap > 0 else x
