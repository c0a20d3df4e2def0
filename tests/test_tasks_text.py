"""Skills as text: tokenizers, alignment, files and their errors, the grid of a scan."""

from __future__ import annotations

import json
from pathlib import Path

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from interp.engine.scan import scan
from interp.errors import InputError
from interp.measure import scoring
from interp.measure.answers import extract
from interp.tasks import task
from interp.tasks._fingerprint import fingerprint
from interp.tasks._text import batch_of, tokenize, tokenized
from interp.tasks._tokenizer import CharTokenizer, encode_pair
from interp.types import Texts

PRINTABLE = "".join(map(chr, range(32, 127))) + "\n"
TEXT_SKILLS: dict[str, dict] = {
    "addition": {},
    "subtraction": {},
    "gpt3_arithmetic": {"operation": "-", "shots": 1},
    "greater_than": {},
    "ioi": {},
    "gendered_pronoun": {},
    "subject_verb_agreement": {"same_noun": False},
    "induction": {"length": 30},
}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def byte_pairs(*, bos: bool, merges: list[str]) -> object:
    """A transformers tokenizer over characters with a few merges, and BOS in front if asked; made without a network."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    pairs = []
    for word in merges:
        piece = word.replace(" ", "Ġ")
        built = piece[0]
        for char in piece[1:]:
            pairs.append((built, char))
            built += char
            if built not in pieces:
                pieces.append(built)
    vocab = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=list(dict.fromkeys(pairs))))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


TOKENIZERS = {
    "characters": lambda: CharTokenizer(PRINTABLE),
    "merges": lambda: byte_pairs(bos=False, merges=[" Mary", " John", " she", " are", "17", " 1"]),
    "bos": lambda: byte_pairs(bos=True, merges=[" is", " the", "12", " Tom"]),
}


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("name", TEXT_SKILLS)
def test_tokens_say_what_the_text_says(name: str, kind: str) -> None:
    """Decoding clean + answer gives the text back; the two prompts have the same length and mask."""
    tokenizer = TOKENIZERS[kind]()
    texts = task(name, **TEXT_SKILLS[name]).text.texts(12, rng=rng())
    prompts = tokenize(texts, tokenizer)
    spoken = {clean + answer for clean, answer in zip(texts.clean, texts.answer, strict=True)}
    wrong = {clean + reply for clean, reply in zip(texts.clean, texts.wrong, strict=True)}
    start = 1 if kind == "bos" else 0
    mask = torch.ones_like(prompts.clean, dtype=torch.bool) if prompts.mask is None else prompts.mask
    for i, keep in enumerate(mask):
        context = prompts.clean[i][keep].tolist()
        assert context[:start] == [0][:start]
        for replies, expected in ((prompts.answer, spoken), (prompts.wrong, wrong)):
            reply = [t for t in replies[i].reshape(-1).tolist() if t >= 0]
            assert tokenizer.decode(context[start:] + reply) in expected
        position = prompts.position if isinstance(prompts.position, int) else int(prompts.position[i])
        assert position in (-1, int(keep.sum()) - 1)
        assert keep.tolist() == sorted(keep.tolist(), reverse=True)
    assert (prompts.clean != prompts.corrupt).any(1).all()
    assert bool((prompts.clean == prompts.corrupt)[~mask].all())


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("name", TEXT_SKILLS)
def test_tokenized_task_is_a_task(name: str, kind: str) -> None:
    tokenizer = TOKENIZERS[kind]()
    made = tokenized(task(name, **TEXT_SKILLS[name]), tokenizer)
    prompts = made.prompts(17, rng=rng())
    assert len(prompts.clean) == 17
    batch = made.batch(5, rng=rng())
    assert batch.tokens.max() < len(made.vocab)
    assert batch.tokens.shape[1] <= made.n_ctx
    scored = batch.targets[0] >= 0
    asked = batch.tokens[0, : int(scored.long().argmax()) + 1].tolist()
    start = 1 if kind == "bos" else 0
    text = tokenizer.decode(asked[start:] + batch.targets[0][scored].tolist())
    shown = task(name, **TEXT_SKILLS[name]).text.texts(5, rng=rng(), split="train")
    assert text == shown.clean[0] + shown.answer[0]
    assert fingerprint(made) != fingerprint(task(name))


def test_space_belongs_to_the_continuation() -> None:
    tokenizer = byte_pairs(bos=False, merges=[" Mary"])
    assert encode_pair(tokenizer, "a to ", "Mary") == encode_pair(tokenizer, "a to", " Mary")
    context, reply = encode_pair(tokenizer, "a to", " Mary")
    assert tokenizer.decode(reply) == " Mary"
    assert len(reply) == 1
    assert len(context) == 4


def test_border_inside_a_token_is_encoded_apart() -> None:
    tokenizer = byte_pairs(bos=False, merges=["17", "173"])
    context, reply = encode_pair(tokenizer, "in 17", "3")
    assert tokenizer.decode(context) == "in 17"
    assert tokenizer.decode(reply) == "3"


def test_empty_context_begins_with_a_special_token() -> None:
    assert encode_pair(byte_pairs(bos=False, merges=[]), "", "a")[0] == [1]
    assert encode_pair(byte_pairs(bos=True, merges=[]), "", "a")[0] == [0]


def test_misaligned_pairs() -> None:
    texts = Texts(clean=("ab", "abc"), corrupt=("ac", "x"), answer=("1", "1"), wrong=("2", "2"))
    tokenizer = CharTokenizer("abcx12")
    assert len(tokenize(texts, tokenizer).clean) == 1
    with pytest.raises(InputError, match="3 tokens and its corrupt twin 'x' 1"):
        tokenize(texts, tokenizer, misaligned="error")
    fitted = tokenize(texts, tokenizer, misaligned="fit")
    assert [tokenizer.decode(row) for row in fitted.corrupt.tolist()] == ["ac", "abx"]
    with pytest.raises(InputError, match="did you mean 'drop'"):
        tokenize(texts, tokenizer, misaligned="drp")
    with pytest.raises(InputError, match="none of 1 pairs"):
        tokenize(Texts(clean=("a",), corrupt=("a",), answer=("1",), wrong=("2",)), tokenizer)


def test_answers_begin_where_they_may_differ() -> None:
    """A space that is a token of its own stands in the prompts; under a tokenizer that merges it, in the answers."""
    texts = Texts(clean=("1+1=", "2+1="), corrupt=("1+2=", "2+2="), answer=(" 2", " 3"), wrong=(" 3", " 4"))
    apart, merged = (tokenize(texts, byte_pairs(bos=False, merges=merges)) for merges in ([], [" 2", " 3", " 4"]))
    assert apart.answer.shape == merged.answer.shape == (2,)
    assert apart.clean.shape[1] == merged.clean.shape[1] + 1
    assert (apart.clean[:, -1] == apart.corrupt[:, -1]).all()
    assert (apart.clean[:, :-1] == merged.clean).all()


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(
    st.lists(st.tuples(st.text("12", min_size=1, max_size=3), st.text("12", min_size=1, max_size=3)), min_size=1)
)
def test_every_pair_has_a_token_that_tells_its_answers_apart(answers: list[tuple[str, str]]) -> None:
    """Else a logit difference is not defined, and one such pair makes every mean NaN."""
    right, wrong = zip(*answers, strict=True)
    texts = Texts(clean=("a",) * len(right), corrupt=("b",) * len(right), answer=right, wrong=wrong)
    told_apart = sum(any(x != y for x, y in zip(*pair, strict=False)) for pair in answers)
    if told_apart == 0:
        with pytest.raises(InputError, match="different answers"):
            tokenize(texts, CharTokenizer("ab12"))
        return
    prompts = tokenize(texts, CharTokenizer("ab12"))
    assert len(prompts.clean) == told_apart
    assert scoring.contrast(prompts.answer, prompts.wrong)[2].all()


def test_batch_scores_the_answer_and_its_end() -> None:
    tokenizer = CharTokenizer("ab12\n")
    batch = batch_of(
        Texts(clean=("ab", "a"), corrupt=("", ""), answer=("12", "1"), wrong=("", "")), tokenizer, end="\n"
    )
    spoken = [tokenizer.decode(t for t in row if t >= 0) for row in batch.targets.tolist()]
    assert spoken == ["12\n", "1\n"]
    assert (batch.targets >= 0).long().argmax(1).tolist() == [1, 0]


def test_a_task_without_text_says_so() -> None:
    with pytest.raises(InputError, match="'sparse_parity' has no text form"):
        tokenized(task("sparse_parity"), CharTokenizer("a"))


# Listed examples


def write(folder: Path, name: str, content: object) -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


CHOICE = {"input": "Two?", "target_scores": {"2": 1, "3": 0}}
FREE = {"input": "One?", "target": "1"}


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ("{not json", "not JSON"),
        ([], "expected an object"),
        ({"metrics": ["exact_str_match"]}, "'examples' is missing"),
        ({"metrics": ["exact_str_match"], "examples": []}, "'examples' is empty"),
        ({"metrics": ["exact_str_match"], "examples": {"a": 1}}, "'examples' should be a list"),
        ({"examples": [FREE]}, "'metrics' is missing"),
        ({"metrics": "exact_str_match", "examples": [FREE]}, "'metrics' should be a list"),
        ({"metrics": [1], "examples": [FREE]}, "'metrics' should be a list of names"),
        ({"metrics": ["m"], "examples": [FREE, "text"]}, r"examples\[1\]: expected an object"),
        ({"metrics": ["m"], "examples": [{"target": "1"}]}, r"examples\[0\]: field 'input' is missing"),
        ({"metrics": ["m"], "examples": [{"input": 3, "target": "1"}]}, "'input' should be a str"),
        ({"metrics": ["m"], "examples": [FREE, {"input": "x"}]}, r"examples\[1\]: neither field 'target'"),
        ({"metrics": ["m"], "examples": [{"input": "x", "target": []}]}, "'target' should be"),
        ({"metrics": ["m"], "examples": [{"input": "x", "target": True}]}, "'target' should be"),
        ({"metrics": ["m"], "examples": [{"input": "x", "target_scores": {}}]}, "'target_scores' should map"),
        ({"metrics": ["m"], "examples": [{"input": "x", "target_scores": ["a"]}]}, "'target_scores' should map"),
        ({"metrics": ["m"], "examples": [{"input": "x", "target_scores": {"a": "1"}}]}, "the choice 'a' the score '1'"),
        (
            {"metrics": ["m"], "examples": [FREE], "append_choices_to_input": ["no"]},
            "'append_choices_to_input' should be",
        ),
        ({"metrics": ["m"], "examples": [FREE], "output_regex": "("}, "'output_regex' is no regular expression"),
        ({"metrics": ["m"], "examples": None}, "'examples' is null"),
        ({"metrics": ["m"], "examples": [{"input": None, "target": "x"}]}, "'input' is null"),
        ({"metrics": ["m"], "example": [FREE]}, "'examples' is missing; did you mean 'example'"),
        ({"metrics": ["m"], "examples": [{"input": "x", "target": ["a", None]}]}, "'target' should be"),
        ({"metrics": ["m"], "examples": [FREE], "task_prefix": 3}, "'task_prefix' should be a str"),
    ],
)
def test_broken_bigbench_files_are_named(tmp_path: Path, content: object, field: str) -> None:
    path = write(tmp_path, "task.json", content)
    with pytest.raises(InputError, match=field) as caught:
        task("bigbench", path=path)
    assert path in str(caught.value)


@pytest.mark.parametrize(
    "examples",
    [
        [FREE],
        [FREE] * 3,
        [{"input": "", "target": ""}, {"input": "", "target": "é"}],
        [{"input": "q", "target_scores": {"a": 1, "b": 1}}],
        [{"input": "q", "target_scores": {"a": 0, "b": 0}}],
        [{"input": "q", "target_scores": {"a": -1}, "target": [2, 3.5, "x"]}],
        [{"input": "w " * 2_000, "target": "y"}, FREE],
    ],
    ids=["one", "equal", "empty", "ties", "none right", "odd", "long"],
)
def test_unusual_bigbench_files_are_tasks(tmp_path: Path, examples: list) -> None:
    """Prompts, splits and a fingerprint, under the task's own characters and under a tokenizer with little room."""
    path = write(tmp_path, "task.json", {"metrics": ["m"], "examples": examples, "task_prefix": None, "canary": "x"})
    made = task("bigbench", path=path)
    tokenizer = byte_pairs(bos=True, merges=[])
    for read in (made, tokenized(made, tokenizer, n_ctx=24)):
        prompts = read.prompts(len(examples), rng=rng())
        assert len(prompts.clean) == len(examples)
        splits = read.splits(0)
        assert len(splits["train"].tokens) == 0
        assert fingerprint(read)
    assert prompts.clean.shape[1] + prompts.answer.reshape(len(examples), -1).shape[1] - 1 <= 24
    assert splits["test"].tokens.shape[1] <= 24


