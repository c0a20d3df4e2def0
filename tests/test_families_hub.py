"""Cards and the hub: the real loading code against a small hub on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import interp
from interp.families import asking, card, family, hub, ledger, read_weights, resolve, stream, verify
from tests.loopback_hub import Hub, serving

SIZE = {"vocab_size": 40, "bos_token_id": 0, "eos_token_id": 0}
STEPS = (0, 1, 2, 4)


def tiny(kind: str, seed: int) -> torch.nn.Module:
    """A tiny Hugging Face model with weights of its own."""
    import transformers as hf

    torch.manual_seed(seed)
    if kind == "gpt2":
        return hf.GPT2LMHeadModel(hf.GPT2Config(n_layer=2, n_embd=16, n_head=2, n_positions=16, **SIZE)).eval()
    common = {"num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 16, **SIZE}
    if kind == "neox":
        return hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(num_attention_heads=2, **common)).eval()
    config = hf.LlamaConfig(num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True, **common)
    return hf.LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], tuple[torch.nn.Module, Path]]:
    """Models with the folders that they were saved in, by architecture and step."""
    found = {}
    for kind in ("neox", "gpt2", "llama"):
        for step in STEPS:
            folder = tmp_path_factory.mktemp(f"{kind}{step}")
            module = tiny(kind, seed=step)
            module.save_pretrained(folder)
            found[kind, step] = module, folder
    return found


@pytest.fixture
def server(
    models: dict[tuple[str, int], tuple[torch.nn.Module, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hub]:
    """A hub with Pythia's first steps, and an empty cache."""
    import huggingface_hub

    with serving(Hub()) as running:
        for step in STEPS:
            running.add("EleutherAI/pythia-14m", f"step{step}", models["neox", step][1])
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("INTERP_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "standard"))
        monkeypatch.setattr(asking, "PAUSES", (0.01, 0.01))
        yield running


TOKENS = torch.arange(12)[None]


def test_every_family_of_the_reference_has_a_card_that_reads() -> None:
    expected = "pythia polypythias mistral_gpt2 olmo olmo2 smollm2 bloom amber multiberts map_neo aquila"
    expected += " transformer_lens_toys gpt2 gpt_neo gpt_j gpt_neox t0 smollm3 olmo3 apertus datadecide pico marin"
    assert set(card.card_names()) == set(expected.split())
    for name in card.card_names():
        assert card.read_card(name).about["licence"]


@pytest.mark.parametrize(
    ("name", "n", "first", "last"),
    [
        ("pythia", 154, "step0", "step143000"),
        ("mistral_gpt2", 609, "checkpoint-0", "checkpoint-400000"),
        ("polypythias", 154, "step0", "step143000"),
        ("amber", 359, "ckpt_000", "ckpt_358"),
    ],
)
def test_the_schedules_have_the_published_length(name: str, n: int, first: str, last: str) -> None:
    refs = family(name).refs
    run = [ref for ref in refs if (ref.size, ref.setting, ref.seed) == (refs[0].size, refs[0].setting, refs[0].seed)]
    assert len(run) == n
    assert [run[0].manifest["source"]["revision"], run[-1].manifest["source"]["revision"]] == [first, last]
    assert [ref.step for ref in run] == sorted(ref.step for ref in run)


def test_the_schedules_are_those_that_transformer_lens_knows() -> None:
    from transformer_lens.tools.model_registry.checkpoints import get_checkpoint_labels

    for name, repo in (("pythia", "EleutherAI/pythia-70m"), ("mistral_gpt2", "stanford-crfm/alias-gpt2-small-x21")):
        labels, _ = get_checkpoint_labels(repo)
        refs = [ref for ref in family(name).refs if ref.manifest["source"]["repo"] == repo]
        assert [ref.step for ref in refs] == labels


def test_names_on_a_hub_are_matched_with_their_stage_and_tokens() -> None:
    names = ["main", "stage1-step150-tokens1B", "stage2-ingredient2-step1000-tokens5B", "stage1-step7000-tokens30B"]
    refs = list(card.hub_checkpoints(card.read_card("olmo2"), lambda *_: names, sizes=["7b"]))
    assert [(ref.setting, ref.step, ref.tokens) for ref in refs] == [
        ("base", 150, 10**9),
        ("base", 7000, 30 * 10**9),
        ("ingredient2", 1000, 5 * 10**9),
    ]


@pytest.mark.parametrize("kind", ["neox", "gpt2", "llama"])
def test_a_stream_from_the_hub_gives_the_published_models(
    kind: str, server: Hub, models: dict[tuple[str, int], tuple[torch.nn.Module, Path]], tmp_path: Path
) -> None:
    for step in STEPS:
        server.add("lab/model", f"step{step}", models[kind, step][1])
    own = tmp_path / "own.yaml"
    own.write_text("name: own\nrepo: lab/model\nrevision: step{step}\nsteps: hub\nsizes: {tiny: {}}\n")
    seen = []
    for ref, model in stream(family(str(own)).refs):
        with torch.no_grad():
            assert torch.equal(model(TOKENS), models[kind, ref.step][0](TOKENS).logits)
        seen.append(ref.step)
    assert seen == list(STEPS)


def test_what_was_fetched_once_is_read_without_the_hub(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = resolve("pythia:14m/base@step2")
    fetched = read_weights(ref)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    again = read_weights(ref)
    assert all(torch.equal(fetched[name], again[name]) for name in fetched)
    with pytest.raises(interp.InputError, match=r"step4.*could not be reached"):
        read_weights(resolve("pythia:14m/base@step4"))


@pytest.mark.parametrize("fault", ["break", "503", "slow"])
def test_a_transfer_that_breaks_off_or_crawls_is_completed(
    fault: str, server: Hub, models: dict[tuple[str, int], tuple[torch.nn.Module, Path]]
) -> None:
    server.faults["EleutherAI/pythia-14m", "step1", "model.safetensors"] = fault
    found = read_weights(resolve("pythia:14m/base@step1"))
    expected = models["neox", 1][0].state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_transfer_that_never_completes_is_one_clear_message(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSES", ())
    server.faults["EleutherAI/pythia-14m", "step1", "model.safetensors"] = "always break"
    with pytest.raises(interp.InputError, match=r"pythia:14m/base/seed0@step1.*could not be reached"):
        read_weights(resolve("pythia:14m/base@step1"))


def test_weights_with_another_digest_than_announced_are_refused(server: Hub) -> None:
    server.faults["EleutherAI/pythia-14m", "step1", "model.safetensors"] = "wrong digest"
    with pytest.raises(interp.InputError, match=r"step1.*arrived with the digest"):
        read_weights(resolve("pythia:14m/base@step1"))


def test_wrong_weights_behind_a_name_are_reported(
    server: Hub, models: dict[tuple[str, int], tuple[torch.nn.Module, Path]]
) -> None:
    server.add("EleutherAI/pythia-14m", "step4", models["neox", 1][1])
    refs = [resolve(f"pythia:14m/base@step{step}") for step in STEPS]
    for ref in refs:
        read_weights(ref)
    # Four models that have nothing to do with each other make no trajectory: more may be said of their order.
    assert "pythia:14m/base/seed0: steps 1 and 4 have the same weights" in verify(refs)


def test_weights_that_changed_behind_a_name_are_refused(
    server: Hub, models: dict[tuple[str, int], tuple[torch.nn.Module, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_weights(resolve("pythia:14m/base@step1"))
    monkeypatch.setenv("INTERP_DISK_BUDGET_GB", str(1.5 * ledger._size(hub.hub_cache()) / 1e9))
    read_weights(resolve("pythia:14m/base@step2"))
    server.add("EleutherAI/pythia-14m", "step1", models["neox", 4][1])
    with pytest.raises(interp.InputError, match=r"EleutherAI/pythia-14m@step1 changed"):
        read_weights(resolve("pythia:14m/base@step1"))


def test_the_disk_budget_is_kept_and_the_longest_unused_goes_first(
    server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = [resolve(f"pythia:14m/base@step{step}") for step in STEPS]
    read_weights(refs[0])
    one = ledger._size(hub.hub_cache())
    monkeypatch.setenv("INTERP_DISK_BUDGET_GB", str(2.5 * one / 1e9))
    for ref in (refs[1], refs[0], refs[2], refs[3]):
        read_weights(ref)
        assert ledger._size(hub.hub_cache()) <= 2.5 * one
    assert [hub.cached_folder(ref) is not None for ref in refs] == [False, False, True, True]
    monkeypatch.setenv("INTERP_DISK_BUDGET_GB", str(one / 3e9))
    with pytest.raises(interp.InputError, match="does not fit"):
        read_weights(refs[0])


def test_digests_are_known_before_anything_is_fetched(server: Hub) -> None:
    refs = family("pythia").checkpoints(size="14m", setting="base", step=list(STEPS))
    found = hub.pinned(refs)
    assert len({ref.sha256 for ref in found}) == len(STEPS)
    assert all(hub.cached_folder(ref) is None for ref in refs)
    read_weights(refs[1])
    assert found[1].sha256 == ledger.digests(hub.hub_cache())["EleutherAI/pythia-14m@step1"]


def test_a_revision_or_repository_that_is_not_there_is_named(server: Hub) -> None:
    with pytest.raises(interp.InputError, match="no such revision"):
        read_weights(resolve("pythia:14m/base@step8"))
    with pytest.raises(interp.InputError, match="no such repository"):
        read_weights(resolve("pythia:70m/base@step1"))


def test_shards_and_old_bin_files_are_read(
    server: Hub, models: dict[tuple[str, int], tuple[torch.nn.Module, Path]], tmp_path: Path
) -> None:
    module = models["neox", 2][0]
    module.save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "config.json").write_bytes((tmp_path / "shards" / "config.json").read_bytes())
    renamed = {name.replace("lm_head", "embed_out"): value for name, value in module.state_dict().items()}
    torch.save(
        {**renamed, "gpt_neox.layers.0.attention.masked_bias": torch.tensor(-1e9)}, bin_folder / "pytorch_model.bin"
    )
    server.add("EleutherAI/pythia-14m", "step16", tmp_path / "shards")
    server.add("EleutherAI/pythia-14m", "step32", bin_folder)
    for step in (16, 32):
        ref = resolve(f"pythia:14m/base@step{step}")
        found = read_weights(ref)
        assert all(torch.equal(found[name], value) for name, value in module.state_dict().items())
        assert hub.cached_folder(ref) is not None


def test_weights_that_do_not_fit_the_configuration_are_refused(
    server: Hub, models: dict[tuple[str, int], tuple[torch.nn.Module, Path]]
) -> None:
    import json

    files = server.repos["EleutherAI/pythia-14m"]["step2"]
    config = json.loads(files["config.json"])
    files["config.json"] = json.dumps({**config, "num_hidden_layers": 3}).encode()
    with pytest.raises(interp.InputError, match=r"missing weights for GPTNeoXForCausalLM: gpt_neox\.layers\.2"):
        read_weights(resolve("pythia:14m/base@step2"))
    files = server.repos["EleutherAI/pythia-14m"]["step4"]
    files["config.json"] = json.dumps({**config, "rotary_percent": 0.5}).encode()
    list_of_one = [resolve("pythia:14m/base@step4")]
    with pytest.raises(interp.InputError, match=r"no attribute 'rotary_percent'"):
        list(stream(list_of_one))


def test_sub_folders_of_one_revision_are_checkpoints(
    server: Hub, models: dict[tuple[str, int], tuple[torch.nn.Module, Path]]
) -> None:
    server.add("m-a-p/neo_scalinglaw_250M", "main", models["llama", 1][1], under="hf_ckpt/16.78B")
    server.add("m-a-p/neo_scalinglaw_250M", "main", models["llama", 2][1], under="hf_ckpt/33.55B")
    refs = family("map_neo").checkpoints(size="250m")
    assert [(ref.step, ref.tokens) for ref in refs] == [(16780, 16_780_000_000), (33550, 33_550_000_000)]
    expected = models["llama", 2][0].state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in read_weights(refs[1]).items())


CARD = "name: x\nrepo: a/b\nrevision: s{step}\nsizes: {a: {}}\nsteps: [0]\n"
BROKEN = {
    "not a mapping": "- 1\n",
    "no repo": "name: x\nsizes: {a: {}}\nsteps: [0]\n",
    "unknown key": "name: x\nrepo: a/b\nrevison: main\nsizes: {a: {}}\nsteps: [0]\n",
    "field without value": "name: x\nrepo: a/{nothing}\nsizes: {a: {}}\nsteps: [0]\n",
    "steps that are no steps": "name: x\nrepo: a/b\nsizes: {a: {}}\nsteps: [one]\n",
    "negative steps": "name: x\nrepo: a/b\nsizes: {a: {}}\nsteps: [-5]\n",
    "a hub's steps without a place": "name: x\nrepo: a/b\nsizes: {a: {}}\nsteps: hub\n",
    "sizes that are a list": "name: x\nrepo: a/b\nsizes: [a]\nsteps: [0]\n",
    "a size that is a number": "name: x\nrepo: a/b\nsizes: {a: 3}\nsteps: [0]\n",
    "another word for steps": "name: x\nrepo: a/b\nrevision: step{step}\nsizes: {a: {}}\nsteps: hubb\n",
    "a repository that is a number": "name: x\nrepo: 5\nsizes: {a: {}}\nsteps: [0]\n",
    "seeds that are one number": "name: x\nrepo: a/b\nsizes: {a: {}}\nsteps: [0]\nseeds: 3\n",
    "another layout": "name: x\nrepo: a/b\nsizes: {a: {}}\nsteps: [0]\nlayout: onnx\n",
    "not yaml": "name: [x\n",
    "runs that are a number": CARD + "runs: 3\n",
    "no runs": CARD + "runs: []\n",
    "a run whose size is a list": CARD + "runs: [{size: [a]}]\n",
    "a run whose seed is text": CARD + "runs: [{size: a, seed: x}]\n",
    "about that is text": CARD + "about: hello\n",
    "no tokens in a step": CARD + "tokens_per_step: 0\n",
    "a tokenizer that is a number": CARD + "tokenizer: 5\n",
    "no seeds": CARD + "seeds: []\n",
    "a name that is a number": "name: 5\nrepo: a/b\nsizes: {a: {}}\nsteps: [0]\n",
    "a step that is true": "name: x\nrepo: a/b\nsizes: {a: {}}\nsteps: [true]\n",
    "steps without end": "name: x\nrepo: a/b\nrevision: s{step}\nsizes: {a: {}}\nsteps: [[0, 100000000000, 1]]\n",
    "steps by nothing": "name: x\nrepo: a/b\nrevision: s{step}\nsizes: {a: {}}\nsteps: [[0, 10, 0]]\n",
    "steps at one place": "name: x\nrepo: a/b\nsizes: {a: {}}\nsteps: [0, 1]\n",
    "sizes at one place": "name: x\nrepo: a/b\nsizes: {a: {}, b: {}}\nsteps: [0]\n",
    "a brace left open": "name: x\nrepo: a/b\nrevision: 's{step'\nsizes: {a: {}}\nsteps: [0]\n",
    "a field's attribute": "name: x\nrepo: a/b\nrevision: 's{step.__class__}'\nsizes: {a: {}}\nsteps: [0]\n",
    "parameters in words": "name: x\nrepo: a/b\nsizes: {a: {n_params: many}}\nsteps: [0]\n",
    "a field called step": "name: x\nrepo: a/b\nsizes: {a: {step: 4}}\nsteps: [0]\n",
    "the hub's steps twice": "name: x\nrepo: a/b\nrevision: 's{step}'\nfile: '{step}'\nsizes: {a: {}}\nsteps: hub\n",
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_card_is_one_clear_message(what: str, tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(BROKEN[what])
    with pytest.raises(interp.InputError, match="card"):
        family(str(path))


# what a hub may answer


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_was_cut_before_it_came_to_the_hub_is_named(name: str, server: Hub) -> None:
    """The hub's own digest agrees with what it sends."""
    published = server.repos["EleutherAI/pythia-14m"]["step1"]
    published[name] = published[name][: len(published[name]) // 2]
    with pytest.raises(interp.InputError, match=rf"{name} is damaged on the hub"):
        read_weights(resolve("pythia:14m/base/seed0@step1"))
    assert sum(server.requests.values()) < 20


GARBAGE = (b"not json", b"[]", b"null", b'{"siblings": 3}', b'{"siblings": [{"rfilename": 5}]}', b"[" * 100_000)


@pytest.mark.parametrize("answer", GARBAGE)
def test_an_answer_of_another_form_is_one_error(answer: bytes, server: Hub) -> None:
    server.garbage = answer
    with pytest.raises(interp.InputError, match="the hub's answer is not"):
        hub.fetch(resolve("pythia:14m/base/seed0@step1"))
    with pytest.raises(interp.InputError, match="the hub's answer is not"):
        hub.published("EleutherAI/pythia-14m", "revision")
    assert sum(server.requests.values()) <= 2


def test_an_answer_without_end_is_given_up(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    server.garbage, server.endless = b"x" * 2**16, True
    monkeypatch.setattr(asking, "LARGEST_ANSWER", 2**20)
    with pytest.raises(interp.InputError, match="does not end"):
        hub.fetch(resolve("pythia:14m/base/seed0@step1"))


def test_a_transfer_that_is_too_slow_is_given_up(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    server.faults["EleutherAI/pythia-14m", "step1", "model.safetensors"] = "slow"
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(asking, "SLOWEST", 1e12)
    with pytest.raises(interp.InputError, match="slower than"):
        hub.fetch(resolve("pythia:14m/base/seed0@step1"))


def test_another_configuration_behind_the_same_name_is_refused(server: Hub, tmp_path: Path) -> None:
    ref = resolve("pythia:14m/base/seed0@step1")
    hub.fetch(ref)
    ledger.remove_revision(hub.cached_folder(ref))
    published = server.repos["EleutherAI/pythia-14m"]["step1"]
    published["config.json"] = published["config.json"].replace(b'"gelu"', b'"relu"')
    with pytest.raises(interp.InputError, match="the configuration or tokenizer behind"):
        hub.fetch(ref)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_what_changes_in_the_cache_is_named(name: str, server: Hub) -> None:
    ref = resolve("pythia:14m/base/seed0@step1")
    folder = hub.fetch(ref)
    assert verify([ref]) == []
    before = hub.pinned([ref])[0]
    assert before.manifest["beside"] == hub.pinned([ref])[0].manifest["beside"]
    path = (folder / name).resolve()
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"gelu"', b'"relu"') if name == "config.json" else content[:-1] + b"x")
    assert "is not what was fetched" in verify([ref])[0] or "are not what was fetched" in verify([ref])[0]
    if name == "config.json":
        with pytest.raises(interp.InputError, match="is not what was fetched"):
            hub.pinned([ref])
