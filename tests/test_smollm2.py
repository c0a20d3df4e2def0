"""A language model that nobody here trained: SmolLM2-135M-Instruct, as `make smollm2` leaves it.

Skipped where it was not converted.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import interp
from interp.measure.continuations import log_likelihoods
from interp.tasks._text import tokenized
from interp.tasks._tokenizer import encode_pair

FOLDER = Path(__file__).parents[1] / "checkpoints" / "SmolLM2-135M-Instruct"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not FOLDER.is_dir(), reason="`make smollm2` was not run")]


@pytest.fixture(scope="module")
def model() -> interp.Model:
    return interp.load(FOLDER)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_knows_the_capital_of_france(model: interp.Model) -> None:
    tokens = torch.tensor([model.tokenizer.encode("The capital of France is")])
    with torch.no_grad():
        assert model.tokenizer.decode(model(tokens)[0, -1].argmax()) == " Paris"


def test_capture_is_what_transformers_gives(model: interp.Model) -> None:
    tokens = torch.randint(model.d_vocab, (2, 9), generator=rng())
    with torch.no_grad():
        states = torch.stack(interp.load(FOLDER).module(tokens, output_hidden_states=True).hidden_states)
    found = interp.capture(model, tokens, sites=("resid_pre", "resid_post"))
    torch.testing.assert_close(found["resid_pre"], states[:30], rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(found["resid_post"][:29], states[1:30], rtol=1e-5, atol=1e-3)


def test_a_patched_head_is_what_a_hook_gives(model: interp.Model) -> None:
    prompts = tokenized(interp.task("ioi"), model.tokenizer).prompts(3, rng=rng())
    layer, head = 23, 3
    found = interp.patch(model, prompts, site="z", by=("layer", "head"))
    out = model.module.model.layers[layer].self_attn.o_proj
    width = slice(head * model.d_head, (head + 1) * model.d_head)
    clean: list[torch.Tensor] = []

    def splice(_: torch.nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        patched = args[0].clone()
        patched[..., width] = clean[0][..., width]
        return (patched,)

    with torch.no_grad():
        with out.register_forward_pre_hook(lambda _, args: clean.append(args[0])):
            model(prompts.clean)
        with out.register_forward_pre_hook(splice):
            logits = model(prompts.corrupt)[:, -1]
    rows = torch.arange(3)
    expected = logits[rows, prompts.answer] - logits[rows, prompts.wrong]
    assert found.per_prompt is not None
    torch.testing.assert_close(found.per_prompt[layer, head], expected, rtol=1e-4, atol=1e-4)
    assert found.normalised()[layer, head] > 0.2  # it moves names


def test_examples_teach_it_to_add(model: interp.Model) -> None:
    """Of the 55 sums up to nine, greedy decoding gets a few without examples and many times more after four."""
    sums = [(a, b) for a in range(10) for b in range(10 - a)]
    shown = "2+3=5\n4+5=9\n7+1=8\n1+8=9\n"
    right = []
    for head in ("", shown):
        pairs = [encode_pair(model.tokenizer, f"{head}{a}+{b}=", str(a + b)) for a, b in sums]
        with torch.no_grad():
            right.append(sum(greedy for _, greedy in log_likelihoods(model, pairs)))
    assert right[0] <= 6
    assert right[1] >= 15


def test_it_has_induction_heads(model: interp.Model) -> None:
    from interp.lenses import head_scores

    prefix_matching = head_scores(model, rng=rng(), sequences=4)["induction"]
    layer, head = divmod(int(prefix_matching.argmax()), model.n_heads)
    assert (layer, head) == (18, 6)
    assert prefix_matching[layer, head] > 0.8