def test_bigbench_folders(tmp_path: Path) -> None:
    for name in ("own", "parent/one", "parent/two"):
        (tmp_path / name).mkdir(parents=True)
        write(tmp_path / name, "task.json", {"metrics": ["m"], "examples": [FREE]})
    assert task("bigbench", path=str(tmp_path / "own")).text.examples[0].targets == ("1",)
    with pytest.raises(InputError, match=r"no task\.json; name one of its sub-tasks: one, two"):
        task("bigbench", path=str(tmp_path / "parent"))


@pytest.mark.parametrize(
    "params",
    [{"path": 5}, {"seed": "x"}, {"shots": -1}, {"shots": "2"}, {"train_fraction": "x"}, {"train_fraction": 1}],
)
def test_wrong_parameters_of_a_file_are_named(tmp_path: Path, params: dict) -> None:
    path = write(tmp_path, "task.json", {"metrics": ["m"], "examples": [FREE]})
    with pytest.raises(InputError, match=next(iter(params))):
        task("bigbench", **{"path": path, **params})


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps({"metrics": ["m"], "examples": [FREE]}))
    (tmp_path / "a.csv").write_text("\ufeffprompt,answer\nx,1\n")
    (tmp_path / "a.jsonl").write_text("\ufeff" + '{"prompt": "x", "answer": "1"}')
    assert len(task("bigbench", path=str(tmp_path / "a.json")).text.examples) == 1
    for name in ("a.csv", "a.jsonl"):
        assert task("from_file", path=str(tmp_path / name)).text.examples[0].targets == ("1",)


