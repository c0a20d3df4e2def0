"""State dicts as `HookedTransformer` of TransformerLens before version 4 saved them (`.pth`), as weights of a native
model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.errors import InputError, nearest
from interp.families.orientation import is_lens, straightened, with_biases
from interp.families.published import state_dict

if TYPE_CHECKING:
    from torch import Tensor

_SAME_NAMES = """
    d_model n_layers d_mlp d_head n_heads n_ctx d_vocab d_vocab_out act_fn attn_only eps init_mode
    initializer_range normalization_type positional_embedding_type rotary_dim n_key_value_heads attention_dir
    use_attn_scale attn_scale gated_mlp final_rms window_size
"""
SAME = frozenset(_SAME_NAMES.split())
"""Attributes of the old config.json that a native model has under the same name."""

_INERT_NAMES = """
    W_O_init_scale apply_anthropic_hyperparams architecture batch_size batches_per_step beta1 beta2
    checkpoint_index checkpoint_label_type checkpoint_value dataset_name debug debug_batch default_prepend_bos
    device dtype from_checkpoint grad_norm_clip init_weights log_dir lr lr_schedule max_tokens model_name
    model_type n_devices n_epochs n_params neuron_scale neuron_temp original_architecture save_checkpoints
    save_dir seed tokenizer_name tokenizer_prepends_bos tokens_per_step total_steps train_loss_ewma_beta
    ungroup_grouped_query_attention use_attn_in use_attn_result use_bfloat16_matmul use_hook_mlp_in
    use_hook_tokens use_split_qkv_input use_wandb version warmup_tokens weight_decay weight_init_mode
"""
INERT = frozenset(_INERT_NAMES.split())
"""Those that say how a model was trained, run or named, and change nothing in what it computes."""


def native_config(config: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """The native model that an old config.json describes, or the configuration itself where it is a native one.

    Raises:
        InputError: an attribute that a native model does not have, such as shortformer position embeddings.
    """
    if config.get("architecture") == "native":
        return dict(config)
    found: dict[str, Any] = {"architecture": "native"}
    for name, value in config.items():
        target = "normalization_type" if name == "normalization" else name
        if target in SAME:
            found[target] = value
        elif name not in INERT and value not in (None, False):
            raise InputError(f"{where}: native models have no attribute {name!r}{nearest(name, SAME)}")
    return found


def read_legacy(path: Path, config: Mapping[str, Any], *, step: int | None = None) -> dict[str, Tensor]:
    """The weights in a file of `torch.save` under the names of the native model that `config` describes. Nothing is unpickled.

    Matrices may be transposed and biases left out (then they are zero). A bias of the unembedding, which a native model does
    not have, is dropped where it is zero. step: which checkpoint, of a file that holds several.

    Raises:
        InputError: the file is missing, damaged or holds more than tensors; it does not fit the configuration.
    """
    from transformer_lens.utilities.tl_checkpoint_conversion import convert_tl_checkpoint

    from interp.models import native

    stored = state_dict(path, step=step)
    _refuse_whole_numbers(stored, where=path)
    if config.get("architecture") != "native":
        return stored
    described = native.bridge_config(config)
    wanted = native.empty(config).state_dict()
    if not is_lens(stored):
        if not set(stored) & set(wanted):
            raise InputError(
                f"{path} has names of another code ({', '.join(list(stored)[:3])}, …), neither TransformerLens' nor transformers';"
                " build its module and hand it to interp.wrap(module, sites=…)"
            )
        return stored
    while all(name.startswith("model.") for name in stored):  # a module that wraps the model, as Lightning's do
        stored = {name.removeprefix("model."): value for name, value in stored.items()}
    stored = straightened(stored, described, where=path)
    try:
        converted = convert_tl_checkpoint(stored, described)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} does not fit its configuration: {error}") from error
    bias = converted.pop("unembed.bias", None)
    if bias is not None and bool(bias.any()):
        raise InputError(f"{path} has a bias in its unembedding, which native models do not have")
    gated = bool(config.get("gated_mlp"))
    weights = {_plain(name, gated=gated): value.float().contiguous() for name, value in converted.items()}
    return with_biases(weights, wanted, where=path)


def _refuse_whole_numbers(state: Mapping[str, Tensor], *, where: Path) -> None:
    for name, value in state.items():
        is_weight = name.rpartition(".")[2].startswith(("W_", "b_")) or name.endswith((".weight", ".bias"))
        if is_weight and not value.is_floating_point():
            raise InputError(
                f"{where}: {name} is {str(value.dtype).removeprefix('torch.')}: quantised weights are not read here"
            )


def _plain(name: str, *, gated: bool) -> str:
    """The native module's name for a bridge's: `blocks.0.mlp.in.weight` is `layers.0.mlp.fc_in.weight` there."""
    for bridge, plain in _NAMES if gated else (*_NAMES, *_UNGATED):
        name = name.replace(bridge, plain)
    return name


_NAMES = (
    ("blocks.", "layers."),
    ("ln_final.", "ln_out."),
    ("unembed.", "head."),
    ("pos_embed.", "pos."),
    ("embed.", "tok_embed."),
)
_UNGATED = ((".mlp.in.", ".mlp.fc_in."), (".mlp.out.", ".mlp.fc_out."))
