"""Families of checkpoints: found by name, addressed, filtered, verified, and streamed through one model."""

from interp.families.address import format_address, parse_address
from interp.families.loading import load
from interp.families.lookup import Family, families, family, resolve
from interp.families.overview import overview
from interp.families.read import fresh_module, read_config, read_tokenizer, read_weights
from interp.families.verification import verify

__all__ = [
    "Family",
    "families",
    "family",
    "format_address",
    "fresh_module",
    "load",
    "overview",
    "parse_address",
    "read_config",
    "read_tokenizer",
    "read_weights",
    "resolve",
    "stream",
    "verify",
]


def __getattr__(name: str) -> object:
    """`stream` needs torch: it is imported on first use."""
    if name == "stream":
        from interp.families.streaming import stream

        return stream
    raise AttributeError(f"module 'interp.families' has no attribute {name!r}")
