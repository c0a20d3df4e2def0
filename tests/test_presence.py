"""Presences from what prompts were carried, step by step: planted courses, laws, chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.table.forming import CHANCE, THRESHOLD, clusters, least_prompts, presences, when_formed

STEPS = list(range(0, 3000, 100))
N = 40


def noise(rng: np.random.Generator, n_steps: int = len(STEPS), n: int = N) -> np.ndarray:
    """What random logits carry."""
    return rng.random((n_steps, n)) < CHANCE


def planted(*stretches: tuple[int, int, slice], seed: int = 0, hold: float = 0.97) -> np.ndarray:
    """Noise, and stretches [first, end) of checkpoints over which some prompts are carried, each with probability `hold`."""
    rng = np.random.default_rng(seed)
    carried = noise(rng)
    for first, end, prompts in stretches:
        carried[first:end, prompts] = rng.random(carried[first:end, prompts].shape) < hold
    return carried


ALL = slice(None)
HALF, REST = slice(0, N // 2), slice(N // 2, N)
COURSES = {
    "never": ([], []),
    "there to stay": ([(10, 30, ALL)], [((900, 1000), None)]),
    "from the start": ([(0, 30, ALL)], [((None, 0), None)]),
    "formed and lost": ([(8, 17, ALL)], [((700, 800), (1600, 1700))]),
    "twice": ([(5, 12, ALL), (18, 30, ALL)], [((400, 500), (1100, 1200)), ((1700, 1800), None)]),
    "two circuits": ([(6, 30, HALF), (17, 30, REST)], [((500, 600), None), ((1600, 1700), None)]),
    "two, one lost": ([(6, 24, HALF), (14, 30, REST)], [((500, 600), (2300, 2400)), ((1300, 1400), None)]),
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("course", COURSES)
def test_planted_courses_come_back(course: str, seed: int) -> None:
    stretches, expected = COURSES[course]
    found = presences(STEPS, planted(*stretches, seed=seed), n_resamples=50)
    assert [(each.formed, each.lost) for each in found] == expected


def test_prompts_are_told_by_which_circuit_carries_them() -> None:
    first, second = presences(STEPS, planted((6, 30, HALF), (17, 30, REST)), n_resamples=10)
    assert len(set(first.prompts) & set(range(N // 2))) >= N // 2 - 2
    assert len(set(second.prompts) & set(range(N // 2, N))) >= N // 2 - 2
    assert not set(first.prompts) & set(second.prompts)
    assert first.share + second.share <= 1


def test_one_circuit_that_takes_prompts_over_gradually_is_one() -> None:
    rng = np.random.default_rng(0)
    carried = noise(rng)
    for prompt, begin in enumerate(rng.integers(8, 20, size=N)):
        carried[begin:, prompt] = True
    assert len(clusters(carried)) == 1
    (only,) = presences(STEPS, carried, n_resamples=10)
    assert only.lost is None
    assert only.share == 1


def test_one_missing_checkpoint_is_no_loss_and_one_stray_one_no_formation() -> None:
    carried = planted((10, 30, ALL))
    carried[15] = False
    carried[3] = True
    (only,) = presences(STEPS, carried, n_resamples=10)
    assert (only.formed, only.lost) == ((900, 1000), None)


def test_replacement_is_told_from_persistence_by_what_the_old_circuit_still_carries() -> None:
    carried = planted((10, 30, ALL), hold=1.0)
    kept = carried.copy()
    (same,) = presences(STEPS, carried, inherited=kept, n_resamples=5)
    assert same.replaced == ()
    kept[20] = False  # at step 2000 the circuit of step 1900 carries nothing any more
    (other,) = presences(STEPS, carried, inherited=kept, n_resamples=5)
    assert other.replaced == ((1900, 2000),)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 25))
def test_the_first_presence_of_one_cluster_is_the_formation(seed: int, n_steps: int) -> None:
    carried = np.random.default_rng(seed).random((n_steps, 24)) < np.linspace(0.2, 1.0, n_steps)[:, None]
    if len(clusters(carried)) > 1:
        return
    steps = list(range(n_steps))
    when = when_formed(steps, carried, n_resamples=0)
    found = presences(steps, carried, n_resamples=0)
    assert (found[0].formed if found else None) == when.interval


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_the_order_of_the_prompts_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    carried = planted((6, 30, HALF), (17, 30, REST), seed=seed % 100)
    mixed = carried[:, rng.permutation(N)]
    first, second = (presences(STEPS, each, n_resamples=0) for each in (carried, mixed))
    assert [(a.formed, a.lost, a.share) for a in first] == [(b.formed, b.lost, b.share) for b in second]


def test_chance_is_kept_out_from_the_number_of_prompts_that_is_asked_for() -> None:
    n, rng = least_prompts(), np.random.default_rng(0)
    assert 10 <= n <= 24
    found = [bool(presences(range(60), noise(rng, 60, n), n_resamples=0)) for _ in range(300)]
    assert np.mean(found) <= 0.05
    few = [bool((rng.random((60, 4)) < CHANCE).mean(1).max() >= THRESHOLD) for _ in range(300)]
    assert np.mean(few) > 0.05  # and below it is not


def test_a_checkpoint_that_fails_is_no_replacement() -> None:
    """At step 2000 nothing carries anything; the same circuit is back at the next one. What the empty circuit of 2000
    carries at 2100 says nothing."""
    carried = planted((4, 40, ALL), seed=9)
    carried[20] = False
    kept = carried.copy()
    kept[21] = False
    (one,) = presences(STEPS, carried, inherited=kept, n_resamples=5)
    assert one.replaced == ()
