"""A card: one YAML file that says where the checkpoints of a public family are. `cards/` has one a family.

Keys: `repo`, `revision`, `subfolder` and `file` are templates over {size}, {setting}, {seed}, {step}, {thousands} (of
steps) and the fields that a size, setting or run brings along. `steps` lists numbers and ranges [first, last, by] or is
"hub": then the hub is asked, and the template that holds {step} or {billions} (of tokens) is matched against the names
    that it has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from string import Formatter
from typing import Any

from interp.documents import check_keys, read_yaml
from interp.errors import InputError, unknown
from interp.types import CheckpointRef

FOLDER = Path(__file__).parent / "cards"
LAYOUTS = ("transformers", "legacy")
TEMPLATES = ("repo", "revision", "subfolder", "file")
_CAPTURED = {"step": r"(?P<step>\d+)", "billions": r"(?P<billions>\d+(?:\.\d+)?)", "any": r".*?"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Card:
    """A public family.

    sizes, settings: name → fields for the templates (`n_params` among them, for plans). runs: instead of the product of
    sizes, settings and seeds, the runs there are, each with its fields.
    layout: "transformers", or "legacy" for TransformerLens' old `.pth` files.
    tokens_per_step: tokens in a batch. tokenizer: the repository it is in, where the checkpoints bring none that works.
    about: licence, paper, notes, known defects, for people.
    """

    name: str
    repo: str
    sizes: Mapping[str, Mapping[str, Any]]
    steps: Sequence[int | Sequence[int]] | str
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"base": {}})
    seeds: Sequence[int] = (0,)
    runs: Sequence[Mapping[str, Any]] | None = None
    revision: str = "main"
    subfolder: str = ""
    file: str = ""
    layout: str = "transformers"
    tokens_per_step: int | None = None
    tokenizer: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def card_names() -> list[str]:
    """The families that have a card, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_card(name: str) -> Card:
    """The card of a family, by its name or by the path of a YAML file.

    Raises:
        InputError: no such card, an unknown or missing key, a template with a field that nothing fills.
    """
    if name not in card_names() and not name.endswith(".yaml"):
        raise unknown("family", name, card_names())
    path = FOLDER / f"{name}.yaml" if name in card_names() else Path(name)
    raw = read_yaml(path)
    check_keys(raw, [entry.name for entry in fields(Card)], where=f"card {path.name}")
    for key in ("name", "repo", "sizes", "steps"):
        if not raw.get(key) and raw.get(key) != 0:
            raise InputError(f"card {path.name} lacks the key {key!r}")
    card = Card(**raw)
    _check(card, where=f"card {path.name}")
    return card


def hub_checkpoints(
    card: Card, names: Callable[[str, str], Sequence[str]], *, sizes: Sequence[str] | None = None
) -> Iterator[CheckpointRef]:
    """Every checkpoint that the card describes, run by run, steps ascending; of some sizes only where they are given.

    names: for cards with `steps: hub`, `names(repo, where)`: what the hub has (`interp.families.hub.published`).
    """
    for run in _runs(card):
        if sizes is None or run["size"] in sizes:
            for step, tokens, source in sorted(_steps(card, run, names), key=lambda found: found[0]):
                yield CheckpointRef(
                    family=card.name,
                    size=run["size"],
                    setting=run["setting"],
                    seed=run["seed"],
                    step=step,
                    tokens=tokens,
                    manifest={"source": source, **({"n_params": run["n_params"]} if "n_params" in run else {})},
                )


def n_checkpoints(card: Card) -> int | None:
    """How many checkpoints the card describes; None where the hub has to be asked."""
    if isinstance(card.steps, str):
        return None
    return len(list(_runs(card))) * len(listed_steps(card.steps))


def _runs(card: Card) -> Iterator[dict[str, Any]]:
    """The fields of every run for the templates."""
    if card.runs is not None:
        for run in card.runs:
            yield {"setting": "base", "seed": 0, **(card.sizes[run["size"]] or {}), **run}
        return
    for size, setting, seed in product(card.sizes, card.settings, card.seeds):
        own = {**(card.sizes[size] or {}), **(card.settings[setting] or {})}
        yield {"size": size, "setting": setting, "seed": seed, **own}


