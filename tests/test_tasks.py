"""Every skill keeps the contract: what it gives is drawn from its rng alone, fits its own description, and is right
by an independent solver. A new file in interp/tasks is taken in on arrival."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from interp import plugins
from interp.errors import InputError
from interp.tasks import task
from interp.tasks._fingerprint import fingerprint
from interp.types import Batch, Prompts, Task

SMALL: dict[str, list[dict]] = {
    "addition": [{"n_digits": 1}, {"n_digits": 3}, {"n_digits": 4, "order": "reversed"}, {"n_digits": 3, "base": 2}],
    "associative_recall": [{}, {"n_keys": 2, "n_values": 2, "n_pairs": 2, "n_queries": 1}],
    "bigbench": [{"path": "choices.json"}, {"path": "targets.json", "shots": 2}],
    "copying": [{}, {"vocab_size": 2, "length": 1}],
    "dyck": [{}, {"n_kinds": 2, "n_pairs": 2}, {"n_kinds": 5, "n_pairs": 9}],
    "from_file": [{"path": "rows.jsonl"}, {"path": "rows.csv", "train_fraction": 0.5}],
    "gpt3_arithmetic": [
        {"operation": operation, "n_digits": n_digits, "shots": shots}
        for operation, n_digits, shots in (("+", 2, 0), ("-", 3, 1), ("*", 2, 2), ("composite", 1, 1))
    ],
    "induction": [{}, {"vocab_size": 5, "length": 7, "min_period": 3, "max_period": 5}],
    "ioi": [{}, {"n_names": 2}],
    "gendered_pronoun": [{}, {"n_names": 2}],
    "linear_regression": [{"n_points": 3}, {"n_points": 4, "dim": 2, "x_max": 2, "w_max": 3, "n_outputs": 5}],
    "markov": [{"length": 30}, {"n_states": 5, "length": 20, "alpha": 0.3}],
    "modular_addition": [{"p": 7}],
    "modular_multiplication": [{"p": 7}, {"p": 8, "split": "unordered"}],
    "modular_subtraction": [{"p": 7}],
    "multitask_parity": [{"n_tasks": 4, "n_bits": 8, "subset_size": 2}],
    "sparse_parity": [{"n_bits": 6, "subset_size": 2}, {"n_bits": 16, "secret": 3}],
    "subject_verb_agreement": [{}, {"n_attractors": 2, "same_noun": False}],
    "subtraction": [{"n_digits": 1}, {"n_digits": 3}, {"n_digits": 2, "order": "reversed"}],
    "window_sum": [{}, {"p": 3, "length": 4, "window": 2}, {"p": 7, "length": 6, "window": 3}],
}
CASES = [(name, params) for name in plugins.names("tasks") for params in SMALL.get(name, [{}])]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data file of each kind."""
    folder = tmp_path_factory.mktemp("skills")
    choices = [
        {"input": f"Is {n} even?", "target_scores": {"yes": int(n % 2 == 0), "no": int(n % 2), "maybe": 0}}
        for n in range(12)
    ]
    targets = [{"input": f"{n} + 1", "target": [str(n + 1), f"{n + 1}."]} for n in range(12)]
    (folder / "choices.json").write_text(json.dumps({"metrics": ["multiple_choice_grade"], "examples": choices}))
    (folder / "targets.json").write_text(json.dumps({"metrics": ["exact_str_match"], "examples": targets}))
    rows = [{"prompt": f"What is {n} and {n}?", "answer": f" {2 * n}", "group": "ab"[n % 2]} for n in range(20)]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    lines = [f"Is {n} large?,{' yes' if n > 9 else ' no'}, yes| no,{'ab'[n % 2]}" for n in range(20)]
    (folder / "rows.csv").write_text("\n".join(["prompt,answer,options,group", *lines]))
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


# Independent solvers: from the words of a prefix to the words that may follow. None: nothing follows with certainty.

Solver = Callable[[list[str], dict], "set[str] | None"]