def test_bigbench_answers_end_where_big_bench_ends_them(tmp_path: Path) -> None:
    """At the stop string, at the regular expression, or with the first sentence."""
    for fields, output, expected in (
        ({}, "\n four. Then", "four"),
        ({"output_regex": r"\d+"}, "is 42 or 43", "42"),
        ({"stop_string": "."}, "3 or so", "3 or so"),
    ):
        path = write(tmp_path, "task.json", {"metrics": ["m"], "examples": [FREE], **fields})
        protocol = task("bigbench", path=path).text.protocol
        assert extract(output, protocol.pattern) == expected
        assert protocol.stop == ((fields["stop_string"],) if "stop_string" in fields else ())


def test_bigbench_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        task("bigbench", path=str(tmp_path / "none.json"))


def test_bigbench_prompt_is_built_from_the_fields(tmp_path: Path) -> None:
    content = {
        "name": "sums",
        "metrics": ["multiple_choice_grade", "exact_str_match"],
        "task_prefix": "Count.",
        "example_input_prefix": "\nIn: ",
        "example_output_prefix": "\nOut: ",
        "choice_prefix": "\n- ",
        "few_shot_example_separator": "\n--",
        "examples": [CHOICE, FREE],
    }
    path = write(tmp_path, "task.json", content)
    choice, free = task("bigbench", path=path, shots=1).text.examples
    assert choice.prompt in [
        "Count.\nIn: One?\nOut: 1\n--\nIn: Two?\n- " + shown + "\nOut: " for shown in ("2\n- 3", "3\n- 2")
    ]
    assert free.prompt.startswith("Count.\nIn: Two?\n- ")
    assert free.prompt.endswith("\nOut: 2\n--\nIn: One?\nOut: ")
    assert (choice.options, choice.scores, choice.targets) == (("2", "3"), (1.0, 0.0), ())
    assert free.targets == ("1",)
    content |= {"append_choices_to_input": False}
    bare = task("bigbench", path=write(tmp_path, "bare.json", content)).text.examples[0]
    assert bare.prompt == "Count.\nIn: Two?\nOut: "
    with pytest.raises(InputError, match="2 shots need more than the 2 examples"):
        task("bigbench", path=path, shots=2)


