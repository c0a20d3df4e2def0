"""Our model of the lm-evaluation-harness gives the numbers of the harness' own Hugging Face model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import interp
from interp.errors import InputError
from interp.tasks._tokenizer import CharTokenizer

TEXTS = ["the cat sat", " on", "a mat; the dog", "", "did not sit at all on that mat, because it was wet and cold"]


def tokenizer(*, bos: bool) -> Any:
    """Characters, without a network."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab = {piece: i for i, piece in enumerate(["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    made = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    if bos:
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="</s>")


@pytest.fixture(params=[False, True], ids=["plain", "bos"])
def both(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """(ours, the harness' own) around one tiny random model with a context of 80 tokens."""
    huggingface = pytest.importorskip("lm_eval.models.huggingface", exc_type=ImportError)
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    from interp.measure.lm_eval import harness_model

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=300,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=80,
        initializer_range=0.5,
        bos_token_id=0,
        eos_token_id=1,
    )
    module, reader = GPTNeoXForCausalLM(config).eval(), tokenizer(bos=request.param)
    theirs = huggingface.HFLM(
        pretrained=module, tokenizer=reader, batch_size=3, max_length=80, add_bos_token=request.param, device="cpu"
    )
    return harness_model(interp.wrap(module, reader)), theirs


def requests(kind: str, *arguments: tuple) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(request_type=kind, doc={}, arguments=args, idx=i) for i, args in enumerate(arguments)]


def test_loglikelihoods_are_equal(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    pairs = [(context, continuation) for context in TEXTS for continuation in TEXTS if continuation]
    pairs += [("ends with space ", "word"), ("same", "same"), ("same", "same"), ("", "x"), ("long " * 30, "tail")]
    asked = requests("loglikelihood", *pairs)
    for (log_prob, greedy), (expected, also) in zip(
        ours.loglikelihood(asked), theirs.loglikelihood(asked), strict=True
    ):
        assert log_prob == pytest.approx(expected, abs=2e-4)
        assert greedy == also


def test_rolling_loglikelihoods_are_equal(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    asked = requests("loglikelihood_rolling", *[(text,) for text in [*TEXTS[:3], TEXTS[4], "a much longer one " * 20]])
    found, expected = ours.loglikelihood_rolling(asked), theirs.loglikelihood_rolling(asked)
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-3, rtol=1e-5)


def test_generations_are_equal(both: tuple[Any, Any]) -> None:
    ours, theirs = both
    settings = [{"until": ["q", "zz"], "max_gen_toks": 12}, {"until": "e", "max_gen_toks": 20, "do_sample": False}]
    contexts = [
        "the cat",
        "a",
        "because it was wet",
        "longer than the room that is left for it " * 3,
    ]
    asked = requests("generate_until", *[(context, dict(wanted)) for context in contexts for wanted in settings])
    assert ours.generate_until(asked) == theirs.generate_until(asked)


def test_a_whole_task_gives_the_same_numbers(both: tuple[Any, Any], tmp_path: Path) -> None:
    """A multiple-choice task of the harness, run through its own evaluator on both models."""
    import json

    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.tasks import TaskManager

    rows = [
        {"q": f"the {a} and the {b}", "o": [a, b, "neither"], "a": i % 3}
        for i, (a, b) in enumerate([("cat", "dog"), ("mat", "rug"), ("sun", "sea"), ("one", "two")])
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    config = {
        "task": "tiny",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}, "cache_dir": str(tmp_path / "cache")},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}: ",
        "doc_to_choice": "{{o}}",
        "doc_to_target": "a",
    }
    (tmp_path / "tiny.yaml").write_text(json.dumps(config))
    tables = [
        lm_eval.simple_evaluate(
            model=model,
            tasks=["tiny"],
            task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
            bootstrap_iters=0,
        )["results"]["tiny"]
        for model in both
    ]
    numbers = [{name: value for name, value in table.items() if isinstance(value, float)} for table in tables]
    assert numbers[0]
    assert numbers[0] == pytest.approx(numbers[1], nan_ok=True)


def test_errors_are_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    from interp.measure.lm_eval import harness_model

    model = interp.wrap(GPT2LMHeadModel(GPT2Config(vocab_size=9, n_positions=8, n_embd=8, n_layer=1, n_head=1)))
    monkeypatch.setitem(__import__("sys").modules, "lm_eval.api.model", None)
    with pytest.raises(InputError, match=r"pip install 'interp\[lm-eval\]'"):
        harness_model(model, CharTokenizer("ab"))
