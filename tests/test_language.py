"""The corpus that language models are grown on here: the same text and tokens everywhere, refused where it was altered; what
is held out was never learned from. Tasks on it keep the contract of tests/test_tasks.py."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import torch
import yaml

from experiments.language import report
from experiments.language.analysis import RESULTS
from experiments.language.measuring import TABLE
from interp.errors import InputError
from interp.families.planned import planned_runs
from interp.tasks import _corpus, task
from interp.tasks._corpus import HELD_OUT, PACKAGES, TRAIN, digest_of, encoded, installed, sources, tokenizer

ROOT = Path(__file__).parents[1]
LANGUAGE = ROOT / "experiments" / "language"
SMALL = {"vocab_size": 320, "train": ["requests"], "held_out": ["click"]}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def text_of(tokens: list[int]) -> str:
    return tokenizer(("requests",), 320).decode(tokens, skip_special_tokens=False)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_corpus_is_the_pinned_one_and_the_same_on_every_platform(package: str) -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert PACKAGES[package][0] == pins[package]
    assert "Tag: py3-none-any" in (installed(package).read_text("WHEEL") or "")
    assert sources(package)


def test_held_out_packages_were_not_learned_from() -> None:
    assert not {*TRAIN} & {*HELD_OUT}
    assert {*TRAIN, *HELD_OUT} == {*PACKAGES}
    files = [{sha256(text.encode()).hexdigest() for package in part for text in sources(package) if len(text) > 200}
             for part in (TRAIN, HELD_OUT)]  # fmt: skip
    assert not files[0] & files[1], "no file of one is a copy of a file of the other"


def test_a_digest_is_of_paths_and_bytes() -> None:
    files = {"a.py": b"x = 1\n", "b.py": b""}
    by_hand = sha256(b"a.py\n6\nx = 1\nb.py\n0\n").hexdigest()
    assert digest_of(files) == digest_of(dict(reversed(files.items()))) == by_hand
    assert len({digest_of(files), digest_of({**files, "b.py": b"\n"}), digest_of({"a.py": b"x = 1\n"})}) == 3


def altered(monkeypatch: pytest.MonkeyPatch, package: str, entry: tuple[str, str]) -> None:
    monkeypatch.setattr(_corpus, "PACKAGES", {**PACKAGES, package: entry})
    sources.cache_clear()


@pytest.fixture(autouse=True)
def _read_again():
    yield
    sources.cache_clear()


def test_other_text_is_refused_by_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    version, digest = PACKAGES["click"]
    altered(monkeypatch, "click", (version, "0" * 16))
    with pytest.raises(
        InputError, match=rf"sources of click {version} have the digest {digest}.*corpus 0000.*reinstall"
    ):
        sources("click")
    altered(monkeypatch, "click", ("1.0", digest))
    with pytest.raises(InputError, match=rf"made of click 1.0, and {version} is installed.*make setup"):
        task("python_source", **{**SMALL, "train": ["anyio"]})
    altered(monkeypatch, "no-such-package", ("1.0", digest))
    with pytest.raises(InputError, match=r"needs no-such-package 1\.0, which is not installed"):
        task("python_source", **{**SMALL, "train": ["no-such-package"]})


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"train": ["clik"]}, "unknown package of the corpus 'clik'; did you mean 'click'"),
        ({"train": ["click"]}, "click is both learned from and held out"),
        ({"train": []}, "train is a list of different packages, at least one, not"),
        ({"held_out": "click"}, "held_out is a list of different packages"),
        ({"vocab_size": 299}, "vocab_size is a whole number from 300 to 32768, not 299"),
        ({"length": 15}, "length is a whole number of at least 16"),
    ],
)
def test_wrong_parameters_are_refused(params: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        task("python_source", **{**SMALL, **params})


def test_the_tokenizer_is_the_same_in_another_process_with_other_threads() -> None:
    script = (
        "from hashlib import sha256; from interp.tasks._corpus import tokenizer; "
        "print(sha256(tokenizer(('requests',), 320).to_str().encode()).hexdigest())"
    )
    here = sha256(tokenizer(("requests",), 320).to_str().encode()).hexdigest()
    for threads in ("1", "3"):
        env = {"RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "true", "PATH": "/usr/bin"}
        found = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
        assert found.stdout.strip() == here


def test_pieces_encoded_once_give_the_tokenizer_s_own_tokens() -> None:
    tokens, learned = encoded(("click",), ("requests",), 320).tolist(), tokenizer(("requests",), 320)
    assert tokens == [token for text in sources("click") for token in (0, *learned.encode(text).ids)]
    assert (
        learned.decode(tokens[1:500], skip_special_tokens=False)
        == sources("click")[0][: len(learned.decode(tokens[1:500]))]
    )


def test_brackets_digits_and_indentations_are_tokens_of_their_own() -> None:
    vocab = task("python_source", **SMALL).vocab
    assert not [word for word in vocab if len(word) > 1 and set(word) & set("()[]{}:,=0123456789")]
    assert {"Ċ", "ĊĠĠĠĠ", "ĊĠĠĠĠĠĠĠĠ"} <= {*vocab}
    assert not [word for word in vocab if "Ċ" in word[1:]]


def test_windows_are_of_their_own_split() -> None:
    made = task("python_source", length=40, **SMALL)
    wholes = {"train": "".join(sources("requests")), "test": "".join(sources("click"))}
    for name, split in made.splits(3).items():
        for row in split.tokens[:20].tolist():
            pieces = [piece for piece in text_of(row).split("<|endoftext|>") if "�" not in piece]
            other = wholes["test" if name == "train" else "train"]
            assert all(piece in wholes[name] for piece in pieces)
            assert any(piece not in other for piece in pieces)
        assert torch.equal(split.targets[:, :-1], split.tokens[:, 1:])
    drawn = made.batch(5, rng=rng(1))
    assert drawn.tokens.shape == (5, 40)
    assert (drawn.targets >= 0).all()


def test_a_bracket_s_kind_is_settled_by_the_one_that_is_open() -> None:
    made = task("python_brackets", length=40, **SMALL)
    prompts = made.prompts(50, rng=rng(2))
    changed = prompts.clean != prompts.corrupt
    assert (changed.sum(1) == 1).all()
    kinds = {made.vocab[token] for token in prompts.answer.tolist()}
    assert kinds <= {")", "]", "}"}
    assert len(kinds) > 1
    opens = {made.vocab[token] for token in prompts.clean[changed].tolist()}
    assert opens <= {"(", "[", "{"}
    where = made.structure.required(prompts.clean)[:, -1]
    assert torch.equal(where, changed)


def test_an_indentation_is_four_more_than_its_line_s() -> None:
    made = task("python_indentation", length=40, vocab_size=400, train=["requests"], held_out=["click"])
    prompts = made.prompts(50, rng=rng(2))
    assert {made.vocab[token] for token in prompts.clean[:, -1].tolist()} == {":"}
    for tokens, answer in ((prompts.clean, prompts.answer), (prompts.corrupt, prompts.wrong)):
        for row, reply in zip(tokens.tolist(), answer.tolist(), strict=True):
            line = "".join(made.vocab[token] for token in row).rpartition("Ċ")[2]
            assert made.vocab[reply] == "Ċ" + "Ġ" * (len(line) - len(line.lstrip("Ġ")) + 4)


def test_the_family_is_planned_on_this_corpus() -> None:
    runs = planned_runs(LANGUAGE / "recipes" / "language.yaml")
    assert len(runs) == 8
    assert len({run.model["n_layers"] for run in runs}) == 2
    for run in runs:
        assert len(run.schedule) >= 55
        assert run.task["params"]["train"] == list(TRAIN)
        assert run.task["params"]["held_out"] == list(HELD_OUT)
    recipe = yaml.safe_load((LANGUAGE / "recipes" / "language.yaml").read_text())
    for name in ("text", "skills"):
        for entry in yaml.safe_load((LANGUAGE / f"{name}.yaml").read_text())["tasks"]:
            asked = entry.get("params", {}).get("vocab_size", recipe["task"]["params"]["vocab_size"])
            assert asked == recipe["task"]["params"]["vocab_size"], "every skill is asked in the models' tokens"


def test_the_page_is_its_text_with_the_numbers_of_the_results_in_it() -> None:
    text = (LANGUAGE / "report.in.md").read_text(encoding="utf-8")
    values = report.told(json.loads(RESULTS.read_text(encoding="utf-8")))
    assert report.filled(text, values) == (LANGUAGE / "report.md").read_text(encoding="utf-8")
    assert TABLE.stat().st_size < 1.5e6
    with pytest.raises(KeyError):
        report.filled("{{no such number}}", values)


def test_the_corpus_is_the_one_that_the_numbers_were_made_with() -> None:
    found = json.loads((LANGUAGE / "corpus.json").read_text(encoding="utf-8"))
    assert {name: (one["version"], one["sha256"]) for name, one in found["packages"].items()} == {**PACKAGES}
    assert (tuple(found["train"]), tuple(found["held_out"])) == (TRAIN, HELD_OUT)
