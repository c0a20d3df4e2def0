"""Where an architecture keeps its activations: one declarative record per architecture, TransformerLens' names for the sites.

Everything is a dotted path of a sub-module; a site is the input or the output of one of them. Files in
`interp/models/architectures/` hold the records; each is proved against the bridge in the tests.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any, Literal

from interp.errors import InputError, unknown

STACKS = ("encoder", "decoder", "cross")
"""What the sites of an encoder-decoder are named after: `encoder.resid_post`, `decoder.z`, `cross.pattern`."""


def _also_in_stacks(*names: str) -> tuple[str, ...]:
    """These sites, of a single stack of blocks and of each of several."""
    return (*names, *(f"{stack}.{name}" for stack in STACKS for name in names))


RESIDUAL_SITES = _also_in_stacks("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
HEAD_SITES = _also_in_stacks("z", "q", "k", "v")
SCORE_SITES = _also_in_stacks("attn_scores", "pattern")
NEURON_SITES = _also_in_stacks("mlp_pre", "mlp_post")
EXPERT_SITES = ("router_logits", "expert_weights", "expert_out")
GLOBAL_SITES = (*_also_in_stacks("embed", "ln_final"), "logits")
BLOCK_SITES = (*RESIDUAL_SITES, *HEAD_SITES, *SCORE_SITES, *NEURON_SITES, *EXPERT_SITES)
SITES = (*BLOCK_SITES, *GLOBAL_SITES)

DIMS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys((*RESIDUAL_SITES, *GLOBAL_SITES), ("layer", "prompt", "pos", "d_model")),
    **dict.fromkeys(HEAD_SITES, ("layer", "prompt", "pos", "head", "d_head")),
    **dict.fromkeys(SCORE_SITES, ("layer", "prompt", "head", "query", "key")),
    **dict.fromkeys(NEURON_SITES, ("layer", "prompt", "pos", "neuron")),
    **dict.fromkeys(("router_logits", "expert_weights"), ("layer", "prompt", "pos", "expert")),
    "expert_out": ("layer", "prompt", "pos", "expert", "d_model"),
    "logits": ("layer", "prompt", "pos", "vocab"),
}


def in_stack(site: str) -> tuple[str, str]:
    """The stack that a site's name begins with ("" where there is one stack only), and its name there."""
    stack, _, name = site.rpartition(".")
    return stack, name


@dataclass(frozen=True, slots=True, kw_only=True)
class Sites:
    """One architecture. The first five paths start at the model, the others at a block.

    embed: its output is the token embedding (scaled, where the architecture scales it).
    blocks: the list of blocks. ln_final: the norm before `unembed`, None where there is none.
    ln1: the norm that q, k and v read through; None where they read the residual stream itself.
    qkv: how the projections' outputs are laid out: three modules ("split"), one whose output is [q | k | v] ("concat") or
        one that interleaves q, k and v head by head ("interleaved").
    q_norm, k_norm: norms between projection and rotation; `flat_qk_norm` where they span all heads at once.
    attn_out, mlp_out: their outputs are what attention and MLP add to the residual stream (a norm, where one comes after).
    ln1_post, ln2_post: that norm, else None.
    ln2: the norm that the MLP reads through, else None. resid_mid: the module whose input is the stream between the two.
    mlp: the MLP; where it is no module of its own, or one that adds the residual stream itself, the modules that make it up,
        one after the other.
    mlp_in: its output is `mlp_pre` (the gate's, where there is one). mlp_up: the linear branch of a gated MLP; `fused_gate`
        where gate and linear branch are the two halves of what `mlp_in` gives.
    mlp_final: its input is `mlp_post`. All MLP paths are None in an attention-only model; `mlp_in` and `mlp_final` are None
        where the MLP is a mixture of experts. Then router: gives (logits, weights, indices) of the chosen experts; experts:
        takes the stream, indices and weights.
    flat_mlp: the block's second half sees prompts and positions as one axis.
    resid_scale: what attention and MLP put out is multiplied by this on its way to the residual stream.
    parallel: attention and MLP read the same residual stream; there is no `resid_mid`.
    attention: how the scores are reached: transformers' table of attention functions ("table"), the `_attn` method of
        older classes ("method"), TransformerLens' NativeAttention ("native"), or the one softmax (or one call
        of torch's `scaled_dot_product_attention`) in the forward of `attn` ("softmax").
    rotary: whether q and k are rotated by `position_embeddings` (cos, sin) that the block receives.
    tuple_blocks: a block returns a tuple whose first entry is the residual stream, rather than that itself.
    logit_scale: what the unembedding gives is multiplied by this. logit_cap: tanh cap on the logits, None without.
    embed_scale: what `embed` gives is multiplied by this.
    post_norm: the stream itself is normed after attention and after the MLP (BERT), so it is not a sum of what was written
        to it: no circuits, no direct attribution. causal: no position sees a later one.
    stacks: of an encoder-decoder, the maps of its "encoder", "decoder" and "cross" attention; the record itself has where the
        decoder begins and ends.
    """

    embed: str
    pos_embed: str | None = None
    blocks: str
    ln_final: str | None
    unembed: str
    ln1: str | None
    attn: str
    q: str
    k: str
    v: str
    o: str
    qkv: Literal["split", "concat", "interleaved"] = "split"
    q_norm: str | None = None
    k_norm: str | None = None
    flat_qk_norm: bool = False
    ln1_post: str | None = None
    ln2: str | None
    mlp: str | tuple[str, ...] | None
    mlp_in: str | None
    mlp_up: str | None = None
    fused_gate: bool = False
    mlp_final: str | None
    router: str | None = None
    experts: str | None = None
    flat_mlp: bool = False
    resid_scale: float = 1.0
    ln2_post: str | None = None
    parallel: bool = False
    attention: Literal["table", "method", "native", "softmax"] = "table"
    rotary: bool = False
    tuple_blocks: bool = False
    logit_scale: float = 1.0
    logit_cap: float | None = None
    embed_scale: float = 1.0
    post_norm: bool = False
    causal: bool = True
    stacks: Mapping[str, Sites] | None = None

    def of(self, stack: str) -> Sites:
        """The map of one stack."""
        return self if self.stacks is None else self.stacks[stack or "decoder"]

    @property
    def written(self) -> bool:
        """Whether the residual stream of one stack is the sum of what heads and MLPs write to it."""
        return self.stacks is None and not self.post_norm

    @property
    def way_out(self) -> bool:
        """Whether a norm or a factor stands between what the heads write and the residual stream."""
        return self.ln1_post is not None or self.resid_scale != 1.0

    @property
    def mlp_chain(self) -> tuple[str, ...]:
        """The modules that the MLP runs through, from its input to its output; empty without an MLP."""
        return (self.mlp,) if isinstance(self.mlp, str) else self.mlp or ()

    @property
    def attn_out(self) -> str:
        return self.ln1_post or self.o

    @property
    def mlp_out(self) -> str | None:
        return self.ln2_post or (self.mlp_chain[-1] if self.mlp else None)

    @property
    def resid_mid(self) -> str | None:
        return None if self.parallel or not self.mlp else self.ln2 or self.mlp_chain[0]


