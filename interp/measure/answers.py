"""The answer in what a model wrote: where it ends, and what of it counts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from interp.types import Protocol


def guess_in(output: str, prompt: str, protocol: Protocol) -> str:
    """What is compared with the targets, of an output to a prompt."""
    if not protocol.verbatim:
        return extract(output, protocol.pattern)
    return published(written(output, prompt), protocol.stop, protocol.pattern)


def finished(output: str, prompt: str, protocol: Protocol) -> str | None:
    """The output up to where it ends, None while it goes on."""
    if not protocol.verbatim:
        return before(output, protocol.stop)
    text = written(output, prompt)
    end = _end(text, protocol.stop)
    return None if end is None else output[: len(output) - len(text) + end]


def before(output: str, stop: Sequence[str]) -> str | None:
    """The output before the first of the stop strings; None where none is in it."""
    ends = [output.index(end) for end in stop if end and end in output]
    return output[: min(ends)] if ends else None


def published(text: str, stop: Sequence[str], pattern: str | None) -> str:
    """The answer by BIG-bench's rule (`postprocess_output` of its model_utils): cut *after* the first stop string, unless
    the text begins with it; then the first match of the pattern (its group, where it has one), "" where there is none;
    no white space is taken away."""
    end = _end(text, stop)
    text = text if end is None else text[:end]
    if not pattern:
        return text
    match = re.search(pattern, text)
    return "" if match is None else match[match.re.groups] or ""


def _end(text: str, stop: Sequence[str]) -> int | None:
    """Where BIG-bench cuts a text: behind the first stop string in it, which counts for nothing at the very beginning."""
    ends = [at + len(end) for end in stop if end and (at := text.find(end)) > 0]
    return min(ends, default=None)


def written(output: str, prompt: str) -> str:
    """The output without the white space that the prompt ends with: a model is asked up to its last word, so that it
    writes the space itself, as part of a token."""
    return output.removeprefix(prompt[len(prompt.rstrip()) :])


def extract(output: str, pattern: str | None) -> str:
    """The answer in a generated text: what `pattern` finds (its first group, if it has one), or all of it, stripped.

    "" where the pattern finds nothing.
    """
    if pattern is None:
        return output.strip()
    match = re.search(pattern, output)
    if match is None:
        return ""
    return (match[1] if match.re.groups and match[1] is not None else match[0]).strip()


def number(text: str) -> float:
    """The number that a text begins with, thousands separated by commas or not; NaN where there is none."""
    match = re.match(r"[-+]?(\d[\d,]*)?(\.\d+)?([eE][-+]?\d+)?", text.strip())
    try:
        return float(match[0].replace(",", "")) if match else math.nan
    except ValueError:
        return math.nan
