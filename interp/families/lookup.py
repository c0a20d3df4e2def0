"""A family of checkpoints by name, and one checkpoint by address."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.errors import InputError, unknown
from interp.families import folder as own_folder
from interp.families import store
from interp.families.address import format_address, parse_address
from interp.families.card import Card, card_names, hub_checkpoints, read_card, unread_names
from interp.families.hub_ids import SIZE, discovered, split_id, tell_unread
from interp.families.read import source_kind
from interp.families.weights import is_whole
from interp.figures.text import html, listed, told
from interp.types import Address, CheckpointRef

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

RECIPES = "experiments/recipes"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Family:
    """Checkpoints of one kind of model over sizes, settings, seeds and steps.

    origin: "store", "folder", "recipe" (planned, not trained yet) or "hub".
    about: what a card says of the family (licence, known defects, …), empty otherwise.
    find: the checkpoints of some sizes, of all for None, in order: what a hub lists is asked for only where it is
        wanted.
    unread: the names that a hub lists and that fit no pattern of the family, so that they are no checkpoints of it.
    damaged: folders of the store whose manifest is not what was written, and what is wrong: they are left out.
    """

    name: str
    origin: str
    sizes: tuple[str, ...]
    about: Mapping[str, Any]
    find: Callable[[Sequence[str] | None], list[CheckpointRef]]
    unread: Callable[[], list[str]] = list
    damaged: Mapping[Path, InputError] = field(default_factory=dict)

    def __repr__(self) -> str:
        licence = self.about.get("licence")
        n = "" if self.origin == "hub" else f"{len(self.refs)} checkpoints"
        return told(
            f"Family {self.name} ({self.origin}): {len(self.sizes)} sizes: {listed(self.sizes)}",
            n,
            f"licence {licence}" if licence else "",
            ".checkpoints(size=, setting=, seed=, step=), .plot(), .to_pandas()",
        )

    def _repr_html_(self) -> str:
        return html(repr(self), [] if self.origin == "hub" else self.to_pandas().to_dict("records"))

    def to_pandas(self) -> pd.DataFrame:
        """A row a checkpoint: size, setting, seed, step, tokens (None where its manifest does not say)."""
        import pandas as pd

        names = ("size", "setting", "seed", "step", "tokens")
        return pd.DataFrame([{name: getattr(ref, name) for name in names} for ref in self.refs], columns=list(names))

    def plot(self) -> go.Figure:
        """Which checkpoints there are: a row a run, a mark a checkpoint, on the log step axis; colours say the size."""
        from interp.families.figure import family_figure

        return family_figure(self)

    @property
    def refs(self) -> list[CheckpointRef]:
        """All checkpoints, in order."""
        return self.find(None)

    def checkpoints(
        self,
        *,
        size: str | Sequence[str] | None = None,
        setting: str | Sequence[str] | None = None,
        seed: int | Sequence[int] | None = None,
        step: int | Sequence[int] | None = None,
    ) -> list[CheckpointRef]:
        """The checkpoints of these sizes, settings, seeds and steps (one value or several; None: all), in order.

        Raises:
            InputError: a value that no checkpoint of the family has.
        """
        sizes = None if size is None else [size] if isinstance(size, str) else list(size)
        for name in sizes or ():
            if name not in self.sizes:
                raise unknown(f"size of {self.name}", name, self.sizes)
        found = self.find(sizes)
        for kind, wanted in (("setting", setting), ("seed", seed), ("step", step)):
            if wanted is not None:
                found = _narrow(found, kind, wanted, of=self.name)
        return found


def families(root: str | Path | None = None) -> list[str]:
    """The names that `family` knows: stored, in recipes, on cards."""
    return sorted({*store.stored_families(store.store_root(root)), *recipes(), *card_names()})


def family(name: str, *, root: str | Path | None = None) -> Family:
    """The family `name`: looked up in the store, then among the recipes of ./experiments/recipes, then among the hub
    cards.

    A path of a folder is taken as a family of its own: checkpoints as Hugging Face trainers write them
    (`checkpoint-500/`), folders `step500/`, state dicts `step500.safetensors` or legacy `*_500.pth` beside a
    config.json, or a part of a store. A repository of a hub by its own name, `org/name`, is one too: its steps, tokens
    and stages are read from the names of its revisions, and a warning counts those that say none (`unread` names them).

    Raises:
        InputError: no such family; the nearest name is given.
    """
    top = store.store_root(root)
    if name in store.stored_families(top):
        return _stored(top, name)
    if name in (grown := recipes()):
        return _family(name, "recipe", _planned(grown[name]))
    if name in card_names() or (name.endswith(".yaml") and Path(name).is_file()):
        return _on_hub(name, read_card(name))
    if Path(name).is_dir():
        return _family(name, "folder", own_folder.folder_checkpoints(Path(name)))
    if (named := split_id(name)) is not None and "@" not in name and not Path(name).parent.is_dir():
        return _repository(named[0])
    raise unknown("family", name, families(root))


def resolve(address: str | Address, *, root: str | Path | None = None) -> CheckpointRef:
    """The one checkpoint that an address names. A part may be left out only where there is one choice.

    Raises:
        InputError: no such family, size, setting, seed or step (the nearest is named); a part left out that has several
            choices; a checkpoint whose writing was cut short or whose weights are truncated.
    """
    wanted = parse_address(address) if isinstance(address, str) else address
    found_family = family(wanted.family, root=root)
    _refuse_damaged(wanted, found_family.damaged)
    size = wanted.size
    if size is None and len(found_family.sizes) > 1:
        raise _left_out(wanted, "size", found_family.sizes)
    found = found_family.checkpoints(size=size)
    for kind in ("setting", "seed", "step"):
        value = getattr(wanted, kind)
        if value is not None:
            if kind == "step" and found_family.origin == "store":
                _refuse_incomplete(wanted, found, store.store_root(root))
            found = _narrow(found, kind, value, of=_up_to(wanted, kind))
        elif len(choices := dict.fromkeys(getattr(ref, kind) for ref in found)) > 1:
            raise _left_out(wanted, kind, choices)
    if not found:
        raise InputError(f"family {wanted.family!r} has no complete checkpoint")
    ref = found[0]
    if ref.path is not None and source_kind(ref) is None and not is_whole(weights := ref.path / store.WEIGHTS):
        what = "truncated or damaged" if weights.is_file() else "missing"
        raise InputError(f"{format_address(ref)}: {weights} is {what}; remove {ref.path} and make it again")
    return ref


def _left_out(wanted: Address, kind: str, choices: Iterable[Any]) -> InputError:
    listed = [str(choice) for choice in choices]
    shown = ", ".join(listed[:8]) + (", …" if len(listed) > 8 else "")
    return InputError(f"{format_address(wanted)!r} leaves out the {kind}, and there are several: {shown}")


def _up_to(wanted: Address, kind: str) -> str:
    """The address without `kind` and what comes after it."""
    kept = ("size", "setting", "seed")[: ("setting", "seed", "step").index(kind) + 1]
    return format_address(Address(family=wanted.family, **{name: getattr(wanted, name) for name in kept}))


def _family(name: str, origin: str, refs: Iterable[CheckpointRef]) -> Family:
    ordered = sorted(refs, key=store.order)

    def find(sizes: Sequence[str] | None) -> list[CheckpointRef]:
        return [ref for ref in ordered if sizes is None or ref.size in sizes]

    return Family(
        name=name, origin=origin, sizes=tuple(dict.fromkeys(ref.size for ref in ordered)), about={}, find=find
    )


def _stored(root: Path, name: str) -> Family:
    """The family in a store; a manifest that is damaged hides only its own checkpoint, and is told of."""
    refs, damaged = store.stored_checkpoints(root, name)
    if not refs:
        raise next(iter(damaged.values()))
    for error in damaged.values():
        warnings.warn(f"{error}; left out (`interp verify {name}`)", stacklevel=4)
    return replace(_family(name, "store", refs), damaged=damaged)


def _on_hub(name: str, card: Card) -> Family:
    """The family of a card; `name` is how it was asked for: the card's name or the path of its file."""
    from interp.families.hub import published

    def find(sizes: Sequence[str] | None) -> list[CheckpointRef]:
        refs = [replace(ref, family=name) for ref in hub_checkpoints(card, published, sizes=sizes)]
        for repo, unread in unread_names(card, published, sizes=sizes).items():
            tell_unread(repo, unread, n=sum(ref.manifest["source"]["repo"] == repo for ref in refs))
        return refs

    def unread() -> list[str]:
        return [f"{repo}@{one}" for repo, names in unread_names(card, published).items() for one in names]

    return Family(name=name, origin="hub", sizes=tuple(card.sizes), about=card.about, find=find, unread=unread)


