"""The handle over one plain torch module."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError
from interp.figures.text import html
from interp.models import native, showing
from interp.models.shadowing import alone
from interp.models.state import state_of
from interp.models.swapping import copy_into
from interp.models.tokens import check_logits, check_tokens, whole_prompts

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from jaxtyping import Bool, Float, Int
    from torch import Tensor, nn
    from transformer_lens.model_bridge import TransformerBridge

    from interp.models.sites import Sites
    from interp.models.state import State
    from interp.types import CheckpointRef


@dataclass(eq=False, kw_only=True, repr=False)
class Model:
    """A transformer: the plain module, what it was built from, and where its activations are.

    module: Hugging Face's, or TransformerLens' NativeModel; captures and interventions run on it.
    config: as in config.json, with `architecture` ("native" or the Hugging Face class name).
    ref: the checkpoint whose weights it holds, None for a module made in memory.
    sites: the architecture's map, None where there is none (then the bridge serves).
    decoder: of an encoder-decoder, the tokens [prompt, pos] that its decoder reads (see `reading`).
    opaque: a module of one's own: there is no bridge either, and only logits and weights can be asked for.
    own: a module of one's own whose sites are mapped; it is called with whole prompts alone.

    Weights may change in place, and sub-modules be exchanged, hooked or wrapped: what was proved of the module before counts
    no longer then (`interp.models.state`).
    """

    module: nn.Module
    config: Mapping[str, Any]
    tokenizer: Any = None
    ref: CheckpointRef | None = None
    sites: Sites | None
    opaque: bool = False
    own: bool = False
    decoder: Tensor | None = field(default=None, repr=False)
    _bridge: tuple[Any, TransformerBridge] | None = field(default=None, repr=False)
    _state: State | None = field(default=None, repr=False)
    _first: Tensor | None = field(default=None, repr=False)
    _proved: dict[str, bool] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return showing.line(self)

    def _repr_html_(self) -> str:
        return html(repr(self), self.to_pandas().to_dict("records"))

    def to_pandas(self) -> pd.DataFrame:
        """A row a parameter: name, shape, n, rms (the root of its mean square), dtype."""
        return showing.parameters(self)

    def plot(self) -> go.Figure:
        """The size of the weights: the root mean square of every parameter, blocks × parameters."""
        return showing.figure(self)

    def __call__(
        self, tokens: Int[Tensor, "prompt pos"], mask: Bool[Tensor, "prompt pos"] | None = None
    ) -> Float[Tensor, "prompt pos vocab"]:
        """Logits at every position."""
        with alone:
            output = self.module(**self.inputs(tokens, mask))
        if self.opaque or self.own:
            check_logits(self, output, tokens)
        return output if isinstance(output, torch.Tensor) else output.logits

    def inputs(
        self, tokens: Int[Tensor, "prompt pos"], mask: Bool[Tensor, "prompt pos"] | None = None
    ) -> dict[str, Tensor | bool]:
        """What the module's forward is called with.

        Where a masked position precedes a token (left padding), the positions of that prompt count tokens from its first
        one, as TransformerLens and generation in transformers do; all other prompts keep 0, 1, 2, ….

        Raises:
            InputError: tokens that are not integers [prompt, pos], too long, or out of the vocabulary; a mask of another shape.
        """
        check_tokens(self, tokens, mask)
        if self.opaque or self.own:
            return whole_prompts(self, tokens, mask)
        if mask is not None:  # masked places may hold any number, and the embedding needs a row for it
            tokens = tokens.clamp(0, self.n_tokens - 1)
        inputs: dict[str, Tensor | bool] = {"input_ids": tokens.to(self.device)}
        if not self.is_native:
            inputs["use_cache"] = False
            if getattr(getattr(self.module, "config", None), "return_dict", True) is False:
                raise InputError(
                    f"the configuration of this {self.config['architecture']} says return_dict=False, and its own parts then"
                    " hand on tuples without names: set module.config.return_dict = True"
                )
        if self.is_encoder_decoder:
            inputs["decoder_input_ids"] = self.decoder_tokens(len(tokens)).to(self.device)
        if mask is None:
            return inputs
        keep = mask.to(self.device).bool()
        inputs["attention_mask"] = keep if self.is_native else keep.long()
        if self.is_encoder_decoder:
            return inputs
        plain = torch.arange(keep.shape[1], device=keep.device).expand_as(keep)
        counted = (keep.long().cumsum(1) - 1).clamp(min=0)
        shifted = ((counted != plain) & keep).any(dim=1, keepdim=True)
        if shifted.any():
            inputs["position_ids"] = torch.where(shifted, counted, plain)
        return inputs

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether the prompts are read by an encoder, and what the logits predict is written by a decoder."""
        return self.sites is not None and self.sites.stacks is not None

    def reading(self, decoder: Int[Tensor, "prompt pos"] | None) -> Model:
        """The same module with other tokens for its decoder (None: its start token alone).

        Raises:
            InputError: a model that has no decoder beside an encoder.
        """
        if decoder is None:
            return self
        if not self.is_encoder_decoder:
            raise InputError(f"{self.config['architecture']} has no decoder of its own: give it the tokens themselves")
        check_tokens(self, decoder, None)
        return replace(self, decoder=decoder)

    def decoder_tokens(self, n_prompts: int) -> Int[Tensor, "prompt pos"]:
        """What the decoder reads: what was given, else its start token, as the configuration has it.

        Raises:
            InputError: tokens for another number of prompts; a configuration that names no start token.
        """
        if self.decoder is not None:
            if len(self.decoder) != n_prompts:
                raise InputError(f"the decoder's tokens are those of {len(self.decoder)} prompts, not {n_prompts}")
            return self.decoder
        start = self._found("decoder_start_token_id")
        start = self._found("pad_token_id") if start is None else start
        if start is None:
            raise InputError(f"{self.config['architecture']} names no decoder_start_token_id; give `decoder` tokens")
        return torch.full((n_prompts, 1), int(start))

    def swap(self, state_dict: Mapping[str, Tensor], *, ref: CheckpointRef | None = None) -> None:
        """Copy other weights into the module's own tensors, in place; a cached bridge is discarded.

        A tied tensor may appear under one of its names only; under several, with one value.

        Raises:
            InputError: a name, shape or kind of number that the module does not have, a tensor that is missing, two values for
                a tensor that the module has once; nothing is copied then.
        """
        copy_into(self, state_dict)
        self._bridge, self.ref = None, ref

    @property
    def bridge(self) -> TransformerBridge:
        """TransformerLens' view of a copy of the module, in eval mode; made on first use, and anew once weights have changed."""
        version = state_of(self), sum(parameter._version for parameter in self.module.parameters())
        if self._bridge is None or self._bridge[0] != version:
            from interp.models.bridge import build_bridge

            self._bridge = version, build_bridge(self.module, self.config, self.tokenizer)
        return self._bridge[1]

    @property
    def is_native(self) -> bool:
        return self.config["architecture"] == native.ARCHITECTURE

    @property
    def n_layers(self) -> int:
        return self._size("n_layers", "num_hidden_layers", "n_layer", "num_layers")

    @property
    def n_heads(self) -> int:
        return self._size(
            "n_heads",
            "num_attention_heads",
            "n_head",
            "num_heads",
            "attention_heads",
            default=lambda: self.d_model // self._size("d_head", "head_dim"),
        )

    @property
    def n_kv_heads(self) -> int:
        if self._found("multi_query") and not self._found("new_decoder_architecture"):
            return 1
        return self._size("n_key_value_heads", "num_key_value_heads", "num_kv_heads", default=lambda: self.n_heads)

    @property
    def d_model(self) -> int:
        return self._size("d_model", "hidden_size", "n_embd")

    @property
    def d_head(self) -> int:
        return self._size("d_head", "head_dim", default=lambda: self.d_model // self.n_heads)

    @property
    def d_vocab(self) -> int:
        """Size of the vocabulary that the logits are over."""
        out = self._size("d_vocab_out", default=lambda: -1)
        return out if out > 0 else self._size("d_vocab", "vocab_size")

    @property
    def n_tokens(self) -> int:
        """How many token ids the module reads, as its embedding is now; without bound for a module of one's own."""
        if self.opaque:
            return sys.maxsize
        read = getattr(self.module, "get_input_embeddings", None)
        embedding: Any = read() if callable(read) else None
        if self.sites is not None:
            embedding = self.module.get_submodule(self.sites.embed)
        weight = getattr(embedding, "weight", None)
        return self._size("d_vocab", "vocab_size") if weight is None else len(weight)

    @property
    def n_ctx(self) -> int:
        """The longest sequence; without bound (`sys.maxsize`) where the architecture names none."""
        return self._size("n_ctx", "max_position_embeddings", "n_positions", default=lambda: sys.maxsize)

    @property
    def device(self) -> torch.device:
        """Where tokens are sent to.

        Raises:
            InputError: a module without memory for its weights.
        """
        if self._first is None:  # it stays the same object when the module is moved or cast
            self._first = next(self.module.parameters())
        if not self._first.is_meta:
            return self._first.device
        # accelerate keeps what it off-loads on the meta device, and brings it to this one for each pass
        fetched = (getattr(getattr(part, "_hf_hook", None), "execution_device", None) for part in self.module.modules())
        device = next((device for device in fetched if device is not None), None)
        if device is None:
            raise InputError(
                f"the parameters of this {self.config['architecture']} are on the meta device: its weights were never loaded"
            )
        return torch.device(device)

    @property
    def dtype(self) -> torch.dtype:
        """Of the activations: that of the first parameter which is a floating-point number (quantised ones are not)."""
        if self._first is not None and self._first.is_floating_point():
            return self._first.dtype
        weights = (weight.dtype for weight in self.module.parameters() if weight.is_floating_point())
        return next(weights, torch.get_default_dtype())

    def _found(self, name: str) -> Any:
        """As the configuration says, else the module itself, else None."""
        if name in self.config:
            return self.config[name]
        return getattr(getattr(self.module, "config", None), name, None)

    def _size(self, *names: str, default: Any = None) -> int:
        for name in names:
            value = self._found(name)
            if value is not None and value != -1:
                return int(value)
        if default is None:
            check_inside(self, names[0])
            raise InputError(f"the configuration of {self.config['architecture']} has none of {', '.join(names)}")
        return int(default())


def check_model(model: Any, tokens: Any = None) -> None:
    """Raises InputError for what is no handle, a bare module above all, and for tokens that are no tensor."""
    if not isinstance(model, Model):
        raise InputError(f"model is a {type(model).__name__}; expected what interp.load or interp.wrap(module) gives")
    if tokens is not None and not isinstance(tokens, torch.Tensor):
        raise InputError(f"tokens are a {type(tokens).__name__}; expected token ids as a tensor [prompt, pos]")


def check_inside(model: Model, what: str) -> None:
    """Raises InputError where `what` lies inside of a module of one's own."""
    if model.opaque:
        raise InputError(
            f"no {what} of {model.config['architecture']}, a module of one's own: only its logits and weights are known"
        )
