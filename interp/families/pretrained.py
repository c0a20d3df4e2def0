"""Folders that Hugging Face's transformers wrote: weights under the module's own names, and configurations fully
understood.

Old files carry buffers that newer modules no longer have, lack a prefix, or are in shards; transformers knows how to
read each. Its own loading is therefore the reference here, and reading the file directly a short cut for names that
already fit.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.errors import InputError, nearest
from interp.families.weights import is_whole, read_safetensors

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_INERT = """
    _name_or_path _model_name_or_path transformers_version torch_dtype dtype model_type architectures architecture use_cache
    task_specific_params finetuning_task problem_type id2label label2id num_labels return_dict
    output_attentions output_hidden_states output_past torchscript is_encoder_decoder
    cross_attention_hidden_size add_cross_attention tie_encoder_decoder bos_token_id eos_token_id pad_token_id
    sep_token_id decoder_start_token_id unk_token_id prefix summary_type summary_use_proj summary_activation
    summary_first_dropout summary_proj_to_logits n_ctx initializer_range pretraining_tp gradient_checkpointing
    classifier_dropout attn_implementation _attn_implementation_autoset pruned_heads chunk_size_feed_forward
    max_length min_length do_sample early_stopping num_beams temperature top_k top_p typical_p
    repetition_penalty length_penalty no_repeat_ngram_size suppress_tokens remove_invalid_values
    exponential_decay_length_penalty diversity_penalty num_beam_groups num_return_sequences
    encoder_no_repeat_ngram_size bad_words_ids begin_suppress_tokens forced_bos_token_id forced_eos_token_id
    output_scores return_dict_in_generate unsloth_version use_bfloat16 tf_legacy_loss directionality
    pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type
    tokenizer_class
    n_inner attention_softmax_in_fp32 masked_softmax_fusion offset_alibi seq_length skip_bias_add skip_bias_add_qkv
"""
INERT = frozenset(_INERT.split())
"""Attributes that files carry and that change no logit: notes on origin, generation, other heads, dropout, kernels."""

READ_ELSEWHERE = frozenset(("rope_theta", "rope_scaling", "rotary_emb_base", "rotary_pct", "partial_rotary_factor"))
"""Attributes that configuration classes read without listing them as fields."""


def understood(config: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """The configuration with `architecture` filled in, once every attribute in it is known to mean something or
    nothing.

    Raises:
        InputError: no architecture or an unknown one, code of its own, or an attribute that is not understood: a model
            built without it could give wrong numbers.
    """
    named = config.get("architecture") or (config.get("architectures") or [None])[0]
    if named == "native":
        return dict(config)
    kind = _architecture(named, where=where)
    if config.get("auto_map"):
        raise InputError(f"{where} asks for code of its own (auto_map), which is not run here")
    if kind.config_class.model_type != config.get("model_type", kind.config_class.model_type):
        raise InputError(
            f"{where}: model_type is {config['model_type']!r}, but {named} is a {kind.config_class.model_type!r} model"
        )
    known = {field.name for field in dataclasses.fields(kind.config_class)} | set(kind.config_class.attribute_map)
    known |= set(kind.config_class().to_dict())  # what the class itself writes
    for name in config:
        if name not in known | INERT | READ_ELSEWHERE:
            raise InputError(
                f"{where}: {named} has no attribute {name!r}{nearest(name, known)}; refusing to guess what it does"
            )
    return {**config, "architecture": named}


def _architecture(name: Any, *, where: str) -> Any:
    import transformers

    kind = getattr(transformers, str(name), None)
    if name is None or not hasattr(kind, "config_class"):
        raise InputError(f"{where} names no architecture that transformers {transformers.__version__} has: {name!r}")
    return kind


def is_transformers(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is one of transformers', rather than of old TransformerLens or a native model."""
    import transformers

    named = config.get("architecture")
    return "architectures" in config or (named not in (None, "native") and hasattr(transformers, str(named)))