def test_fingerprint_follows_the_file(tmp_path: Path) -> None:
    content = {"metrics": ["m"], "examples": [CHOICE, {**CHOICE, "input": "Due?"}]}
    path = write(tmp_path, "task.json", content)
    before = fingerprint(task("bigbench", path=path))
    content["examples"][1]["input"] = "Deux?"
    write(tmp_path, "task.json", content)
    assert fingerprint(task("bigbench", path=path)) != before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"prompt": "x"}', r"line 1: no column 'answer'"),
        ("a.jsonl", '{"promt": "x", "answer": "y"}', "no column 'prompt'; did you mean 'promt'"),
        ("a.jsonl", '{"prompt": "x", "answer": "y"}\n[1]', "line 2: expected an object"),
        ("a.jsonl", '{"prompt": "x", "answer": "y"}\n{', "line 2 is not JSON"),
        ("a.jsonl", "", "has no rows"),
        ("a.jsonl", '{"prompt": "x", "answer": "y", "options": ["a", "b"]}', "the answer 'y' is none of the options"),
        ("a.jsonl", '{"prompt": "x", "answer": "y", "options": ["y", "y"]}', "two or more different options"),
        ("a.jsonl", '{"prompt": {"a": 1}, "answer": "y"}', "column 'prompt' should be a text"),
        ("a.csv", "prompt,answer\nx\n", "row 2: not as many columns"),
        ("a.csv", "prompt,answer,options\nx,y,[y\n", "no JSON list"),
        ("a.txt", "x", "ends in .jsonl or .csv"),
        ("a.jsonl", '{"prompt": "x", "answer": null}', "column 'answer' is null"),
        ("a.jsonl", '{"prompt": "x", "answer": "a", "options": ["a", ""]}', "two or more different options"),
        ("a.csv", "prompt,prompt,answer\nx,y,z", "column 'prompt' is there twice"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(InputError, match=message) as caught:
        task("from_file", path=path)
    assert path in str(caught.value)


def test_csv_and_jsonl_say_the_same(tmp_path: Path) -> None:
    rows = [
        {"q": f"Is {n}, even?", "a": ["no", "yes"][n % 2 == 0], "o": ["yes", "no"], "g": "xy"[n > 2]} for n in range(6)
    ]
    lines = [f'"{row["q"]}",{row["a"]},{"|".join(row["o"])},{row["g"]}' for row in rows]
    names = {"prompt": "q", "answer": "a", "options": "o", "group": "g"}
    jsonl = write(tmp_path, "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    csv = write(tmp_path, "a.csv", "\n".join(["q,a,o,g", *lines]))
    first, second = (task("from_file", path=path, positive="yes", **names) for path in (jsonl, csv))
    assert first.text.examples == second.text.examples
    assert first.text.examples[0].scores == (1.0, 0.0)
    with pytest.raises(InputError, match="positive 'Yes' is not in the file; did you mean 'yes'"):
        task("from_file", path=csv, positive="Yes", **names)


def test_scan_is_the_product_of_the_grid() -> None:
    points = scan("addition", {"n_digits": [1, 2, 3], "order": ("plain", "reversed"), "base": 10})
    assert len(points) == 6
    assert points[0].label == "addition[n_digits=1,order=plain]"
    assert points[-1].params == {"n_digits": 3, "order": "reversed", "base": 10}
    assert len({point.label for point in points}) == 6


def test_scan_refuses_or_skips_what_the_task_refuses() -> None:
    grid = {"operation": ["+", "composite"], "n_digits": [1, 2]}
    with pytest.raises(InputError, match="n_digits is a whole number from 1 to 1"):
        scan("gpt3_arithmetic", grid)
    assert len(scan("gpt3_arithmetic", grid, skip_invalid=True)) == 3
    with pytest.raises(InputError, match="did you mean 'n_digits'"):
        scan("gpt3_arithmetic", {"n_digit": [1]})
    with pytest.raises(InputError, match="has no values"):
        scan("gpt3_arithmetic", {"n_digits": []})
    with pytest.raises(InputError, match="no combination is allowed"):
        scan("gpt3_arithmetic", {"n_digits": [0, -1]}, skip_invalid=True)
