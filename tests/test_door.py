"""The one door between a skill and a model: asked in the model's own tokens, or refused with both sizes named."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import interp
from interp.cli import main
from interp.errors import InputError
from interp.hooks.reduction import reduce_stream
from interp.lenses import logit_lens
from interp.patching import path_patch
from interp.tasks import draw_prompts
from interp.tasks._tokenizer import CharTokenizer
from interp.types import Batch, Prompts, Task

SHAPE = {"n_embd": 16, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0}
CHARACTERS = "+=0123456789 \n"


def gpt2(vocab_size: int, n_positions: int = 24, seed: int = 0) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocab_size, n_positions=n_positions, **SHAPE)).eval()


def characters() -> PreTrainedTokenizerFast:
    """A tokenizer of one character a token, in an order of its own."""
    vocab = {"<end>": 0, **{char: place for place, char in enumerate(CHARACTERS, start=1)}}
    fast = Tokenizer(models.WordLevel(vocab, unk_token="<end>"))
    fast.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    fast.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=fast, eos_token="<end>", clean_up_tokenization_spaces=False)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_prompts(n: int = 4, vocab: int = 12, **fields: object) -> Prompts:
    clean = torch.randint(vocab, (n, 5), generator=rng(1))
    corrupt = torch.randint(vocab, (n, 5), generator=rng(2))
    answer = torch.randint(vocab, (n,), generator=rng(3))
    return replace(Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=(answer + 1) % vocab), **fields)


# fitting


def test_a_text_skill_is_asked_in_the_model_s_tokens() -> None:
    tokenizer = characters()
    model = interp.wrap(gpt2(len(tokenizer)), tokenizer)
    task = interp.fit_task(interp.task("addition"), model)
    prompts = task.prompts(6, rng=rng())
    for row, answer in zip(prompts.clean.tolist(), prompts.answer.tolist(), strict=True):
        a, b = tokenizer.decode(row, skip_special_tokens=True).removesuffix("=").split("+")
        assert str(int(a) + int(b)) == tokenizer.decode([token for token in answer if token >= 0])
    again = interp.fit_task(task, model).prompts(6, rng=rng())
    assert torch.equal(again.clean, prompts.clean)


def test_a_skill_without_text_is_refused_by_a_model_that_reads_text() -> None:
    tokenizer = characters()
    model = interp.wrap(gpt2(60), tokenizer)
    with pytest.raises(InputError, match=r"no text form: its 8 token ids mean other things .* vocabulary of 60"):
        interp.fit_task(interp.task("modular_addition", p=7), model)
    for name, params in (("markov", {"length": 20}), ("induction", {"vocab_size": 60, "length": 24, "max_period": 9})):
        task = interp.task(name, **params)
        task = replace(task, text=None)
        assert interp.fit_task(task, model) is task  # its tokens stand for nothing but themselves


def test_a_task_larger_than_the_model_is_refused_with_both_sizes() -> None:
    with pytest.raises(InputError, match=r"'modular_addition' has a vocabulary of 54 tokens, and the model one of 12"):
        interp.fit_task(interp.task("modular_addition", p=53), interp.wrap(gpt2(12)))
    with pytest.raises(InputError, match=r"takes 48 positions, and the model has 24"):
        interp.fit_task(interp.task("induction"), interp.wrap(gpt2(64)))
    task = interp.task("gpt3_arithmetic")
    assert interp.fit_task(task, interp.wrap(gpt2(64, n_positions=64))) is task
    own = interp.wrap(gpt2(64, n_positions=64), CharTokenizer(task.tokenizer.alphabet))
    assert interp.fit_task(task, own).vocab == task.vocab


# tokens and answers that a model does not have

ENGINES = {
    "call": lambda m, p: m(p.clean, p.mask),
    "capture": lambda m, p: interp.capture(m, p.clean, mask=p.mask),
    "intervene": lambda m, p: interp.intervene(m, p.clean, (), mask=p.mask),
    "reduce_stream": lambda m, p: reduce_stream(m, [p.clean]),
    "logit_lens": lambda m, p: logit_lens(m, p.clean),
}
COMPARING = {
    "patch": lambda m, p: interp.patch(m, p, site="z"),
    "patch by naive runs": lambda m, p: interp.patch(m, p, site="z", road="naive"),
    "path_patch": lambda m, p: path_patch(m, p, "L0H0", "logits"),
    "direct_logit_attribution": lambda m, p: interp.direct_logit_attribution(m, p),
    "find_circuit": lambda m, p: interp.find_circuit(m, p, method="eap"),
    "faithfulness": lambda m, p: interp.faithfulness(m, p, interp.find_circuit(m, some_prompts(), method="eap")),
}


@pytest.mark.parametrize("name", [*ENGINES, *COMPARING])
@pytest.mark.parametrize("token", [12, 10**6, -1])
def test_tokens_outside_the_vocabulary_are_refused(name: str, token: int) -> None:
    prompts = some_prompts()
    clean = prompts.clean.clone()
    clean[2, 1] = token
    with pytest.raises(InputError, match=f"no token {token} in this model's vocabulary of 12"):
        (ENGINES | COMPARING)[name](interp.wrap(gpt2(12)), replace(prompts, clean=clean))


@pytest.mark.parametrize("name", COMPARING)
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("answer", torch.tensor([1, 2, 12, 3]), "no token of `answer` 12 in this model's vocabulary of 12"),
        ("wrong", torch.tensor([1, 2, 99, 3]), "no token of `wrong` 99"),
        ("answer", torch.tensor([1, -100, 2, 3]), "padded on the right with -1"),
        ("answer", torch.tensor([[1, 2], [-1, 2], [2, 3], [3, 4]]), "padded on the right with -1"),
        ("answer", torch.tensor([1, 2]), "of 4 prompts"),
        ("position", 5, "outside of the prompts"),
        ("position", torch.tensor([1, 2, 3, 5]), "outside of the prompts"),
    ],
)
def test_answers_and_positions_outside_of_the_model_are_refused(
    name: str, field: str, value: object, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        COMPARING[name](interp.wrap(gpt2(12)), some_prompts(**{field: value}))


@pytest.mark.parametrize("name", [*ENGINES, *COMPARING])
def test_prompts_longer_than_the_context_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="do not fit the model's context of 4"):
        (ENGINES | COMPARING)[name](interp.wrap(gpt2(12, n_positions=4)), some_prompts())


def test_a_position_on_padding_is_refused() -> None:
    mask = torch.tensor([[True] * 3 + [False] * 2] * 4)
    with pytest.raises(InputError, match="no token"):
        interp.patch(interp.wrap(gpt2(12)), some_prompts(mask=mask, position=4), site="z")


@pytest.mark.parametrize("filler", [-1, -100, 12, 10**9])
def test_what_is_masked_may_be_any_number(filler: int) -> None:
    model, mask = interp.wrap(gpt2(12)), torch.arange(5) < torch.tensor([[5], [3], [4], [2]])
    prompts = some_prompts(mask=mask)
    odd = replace(prompts, clean=prompts.clean.where(mask, filler), corrupt=prompts.corrupt.where(mask, filler))
    for site in ("z", "resid_post"):
        found, expected = (interp.patch(model, p, site=site, by="layer") for p in (odd, prompts))
        assert torch.allclose(found.values, expected.values, atol=1e-6)


# numbers that ask for nothing


@pytest.mark.parametrize("n", [-3, 0, 1.5, True, "2", None, float("nan")])
@pytest.mark.parametrize(
    ("name", "params"), [("modular_addition", {"p": 7}), ("addition", {}), ("gpt3_arithmetic", {})]
)
def test_a_number_of_prompts_that_is_none_is_refused(name: str, params: dict, n: object) -> None:
    task = interp.task(name, **params)
    draws = [task.prompts, *([] if n is None else [task.batch]), *([task.text.texts] if task.text else [])]
    draws += [task.text.questions] if task.text and task.text.questions else []
    draws += [task.structure.digit_prompts] if task.structure.digit_prompts else []
    for draw in draws:
        more = {"digit": 0} if draw is task.structure.digit_prompts else {}
        with pytest.raises(InputError, match=f"{name}: ask for a whole number of at least 1"):
            draw(n, rng=rng(), **more)


def test_seeds_and_splits_that_are_none_are_refused() -> None:
    task = interp.task("addition")
    for seed in (1.5, "0", None, True):
        with pytest.raises(InputError, match="a seed is a whole number"):
            task.prompts(2, rng=rng(), seed=seed)
        with pytest.raises(InputError, match="a seed is a whole number"):
            task.splits(seed)
    with pytest.raises(InputError, match="did you mean 'test'"):
        task.text.texts(2, rng=rng(), split="tset")
    assert len(task.prompts(torch.tensor(3).item(), rng=rng()).clean) == 3


def test_a_padding_token_that_was_added_later_is_not_shown(tmp_path: Path) -> None:
    """Tokenizers get a padding token of their own, for which the model has no row."""
    tokenizer = characters()
    module = gpt2(len(tokenizer), n_positions=32)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    assert tokenizer.pad_token_id == module.config.vocab_size
    rec = interp.Recorder(
        "addition", ["log_prob", "test_loss", "exact_match"], tmp_path, n_prompts=20, tokenizer=tokenizer
    )
    found = rec(module, 0)
    assert np.isfinite(list(found.values())).all()


def test_a_bare_module_that_may_read_text_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="reads 40 tokens and is shown the 12 of 'addition' itself"):
        interp.Recorder("addition", ["log_prob"], tmp_path, n_prompts=4)(gpt2(40), 0)


@pytest.mark.parametrize("n_prompts", [0, -3, 1.5, "many"])
def test_a_recorder_of_no_prompts_is_refused(tmp_path: Path, n_prompts: object) -> None:
    with pytest.raises(InputError, match="n_prompts is"):
        interp.Recorder("addition", ["exact_match"], tmp_path, n_prompts=n_prompts)


# a third party's task


def first(*, vocab_size: int = 8, length: int = 4) -> Task:
    """The last token repeats the first."""

    def batch(n, *, rng, seed=0):
        tokens = torch.randint(vocab_size, (n or 64, length), generator=rng)
        targets = torch.full_like(tokens, -1)
        targets[:, -1] = tokens[:, 0]
        return Batch(tokens=tokens, targets=targets)

    def prompts(n, *, rng, seed=0):
        clean = torch.randint(vocab_size, (n, length), generator=rng)
        corrupt = clean.clone()
        corrupt[:, 0] = (corrupt[:, 0] + 1) % vocab_size
        return Prompts(clean=clean, corrupt=corrupt, answer=clean[:, 0], wrong=corrupt[:, 0], position=-1)

    def splits(seed):
        return {name: batch(64, rng=rng(2 * seed + i)) for i, name in enumerate(("train", "test"))}

    return Task(
        name="a name of its own", params={}, vocab=tuple(map(str, range(vocab_size))), n_ctx=length, chance=1 / vocab_size,
        prompts=prompts, splits=splits, batch=batch,
    )  # fmt: skip


def test_a_third_party_s_task_keeps_its_address_and_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("their_tasks")
    module.first = first
    monkeypatch.setitem(sys.modules, "their_tasks", module)
    made = interp.task("their_tasks:first", length=6)
    assert (made.name, dict(made.params)) == ("their_tasks:first", {"vocab_size": 8, "length": 6})
    again = interp.task(made.name, **made.params)
    assert torch.equal(made.prompts(5, rng=rng()).clean, again.prompts(5, rng=rng()).clean)
    with pytest.raises(InputError, match="no parameter 'lenght'; did you mean 'length'"):
        interp.task("their_tasks:first", lenght=6)


# a recorder asks as a sweep does


@pytest.mark.parametrize("name", ["addition", "from_file"])
def test_a_recorder_gives_the_numbers_of_a_sweep(tmp_path: Path, name: str) -> None:
    """A model that reads text, the same measures, prompts and questions; the sweep reads the model from a folder."""
    module, tokenizer = gpt2(len(CHARACTERS) + 1, n_positions=32), characters()
    home = tmp_path / "family" / "step1"
    module.save_pretrained(home)
    tokenizer.save_pretrained(home)
    params = {}
    if name == "from_file":
        rows = [{"prompt": f"{n} + {n} =", "answer": f" {2 * n}", "group": "12"[n % 2]} for n in range(30)]
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        params = {"path": str(tmp_path / "rows.jsonl")}
    measures = ["exact_match", "log_prob", "answer_rank", "brier", "test_loss", "edit_distance"]
    told = {
        "name": "x", "families": [{"name": str(tmp_path / "family")}], "measures": measures, "seed": 3,
        "tasks": [{"name": name, "params": params, "n_prompts": 9}],
    }  # fmt: skip
    (tmp_path / "x.yaml").write_text(json.dumps(told))
    assert main(["run", str(tmp_path / "x.yaml"), "--out", str(tmp_path / "out"), "--workers", "1", "--no-report"]) == 0
    swept = interp.read_table(tmp_path / "out")
    for model, more in ((interp.wrap(module, tokenizer), {}), (module, {"tokenizer": tokenizer})):
        folder = tmp_path / f"live{len(more)}"
        rec = interp.Recorder(interp.task(name, **params), measures, folder, seed=3, n_prompts=9, **more)
        told_live = rec(model, 1)
        live = interp.read_table(folder)
        place = ["task", "measure", "component", "position"]
        both = swept.merge(live, on=place)
        assert len(both) == len(swept) == len(live) >= len(measures)
        pairs = both[["value_x", "value_y"]].to_numpy(float)
        assert np.allclose(pairs[:, 0], pairs[:, 1], atol=1e-6, equal_nan=True)
        whole = swept[swept["task"] == name].set_index("measure")["value"]
        assert told_live == pytest.approx(whole.to_dict(), abs=1e-6, nan_ok=True)
    assert torch.equal(
        rec.prompts.clean,
        draw_prompts(interp.fit_task(interp.task(name, **params), interp.wrap(module, tokenizer)), 9, seed=3).clean,
    )


def test_a_wrong_question_says_nothing_of_the_module() -> None:
    """After a refusal the next, right question is answered: what was tried on wrong tokens is not kept."""
    model = interp.wrap(gpt2(12))
    good = some_prompts(vocab=12)
    bad = replace(good, clean=good.clean + 12)
    for ask in (
        lambda p: interp.logit_lens(model, p.clean),
        lambda p: interp.direct_logit_attribution(model, p),
        lambda p: interp.capture(model, p.clean, ("attn_out", "pattern")),
    ):
        with pytest.raises(InputError, match="vocabulary of 12"):
            ask(bad)
        ask(good)
    with pytest.raises(InputError, match="position"):
        interp.logit_lens(model, good.clean, positions=99)
    interp.logit_lens(model, good.clean, positions=-1)
