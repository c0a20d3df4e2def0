"""Every skill keeps the contract: what it gives is drawn from its rng alone, fits its own description, and is right
by an independent solver. A new file in interp/tasks is taken in on arrival."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from interp import plugins
from interp.errors import InputError
from interp.tasks import task
from interp.tasks._fingerprint import fingerprint
from interp.types import Batch, Prompts, Task

MODULES = {name: plugins.module("tasks", name) for name in plugins.names("tasks")}
CASES = [(name, params) for name, module in MODULES.items() for params in getattr(module, "TRIED", ({},))]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data files that tasks bring with them."""
    folder = tmp_path_factory.mktemp("skills")
    for module in MODULES.values():
        for name, content in getattr(module, "FILES", {}).items():
            (folder / name).write_text(content)
    return folder


@pytest.fixture(scope="session", params=CASES, ids=lambda case: f"{case[0]}-{'-'.join(map(str, case[1].values()))}")
def case(request: pytest.FixtureRequest, files: Path) -> tuple[Task, dict]:
    name, params = request.param
    params = {**params, "path": str(files / params["path"])} if "path" in params else params
    return task(name, **params), params


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def columns(answer: torch.Tensor) -> torch.Tensor:
    return answer[:, None] if answer.ndim == 1 else answer


def lengths(prompts: Prompts) -> list[int]:
    """How many tokens each prompt has."""
    if prompts.mask is None:
        return [prompts.clean.shape[1]] * len(prompts.clean)
    return prompts.mask.sum(1).tolist()


def batches(made: Task) -> Iterator[Batch]:
    splits = made.splits(0)
    yield from splits.values()
    if len(splits["train"].tokens):
        yield made.batch(40, rng=rng(5))


def test_same_rng_gives_the_same_bits(case: tuple[Task, dict]) -> None:
    made, params = case
    again = task(made.name, **params)
    for field in ("clean", "corrupt", "answer", "wrong"):
        first, second = (getattr(t.prompts(9, rng=rng(3), seed=1), field) for t in (made, again))
        assert torch.equal(first, second)
    for name, split in made.splits(1).items():
        assert torch.equal(split.tokens, again.splits(1)[name].tokens)
        assert torch.equal(split.targets, again.splits(1)[name].targets)
    if len(made.splits(1)["train"].tokens):
        assert torch.equal(made.batch(9, rng=rng(3)).tokens, again.batch(9, rng=rng(3)).tokens)
    assert (
        not torch.equal(made.prompts(32, rng=rng(3)).clean, made.prompts(32, rng=rng(4)).clean)
        or len(made.prompts(32, rng=rng(3)).clean.unique(dim=0)) == 1
    )


@pytest.mark.parametrize("n", [1, 40])
def test_prompts_fit_the_description(case: tuple[Task, dict], n: int) -> None:
    made, _ = case
    prompts = made.prompts(n, rng=rng())
    answer, wrong = columns(prompts.answer), columns(prompts.wrong)
    assert len(prompts.clean) == len(answer) == len(wrong) == n
    assert prompts.clean.shape == prompts.corrupt.shape
    assert (prompts.clean != prompts.corrupt).any(1).all()
    assert (answer != wrong).any(1).all()
    assert answer.shape[1] <= made.answer_len
    longest = [length + int((row >= 0).sum()) - 1 for length, row in zip(lengths(prompts), answer, strict=True)]
    assert max(longest) <= made.n_ctx
    for tokens in (prompts.clean, prompts.corrupt):
        assert tokens.dtype == torch.int64
        assert tokens.min() >= 0
        assert tokens.max() < len(made.vocab)
    for tokens in (answer, wrong):
        assert (tokens[:, 0] >= 0).all()
        assert tokens.max() < len(made.vocab)
        assert ((tokens >= 0).long().diff(dim=1) <= 0).all(), "answers are padded on the right"
    if isinstance(prompts.position, int):
        assert prompts.position == -1
        assert prompts.mask is None
    else:
        assert prompts.position.tolist() == [length - 1 for length in lengths(prompts)]


