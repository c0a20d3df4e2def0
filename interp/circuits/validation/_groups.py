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
MOST = 6  # groups that a search beyond pairs gives, and that are tried on other prompts
FIRST = 0.5
"""Of MARGIN, what few prompts have to show: where half of the prompts go another way, one of six may be all that shows it."""


def backups(names: Sequence[str], views: Sequence[Effect]) -> list[Group]:
    """Groups whose members may stand in for each other, by a few prompts: in one of the views (ways to fill a component's
    place) half of what `confirmed` asks for, on others; `names` in the order of their importance."""
    found = dict.fromkeys(group for effect in views for group in _in_view(names, effect))
    return list(confirmed(list(found), views, share=FIRST))[:MOST]


def confirmed(groups: Sequence[Group], views: Sequence[Effect], *, share: float = 1.0) -> dict[Group, float]:
    """Group -> how much more it loses together than one by one, in the view that shows it best; the largest first.

    A group has to gain MARGIN in one view and half of it in all, or CLEAR in one (a head that wakes up where nothing is
    written sleeps on while anything else is). share: of MARGIN, that is asked for."""
    if not groups or not views:
        return {}
    found = {}
    for group, *gains in zip(groups, *(_gains(groups, view) for view in views), strict=True):
        best, enough = max(gains), share * MARGIN
        if best >= CLEAR or (best >= enough and min(gains) >= enough / 2):
            found[group] = best
    return dict(sorted(found.items(), key=lambda each: -each[1]))


def smallest(gains: Mapping[Group, float]) -> list[Group]:
    """Of groups within each other the smallest, unless it gains less than half of what a larger one does."""
    kept = [g for g in gains if not any(set(part) < set(g) and gains[part] > gains[g] / 2 for part in gains)]
    return [group for group in kept if not any(set(group) < set(other) for other in kept)]


def _gains(groups: Sequence[Group], effect: Effect) -> list[float]:
    """How much more of the behaviour is lost together than one by one."""
    names = sorted({name for group in groups for name in group})
    lost = effect([*((name,) for name in names), *groups])
    single = dict(zip(names, lost, strict=False))
    return [_gain(group, single, together) for group, together in zip(groups, lost[len(names) :], strict=True)]


def _gain(group: Group, single: Mapping[str, float], together: float) -> float:
    return min(together, 1.0) - sum(max(single[name], 0.0) for name in group)


def _in_view(names: Sequence[str], effect: Effect) -> list[Group]:
    single = dict(zip(names, effect([(name,) for name in names]), strict=True))
    # What loses nearly everything by itself cannot lose much more with another.
    couples: list[Group] = [
        pair for pair in combinations(names, 2) if sum(max(single[name], 0.0) for name in pair) <= 1 - FIRST * MARGIN
    ]
    gains = {group: _gain(group, single, lost) for group, lost in zip(couples, effect(couples), strict=True)}
    found = [group for group, gain in gains.items() if gain >= FIRST * MARGIN]
    quiet = [name for name in names if single[name] < QUIET]
    for group in found:  # a larger group is looked for where no pair is cut through
        if gains[group] >= CLEAR and group[0] in quiet and group[1] in quiet:
            quiet.remove(group[1])
    larger = 0
    while len(quiet) > 2 and larger < MOST:
        (lost,) = effect([tuple(quiet)])
        if _gain(tuple(quiet), single, lost) < MARGIN:
            break
        group = _smallest_cut(quiet, lost, effect)
        (own,) = effect([group])
        if len(group) > LARGEST or _gain(group, single, own) < MARGIN:
            break
        larger += 1
        found.append(group)
        quiet.remove(group[-1])
    return [tuple(sorted(group)) for group in found]


def _smallest_cut(names: Sequence[str], lost: float, effect: Effect) -> Group:
    """A subset that still loses half of it, and no member of which can be left out: each alone keeps the behaviour."""
    kept = list(names)
    for name in reversed(names):  # the least important are left out first
        rest = tuple(other for other in kept if other != name)
        if rest and effect([rest])[0] >= lost / 2:
            kept = list(rest)
    return tuple(kept)


def cancelling(single: Mapping[str, float], views: Sequence[Effect]) -> list[Group]:
    """Pairs, or one against several, whose members matter alone, with opposite signs, and hardly together: in all views.
    single: the effects alone in the first view."""
    found = _opposed(single, views[0])
    for effect in views[1:]:
        names = sorted({name for group in found for name in group})
        own = dict(zip(names, effect([(name,) for name in names]), strict=True)) if found else {}
        together = effect(found) if found else []
        found = [group for group, lost in zip(found, together, strict=True) if _cancel(group, own, lost)]
    return found


def _cancel(group: Group, single: Mapping[str, float], together: float) -> bool:
    own = [single[name] for name in group]
    return max(own) >= MARGIN and min(own) <= -MARGIN / 2 and abs(together) <= max(map(abs, own)) / 2


def _opposed(single: Mapping[str, float], effect: Effect) -> list[Group]:
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
