"""Scores against their definitions written out: by hand on small cases, by loops over random ones."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.measure import scoring
from interp.types import Estimate

TEXT = st.text(alphabet="abc", max_size=7)


def random_case(
    seed: int, n: int = 6, length: int = 3, vocab: int = 5
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits with answers and other answers of 1 … length tokens."""
    rng = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, length, vocab, generator=rng)
    replies = torch.randint(vocab, (2, n, length), generator=rng)
    ends = torch.randint(1, length + 1, (n, 1), generator=rng)
    return logits, *replies.masked_fill(torch.arange(length) >= ends, -1)


def loops(logits: torch.Tensor, answer: torch.Tensor) -> list[dict[str, float]]:
    """Every score of every prompt, token by token."""
    found = []
    for rows, tokens in zip(logits.double(), answer.tolist(), strict=True):
        tokens = [token for token in tokens if token >= 0]
        steps = list(zip(rows.softmax(-1).tolist(), tokens, strict=False))
        probs = [p[token] for p, token in steps]
        hits = [token == max(range(len(p)), key=p.__getitem__) for p, token in steps]
        briers = [sum((q - (j == token)) ** 2 for j, q in enumerate(p)) for p, token in steps]
        first = rows[0].tolist()
        found.append(
            {
                "exact_match": float(all(hits)),
                "token_accuracy": sum(hits) / len(hits),
                "log_prob": sum(map(math.log, probs)),
                "log_prob_per_token": sum(map(math.log, probs)) / len(probs),
                "prob": math.prod(probs),
                "brier": sum(briers) / len(briers),
                "rank": 1.0 + sum(value > first[tokens[0]] for value in first),
            }
        )
    return found


@pytest.mark.parametrize(
    "name", ["exact_match", "token_accuracy", "log_prob", "log_prob_per_token", "prob", "brier", "rank"]
)
@pytest.mark.parametrize("seed", range(4))
def test_scores_are_their_definitions(name: str, seed: int) -> None:
    logits, answer, _ = random_case(seed)
    expected = torch.tensor([row[name] for row in loops(logits, answer)], dtype=torch.float64)
    torch.testing.assert_close(getattr(scoring, name)(logits, answer), expected)


@pytest.mark.parametrize(
    "name", ["exact_match", "token_accuracy", "log_prob", "prob", "brier", "rank", "edit_distance"]
)
def test_one_token_answers_may_be_a_vector(name: str) -> None:
    logits, answer, _ = random_case(7, length=1)
    score = getattr(scoring, name)
    assert torch.equal(score(logits, answer), score(logits, answer[:, 0]))


@pytest.mark.parametrize("seed", range(3))
def test_scores_bound_each_other(seed: int) -> None:
    logits, answer, _ = random_case(seed, n=40)
    match, accuracy = scoring.exact_match(logits, answer), scoring.token_accuracy(logits, answer)
    assert torch.equal(match == 1, accuracy == 1)
    assert torch.equal(match == 1, scoring.edit_distance(logits, answer) == 0)
    brier = scoring.brier(logits, answer)
    assert (brier >= 0).all()
    assert (brier <= 2).all()


def test_certainty_and_ignorance() -> None:
    answer = torch.tensor([2])
    certain = torch.tensor([[[0.0, 0, 1000, 0]]])
    flat = torch.zeros(1, 1, 4)
    assert float(scoring.brier(certain, answer)) == 0
    assert float(scoring.brier(certain, torch.tensor([1]))) == 2
    assert float(scoring.brier(flat, answer)) == pytest.approx(1 - 1 / 4)
    assert float(scoring.prob(flat, answer)) == pytest.approx(1 / 4)
    assert float(scoring.rank(flat, answer)) == 2.5
    assert float(scoring.log_prob(certain, torch.tensor([1]))) == -1000


def test_logit_diff_is_at_the_first_difference() -> None:
    logits = torch.arange(12.0).reshape(1, 3, 4)
    answer, wrong = torch.tensor([[1, 3, 0]]), torch.tensor([[1, 0, 2]])
    assert scoring.logit_diff(logits, answer, wrong).tolist() == [3]
    assert scoring.logit_diff(logits, wrong, answer).tolist() == [-3]
    assert scoring.logit_diff(logits, answer, answer).isnan().all()
    assert scoring.logit_diff(logits, answer, torch.tensor([[1, 3, -1]])).isnan().all()


@given(a=TEXT, b=TEXT, c=TEXT)
@settings(deadline=None)
def test_edit_distance_is_a_metric(a: str, b: str, c: str) -> None:
    distance = scoring.text_edit_distance
    assert (distance(a, b) == 0) == (a == b)
    assert distance(a, b) == distance(b, a)
    assert distance(a, c) <= distance(a, b) + distance(b, c)
    assert abs(len(a) - len(b)) <= distance(a, b) <= max(len(a), len(b))
    assert distance(a + c, b + c) == distance(a, b) or distance(a + c, b + c) < distance(a, b)


