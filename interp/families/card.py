"""A card: one YAML file that says where the checkpoints of a public family are. `cards/` has one a family."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from interp.documents import read_document, short
from interp.documents.records import (
    LABEL,
    Fields,
    Fits,
    Label,
    Line,
    Name,
    Plain,
    one_of,
    read_record,
    record,
    whole,
)
from interp.errors import InputError, unknown
from interp.families.card_steps import MAX_STEPS, are_steps, listed_steps
from interp.families.templates import (
    OPEN,
    OWN_FIELDS,
    TEMPLATES,
    check_template,
    holds_step,
    names_step,
    pattern_of,
    step_of,
)
from interp.types import CheckpointRef

FOLDER = Path(__file__).parent / "cards"
LAYOUTS = ("transformers", "legacy")

MAX_RUNS = 10_000
"""Of a card. A choice: the largest public family that is known has 225."""


def _no_own_field(fields: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The fields of a size or a setting; n_params, where it is given, a number."""
    for name in fields or {}:
        if name in OWN_FIELDS:
            raise InputError(f"the field {name!r} has a meaning of its own; call it something else")
    if not whole().test((fields or {}).get("n_params", 0)):
        raise InputError(f"n_params is {short((fields or {})['n_params'])}; expected {whole().phrase}")
    return fields or {}


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 500 and (value.isprintable() or not value)


