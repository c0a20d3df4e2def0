"""What there is to choose from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from interp.families import store
from interp.families.card import Card, card_names, n_checkpoints, read_card, unread_names
from interp.families.lookup import family, recipes
from interp.families.planned import outline


def overview(root: str | Path | None = None) -> list[dict[str, Any]]:
    """What there is to choose from, without asking a hub: name, origin, sizes, how many checkpoints (None where only
    the hub knows), licence, how many names on the hub fit no pattern (None where it was not asked before), and a line that
    says so."""
    from interp.families.hub import remembered

    stored, grown, cards = set(store.stored_families(store.store_root(root))), recipes(), set(card_names())
    heard, found = remembered(), []
    for name in sorted({*stored, *grown, *cards}):
        if name in stored:
            own = family(name, root=root)
            entry = _entry(name, own.origin, own.sizes, len(own.refs))
        elif name in grown:
            entry = _entry(name, "recipe", *outline(grown[name]))
        else:
            card = read_card(name)
            entry = _entry(name, "hub", card.sizes, n_checkpoints(card), card.about.get("licence"))
            entry["unread"] = _unread(card, heard) if card.steps == "hub" else 0
        found.append({**entry, "about": _line(entry)})
    return found


def _entry(name: str, origin: str, sizes: Iterable[str], n: int | None, licence: Any = None) -> dict[str, Any]:
    return {"name": name, "origin": origin, "sizes": list(sizes), "checkpoints": n, "licence": licence, "unread": 0}


def _unread(card: Card, heard: Mapping[str, list[str]]) -> int | None:
    """How many names fit no pattern, of the repositories that were asked before; None where none was."""
    asked = unread_names(card, lambda repo, where: heard.get(f"{repo} {where}", []))
    return sum(map(len, asked.values())) if asked else None


def _line(entry: Mapping[str, Any]) -> str:
    sizes = entry["sizes"]
    shown = ", ".join(sizes) if len(sizes) < 7 else f"{', '.join(sizes[:3])}, … {sizes[-1]} ({len(sizes)} sizes)"
    n, licence = entry["checkpoints"], entry["licence"]
    count = "checkpoints as the hub lists them" if n is None else f"{n} checkpoints" if n != 1 else "1 checkpoint"
    left_out = f"{entry['unread']} names fit no pattern" if entry["unread"] else ""
    return "; ".join(filter(None, [entry["origin"], shown, count, left_out, licence]))