def _steps(
    card: Card, run: Mapping[str, Any], names: Callable[[str, str], Sequence[str]]
) -> Iterator[tuple[int, int | None, dict[str, Any]]]:
    """(step, tokens, source) of every checkpoint of a run."""
    if not isinstance(card.steps, str):
        for step in listed_steps(card.steps):
            filled = {**run, "step": step, "thousands": step // 1000}
            place = {key: getattr(card, key).format(**filled) for key in TEMPLATES}
            yield step, None if card.tokens_per_step is None else step * card.tokens_per_step, _source(card, place)
        return
    repo = card.repo.format(**run)
    where = next(key for key in TEMPLATES[1:] if _holds_step(getattr(card, key)))
    pattern = _pattern(getattr(card, where), run)
    for name in names(repo, where):
        if found := pattern.fullmatch(name):
            step, tokens = _step_of(card, found.groupdict())
            place = {key: "" if key == where else getattr(card, key).format(**run) for key in TEMPLATES[1:]}
            yield step, tokens, _source(card, {**place, "repo": repo, where: name})


def _source(card: Card, place: Mapping[str, str]) -> dict[str, Any]:
    kept = {key: value for key, value in place.items() if value}
    return {"kind": "hub", "layout": card.layout, **kept, **({"tokenizer": card.tokenizer} if card.tokenizer else {})}


def listed_steps(steps: Sequence[int | Sequence[int]]) -> list[int]:
    """The steps of a card's list, in which [first, last, by] stands for first, first + by, … up to last; ascending."""
    found: set[int] = set()
    for entry in steps:
        if isinstance(entry, int):
            found.add(entry)
        else:
            first, last, by = entry
            found.update(range(first, last + 1, by))
    return sorted(found)


def _holds_step(template: str) -> bool:
    return bool({name for _, name, _, _ in Formatter().parse(template)} & {"step", "billions"})


def _pattern(template: str, run: Mapping[str, Any]) -> re.Pattern[str]:
    """The regular expression of the names that a template makes: the run's fields filled in, the step's captured."""
    parts = []
    for text, name, _, _ in Formatter().parse(template):
        parts.append(re.escape(text))
        if name is not None:
            parts.append(_CAPTURED[name] if name in _CAPTURED else re.escape(str(run[name])))
    return re.compile("".join(parts))


def _step_of(card: Card, found: Mapping[str, str]) -> tuple[int, int | None]:
    """Step and tokens that a name gives; the one that it leaves out follows from the tokens in a step."""
    tokens = round(float(found["billions"]) * 1e9) if found.get("billions") else None
    if found.get("step"):
        step = int(found["step"])
        return step, tokens if card.tokens_per_step is None else step * card.tokens_per_step
    assert tokens is not None
    if card.tokens_per_step is None:
        return round(tokens / 1e6), tokens
    step = round(tokens / card.tokens_per_step)
    return step, step * card.tokens_per_step


_OWN_FIELDS = ("size", "setting", "seed", "step", "thousands", "billions", "any")
_MOST_STEPS = 1_000_000


def _check(card: Card, *, where: str) -> None:
    if card.layout not in LAYOUTS:
        raise unknown(f"layout in {where}", card.layout, LAYOUTS)
    for key in ("name", "repo", "revision", "subfolder", "file", "tokenizer"):
        value = getattr(card, key)
        if not isinstance(value, str) and not (key == "tokenizer" and value is None):
            raise InputError(f"{where}: {key} is {value!r}, expected text")
    if card.tokens_per_step is not None and not (_is_whole(card.tokens_per_step) and card.tokens_per_step > 0):
        raise InputError(f"{where}: tokens_per_step is {card.tokens_per_step!r}, expected a whole number above 0")
    if not isinstance(card.about, Mapping):
        raise InputError(f"{where}: about is {card.about!r}, expected a mapping")
    for kind in ("sizes", "settings"):
        if not isinstance(getattr(card, kind), Mapping) or not getattr(card, kind):
            raise InputError(f"{where}: {kind} is {getattr(card, kind)!r}, expected a mapping of names to fields")
        for name, own in getattr(card, kind).items():
            if not isinstance(name, str) or not (own is None or isinstance(own, Mapping)):
                raise InputError(
                    f"{where}: {kind} has {name!r}: {own!r}, expected a name (text) and a mapping of fields"
                )
            _check_fields(own or {}, where=f"{where}: {kind}, {name}")
    if not isinstance(card.seeds, list | tuple) or not card.seeds or not all(map(_is_whole, card.seeds)):
        raise InputError(f"{where}: seeds is {card.seeds!r}, expected a list of whole numbers")
    _check_runs(card, where=where)
    _check_steps(card, where=where)
    for run in _runs(card):
        for key in TEMPLATES:
            _check_template(getattr(card, key), run, where=f"{where}: {key}")
    _check_places(card, where=where)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_fields(own: Mapping[str, Any], *, where: str) -> None:
    """The fields of a size or a setting; n_params, where it is given, a number."""
    for name in own:
        if name in _OWN_FIELDS:
            raise InputError(f"{where}: the field {name!r} has a meaning of its own; call it something else")
    if not (_is_whole(own.get("n_params", 0)) and own.get("n_params", 0) >= 0):
        raise InputError(f"{where}: n_params is {own['n_params']!r}, expected a whole number")


def _check_runs(card: Card, *, where: str) -> None:
    if card.runs is None:
        return
    if not isinstance(card.runs, list | tuple) or not card.runs or not all(isinstance(r, Mapping) for r in card.runs):
        raise InputError(f"{where}: runs is {card.runs!r}, expected a list of mappings, each with its size")
    for run in card.runs:
        if str(run.get("size")) not in card.sizes:
            raise unknown(f"size in runs of {where}", run.get("size"), card.sizes)
        if not _is_whole(run.get("seed", 0)) or not isinstance(run.get("setting", ""), str):
            raise InputError(
                f"{where}: the run {dict(run)!r} has a seed that is no number or a setting that is no text"
            )


def _check_template(template: str, run: Mapping[str, Any], *, where: str) -> None:
    try:
        names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
        if not all(name.isidentifier() for name in names if name):
            raise ValueError("a field is the name of a size's, a setting's or a run's field and nothing more")
        template.format(**{**run, "step": 0, "thousands": 0, "billions": 0, "any": ""})
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(f"{where} {template!r} cannot be filled in for {run['size']}: {error}") from error


def _check_places(card: Card, *, where: str) -> None:
    """Every checkpoint lies somewhere else."""
    holding = any(_names_step(getattr(card, key)) for key in TEMPLATES)
    if not isinstance(card.steps, str) and len(listed_steps(card.steps)) > 1 and not holding:
        raise InputError(f"{where}: there are several steps, but no template has {{step}} or {{thousands}}")
    filled = {"step": 0, "thousands": 0, "billions": 0, "any": ""}
    found: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for run in _runs(card):
        place = tuple(getattr(card, key).format(**{**run, **filled}) for key in TEMPLATES)
        other = found.setdefault(place, run)
        if other is not run:
            one, two = (f"{r['size']}/{r['setting']}/seed{r['seed']}" for r in (other, run))
            raise InputError(f"{where}: {one} and {two} lie at the same place, {place[0]}")


def _names_step(template: str) -> bool:
    return _holds_step(template) or "thousands" in {name for _, name, _, _ in Formatter().parse(template)}


def _check_steps(card: Card, *, where: str) -> None:
    if isinstance(card.steps, str):
        if card.steps != "hub":
            raise unknown(f"word for steps in {where}", card.steps, ["hub"])
        holding = [key for key in TEMPLATES[1:] if _holds_step(getattr(card, key))]
        if not holding:
            raise InputError(f"{where}: steps are to be asked of the hub, but no template has {{step}} or {{billions}}")
        if len(holding) > 1:
            raise InputError(
                f"{where}: steps are asked of the hub for one template, and {' and '.join(holding)} have one"
            )
        return
    if not _are_steps(card.steps):
        raise InputError(
            f"{where}: steps is {card.steps!r}, expected 'hub' or a list of numbers and [first, last, by] "
            f"(at most {_MOST_STEPS} steps)"
        )


def _are_steps(steps: Any) -> bool:
    if not isinstance(steps, list | tuple) or not steps:
        return False
    ranges = [entry for entry in steps if not _is_whole(entry)]
    if not all(isinstance(entry, list | tuple) and len(entry) == 3 and all(map(_is_whole, entry)) for entry in ranges):
        return False
    if not all(by > 0 and (last - first) // by < _MOST_STEPS for first, last, by in ranges):
        return False
    found = listed_steps(steps)
    return bool(found) and found[0] >= 0
