"""Repositories of the hub by their own names: `org/name[@revision]`, and the steps that the names of revisions say."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from interp.documents.records import LABEL, MOST
from interp.types import CheckpointRef

SIZE, SETTING = "own", "base"
"""Of a repository: its name says neither in a form that all share."""

_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w.+=-]+(?:/[\w.+=-]+)*))?")
_STEP = re.compile(
    r"(?:(?P<before>[A-Za-z][\w.+=-]*?)[-_])??"
    r"(?:global[-_]?step|checkpoint|ckpt|step|iter(?:ation)?)[-_]?(?P<step>\d+)(?P<unit>[kKmM]?)"
    r"(?:[-_]tokens[-_]?(?P<tokens>\d+(?:\.\d+)?)(?P<scale>[kKMBT]?))?"
    r"(?:[-_](?P<after>[A-Za-z][\w.+=-]*))?"
)
"""The names in use: step1000, step1000-tokens4B (Pythia, OLMo), stage1-step…, stage2-ingredient1-step… (OLMo 2 and 3),
checkpoint-100 (transformers' trainer), global_step1000 (BLOOM), ckpt_000 (Amber), stage1-step-40000 (SmolLM3)."""

_BARE = re.compile(r"(?P<step>\d+)(?P<unit>[kK])")
_SCALES = {"": 1, "k": 10**3, "K": 10**3, "m": 10**6, "M": 10**6, "B": 10**9, "T": 10**12}
SHOWN = 5
"""Names in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a revision's name says: `setting` is all that is neither step, tokens nor seed (`stage1`, `stage2-ingredient1`)."""

    setting: str
    seed: int
    step: int
    tokens: int | None


def split_id(text: str) -> tuple[str, str] | None:
    """Repository and revision (`main` where none is given) of `org/name[@revision]`; None for what is not of that form."""
    found = _ID.fullmatch(text)
    if found is None or ".." in text:
        return None
    return found["repo"], found["revision"] or "main"


def read_revision(name: str) -> Said | None:
    """What the name of a revision says; None for one that names no step in a form that is known."""
    found = _STEP.fullmatch(name) or _BARE.fullmatch(name)
    if found is None:
        return None
    parts = found.groupdict()
    step = int(parts["step"]) * _SCALES[parts["unit"]]
    tokens = parts.get("tokens")
    seeded = re.fullmatch(r"seed[-_]?(\d+)", parts.get("after") or "")
    setting = "-".join(filter(None, (parts.get("before"), None if seeded else parts.get("after")))) or SETTING
    if not LABEL.test(setting) or step > MOST:
        return None
    return Said(
        setting=setting,
        seed=int(seeded[1]) if seeded else 0,
        step=step,
        tokens=None if tokens is None else round(float(tokens) * _SCALES[parts["scale"]]),
    )


def revision_ref(repo: str, revision: str) -> CheckpointRef:
    """The checkpoint behind a revision; one whose name says no step is step 0 of a setting of that name."""
    said = read_revision(revision)
    if said is None:
        said = Said(setting=revision.replace("/", "-"), seed=0, step=0, tokens=None)
    return _ref(repo, revision, said)


def discovered(repo: str, revisions: Sequence[str]) -> tuple[list[CheckpointRef], list[str]]:
    """The checkpoints that the names of a repository's revisions say, in no order; and the names that fit no pattern, or say
    the very step of another one, so that it cannot be told which is meant."""
    by_place: dict[Any, list[tuple[str, Said]]] = defaultdict(list)
    unread = []
    for name in dict.fromkeys(revisions):
        said = read_revision(name)
        if said is None:
            unread.append(name)
        else:
            by_place[said.setting, said.seed, said.step].append((name, said))
    refs = [_ref(repo, *found[0]) for found in by_place.values() if len(found) == 1]
    unread += [name for found in by_place.values() if len(found) > 1 for name, _ in found]
    return refs, unread


def tell_unread(repo: str, unread: Sequence[str], *, n: int) -> None:
    """Warns of revisions that are no checkpoint of a family with n others; `main` alone is the last one again."""
    if set(unread) - {"main"} or (unread and not n):
        names = sorted(unread)
        shown = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
        warnings.warn(
            f"{repo}: {len(names)} of {len(names) + n} revisions fit no pattern with a step of its own and are left out: "
            f"{shown} (each loads as {repo}@REVISION)",
            stacklevel=4,
        )


def _ref(repo: str, revision: str, said: Said) -> CheckpointRef:
    source = {"kind": "hub", "layout": "transformers", "repo": repo, "revision": revision}
    return CheckpointRef(
        family=repo,
        size=SIZE,
        setting=said.setting,
        seed=said.seed,
        step=said.step,
        tokens=said.tokens,
        manifest={"source": source},
    )