def _column(words: list[str], sign: str, params: dict) -> set[str]:
    base = params.get("base", 10)
    text = "".join(words)
    question, _, given = text.partition("=")
    a, b = (int(number, base) for number in question.split(sign))
    value, n_places = (a + b, params["n_digits"] + 1) if sign == "+" else (a - b, params["n_digits"])
    places = [str(value // base**place % base) for place in range(n_places)]
    written = places if params.get("order") == "reversed" else places[::-1]
    return {written[len(given)]}


def _modular(operate: Callable[[int, int], int]) -> Solver:
    return lambda words, params: {str(operate(int(words[0]), int(words[1])) % params["p"])}


def _induction(words: list[str], params: dict) -> set[str] | None:
    followers = [words[i + 1] for i in range(len(words) - 1) if words[i] == words[-1]]
    return set(followers[-1:]) or None


def _window_sum(words: list[str], params: dict) -> set[str]:
    p, window = params.get("p", 17), params.get("window", 2)
    bar = words.index("|")
    place = len(words) - 1 - bar
    return {str(sum(int(word) for word in words[max(place - window + 1, 0) : place + 1]) % p)}


def _dyck(words: list[str], params: dict) -> set[str]:
    pairs = (
        dict(["()", "[]", "{}", "<>"])
        if params.get("n_kinds", 3) <= 4
        else {chr(65 + k): chr(97 + k) for k in range(26)}
    )
    stack: list[str] = []
    for word in words:
        if word in pairs:
            stack.append(pairs[word])
        else:
            assert stack.pop() == word
    return {stack[-1]}


def _parity(words: list[str], params: dict) -> set[str]:
    made = task("sparse_parity", **params)
    return {str(sum(int(words[i]) for i in made.structure.subsets[0]) % 2)}


def _multitask_parity(words: list[str], params: dict) -> set[str]:
    subset = task("multitask_parity", **params).structure.subsets[int(words[0][4:])]
    return {str(sum(int(words[1 + i]) for i in subset) % 2)}


def _markov(words: list[str], params: dict) -> set[str]:
    counts = Counter(b for a, b in itertools.pairwise(words) if a == words[-1])
    top = max(counts.values(), default=0)
    likely = {word for word in counts if counts[word] == top}
    return likely if len(likely) == 1 else set()


def _regression(words: list[str], params: dict) -> set[str]:
    dim, x_max, w_max = params.get("dim", 1), params.get("x_max", 8), params.get("w_max", 8)
    n_outputs, top = params.get("n_outputs", 17), dim * x_max * w_max
    points = [words[i : i + dim + 1] for i in range(0, len(words), dim + 1)]

    def output(w: tuple[int, ...], x: list[str]) -> str:
        value = sum(a * int(word[1:]) for a, word in zip(w, x, strict=True))
        return f"y{int(Fraction(value + top, 2 * top + 1) * n_outputs)}"

    every = itertools.product(range(-w_max, w_max + 1), repeat=dim)
    fits = [w for w in every if all(output(w, point[:dim]) == point[dim] for point in points[:-1])]
    return {output(w, points[-1]) for w in fits}


def _greater_than(words: list[str], params: dict) -> set[str]:
    year = next(int(word[2:]) for word in words if re.fullmatch(r"##\d\d", word))
    return {f"##{later:02d}" for later in range(year + 1, 100)}


def _ioi(words: list[str], params: dict) -> set[str]:
    names = [words[1], words[3]]
    giver = words[words.index("##,") + 1]
    return set(names) - {giver}


def _pronoun(words: list[str], params: dict) -> set[str]:
    men = "John Tom James Robert David Michael Peter Mark Paul Simon Daniel Adam George Henry Jack"
    return {"he"} if f" {words[1]} " in f" {men} " else {"she"}


def _agreement(words: list[str], params: dict) -> set[str]:
    return {"are"} if words[1].endswith("s") else {"is"}


def _arithmetic(words: list[str], params: dict) -> set[str]:
    question = "".join(words).split("\n\n")[-1]
    asked, given = re.fullmatch(r"Q: What is (.*)\?\nA:(.*)", question).groups()
    for word, sign in (("plus", "+"), ("minus", "-"), ("times", "*")):
        asked = asked.replace(word, sign)
    assert re.fullmatch(r"[\d+*() -]+", asked)
    return {f" {eval(asked)}\n"[len(given)]}


SOLVERS: dict[str, Solver] = {
    "addition": lambda words, params: _column(words, "+", params),
    "subtraction": lambda words, params: _column(words, "-", params),
    "modular_addition": _modular(lambda a, b: a + b),
    "modular_subtraction": _modular(lambda a, b: a - b),
    "modular_multiplication": _modular(lambda a, b: a * b),
    "induction": _induction,
    "copying": lambda words, params: {words[len(words) - 1 - words.index("|")]},
    "window_sum": _window_sum,
    "associative_recall": _induction,
    "dyck": _dyck,
    "sparse_parity": _parity,
    "multitask_parity": _multitask_parity,
    "markov": _markov,
    "linear_regression": _regression,
    "greater_than": _greater_than,
    "ioi": _ioi,
    "gendered_pronoun": _pronoun,
    "subject_verb_agreement": _agreement,
    "gpt3_arithmetic": _arithmetic,
}
NOT_CERTAIN = ("markov", "linear_regression")
"""Skills whose training targets are drawn, not settled, at some positions."""


def test_every_shipped_skill_has_a_solver() -> None:
    assert set(plugins.names("tasks")) - set(SOLVERS) == {"bigbench", "from_file"}


def test_prompts_are_right_by_brute_force(case: tuple[Task, dict]) -> None:
    made, params = case
    if made.name not in SOLVERS:
        pytest.skip("examples come from a file")
    solve, prompts = SOLVERS[made.name], made.prompts(25, rng=rng(2))
    answers, wrongs = columns(prompts.answer).tolist(), columns(prompts.wrong).tolist()
    for i, length in enumerate(lengths(prompts)):
        for tokens, reply, others in ((prompts.clean, answers[i], wrongs[i]), (prompts.corrupt, wrongs[i], answers[i])):
            prefix = tokens[i, :length].tolist()
            for at, token in enumerate(t for t in reply if t >= 0):
                right = solve(_words(made, prefix + reply[:at]), params)
                assert right is not None
                assert made.vocab[token] in right
                if reply[: at + 1] != others[: at + 1] and reply[:at] == others[:at] and made.name != "greater_than":
                    assert made.vocab[others[at]] not in right


def test_training_targets_are_right_by_brute_force(case: tuple[Task, dict]) -> None:
    made, params = case
    if made.name not in SOLVERS:
        pytest.skip("examples come from a file")
    for batch in batches(made):
        for row in torch.randperm(len(batch.tokens), generator=rng())[:12].tolist():
            for at in (batch.targets[row] >= 0).nonzero()[:, 0].tolist():
                right = SOLVERS[made.name](_words(made, batch.tokens[row, : at + 1].tolist()), params)
                target = made.vocab[int(batch.targets[row, at])]
                assert made.name == "markov" or target in (right or ())


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
