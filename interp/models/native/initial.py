"""The first weights of a native model, drawn as TransformerLens draws them: the same seed, the same weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from interp.errors import InputError
from interp.models.native.config import NativeConfig
from interp.models.native.module import NativeModel

_WAYS_OUT = (".attn.o", ".mlp.fc_out", ".mlp.out")
_MODES = ("gpt2", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal")


def initialise(module: NativeModel, *, seed: int | None = None) -> None:
    """Draws the weights in place, from `seed`, else the configuration's, else the global generator; biases are zero, norms one.

    init_mode "gpt2": normal, of standard deviation `initializer_range`; what writes to the stream by a further 1 / √(2 n_layers)
    smaller (Radford et al. 2019). The others: torch's, times `initializer_range`. Drawn in float32 on the CPU, whatever
    the module is in.

    Raises:
        InputError: an init_mode of another name.
    """
    cfg = module.cfg
    seed = cfg.seed if seed is None else seed
    rng = None if seed is None else torch.Generator().manual_seed(seed)
    draw = _drawing(cfg, rng)
    with torch.no_grad():
        for name, part in module.named_modules():  # in the order in which they are computed
            if isinstance(part, nn.Embedding | nn.Linear):
                values = torch.empty(part.weight.shape, dtype=torch.float32)
                draw(values, name.endswith(_WAYS_OUT))
                part.weight.copy_(values)
            if isinstance(part, nn.Linear) and part.bias is not None:
                part.bias.zero_()


def _drawing(cfg: NativeConfig, rng: torch.Generator | None) -> Callable[[Tensor, bool], object]:
    """What fills a tensor with first weights, given whether it writes to the stream."""
    mode, size = (cfg.init_mode or "gpt2").lower(), cfg.initializer_range
    if mode not in _MODES:
        raise InputError(f"init_mode is {cfg.init_mode!r}; expected one of {', '.join(_MODES)}")
    if mode == "gpt2":
        std = size if size > 0 else 0.8 / math.sqrt(cfg.d_model)
        stds = {False: std, True: std * (1.0 / math.sqrt(2 * cfg.n_layers))}
        return lambda values, way_out: values.normal_(0.0, stds[way_out], generator=rng)
    gain = size if size > 0 else 1.0
    if mode.startswith("xavier"):
        xavier = nn.init.xavier_uniform_ if mode == "xavier_uniform" else nn.init.xavier_normal_
        return lambda values, _: xavier(values, gain=gain, generator=rng)
    kaiming = nn.init.kaiming_uniform_ if mode == "kaiming_uniform" else nn.init.kaiming_normal_
    return lambda values, _: kaiming(values, nonlinearity="relu", generator=rng).mul_(gain)
