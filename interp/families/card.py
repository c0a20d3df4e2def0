"""A card: one YAML file that says where the checkpoints of a public family are. `cards/` has one a family."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from string import Formatter
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from interp.documents import read_document, short
from interp.documents.records import (
    LABEL,
    MOST,
    Fields,
    Fits,
    Label,
    Line,
    Name,
    Plain,
    is_whole,
    one_of,
    read_record,
    record,
    whole,
)
from interp.errors import InputError, unknown
from interp.types import CheckpointRef

FOLDER = Path(__file__).parent / "cards"
LAYOUTS = ("transformers", "legacy")
TEMPLATES = ("repo", "revision", "subfolder", "file")
_CAPTURED = {"step": r"(?P<step>\d+)", "billions": r"(?P<billions>\d+(?:\.\d+)?)", "any": r".*?"}


_OWN_FIELDS = ("size", "setting", "seed", "step", "thousands", "billions", "any")
MAX_STEPS = 1_000_000
"""Of a card. A choice: as many as a run of a million steps can store."""

MAX_RUNS = 10_000
"""Of a card. A choice: the largest public family that is known has 225."""

_OPEN = {"step": 0, "thousands": 0, "billions": 0, "any": ""}
"""The fields that a checkpoint fills, while there is none."""

_FORMAT = re.compile(r"0?\d{0,2}d?")
"""What may stand behind the colon of a field, as in {step:03d}; wider formats would write gigabytes."""


def _are_steps(steps: Any) -> bool:
    if isinstance(steps, str):
        return steps == "hub"
    if not isinstance(steps, list | tuple) or not steps:
        return False
    ranges = [entry for entry in steps if not is_whole(entry)]
    if not all(isinstance(entry, list | tuple) and len(entry) == 3 and all(map(is_whole, entry)) for entry in ranges):
        return False
    if not all(first <= last and by > 0 and (last - first) // by < MAX_STEPS for first, last, by in ranges):
        return False
    if sum((last - first) // by + 1 for first, last, by in ranges) + len(steps) > 2 * MAX_STEPS:
        return False
    found = listed_steps(steps)
    return found[0] >= 0 and found[-1] <= MOST and len(found) <= MAX_STEPS


def _no_own_field(fields: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The fields of a size or a setting; n_params, where it is given, a number."""
    for name in fields or {}:
        if name in _OWN_FIELDS:
            raise InputError(f"the field {name!r} has a meaning of its own; call it something else")
    if not whole().test((fields or {}).get("n_params", 0)):
        raise InputError(f"n_params is {short((fields or {})['n_params'])}; expected {whole().phrase}")
    return fields or {}


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 500 and (value.isprintable() or not value)


Template = Annotated[str, Fits("text of one line, at most 500 characters", _text)]
Own = Annotated[Fields, AfterValidator(_no_own_field)]
Steps = Annotated[
    Any, Fits(f"'hub' or a list of numbers and [first, last, by] (at most {MAX_STEPS} steps)", _are_steps)
]


@record
class Card:
    """A public family. `repo`, `revision`, `subfolder` and `file` are templates over {size}, {setting}, {seed}, {step},
    {thousands} (of steps) and the fields that a size, setting or run brings along."""

    name: Name
    """What the family is called."""
    repo: Line
    """The repository on the hub."""
    sizes: Annotated[Mapping[Label, Own], Field(min_length=1)]
    """Name: fields for the templates (`n_params` among them, for plans)."""
    steps: Steps
    """Numbers and ranges [first, last, by], or `hub`: then the hub is asked, and the template that holds {step} or
    {billions} (of tokens) is matched against the names that it has."""
    settings: Annotated[Mapping[Label, Own], Field(min_length=1)] = Field(default_factory=lambda: {"base": {}})
    """Name: fields for the templates."""
    seeds: Annotated[tuple[Annotated[int, whole()], ...], Field(min_length=1)] = (0,)
    """The seeds that there are."""
    runs: Annotated[tuple[Plain, ...], Field(min_length=1, max_length=MAX_RUNS)] | None = None
    """Instead of the product of sizes, settings and seeds, the runs there are, each with its size and its fields."""
    revision: Template = "main"
    """The revision of the repository."""
    subfolder: Template = ""
    """The folder in it."""
    file: Template = ""
    """The file in it, for the layout `legacy`."""
    layout: Annotated[str, one_of(*LAYOUTS)] = "transformers"
    """`transformers`, or `legacy` for TransformerLens' old `.pth` files."""
    tokens_per_step: Annotated[int, whole(1)] | None = None
    """Tokens in a batch."""
    tokenizer: Line | None = None
    """The repository that it is in, where the checkpoints bring none that works."""
    about: Plain = Field(default_factory=dict)
    """Licence, paper, notes, known defects, for people."""


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
    where = f"card {path.name}"
    card = read_record(Card, read_document(path), where=where)
    _check(card, where=where)
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


