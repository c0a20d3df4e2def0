"""The lock: what the analysis was before the held-out rows were measured.

`LOCK` has a line a lock, the last one in force: `sha256:…`, the date, and why. The digest is of the protocol, the recipes, the
experiments and the code that evaluates; `locks/<first 12 digits>.json` keeps the digest of every file, so that what was changed
afterwards has a name. A held-out row carries the lock it was measured under.
"""

from __future__ import annotations

import json
import re
import subprocess
from datetime import date
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.study.rows import HELD_OUT, HERE, TABLE
from interp.errors import InputError

ROOT = HERE.parents[1]
LOCK = HERE / "LOCK"
LOCKED = ("experiments/study/*.yaml", "experiments/study/recipes/*.yaml", "experiments/study/*.py", "interp/leads/*.py",
          "interp/jumps/**/*.py", "interp/table/**/*.py", "interp/prevalence/*.py")  # fmt: skip
PRESENTING = (
    "__main__",
    "drawing",
    "figures",
    "report",
    "told",
    "told_setup",
    "told_indicators",
    "told_rest",
    "lock",
    "measuring",
    "scoring",
)
"""Modules that change no number: how it is shown, and how runs are started."""
_LINE = re.compile(r"^(sha256:[0-9a-f]{64}) (\d{4}-\d\d-\d\d)(?: (.*))?$")


def files() -> dict[str, str]:
    """The digest of every locked file, by its path from the root."""
    found = {}
    for pattern in LOCKED:
        for path in sorted(ROOT.glob(pattern)):
            if not (path.parent == HERE and (path.stem in PRESENTING or path.stem.startswith("_"))):
                found[path.relative_to(ROOT).as_posix()] = sha256(path.read_bytes()).hexdigest()
    return found


def digest(found: dict[str, str]) -> str:
    """Of files with their digests."""
    return "sha256:" + sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def locks(path: Path = LOCK) -> list[tuple[str, str, str]]:
    """(hash, date, why) of every lock, oldest first.

    Raises:
        InputError: a line that is none.
    """
    if not path.is_file():
        return []
    out = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            match = _LINE.match(line)
            if match is None:
                raise InputError(f"{path}, line {number} is no lock: expected 'sha256:… YYYY-MM-DD why'")
            out.append((match[1], match[2], match[3] or ""))
    return out


def lock(why: str = "") -> str:
    """Lock the analysis as it is, and give its hash; nothing is written where it is locked already."""
    found = files()
    now = digest(found)
    known = locks()
    if not known or known[-1][0] != now:
        (HERE / "locks").mkdir(exist_ok=True)
        (HERE / "locks" / f"{now[7:19]}.json").write_text(
            json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8"
        )
        lines = [*(f"{a} {b} {c}".rstrip() for a, b, c in known), f"{now} {date.today().isoformat()} {why}".rstrip()]
        LOCK.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return now


def in_force() -> str:
    """The hash that held-out rows are stamped with. Code that changes afterwards is named in the report (`standing`); what the
    rows are made by must not.

    Raises:
        InputError: nothing is locked, or the protocol, a recipe or an experiment was changed after the lock.
    """
    known = locks()
    if not known:
        raise InputError("nothing is locked: `python -m experiments.study lock` comes before the held-out rows")
    changed = [name for name in _changed(known[-1][0]) if name.endswith(".yaml")]
    if changed:
        raise InputError(f"{changed[0]} was changed after the lock of {known[-1][1]}; lock again, and say why")
    return known[-1][0]


def standing(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """The locks, how many held-out rows carry each, how many carry none of them, and what was changed since the last."""
    known = locks()
    carried: dict[str, int] = {}
    for table in tables.values():
        for name, n in table.loc[table["part"] == HELD_OUT, "lock"].value_counts().items():
            carried[str(name)] = carried.get(str(name), 0) + int(n)
    return {
        "locks": [{"hash": name, "date": day, "why": why, "rows": carried.get(name, 0)} for name, day, why in known],
        "unlocked_rows": sum(n for name, n in carried.items() if name not in {entry[0] for entry in known}),
        "changed_since": _changed(known[-1][0]) if known else [],
    }


def _changed(name: str) -> list[str]:
    path = HERE / "locks" / f"{name[7:19]}.json"
    then, now = (json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}), files()
    return sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))


def out_of_order(root: Path = ROOT, table: Path = TABLE, path: Path = LOCK) -> list[str] | None:
    """Held-out rows whose commit does not descend from that of their lock, each told in a line; None where git has no whole
    history to ask."""
    if _git(root, "rev-parse", "--is-shallow-repository") != "false":
        return None
    told = []
    for file in sorted(table.rglob("*.parquet")):
        frame = pd.read_parquet(file, columns=["part", "lock"])
        for name in sorted(frame.loc[frame["part"] == HELD_OUT, "lock"].unique()):
            locked, added = _first(root, path, name), _first(root, file, name)
            if locked is None:
                told.append(f"{file.name}: no commit adds the lock {name}")
            elif added is not None and (locked == added or not _descends(root, locked, added)):
                told.append(
                    f"{file.name}: {added[:12]} adds rows of {name[:19]} and does not come after its lock ({locked[:12]})"
                )
    return told


def _first(root: Path, file: Path, name: str) -> str | None:
    """The first commit whose version of a file carries a lock; None where none does (not committed yet)."""
    inside = file.relative_to(root).as_posix()
    commits = (_git(root, "log", "--format=%H", "--reverse", "--topo-order", "--", inside) or "").split()
    return next((commit for commit in commits if name in _carried(root, commit, inside)), None)


def _carried(root: Path, commit: str, inside: str) -> set[str]:
    shown = subprocess.run(["git", "-C", str(root), "show", f"{commit}:{inside}"], capture_output=True)
    if shown.returncode:
        return set()
    if inside.endswith(".parquet"):
        return set(pd.read_parquet(BytesIO(shown.stdout), columns=["lock"])["lock"].unique())
    return set(re.findall(r"sha256:[0-9a-f]{64}", shown.stdout.decode()))


def _descends(root: Path, older: str, newer: str) -> bool:
    return _git(root, "merge-base", "--is-ancestor", older, newer) is not None


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
