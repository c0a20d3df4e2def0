"""BIG-bench by its own rules: what of an output counts, which files load, and what is asked of which example."""

from __future__ import annotations

import importlib.util
import json
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.errors import InputError
from interp.measure.answers import finished, guess_in, published
from interp.tasks import task
from interp.tasks.bigbench import FIRST_SENTENCE, _protocol
from interp.types import Protocol

TEXT = st.text(alphabet="ab .\n", max_size=12)


def load(folder: Path, examples: list, **fields: object) -> object:
    """The task of a file with these examples; a null leaves a field out."""
    data = {"metrics": ["exact_str_match"], "examples": examples, **fields}
    (folder / "task.json").write_text(json.dumps(data))
    return task("bigbench", path=str(folder / "task.json"))


FREE = {"input": "one", "target": "1"}
CHOICE = {"input": "one", "target_scores": {"a": 1, "b": 0}}


@pytest.mark.parametrize(
    ("stop", "pattern", "text", "expected"),
    [
        ("\n", None, "ab\nx\ny", "ab\n"),  # behind the stop string
        ("\n", None, "\nab\nx", "\nab\nx"),  # a text that begins with it is left whole
        (".", r"[a-z]+\.", "so. it", "so."),  # the pattern sees the stop string
        (None, r"\d+", "a 12 b 34", "12"),
        (None, r"= (\d+)", "1 = 12", "12"),
        (None, r"= (?:x|(\d+))", "1 = x", ""),  # a group that is not in the match
        (None, r"\d+", "none", ""),
        (None, None, " ab; c\n", " ab; c\n"),  # white space counts
        (None, FIRST_SENTENCE, "ab; c", "ab"),
    ],
)
def test_what_of_an_output_counts(stop: str | None, pattern: str | None, text: str, expected: str) -> None:
    assert published(text, (stop,) if stop else (), pattern) == expected


@given(text=TEXT, stop=st.sampled_from(["", ".", "\n", "ab"]), pattern=st.sampled_from([None, "b+", r"(a)b", "[^.]+"]))
@settings(deadline=None)
def test_stopping_early_changes_no_answer(text: str, stop: str, pattern: str | None) -> None:
    """What is compared is the same whether the model is stopped as soon as it may be or writes on to the end."""
    protocol, prompt = Protocol(stop=(stop,) if stop else (), pattern=pattern, verbatim=True), "Q: x\nA: "
    whole = guess_in(" " + text, prompt, protocol)
    assert whole == published(text, protocol.stop, pattern)
    for length in range(len(text) + 2):
        ended = finished((" " + text)[:length], prompt, protocol)
        if ended is not None:
            assert guess_in(ended, prompt, protocol) == whole
            break


@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({}, FIRST_SENTENCE),
        ({"output_regex": None, "stop_string": None}, FIRST_SENTENCE),
        ({"output_regex": ""}, None),
        ({"stop_string": ""}, None),
        ({"stop_string": "."}, None),
        ({"stop_string": ".", "output_regex": "a"}, "a"),
    ],
)
def test_a_field_that_is_there_keeps_the_default_pattern_away(
    tmp_path: Path, fields: dict, pattern: str | None
) -> None:
    assert load(tmp_path, [FREE], **fields).text.protocol.pattern == pattern


def test_a_pattern_of_two_groups_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 groups"):
        load(tmp_path, [FREE], output_regex="(a)(b)")


@pytest.mark.parametrize(
    ("value", "shown"), [("false", True), ("", False), (0, False), (1, True), (False, False), (None, True)]
)
def test_truth_is_python_s(tmp_path: Path, value: object, shown: bool) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        made = load(tmp_path, [CHOICE], append_choices_to_input=value)
    assert ("choice: a" in made.text.examples[0].prompt) == shown
    assert len(told) == isinstance(value, str)


def test_an_empty_choice_that_wins_nothing_is_left_out_and_named(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="an empty choice is left out"):
        made = load(tmp_path, [{"input": "x", "target_scores": {"": 0, "a": 1, "b": 0}}])
    assert made.text.examples[0].options == ("a", "b")
    for scores in ({"": 1, "a": 0}, {"": 0}):
        with pytest.raises(InputError, match="choice ''"):
            load(tmp_path, [{"input": "x", "target_scores": scores}])


