"""What a native model is made of: the fields of TransformerLens' configuration that its NativeModel reads, under their names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from interp.errors import InputError, nearest

if TYPE_CHECKING:
    from transformer_lens.config import TransformerBridgeConfig

ARCHITECTURE = "native"
_ELSEWHERE = ("architecture", "device", "dtype")  # the handle says where and how precise the weights are


@dataclass(slots=True, kw_only=True, eq=False)
class NativeConfig:
    """Defaults are TransformerLens'. Three may be left to be found: d_mlp (0 or None: 4 d_model), n_heads (-1: d_model / d_head)
    and initializer_range (-1: .8 / √d_model as a standard deviation, 1 as a gain).

    others: fields of TransformerLens' that no native model reads; they are only carried along.
    """

    d_model: int
    d_head: int
    n_layers: int
    n_ctx: int
    n_heads: int = -1
    d_mlp: int = 0
    d_vocab: int = -1
    d_vocab_out: int = -1
    act_fn: str = "relu"
    attn_only: bool = False
    gated_mlp: bool = False
    normalization_type: str | None = "LN"
    final_rms: bool = False
    eps: float = 1e-5
    positional_embedding_type: str = "standard"
    rotary_dim: int | None = None
    rotary_base: int = 10000
    n_key_value_heads: int | None = None
    attention_dir: str = "causal"
    use_attn_scale: bool = True
    attn_scale: float = -1.0
    scale_attn_by_inverse_layer_idx: bool = False  # recipes may say it; native models do not do it
    attn_scores_soft_cap: float = -1.0
    output_logits_soft_cap: float = -1.0
    parallel_attn_mlp: bool = False
    init_mode: str = "gpt2"
    initializer_range: float = -1.0
    seed: int | None = None
    others: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.n_heads == -1:
            self.n_heads = self.d_model // self.d_head
            if self.d_model % self.d_head:
                raise ValueError(f"d_model ({self.d_model}) must be divisible by d_head ({self.d_head})")
        self.d_mlp = self.d_mlp or 4 * self.d_model
        self.rotary_base = int(self.rotary_base)
        if self.initializer_range < 0:
            self.initializer_range = 0.8 / math.sqrt(self.d_model) if self.init_mode == "gpt2" else 1.0

    @property
    def n_kv_heads(self) -> int:
        return self.n_key_value_heads or self.n_heads


_DEFAULTS: Mapping[str, Any] = {each.name: each.default for each in fields(NativeConfig) if each.name != "others"}


def read(config: Mapping[str, Any]) -> NativeConfig:
    """The fields of `config` (a config.json of architecture "native").

    Raises:
        InputError: a field that TransformerLens' native models do not have, or that they cannot do without.
    """
    given = {name: value for name, value in config.items() if name in _DEFAULTS}
    others = {name: value for name, value in config.items() if name not in (*_DEFAULTS, "architecture")}
    if others:
        bridge_config(config)  # what this file does not know is TransformerLens' to judge
    _refuse_missing(given, _DEFAULTS)
    try:
        found = NativeConfig(**given, others=others)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise does_not_work(error) from error
    if found.parallel_attn_mlp:
        raise InputError("native models have no parallel attention and MLP; use a GPT-NeoX configuration for that")
    return found


def described(config: Any) -> dict[str, Any]:
    """The config.json of a configuration, this module's or TransformerLens': the fields in which it differs from the defaults."""
    found: dict[str, Any] = {"architecture": ARCHITECTURE}
    others: Mapping[str, Any] = config.others if isinstance(config, NativeConfig) else {}
    known = _DEFAULTS if isinstance(config, NativeConfig) and not others else _all_defaults()
    for name, default in known.items():
        value = others[name] if name in others else getattr(config, name, default)
        plain = value is None or isinstance(value, bool | int | float | str | list | dict)
        if plain and value != default:
            found[name] = float(value) if isinstance(value, float) else value  # NumPy's floats are not JSON
    return found


def bridge_config(config: Mapping[str, Any]) -> TransformerBridgeConfig:
    """The TransformerLens configuration that `config` (a config.json of architecture "native") describes.

    Raises:
        InputError: as `read`.
    """
    from transformer_lens.config import TransformerBridgeConfig

    known = _all_defaults()
    given = {name: value for name, value in config.items() if name != "architecture"}
    for name in given:
        if name not in known:
            raise InputError(f"unknown field {name!r} in a native model's configuration{nearest(name, known)}")
    _refuse_missing(given, known)
    try:
        return TransformerBridgeConfig(**given)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise does_not_work(error) from error


def _all_defaults() -> dict[str, Any]:
    """The fields of TransformerLens' configuration and their default values (`MISSING` where there is none)."""
    import inspect

    from transformer_lens.config import TransformerBridgeConfig

    base = TransformerBridgeConfig.__mro__[1]
    return {
        name: MISSING if parameter.default is inspect.Parameter.empty else parameter.default
        for kind in (base, TransformerBridgeConfig)
        for name, parameter in inspect.signature(kind).parameters.items()
        if name not in ("kwargs", *_ELSEWHERE)
    }


def _refuse_missing(given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name, default in known.items():
        if default is MISSING and name not in given:
            raise InputError(f"a native model's configuration needs {name!r}")


def does_not_work(error: Exception) -> InputError:
    """The error for a configuration of which no model can be made."""
    return InputError(f"this native model's configuration does not work: {' '.join(str(error).split())}")