def test_batches_fit_the_description(case: tuple[Task, dict]) -> None:
    made, _ = case
    for batch in batches(made):
        assert batch.tokens.shape == batch.targets.shape
        assert batch.tokens.shape[1] <= made.n_ctx
        if len(batch.tokens):
            assert batch.tokens.min() >= 0
            assert max(int(batch.tokens.max()), int(batch.targets.max())) < len(made.vocab)
            assert batch.targets.min() >= -1
            assert (batch.targets >= 0).any(1).all()
    if len(made.splits(0)["train"].tokens):
        assert len(made.batch(1, rng=rng()).tokens) == 1


def test_training_never_shows_a_test_example(case: tuple[Task, dict]) -> None:
    made, _ = case
    if not any("fraction" in name for name in made.params):
        pytest.skip("endless: an example is not met twice")
    for seed in (0, 1):
        splits = made.splits(seed)
        assert len(splits["test"].tokens) > 0
        test, train = (set(map(tuple, splits[name].tokens.tolist())) for name in ("test", "train"))
        assert not test & train
        prompts = made.prompts(20, rng=rng(), seed=seed)
        for row, length in zip(prompts.clean.tolist(), lengths(prompts), strict=True):
            assert tuple(row[:length]) not in {shown[:length] for shown in train}
        if train:
            assert not test & set(map(tuple, made.batch(200, rng=rng(7), seed=seed).tokens.tolist()))


def test_whole_split_or_a_clear_refusal(case: tuple[Task, dict]) -> None:
    made, _ = case
    has_whole = "p" in made.params and "train_fraction" in made.params
    has_whole |= (
        made.name in ("addition", "subtraction", "sparse_parity") and len(made.splits(0)["train"].tokens) != 1024
    )
    if has_whole:
        assert torch.equal(made.batch(None, rng=rng(), seed=2).tokens, made.splits(2)["train"].tokens)
    else:
        with pytest.raises(InputError, match="whole training split"):
            made.batch(None, rng=rng())


def test_fingerprint_tells_tasks_apart(case: tuple[Task, dict]) -> None:
    made, params = case
    assert fingerprint(made) == fingerprint(task(made.name, **params))
    seen = {fingerprint(made)}
    for name, value in made.params.items():
        for other in _others(value):
            if other == value:
                continue
            try:
                changed = task(made.name, **{**params, name: other})
                changed.prompts(1, rng=rng())
            except InputError:
                continue
            assert fingerprint(changed) not in seen
            seen.add(fingerprint(changed))
            break


def _others(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1, value + 2]
    if isinstance(value, float):
        return [value + 0.1, value / 2]
    return ["reversed", "unordered", "-"] if isinstance(value, str) else []


@pytest.mark.parametrize("name", MODULES)
def test_a_task_brings_its_brute_force_or_its_files(name: str) -> None:
    """`solve(words, params)`: the words that may follow these, found in another way than the task does."""
    assert hasattr(MODULES[name], "solve") or hasattr(MODULES[name], "FILES")


def test_prompts_are_right_by_brute_force(case: tuple[Task, dict]) -> None:
    made, _ = case
    solve, prompts = getattr(MODULES[made.name], "solve", None), made.prompts(25, rng=rng(2))
    if solve is None:
        pytest.skip("examples come from a file")
    answers, wrongs = columns(prompts.answer).tolist(), columns(prompts.wrong).tolist()
    for i, length in enumerate(lengths(prompts)):
        for tokens, reply, others in ((prompts.clean, answers[i], wrongs[i]), (prompts.corrupt, wrongs[i], answers[i])):
            prefix = tokens[i, :length].tolist()
            for at, token in enumerate(t for t in reply if t >= 0):
                right = solve(_words(made, prefix + reply[:at]), made.params)
                assert made.vocab[token] in right
                several = made.structure.valid is not None
                if reply[: at + 1] != others[: at + 1] and reply[:at] == others[:at] and not several:
                    assert made.vocab[others[at]] not in right


def test_training_targets_are_right_by_brute_force(case: tuple[Task, dict]) -> None:
    made, _ = case
    solve = getattr(MODULES[made.name], "solve", None)
    if solve is None or getattr(MODULES[made.name], "DRAWN", False):
        pytest.skip("targets come from a file, or are drawn")
    for batch in batches(made):
        for row in torch.randperm(len(batch.tokens), generator=rng())[:12].tolist():
            for at in (batch.targets[row] >= 0).nonzero()[:, 0].tolist():
                right = solve(_words(made, batch.tokens[row, : at + 1].tolist()), made.params)
                assert made.vocab[int(batch.targets[row, at])] in right


