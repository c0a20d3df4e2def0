"""TransformerLens' bridge over a copy of a plain module."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from interp.errors import InputError
from interp.models import native

if TYPE_CHECKING:
    from torch import nn
    from transformer_lens.model_bridge import TransformerBridge


def build_bridge(module: nn.Module, config: Mapping[str, Any], tokenizer: Any = None) -> TransformerBridge:
    """A bridge in eval mode over its own copy: building one rewrites the module that it is given.

    Raises:
        InputError: TransformerLens cannot build one for this architecture or configuration.
    """
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    if config["architecture"] == native.ARCHITECTURE:
        import transformer_lens.model_bridge.sources.native  # noqa: F401  (registers the architecture)

        about: dict[str, Any] = {"architecture": "TransformerLensNative", "tl_config": native.bridge_config(config)}
    else:
        about = {"architecture": config["architecture"], "hf_config": copy.deepcopy(module.config)}
    try:
        return build_bridge_from_module(copy.deepcopy(module), tokenizer=tokenizer, **about).eval()
    except Exception as error:  # whatever its conversion runs into
        raise InputError(
            f"TransformerLens cannot build a bridge over this {config['architecture']}, and interp has no map of it: {error}"
        ) from error