def _repository(repo: str) -> Family:
    """The family of a repository's revisions."""
    from interp.families.hub import published

    def find(sizes: Sequence[str] | None) -> list[CheckpointRef]:
        refs, unread = discovered(repo, published(repo, "revision"))
        tell_unread(repo, unread, n=len(refs))
        return sorted(refs, key=store.order) if sizes is None or SIZE in sizes else []

    def unread() -> list[str]:
        return discovered(repo, published(repo, "revision"))[1]

    return Family(name=repo, origin="hub", sizes=(SIZE,), about={}, find=find, unread=unread)


def _narrow(refs: Sequence[CheckpointRef], kind: str, wanted: Any, *, of: str) -> list[CheckpointRef]:
    """The checkpoints whose `kind` is one of the wanted values."""
    values = [wanted] if isinstance(wanted, str | int) else list(wanted)
    have = dict.fromkeys(getattr(ref, kind) for ref in refs)
    for value in values:
        if value in have:
            continue
        if kind == "step" and have and isinstance(value, int):
            near = min(have, key=lambda step: (abs(step - value), step))
            raise InputError(f"{of} has no step {value}; the nearest is {near}")
        raise unknown(f"{kind} of {of}", value, have)
    return [ref for ref in refs if getattr(ref, kind) in values]