@given(a=TEXT, b=TEXT)
@settings(deadline=None, max_examples=60)
def test_edit_distance_by_recursion(a: str, b: str) -> None:
    def slow(x: str, y: str) -> int:
        if not x or not y:
            return len(x) + len(y)
        if x[0] == y[0]:
            return slow(x[1:], y[1:])
        return 1 + min(slow(x[1:], y), slow(x, y[1:]), slow(x[1:], y[1:]))

    assert scoring.text_edit_distance(a[:5], b[:5]) == slow(a[:5], b[:5])


def test_mean_of_shares_has_the_binomial_error() -> None:
    estimate = scoring.mean(torch.tensor([1.0, 0, 0, 0, math.nan]))
    assert estimate == Estimate(0.25, pytest.approx((0.25 * 0.75 / 4) ** 0.5), 4)
    assert math.isnan(scoring.mean(torch.tensor([])).value)


def test_calibration_error_by_hand() -> None:
    confidence, right = torch.tensor([0.1, 0.1, 0.95, 0.95]), torch.tensor([False, True, True, True])
    estimate = scoring.calibration_error(confidence, right, bins=10)
    assert estimate.value == pytest.approx((2 * abs(0.5 - 0.1) + 2 * 0.05) / 4)
    assert estimate.n == 4
    assert math.isnan(scoring.calibration_error(confidence[:0], right[:0]).value)


@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_jackknife(seed: int) -> None:
    """Leaving out each prediction in turn gives the standard error."""
    rng = torch.Generator().manual_seed(seed)
    confidence = torch.rand(30, generator=rng, dtype=torch.float64)
    right = torch.rand(30, generator=rng) < 0.5
    estimate = scoring.calibration_error(confidence, right, bins=5)
    keep = ~torch.eye(30, dtype=torch.bool)
    left = torch.tensor([scoring.calibration_error(confidence[k], right[k], bins=5).value for k in keep])
    assert estimate.stderr == pytest.approx(float(((left - left.mean()) ** 2).sum() * 29 / 30) ** 0.5, rel=1e-4)


def test_perfect_calibration_vanishes_with_n() -> None:
    rng = torch.Generator().manual_seed(0)
    confidence = torch.rand(40_000, generator=rng, dtype=torch.float64)
    right = torch.rand(40_000, generator=rng, dtype=torch.float64) < confidence
    assert scoring.calibration_error(confidence, right).value < 0.01
    assert scoring.calibration_error(confidence, ~right).value > 0.4


def test_option_brier() -> None:
    log_probs = torch.tensor([0.0, 0.0], dtype=torch.float64)
    assert scoring.option_brier(log_probs, torch.tensor([1.0, 0.0])) == pytest.approx(0.5)
    assert scoring.option_brier(log_probs, torch.tensor([2.0, 2.0])) == pytest.approx(0)
    assert math.isnan(scoring.option_brier(log_probs, torch.tensor([0.0, 0.0])))
    shifted = scoring.option_brier(log_probs - 5, torch.tensor([1.0, 0.0]))
    assert shifted == pytest.approx(scoring.option_brier(log_probs, torch.tensor([1.0, 0.0])))


def test_rmse_and_ratio() -> None:
    estimate = scoring.rmse(torch.tensor([3.0, -4.0, math.nan]))
    assert (estimate.value, estimate.n) == (pytest.approx(12.5**0.5), 2)
    assert scoring.rmse(torch.zeros(3)) == Estimate(0.0, 0.0, 3)
    half = scoring.ratio(Estimate(0.2, 0.02, 10), Estimate(0.4, 0.0, 5))
    assert half == Estimate(pytest.approx(0.5), pytest.approx(0.05), 15)
    assert math.isnan(scoring.ratio(Estimate(0.2, 0.1, 3), Estimate(0.0, 0.0, 3)).value)


@pytest.mark.parametrize("what", ["rmse", "ratio"])
def test_delta_method_matches_simulation(what: str) -> None:
    rng = torch.Generator().manual_seed(0)
    values, spreads = [], []
    for _ in range(400):
        errors = 1 + torch.randn(200, generator=rng, dtype=torch.float64)
        other = (torch.rand(200, generator=rng) < 0.5).double()
        share = (torch.rand(200, generator=rng) < 0.2).double()
        estimate = scoring.rmse(errors) if what == "rmse" else scoring.ratio(scoring.mean(share), scoring.mean(other))
        values.append(estimate.value)
        spreads.append(estimate.stderr)
    assert torch.tensor(spreads).mean() == pytest.approx(float(torch.tensor(values).std()), rel=0.15)
