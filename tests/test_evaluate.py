"""Text questions to a model: likelihoods and generation against single passes and transformers, measures by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import interp
from interp.errors import InputError
from interp.measure.answers import extract, number
from interp.measure.continuations import generate, log_likelihoods
from interp.measure.questions import evaluate, evaluate_task
from interp.models import Model, build
from interp.tasks import task
from interp.tasks._tokenizer import CharTokenizer, encode_pair
from interp.types import Example, Protocol

CHARS = CharTokenizer("abcdefgh 0123456789?\n")


def gpt2(seed: int = 0, n_ctx: int = 32) -> Model:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(CHARS.vocab), n_positions=n_ctx, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3
    )
    return interp.wrap(GPT2LMHeadModel(config).eval(), CHARS)


def native(seed: int = 0, n_ctx: int = 32) -> Model:
    config = {
        "architecture": "native",
        "n_layers": 2,
        "d_model": 32,
        "n_heads": 2,
        "d_head": 16,
        "d_mlp": 64,
        "n_ctx": n_ctx,
        "d_vocab": len(CHARS.vocab),
        "d_vocab_out": len(CHARS.vocab),
        "act_fn": "gelu",
        "normalization_type": "LN",
    }
    module = build(config, seed=seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(4)
    return interp.wrap(module, CHARS, config=config)


MODELS = {"gpt2": gpt2, "native": native}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    return MODELS[request.param]()


def random_pairs(n: int, seed: int = 0) -> list[tuple[list[int], list[int]]]:
    rng = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 9, (n, 2), generator=rng).tolist()
    return [tuple(torch.randint(1, len(CHARS.vocab), (size,), generator=rng).tolist() for size in row) for row in sizes]


def one_by_one(model: Model, context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """Token by token, each in a pass of its own."""
    total, greedy = 0.0, True
    for i, token in enumerate(continuation):
        with torch.no_grad():
            logits = model(torch.tensor([(context + continuation[:i])[-model.n_ctx :]]))[0, -1].double()
        total += float(logits.log_softmax(-1)[token])
        greedy &= int(logits.argmax()) == token
    return total, greedy


def test_log_likelihoods_are_those_of_single_passes(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp.measure.continuations.BATCH_LOGITS", 7 * 16 * len(CHARS.vocab))
    model.module.double()  # single precision rounds a sum of -100 in the sixth digit, by the processor
    pairs = [*random_pairs(25), *random_pairs(3)]
    greedy = model(torch.tensor([[1, 2, 3]]))[0, -1].argmax()
    pairs.append(([1, 2, 3], [int(greedy)]))
    with torch.no_grad():
        found = log_likelihoods(model, pairs)
    for (context, continuation), (log_prob, is_greedy) in zip(pairs, found, strict=True):
        expected = one_by_one(model, context, continuation)
        assert log_prob == pytest.approx(expected[0], abs=1e-9)
        assert is_greedy == expected[1]
    assert found[-1][1]


def test_long_contexts_are_cut_on_the_left() -> None:
    model = gpt2(n_ctx=8)
    context, continuation = list(range(1, 13)), [3, 4]
    with torch.no_grad():
        found = log_likelihoods(model, [(context, continuation)])[0]
        kept = log_likelihoods(model, [(context[-7:], continuation)])[0]
    assert found == kept
    with pytest.raises(InputError, match="cannot score 9 tokens"):
        log_likelihoods(model, [([1], [1] * 9)])
    with pytest.raises(InputError, match="after 0"):
        log_likelihoods(model, [([], [1])])


def test_generation_is_that_of_transformers() -> None:
    model = gpt2()
    contexts = [context for context, _ in random_pairs(9)]
    written = generate(model, contexts, CHARS, max_new_tokens=12)
    for context, text in zip(contexts, written, strict=True):
        output = model.module.generate(torch.tensor([context]), max_new_tokens=12, do_sample=False, pad_token_id=0)
        assert text == CHARS.decode(output[0, len(context) :])


def test_generation_repeats_the_greedy_choice(model: Model) -> None:
    contexts = [context for context, _ in random_pairs(6)]
    with torch.no_grad():
        for context, text in zip(contexts, generate(model, contexts, CHARS, max_new_tokens=6), strict=True):
            tokens = list(context)
            for _ in range(6):
                tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
            assert text == CHARS.decode(tokens[len(context) :])


def test_generation_stops_before_the_first_stop(model: Model) -> None:
    contexts = [context for context, _ in random_pairs(6)]
    whole = generate(model, contexts, CHARS, max_new_tokens=10)
    stop = (whole[0][3], whole[1][2])
    for text, cut in zip(whole, generate(model, contexts, CHARS, max_new_tokens=10, stop=stop), strict=True):
        ends = [text.index(end) for end in stop if end in text]
        assert cut == text[: min(ends, default=len(text))]


def test_sampling_needs_an_rng(model: Model) -> None:
    with pytest.raises(InputError, match="needs an rng"):
        generate(model, [[1]], CHARS, max_new_tokens=2, temperature=1.0)


def test_generation_fills_the_context_and_no_more() -> None:
    model = gpt2(n_ctx=8)
    short, full = generate(model, [[1] * 5, [1] * 12], CHARS, max_new_tokens=99)
    assert len(CHARS.encode(short)) <= 4
    assert full == generate(model, [[1] * 8], CHARS, max_new_tokens=1)[0]


def test_samples_follow_the_probabilities() -> None:
    model = gpt2()
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        probs = model(torch.tensor([[4, 5]]))[0, -1].double().softmax(-1)
        written = generate(model, [[4, 5]] * 4000, CHARS, max_new_tokens=1, temperature=1.0, rng=rng)
    top = int(probs[1:].argmax()) + 1
    share = sum(text == CHARS.vocab[top] for text in written) / 4000
    assert share == pytest.approx(float(probs[top]), abs=5 * (0.25 / 4000) ** 0.5)


def rows_of(rows: list[dict]) -> dict[tuple[str, str], dict]:
    return {(row["measure"], row["group"]): row for row in rows}


def choices(n: int = 24) -> list[Example]:
    return [
        Example(
            prompt=f"{'abcdefgh'[i % 8]}{i}?",
            options=(" ab"[: 2 + i % 2], " c", " dd"),
            scores=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.5, 0.0, 1.0))[i % 3],
            group="xyz"[i % 3] if i % 4 else "x",
        )
        for i in range(n)
    ]


def test_multiple_choice_by_hand(model: Model) -> None:
    examples = choices()
    rows = rows_of(evaluate(model, examples))
    grades, briers, shares, per_byte = [], [], [], []
    for example in examples:
        found = [one_by_one(model, *encode_pair(CHARS, example.prompt, option))[0] for option in example.options]
        probs = torch.tensor(found, dtype=torch.float64).softmax(0).tolist()
        total = sum(example.scores)
        grades.append(example.scores[found.index(max(found))])
        scaled = [value / len(option) for value, option in zip(found, example.options, strict=True)]
        per_byte.append(example.scores[scaled.index(max(scaled))])
        briers.append(sum((p - s / total) ** 2 for p, s in zip(probs, example.scores, strict=True)))
        shares.append(probs[example.scores.index(max(example.scores))])
    for measure, values in (
        ("multiple_choice_grade", grades),
        ("multiple_choice_grade_per_byte", per_byte),
        ("brier", briers),
        ("option_prob", shares),
    ):
        row = rows[measure, ""]
        assert row["value"] == pytest.approx(sum(values) / len(values), abs=1e-5)
        assert row["n"] == len(examples)
        own = [value for value, example in zip(values, examples, strict=True) if example.group == "y"]
        assert rows[measure, "y"]["value"] == pytest.approx(sum(own) / len(own), abs=1e-5)
        assert rows[measure, "y"]["n"] == len(own)
        spread = sum((v - row["value"]) ** 2 for v in values) / len(values)
        assert row["stderr"] == pytest.approx((spread / len(values)) ** 0.5, abs=1e-5)
    assert 0 <= rows["calibration_error", ""]["value"] <= 1


def test_false_positive_rates_by_hand(model: Model) -> None:
    examples = choices(60)
    protocol = Protocol(positive=" c", reference="y")
    rows = rows_of(evaluate(model, examples, protocol=protocol))
    rates = {}
    for group in "xyz":
        chosen = []
        for example in examples:
            if example.group == group and example.scores[1] == 0:
                found = [
                    one_by_one(model, *encode_pair(CHARS, example.prompt, option))[0] for option in example.options
                ]
                chosen.append(example.options[found.index(max(found))] == " c")
        rates[group] = sum(chosen) / len(chosen) if chosen else math.nan
        row = rows["false_positive_rate", group]
        assert row["n"] == len(chosen)
        assert row["value"] == pytest.approx(rates[group], nan_ok=True)
    for group in "xz":
        expected = rates[group] / rates["y"] if rates["y"] else math.nan
        assert rows["false_positive_rate_ratio", group]["value"] == pytest.approx(expected, nan_ok=True)
    assert ("false_positive_rate_ratio", "y") not in rows


def test_free_answers_by_hand(model: Model) -> None:
    prompts = [f"{a}b{i}" for i, a in enumerate("abcdefgh")]
    greedy = generate(model, [CHARS.encode(prompt) for prompt in prompts], CHARS, max_new_tokens=3, stop=("\n",))
    right = [text.strip() for text in greedy]
    examples = [
        Example(prompt=prompt, targets=("hhhh", answer or "h") if i % 2 else ("hhhh",))
        for i, (prompt, answer) in enumerate(zip(prompts, right, strict=True))
    ]
    rows = rows_of(evaluate(model, examples, protocol=Protocol(max_new_tokens=3)))
    hits = [
        guess in {target.strip() for target in example.targets} for guess, example in zip(right, examples, strict=True)
    ]
    assert any(hits)
    assert rows["exact_match", ""]["value"] == pytest.approx(sum(hits) / len(hits))
    likely = [one_by_one(model, *encode_pair(CHARS, example.prompt, "hhhh"))[0] for example in examples]
    assert rows["log_prob", ""]["value"] == pytest.approx(sum(likely) / 8, abs=1e-4)
    assert rows["log_prob_per_token", ""]["value"] == pytest.approx(sum(likely) / 8 / 4, abs=1e-4)
    assert rows["prob", ""]["value"] == pytest.approx(sum(map(math.exp, likely)) / 8)


def test_numeric_answers_have_an_error() -> None:
    model = gpt2(seed=3)
    examples = [Example(prompt=f"{i}?", targets=("5",)) for i in range(10)]
    outputs = generate(model, [CHARS.encode(e.prompt) for e in examples], CHARS, max_new_tokens=2, stop=("\n",))
    errors = [number(text) - 5 for text in outputs]
    known = [error for error in errors if not math.isnan(error)]
    rows = rows_of(evaluate(model, examples, protocol=Protocol(max_new_tokens=2, numeric=True)))
    assert rows["answered", ""]["value"] == pytest.approx(len(known) / 10)
    expected = (sum(error**2 for error in known) / len(known)) ** 0.5 if known else math.nan
    assert rows["rmse", ""]["value"] == pytest.approx(expected, nan_ok=True)


def test_open_ended_outputs_are_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_scores.py").write_text("def vowel(prompt, output):\n    return float(output[:1] in ('a', 'e'))\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "open.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": letter}) for letter in "abcd"))
    made = task("from_file", path=str(path), score="my_scores:vowel", n_samples=500, max_new_tokens=1)
    model = gpt2()
    row = rows_of(evaluate_task(model, made, rng=torch.Generator().manual_seed(0)))["score", ""]
    with torch.no_grad():
        probs = model(torch.tensor([[CHARS.index[letter]] for letter in "abcd"]))[:, -1].softmax(-1)
    expected = float(probs[:, [CHARS.index["a"], CHARS.index["e"]]].sum(1).mean())
    assert row["value"] == pytest.approx(expected, abs=5 * (0.25 / 2000) ** 0.5)
    assert row["n"] == 4


def test_task_kinds_are_evaluated(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    items = [{"input": f"{i}?", "target_scores": {"a": 1, "b": 0}, "target": "a"} for i in range(4)]
    path.write_text(json.dumps({"metrics": ["multiple_choice_grade"], "examples": items}))
    made = task("bigbench", path=str(path))
    tokenizer = CharTokenizer("".join(made.vocab[1:]) + "hoice:")
    model = gpt2(n_ctx=100)
    model.module.resize_token_embeddings(len(tokenizer.vocab))
    model = interp.wrap(model.module, tokenizer)
    measures = {row["measure"] for row in evaluate_task(model, made)}
    assert {"multiple_choice_grade", "brier", "exact_match", "log_prob", "calibration_error"} <= measures
    with pytest.raises(InputError, match="'markov' has no text form"):
        evaluate_task(model, task("markov"))


def test_the_model_is_left_as_found(model: Model) -> None:
    model.module.train()
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    evaluate(model, choices(4))
    assert model.module.training
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    assert all(parameter.grad is None for parameter in model.module.parameters())


def test_wrong_input_is_named(model: Model) -> None:
    with pytest.raises(InputError, match="no examples"):
        evaluate(model, [])
    model.tokenizer = None
    with pytest.raises(InputError, match="need a tokenizer"):
        evaluate(model, choices(2))


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [(" 42\n", None, "42"), ("so 42.", r"\d+", "42"), ("x=4;", r"x=(\d)", "4"), ("none", r"\d", "")],
)
def test_extract(text: str, pattern: str | None, expected: str) -> None:
    assert extract(text, pattern) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        (" -3.5 apples", -3.5),
        ("1,234", 1234),
        ("1e3", 1000),
        (".5", 0.5),
        ("none", math.nan),
        ("", math.nan),
        ("-", math.nan),
    ],
)
def test_number(text: str, value: float) -> None:
    assert number(text) == pytest.approx(value, nan_ok=True)
