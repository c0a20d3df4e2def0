"""Numbers and results as the report's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from interp.figures.style import number

KINDS = ("abrupt", "gradual", "artefact", "none")


def the_part(results: Mapping[str, Any], name: str) -> Any:
    """The held-out part of a result where there is one, else the exploring part."""
    return results.get(f"{name}_held_out") or results[f"{name}_explore"]


def has_held_out(results: Mapping[str, Any]) -> bool:
    """Whether anything was held out and has been measured."""
    return "across_held_out" in results


def short(family: str) -> str:
    """`study_addition_mod` as `addition mod`."""
    return family.removeprefix("study_").replace("_", " ")


def num(value: float | None) -> str:
    """Three digits, or a dash for what is not defined."""
    return "–" if value is None else number(value).replace("-", "−")


def share(value: float | None) -> str:
    """In percent."""
    return "–" if value is None else f"{value:.0%}".replace("%", " %")


def ends(low: float | None, high: float | None, told: Any = num) -> str:
    """`(low to high)`."""
    return f"({told(low)} to {told(high)})"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`; `none`."""
    names = list(names)
    return "none" if not names else names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def plural(n: int, word: str, more: str | None = None) -> str:
    """`1 run`, `2 runs`."""
    return f"{n} {word if n == 1 else more or word + 's'}"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def picture(name: str, drawn: Sequence[str], about: str) -> str:
    """A paragraph with the figure, where it could be drawn."""
    return f"\n\n![{about}](figures/{name}.svg)" if name in drawn else ""
