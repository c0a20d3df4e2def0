"""The experiments and recipes that come with the library, by name: `interp run grokking`, wherever one is."""

from __future__ import annotations

from pathlib import Path

from interp.errors import InputError, nearest

_PACKAGE = Path(__file__).parents[1]
FOLDERS = {"experiment": ".", "recipe": "recipes"}


def _home() -> Path:
    """In a wheel the folder is inside of the package (setup.py puts it there); in the repository it lies beside it."""
    inside = _PACKAGE / "experiments"
    return inside if inside.is_dir() else _PACKAGE.parent / "experiments"


def shipped(kind: str) -> dict[str, Path]:
    """The files of a kind ("experiment" or "recipe") that come with the library, by name."""
    return {path.stem: path for path in sorted((_home() / FOLDERS[kind]).glob("*.yaml"))}


def named(source: str | Path, kind: str) -> Path:
    """The file at the path `source`; where there is none, the shipped file of that name.

    Raises:
        InputError: neither; the nearest name is given.
    """
    path, known = Path(source), shipped(kind)
    if path.is_file() or (path.exists() and str(source) not in known):
        return path
    if str(source) in known:
        return known[str(source)]
    beside = [p.name for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
    if path.stem in known:
        raise InputError(f"no file {str(source)!r}; the shipped {kind} of that name is called {path.stem!r}")
    raise InputError(f"no file {str(source)!r}{nearest(path.name, [*beside, *known])}")