def _refuse_damaged(wanted: Address, damaged: Iterable[Path]) -> None:
    """Raises Damaged where the address selects a checkpoint whose manifest is not what was written."""
    for folder in damaged:
        if _selects(wanted, folder):
            store.read_manifest(folder)


def _refuse_incomplete(wanted: Address, found: Sequence[CheckpointRef], root: Path) -> None:
    """Raises InputError where the very step asked for is there, without its manifest."""
    for folder in store.incomplete_folders(root, wanted.family):
        if _selects(wanted, folder) and not any(ref.step == wanted.step for ref in found):
            store.read_manifest(folder)


def _selects(wanted: Address, folder: Path) -> bool:
    """Whether a folder of the store lies where an address points."""
    size, setting, seed, step = folder.parts[-4:]
    asked = (
        (wanted.size, size),
        (wanted.setting, setting),
        (None if wanted.seed is None else f"seed{wanted.seed}", seed),
        (None if wanted.step is None else f"step{wanted.step}", step),
    )
    return all(part in (None, here) for part, here in asked)


def recipes() -> dict[str, Path]:
    """The recipes of the present folder, and behind them the shipped ones, by the family that they grow."""
    from interp.documents import read_document, shipped

    found: dict[str, Path] = {}
    for path in [*shipped("recipe").values(), *sorted(Path(RECIPES).glob("*.yaml"))]:
        try:
            found[str(read_document(path).get("name", path.stem))] = path
        except InputError:
            continue  # a recipe that cannot be read is told of when it is trained
    return found


def _planned(path: Path) -> Iterable[CheckpointRef]:
    from interp.families.planned import planned_runs

    for run in planned_runs(path):
        for step in run.schedule:
            yield CheckpointRef(
                family=run.family,
                size=run.size,
                setting=run.setting,
                seed=run.seed,
                step=step,
                manifest={"recipe_file": str(path), "budget": run.steps, "task": run.task},
            )