def load_pretrained(folder: Path) -> PreTrainedModel:
    """The model in a folder, by transformers' own loading, in the dtype it is stored in.

    Raises:
        InputError: a weight is missing, has another shape, or belongs to nothing in the architecture.
    """
    from transformers import logging

    from interp.models.building import LOADING

    config = understood(_read_config(folder), where=str(folder / "config.json"))
    kind = _architecture(config["architecture"], where=str(folder))
    unwrapped = _unwrapped(folder)
    renamed: dict[str, Any] = {"config": kind.config_class.from_pretrained(folder), "state_dict": unwrapped}
    with LOADING:
        level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            module, found = kind.from_pretrained(
                folder if unwrapped is None else None,
                dtype="auto",
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **({} if unwrapped is None else renamed),
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{folder} cannot be loaded: {str(error).splitlines()[0]}") from error
        finally:
            logging.set_verbosity(level)
            if bar:
                logging.enable_progress_bar()
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found[what]:
            shown = ", ".join(str(name) for name in sorted(found[what], key=str)[:3])
            raise InputError(f"{folder}: {what.replace('_keys', '')} weights for {kind.__name__}: {shown}")
    return module.eval()


def _unwrapped(folder: Path) -> dict[str, Tensor] | None:
    """The weights without what torch.compile and other wrappers put into their names; None where nothing is to be taken away,
    and transformers reads the files itself."""
    from safetensors import safe_open

    from interp.families.published import WRAPPERS, plain_names, read_torch

    found: dict[str, Tensor] = {}
    files = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    for path in files:
        if path.suffix == ".bin":
            stored = read_torch(path)
            names = list(stored) if isinstance(stored, Mapping) else []
        else:
            stored = None
            with safe_open(path, framework="pt") as file:
                names = list(file.keys())
        if not any(name.startswith("module.") or any(part in name for part in WRAPPERS) for name in names):
            return None
        found |= read_safetensors(path) if stored is None else stored
    return plain_names(found, where=folder) if found else None


def read_pretrained(folder: Path) -> dict[str, Tensor]:
    """The weights in a folder under the module's own `state_dict` names.

    The first folder of a configuration is loaded by transformers, which renames and drops what old files carry; where
    that amounts to renaming whole tensors, the next files are read directly and renamed in the same way.

    Raises:
        InputError: see `load_pretrained`; a file is truncated.
    """
    files = sorted(folder.glob("model*.safetensors"))
    for file in files:
        if not is_whole(file):
            raise InputError(f"{file} is truncated or damaged; fetch or write it again")
    raw = read_safetensors(files[0]) if len(files) == 1 else None
    config = json.dumps(understood(_read_config(folder), where=str(folder / "config.json")), sort_keys=True)
    renames = _RENAMES.get(config)
    if raw is not None and renames is not None and set(raw) == set(renames):
        return {name: value for old, value in raw.items() if (name := renames[old])}
    loaded = {name: value.detach() for name, value in load_pretrained(folder).state_dict().items()}
    if raw is not None:
        _RENAMES[config] = _renames(raw, loaded)
    return loaded


_RENAMES: dict[str, dict[str, str] | None] = {}
"""For each configuration met: a file's names and the module's for the same tensor, "" for those that the module
drops."""


def _renames(raw: Mapping[str, Tensor], loaded: Mapping[str, Tensor]) -> dict[str, str] | None:
    """How a file's names become the module's; None where that is more than renaming, or cannot be told."""
    found = {name: name for name in raw if name in loaded and _same(raw[name], loaded[name])}
    for old in raw:
        if old not in found:
            same = [name for name in loaded if name not in raw and _same(raw[old], loaded[name])]
            if len(same) > 1:
                return None
            found[old] = same[0] if same else ""
    reached = {loaded[name].data_ptr() for name in found.values() if name}
    named = [name for name in found.values() if name]
    whole = len(set(named)) == len(named) and all(value.data_ptr() in reached for value in loaded.values())
    return found if whole else None


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and bool((one == other).all())


def _read_config(folder: Path) -> dict[str, Any]:
    from interp.families.store import read_json

    return read_json(folder / "config.json")