LLAMA = Sites(
    embed="model.embed_tokens",
    blocks="model.layers",
    ln_final="model.norm",
    unembed="lm_head",
    ln1="input_layernorm",
    attn="self_attn",
    q="self_attn.q_proj",
    k="self_attn.k_proj",
    v="self_attn.v_proj",
    o="self_attn.o_proj",
    ln2="post_attention_layernorm",
    mlp="mlp",
    mlp_in="mlp.gate_proj",
    mlp_up="mlp.up_proj",
    mlp_final="mlp.down_proj",
    rotary=True,
)
"""The map that the architectures which grew out of Llama start from: their files say what they do otherwise."""


def llama_like(**otherwise: Any) -> Sites:
    """Llama's map with these fields in place of its own."""
    return replace(LLAMA, **otherwise)


@cache
def _records() -> dict[str, ModuleType]:
    """Architecture name -> the file with its map."""
    package = importlib.import_module("interp.models.architectures")
    found: dict[str, ModuleType] = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        found |= dict.fromkeys(module.ARCHITECTURES, module)
    return found


def architectures() -> tuple[str, ...]:
    """The architectures with a map, by the name that config.json gives them."""
    return tuple(sorted(_records()))


def find_sites(config: Mapping[str, Any]) -> Sites | None:
    """The map of the architecture that `config` names, None where there is none (then the bridge serves).

    Raises:
        InputError: the configuration asks for something that the map does not handle.
    """
    record = _records().get(config.get("architecture", ""))
    return None if record is None else record.sites(config)


def variants(architecture: str) -> tuple[Mapping[str, Any], ...]:
    """The settings under which the map of an architecture is tried: what its file lists as VARIANTS, else the defaults."""
    return getattr(_records()[architecture], "VARIANTS", ({},))


def refuse(config: Mapping[str, Any], **handled: Any) -> None:
    """Fail closed: each named attribute of `config`, if present, must be the value (or among the tuple of values) given."""
    for name, values in handled.items():
        allowed = values if isinstance(values, tuple) else (values,)
        value = config.get(name, allowed[0])
        if value not in allowed:
            raise InputError(
                f"{config.get('architecture')} with {name}={value!r} is not handled"
                f" (handled: {', '.join(map(repr, allowed))})"
            )


def check_site(site: str, sites: Sites | None, *, extra: tuple[str, ...] = ()) -> None:
    """Raises InputError, with the nearest name, for a site that does not exist at all or not in this architecture."""
    if site not in SITES and site not in extra:
        raise unknown("site", site, (*SITES, *extra))
    if sites is None:
        return
    stack, name = in_stack(site)
    if sites.stacks is None and stack:
        raise InputError(f"{site} does not exist here: this model is no encoder-decoder; {name} is its own")
    if sites.stacks is not None and site != "logits":
        if not stack:
            raise InputError(f"{site} of which stack? Name encoder.{site} or decoder.{site}")
        if stack == "cross" and name not in ("attn_out", "z", "q", "k", "v", "attn_scores", "pattern"):
            raise InputError(f"{site} does not exist: cross attention is a part of the decoder's blocks")
    if site == "resid_mid" and sites.parallel:
        raise InputError(
            "resid_mid does not exist here: attention and MLP of a parallel block read the same residual stream"
        )
    if sites.mlp is None and site in ("resid_mid", "mlp_out", "mlp_pre", "mlp_post"):
        raise InputError(f"{site} does not exist here: this model has no MLPs")
    if sites.experts is None and site in EXPERT_SITES:
        raise InputError(f"{site} does not exist here: this model has no experts")
    if sites.mlp_final is None and site in NEURON_SITES:
        raise InputError(f"{site} does not exist here: the MLP is a mixture of experts")
