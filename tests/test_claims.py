"""Who tells whom, as a test: planted circuits' edges hold, others do not, and numbers equal path patching by hand."""

from __future__ import annotations

import pytest
import torch

import interp
from interp.circuits.testing.claims import hypothesis
from interp.testbed import build


@pytest.fixture(scope="module")
def induction():  # type: ignore[no-untyped-def]
    built = build("induction", seed=1)
    return built, built.prompts(48, rng=torch.Generator().manual_seed(0))


def test_a_true_edge_holds_and_a_false_one_does_not(induction) -> None:  # type: ignore[no-untyped-def]
    built, prompts = induction
    key = next(edge for edge in sorted(built.edges) if edge.endswith(".k"))
    found = hypothesis(built.model, prompts, key.replace("->", " -> "))
    assert found.holds
    assert found.links[0].noising > 0.3
    assert "holds" in repr(found)
    sender = key.split("->")[0]
    other = next(w for w in _heads(built) if w != sender and w.startswith(sender[:2]))
    assert not hypothesis(built.model, prompts, f"{other} -> {key.split('->')[1]}").holds


def _heads(built):  # type: ignore[no-untyped-def]
    from interp.circuits import graph_of

    return [name for name in graph_of(built.model).writers if "H" in name]


def test_a_chain_is_tested_link_by_link(induction) -> None:  # type: ignore[no-untyped-def]
    built, prompts = induction
    key = next(edge for edge in sorted(built.edges) if edge.endswith(".k"))
    sender, reader = key.split("->")
    found = hypothesis(built.model, prompts, f"embed -> {sender}.v -> {reader} -> logits")
    assert [link.edge for link in found.links] == [f"embed->{sender}.v", key, f"{reader[:-2]}->logits"]
    assert found.holds


def test_noising_is_the_exact_effect_of_the_edge(induction) -> None:  # type: ignore[no-untyped-def]
    built, prompts = induction
    exact = interp.find_circuit(built.model, prompts, method="exact")
    ends = interp.faithfulness(built.model, prompts, exact, (1.0,))
    for edge in sorted(built.edges)[:3]:
        (link,) = hypothesis(built.model, prompts, edge, n_random=3).links
        assert link.noising == pytest.approx(exact.edge_scores()[edge] / (ends.clean - ends.empty), abs=1e-5)
        assert link.noising_interval[0] - 1e-9 <= link.noising <= link.noising_interval[1] + 1e-9


@pytest.mark.parametrize(
    ("claim", "match"),
    [
        ("L0H0", "names no path"),
        ("L0H0 -> ", "names no path"),
        ("L0H99 -> logits", "unknown node 'L0H99'"),
        ("L0H0 -> L1H0.w", "unknown input 'L1H0.w'"),
        ("L1H0 -> L0H0.k", "comes no later"),
    ],
)
def test_a_claim_that_cannot_be_is_refused(induction, claim: str, match: str) -> None:  # type: ignore[no-untyped-def]
    built, prompts = induction
    with pytest.raises(interp.InputError, match=match):
        hypothesis(built.model, prompts, claim)