def _words(made: Task, tokens: list[int]) -> list[str]:
    return [made.vocab[token] for token in tokens]


def test_inputs_repeat_the_targets_before_them(case: tuple[Task, dict]) -> None:
    """Sequences are read causally: a target is the next input, wherever there is one and it is scored."""
    made, _ = case
    for batch in batches(made):
        scored = (batch.targets[:, :-1] >= 0) & (
            batch.tokens[:, 1:] != made.vocab.index("<pad>") if "<pad>" in made.vocab else True
        )
        assert torch.equal(batch.targets[:, :-1][scored], batch.tokens[:, 1:][scored])


def test_the_corruption_touches_what_the_answer_reads(case: tuple[Task, dict]) -> None:
    """The first answer token looks elsewhere in the corrupt prompt, or finds another token there."""
    made, _ = case
    if made.structure.required is None:
        pytest.skip("the skill does not say what it reads")
    prompts, rows = made.prompts(30, rng=rng(4)), torch.arange(30)
    at = torch.tensor(lengths(prompts)) - 1
    clean, corrupt = (made.structure.required(tokens)[rows, at] for tokens in (prompts.clean, prompts.corrupt))
    assert clean.any(1).all()
    other_token = (clean & (prompts.clean != prompts.corrupt)).any(1)
    assert (other_token | (clean != corrupt).any(1)).all()


def test_subtasks_are_as_frequent_as_zipf_says() -> None:
    made, n = task("multitask_parity", n_tasks=5, n_bits=8, subset_size=2, exponent=1.4), 20_000
    expected = torch.tensor([(i + 1) ** -1.4 for i in range(5)], dtype=torch.float64)
    expected /= expected.sum()
    assert made.structure.frequencies == pytest.approx(expected.tolist())
    for tokens in (made.batch(n, rng=rng(1)).tokens, made.prompts(n, rng=rng(2)).clean):
        found = made.structure.groups(tokens)["subtask"].bincount(minlength=5).double() / n
        assert ((found - expected).abs() < 4.5 * (expected * (1 - expected) / n).sqrt()).all()


@pytest.mark.parametrize("subtask", [0, 3])
def test_prompts_of_one_subtask(subtask: int) -> None:
    made = task("multitask_parity", n_tasks=5, n_bits=8, subset_size=2)
    prompts = made.structure.subtask_prompts(40, subtask=subtask, rng=rng(1))
    assert (made.structure.groups(prompts.clean)["subtask"] == subtask).all()
    bits = prompts.clean[:, 1:-1][:, list(made.structure.subsets[subtask])]
    assert torch.equal(bits.sum(1) % 2, prompts.answer)
    assert len(set(made.structure.subsets)) == 5


@pytest.mark.parametrize("split", ["ordered", "unordered"])
@pytest.mark.parametrize("name", ["modular_addition", "modular_multiplication"])
def test_a_mirrored_pair_is_on_the_same_side_where_the_split_says_so(name: str, split: str) -> None:
    parts = task(name, p=11, train_fraction=0.5, split=split).splits(3)
    train, test = ({(a, b) for a, b, _ in parts[part].tokens.tolist()} for part in ("train", "test"))
    assert len(train) + len(test) == 121
    given_away = {(b, a) for a, b in test} & train
    assert bool(given_away) == (split == "ordered")


def test_shuffled_labels_are_the_same_answers_elsewhere() -> None:
    plain, shuffled = (task("modular_addition", p=11, train_fraction=0.5, shuffle_labels=s) for s in (False, True))
    answers = {}
    for made in (plain, shuffled):
        parts = made.splits(0).values()
        answers[made is shuffled] = {
            tuple(row): int(reply[-1])
            for part in parts
            for row, reply in zip(part.tokens.tolist(), part.targets, strict=True)
        }
    assert Counter(answers[False].values()) == Counter(answers[True].values())
    agree = sum(answers[False][pair] == answers[True][pair] for pair in answers[False])
    assert agree < 30  # of 121, where chance says 11
    prompts = shuffled.prompts(30, rng=rng(1))
    assert [answers[True][tuple(row)] for row in prompts.clean.tolist()] == prompts.answer.tolist()
    assert [answers[True][tuple(row)] for row in prompts.corrupt.tolist()] == prompts.wrong.tolist()