Template = Annotated[str, Fits("text of one line, at most 500 characters", _text)]
Own = Annotated[Fields, AfterValidator(_no_own_field)]
Steps = Annotated[
    Any,
    Fits(
        f"'hub', 'unknown', names with their steps or a list of numbers and [first, last, by] (at most {MAX_STEPS} steps)",
        are_steps,
    ),
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
    {billions} (of tokens) is matched against the names that it has. Where names say no number, each name with its step,
    for {named}. `unknown` where no name leads to a step: then `about.unreachable` says why."""
    settings: Annotated[Mapping[Label, Own], Field(min_length=1)] = Field(default_factory=lambda: {"base": {}})
    """Name: fields for the templates."""
    seeds: Annotated[tuple[Annotated[int, whole()], ...], Field(min_length=1)] = (0,)
    """The seeds that there are."""
    seed_names: tuple[Label, ...] | None = None
    """What names call these seeds, one each, for {seed_name}."""
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

    Raises:
        InputError: the card knows of no way to the steps.
    """
    if card.steps == "unknown":
        raise InputError(f"{card.name}: {card.about.get('unreachable', 'no name on the hub leads to a step')}")
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
        return None if card.steps == "hub" else 0
    return len(list(_runs(card))) * len(listed_steps(card.steps))


def _runs(card: Card) -> Iterator[dict[str, Any]]:
    """The fields of every run for the templates."""
    if card.runs is not None:
        for run in card.runs:
            yield {"setting": "base", "seed": 0, **(card.sizes[run["size"]] or {}), **run}
        return
    for size, setting, (place, seed) in product(card.sizes, card.settings, enumerate(card.seeds)):
        own = {**(card.sizes[size] or {}), **(card.settings[setting] or {})}
        if card.seed_names is not None:
            own["seed_name"] = card.seed_names[place]
        yield {"size": size, "setting": setting, "seed": seed, **own}


def _steps(
    card: Card, run: Mapping[str, Any], names: Callable[[str, str], Sequence[str]]
) -> Iterator[tuple[int, int | None, dict[str, Any]]]:
    """(step, tokens, source) of every checkpoint of a run."""
    if not isinstance(card.steps, str):
        named = {step: name for name, step in card.steps.items()} if isinstance(card.steps, Mapping) else {}
        for step in listed_steps(card.steps):
            filled = {**run, "step": step, "thousands": step // 1000, "named": named.get(step, "")}
            place = {key: getattr(card, key).format(**filled) for key in TEMPLATES}
            yield step, None if card.tokens_per_step is None else step * card.tokens_per_step, _source(card, place)
        return
    repo = card.repo.format(**run)
    where = next(key for key in TEMPLATES[1:] if holds_step(getattr(card, key)))
    pattern = pattern_of(getattr(card, where), run)
    for name in names(repo, where):
        if found := pattern.fullmatch(name):
            step, tokens = step_of(found.groupdict(), card.tokens_per_step)
            place = {key: "" if key == where else getattr(card, key).format(**run) for key in TEMPLATES[1:]}
            yield step, tokens, _source(card, {**place, "repo": repo, where: name})


def _source(card: Card, place: Mapping[str, str]) -> dict[str, Any]:
    kept = {key: value for key, value in place.items() if value}
    return {"kind": "hub", "layout": card.layout, **kept, **({"tokenizer": card.tokenizer} if card.tokenizer else {})}


def unread_names(
    card: Card, names: Callable[[str, str], Sequence[str]], *, sizes: Sequence[str] | None = None
) -> dict[str, list[str]]:
    """For each repository that is asked for its steps and has any, the names that fit no run of the card (of some sizes)."""
    if card.steps != "hub":
        return {}
    where = next(key for key in TEMPLATES[1:] if holds_step(getattr(card, key)))
    kind = Path(getattr(card, where)).suffix if where == "file" else ""
    runs: dict[str, list[dict[str, Any]]] = {}
    for run in _runs(card):
        runs.setdefault(card.repo.format(**run), []).append(run)
    found = {}
    for repo, here in runs.items():
        chosen = sizes is None or any(run["size"] in sizes for run in here)
        if chosen and (listed := [name for name in names(repo, where) if name.endswith(kind)]):
            patterns = [pattern_of(getattr(card, where), run) for run in here]
            found[repo] = [name for name in listed if not any(pattern.fullmatch(name) for pattern in patterns)]
    return found


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
    if card.seed_names is not None and (card.runs is not None or len(card.seed_names) != len(card.seeds)):
        raise InputError(f"{where}: seed_names are {len(card.seed_names)}; expected one a seed, and no runs")
    if card.runs is None and len(card.sizes) * len(card.settings) * len(card.seeds) > MAX_RUNS:
        raise InputError(f"{where}: sizes, settings and seeds give more than {MAX_RUNS} runs")
    for run in _runs(card):
        for key in TEMPLATES:
            check_template(getattr(card, key), run, where=f"{where}: {key}")
    _check_steps(card, where=where)
    _check_places(card, where=where)


def _check_places(card: Card, *, where: str) -> None:
    """Every checkpoint lies somewhere else."""
    holding = any(names_step(getattr(card, key)) for key in TEMPLATES)
    if not isinstance(card.steps, str) and len(listed_steps(card.steps)) > 1 and not holding:
        raise InputError(
            f"{where}: there are several steps, and none of {', '.join(TEMPLATES)} has {{step}} or {{thousands}}"
        )
    found: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for run in _runs(card):
        place = tuple(getattr(card, key).format(**{**run, **OPEN}) for key in TEMPLATES)
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", place[0]):
            raise InputError(f"{where}: repo gives {short(place[0])} for {run['size']}; expected owner/name")
        other = found.setdefault(place, run)
        if other is not run:
            one, two = (f"{r['size']}/{r['setting']}/seed{r['seed']}" for r in (other, run))
            raise InputError(f"{where}: {one} and {two} lie at the same place, {place[0]}")


def _check_steps(card: Card, *, where: str) -> None:
    """Where the hub is asked, it is asked for one template."""
    holding = [key for key in TEMPLATES[1:] if holds_step(getattr(card, key))]
    if card.steps == "hub" and len(holding) != 1:
        raise InputError(
            f"{where}: steps are asked of the hub for one template with {{step}} or {{billions}}, and "
            f"{' and '.join(holding) or 'none'} has one"
        )
