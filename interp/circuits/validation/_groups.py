"""Groups of components that one patch at a time cannot see: those that stand in for each other, and those that cancel.

e(G) is the share of the behaviour that the model loses when nothing hears the components G any more. Components that stand
in for each other lose more together than one by one, min(e(G), 1) ≥ Σ max(e, 0) + MARGIN (OR gates, backup heads; more than
the whole behaviour cannot be lost, what lies beyond is another behaviour); components
that cancel matter one by one and not together, e(G) ≈ 0. Parts that add up, or that need each other (AND), do neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

Group = tuple[str, ...]
Effect = Callable[[Sequence[Group]], list[float]]

MARGIN = 0.2
"""The least share of the behaviour that makes a group: two of five standard widths of the usual noise of f over 16 prompts,
and half of what Wang et al. (2022) report for the backup name movers."""
CLEAR = 0.6  # three times MARGIN: one view shows it by itself
QUIET = 0.5  # a component that loses half or more by itself is hardly backed up
LARGEST = 5  # members of a group; where more are needed, the behaviour is spread out rather than backed up
MOST = 6  # groups that a search beyond pairs gives


def backups(names: Sequence[str], views: Sequence[Effect]) -> list[Group]:
    """The smallest groups whose members stand in for each other in one of the views (ways to fill a component's place) and
    which `confirmed` keeps; `names` in the order of their importance."""
    found: list[Group] = []
    for effect in views:
        for group in confirmed(_in_view(names, effect), views):
            if not any(set(other) <= set(group) for other in found):
                found.append(group)
    return found


def confirmed(groups: Sequence[Group], views: Sequence[Effect]) -> list[Group]:
    """The groups that lose more together than one by one: by MARGIN in one view and half of it in all, or by CLEAR in one (a
    head that wakes up where nothing is written sleeps on while anything else is)."""
    if not groups or not views:
        return []
    gains = [_gains(groups, view) for view in views]
    return [
        group
        for group, *by_view in zip(groups, *gains, strict=True)
        if max(by_view) >= CLEAR or (max(by_view) >= MARGIN and min(by_view) >= MARGIN / 2)
    ]


def _gains(groups: Sequence[Group], effect: Effect) -> list[float]:
    """How much more of the behaviour is lost together than one by one."""
    names = sorted({name for group in groups for name in group})
    lost = effect([*((name,) for name in names), *groups])
    single = dict(zip(names, lost, strict=False))
    return [
        min(together, 1.0) - sum(max(single[name], 0.0) for name in group)
        for group, together in zip(groups, lost[len(names) :], strict=True)
    ]


def _in_view(names: Sequence[str], effect: Effect) -> list[Group]:
    single = dict(zip(names, effect([(name,) for name in names]), strict=True))
    couples: list[Group] = list(combinations(names, 2))
    together = zip(couples, effect(couples), strict=True)
    found = [group for group, lost in together if _is_backup(group, single, lost)]
    quiet = [name for name in names if single[name] < QUIET]
    for group in found:  # a larger group is looked for where no pair is cut through
        if group[0] in quiet and group[1] in quiet:
            quiet.remove(group[1])
    while len(quiet) > 2 and len(found) < MOST:
        (lost,) = effect([tuple(quiet)])
        if not _is_backup(tuple(quiet), single, lost):
            break
        group = _smallest_cut(quiet, lost, effect)
        (own,) = effect([group])
        if len(group) < 3 or len(group) > LARGEST or not _is_backup(group, single, own):
            break
        found.append(group)
        quiet.remove(group[-1])
    return [tuple(sorted(group)) for group in found]


def _is_backup(group: Group, single: dict[str, float], together: float) -> bool:
    return min(together, 1.0) - sum(max(single[name], 0.0) for name in group) >= MARGIN


def _smallest_cut(names: Sequence[str], lost: float, effect: Effect) -> Group:
    """A subset that still loses half of it, and no member of which can be left out: each alone keeps the behaviour."""
    kept = list(names)
    for name in reversed(names):  # the least important are left out first
        rest = tuple(other for other in kept if other != name)
        if rest and effect([rest])[0] >= lost / 2:
            kept = list(rest)
    return tuple(kept)


def cancelling(single: Mapping[str, float], effect: Effect) -> list[Group]:
    """Pairs, or one against several, whose members matter alone, with opposite signs, and hardly together."""
    for_it = [name for name, lost in single.items() if lost >= MARGIN]
    against = [name for name, lost in single.items() if lost <= -MARGIN]
    couples: list[Group] = [(a, b) for a in for_it for b in against]
    found = []
    for group, lost in zip(couples, effect(couples), strict=True):
        if abs(lost) <= min(abs(single[name]) for name in group) / 2:
            found.append(group)
    taken = {name for group in found for name in group}
    for one, others in [*((a, against) for a in for_it), *((b, for_it) for b in against)]:
        group = (one, *(name for name in others if name not in taken))
        if one not in taken and 2 < len(group) <= LARGEST and abs(effect([group])[0]) <= abs(single[one]) / 4:
            found.append(group)
    return [tuple(sorted(group)) for group in found]