def _check(card: Card, *, where: str) -> None:
    """What the record's fields alone do not say: runs have a size, templates are filled, no two checkpoints meet."""
    for index, run in enumerate(card.runs or ()):
        at = f"{where}: runs[{index}]"
        if not isinstance(run.get("size"), str) or run["size"] not in card.sizes:
            raise InputError(f"{at}.size: {unknown('size', run.get('size'), card.sizes)}")
        if not whole().test(run.get("seed", 0)):
            raise InputError(f"{at}.seed is {short(run['seed'])}; expected {whole().phrase}")
        if not LABEL.test(run.get("setting", "base")):
            raise InputError(f"{at}.setting is {short(run['setting'])}; expected {LABEL.phrase}")
    if card.runs is None and len(card.sizes) * len(card.settings) * len(card.seeds) > MAX_RUNS:
        raise InputError(f"{where}: sizes, settings and seeds give more than {MAX_RUNS} runs")
    for run in _runs(card):
        for key in TEMPLATES:
            _check_template(getattr(card, key), run, where=f"{where}: {key}")
    _check_steps(card, where=where)
    _check_places(card, where=where)


def _check_template(template: str, run: Mapping[str, Any], *, where: str) -> None:
    try:
        fields = [(name, form or "", how) for _, name, form, how in Formatter().parse(template) if name is not None]
        if not all(name.isidentifier() and _FORMAT.fullmatch(form) and how is None for name, form, how in fields):
            raise ValueError("a field is the name of a size's, a setting's or a run's field, with at most a width")
        filled = template.format(**{**run, **_OPEN})
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise InputError(f"{where} {template!r} cannot be filled in for {run['size']}: {error}") from error
    if {"..", "."} & set(re.split(r"[/\\]", filled)) or filled.startswith(("/", "~")) or re.match(r"\w:", filled):
        raise InputError(
            f"{where} {template!r} gives {short(filled)} for {run['size']}; expected no way out of its folder"
        )


def _check_places(card: Card, *, where: str) -> None:
    """Every checkpoint lies somewhere else."""
    holding = any(_names_step(getattr(card, key)) for key in TEMPLATES)
    if not isinstance(card.steps, str) and len(listed_steps(card.steps)) > 1 and not holding:
        raise InputError(
            f"{where}: there are several steps, and none of {', '.join(TEMPLATES)} has {{step}} or {{thousands}}"
        )
    found: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for run in _runs(card):
        place = tuple(getattr(card, key).format(**{**run, **_OPEN}) for key in TEMPLATES)
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", place[0]):
            raise InputError(f"{where}: repo gives {short(place[0])} for {run['size']}; expected owner/name")
        other = found.setdefault(place, run)
        if other is not run:
            one, two = (f"{r['size']}/{r['setting']}/seed{r['seed']}" for r in (other, run))
            raise InputError(f"{where}: {one} and {two} lie at the same place, {place[0]}")


def _names_step(template: str) -> bool:
    return _holds_step(template) or "thousands" in {name for _, name, _, _ in Formatter().parse(template)}


def _check_steps(card: Card, *, where: str) -> None:
    """Where the hub is asked, it is asked for one template."""
    holding = [key for key in TEMPLATES[1:] if _holds_step(getattr(card, key))]
    if isinstance(card.steps, str) and len(holding) != 1:
        raise InputError(
            f"{where}: steps are asked of the hub for one template with {{step}} or {{billions}}, and "
            f"{' and '.join(holding) or 'none'} has one"
        )