def test_examples_that_are_there_twice_count_once(tmp_path: Path) -> None:
    made = load(tmp_path, [FREE, CHOICE, FREE, {**FREE, "input": "two"}])
    assert [example.targets for example in made.text.examples] == [("1",), (), ("1",)]


@pytest.mark.parametrize("depth", ["one", "deep/er/one"])
@pytest.mark.parametrize("with_file", [True, False])
def test_a_parent_names_its_sub_tasks(tmp_path: Path, depth: str, with_file: bool) -> None:
    for name in (depth, "two"):
        (tmp_path / name).mkdir(parents=True)
        load(tmp_path / name, [FREE])
    if with_file:
        (tmp_path / "task.json").write_text(json.dumps({"name": "x", "metrics": ["exact_str_match"]}))
    for path in (tmp_path, tmp_path / "task.json")[: 1 + with_file]:
        with pytest.raises(InputError) as error:
            task("bigbench", path=str(path))
        assert str(error.value).endswith(f"name one of its sub-tasks: {depth}, two")


@pytest.mark.parametrize("shots", [0, 1, 3, 9])
def test_shots_are_other_examples_each_once(tmp_path: Path, shots: int) -> None:
    examples = [{"input": f"<{n}>", "target": str(n)} for n in range(10)]
    load(tmp_path, examples)
    made = task("bigbench", path=str(tmp_path / "task.json"), shots=shots)
    for index, example in enumerate(made.text.examples):
        shown = [n for n in range(10) if f"<{n}>" in example.prompt]
        assert len(shown) == shots + 1
        assert index in shown
        assert example.prompt.index(f"<{index}>") == max(example.prompt.index(f"<{n}>") for n in shown)
        assert example.prompt.count("Q: ") == shots + 1


@pytest.mark.parametrize("shots", [0, 2])
def test_loading_is_linear(tmp_path: Path, shots: int) -> None:
    """Eight times the examples take at most some twelve times as long; eight squared would be sixty-four."""

    def seconds(n: int) -> float:
        load(tmp_path, [{"input": f"question {i}", "target_scores": {"yes": 1, "no": 0}} for i in range(n)])
        start = time.process_time()
        task("bigbench", path=str(tmp_path / "task.json"), shots=shots)
        return time.process_time() - start

    seconds(50)
    assert seconds(8000) < 12 * max(seconds(1000), 0.05)


HOME = importlib.util.find_spec("bigbench")


@pytest.mark.slow
@pytest.mark.skipif(HOME is None, reason="the package `bigbench` is not installed")
def test_every_json_task_is_cut_as_the_package_cuts_it() -> None:
    """Against `postprocess_output`, on every task whose answers are written: its targets alone, with text behind them,
    with the stop string at the end and in front."""
    root = Path(HOME.submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location("published_model_utils", root / "models" / "model_utils.py")
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    n_tasks = n_compared = 0
    for path in sorted(root.glob("benchmark_tasks/**/task.json")):
        data = json.loads(path.read_text())
        if not any("target" in item for item in data.get("examples", ())[:1]):
            continue
        protocol = _protocol(data, str(path))
        stop, pattern = data.get("stop_string"), data.get("output_regex")
        pattern = FIRST_SENTENCE if stop is None and pattern is None else pattern
        n_tasks += 1
        for item in data["examples"][:40]:
            for target in item["target"] if isinstance(item["target"], list) else [item["target"]]:
                for text in (
                    f"{target}",
                    f"{target}{stop or chr(10)}more",
                    f" {target}",
                    f"{stop or ''}{target}. Q:",
                    "",
                ):
                    expected = theirs.postprocess_output(text, None, stop, pattern)
                    assert published(text, protocol.stop, protocol.pattern) == expected, (path, text)
                    n_compared += 1
    assert n_tasks > 50
    assert n_compared > 10 * n_tasks
