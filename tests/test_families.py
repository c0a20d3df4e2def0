"""Families: addresses, listing, resolving, verifying and streaming stored checkpoints and folders of one's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import interp
from interp.families import (
    families,
    family,
    format_address,
    parse_address,
    read_config,
    read_weights,
    resolve,
    stream,
    verify,
)
from interp.families.pretrained import understood
from interp.families.weights import is_whole
from interp.files import write_json
from interp.training import planned_runs
from interp.training.grow import grow
from interp.types import Address, CheckpointRef

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "task": {"name": "modular_addition", "params": {"p": 5, "train_fraction": 0.6}},
    "model": {"architecture": "native", "n_layers": 1, "n_heads": 2, "act_fn": "relu", "normalization_type": None},
    "sizes": {"d4": {"d_model": 4, "d_head": 2, "d_mlp": 8}, "d16": {"d_model": 16, "d_head": 8, "d_mlp": 16}},
    "settings": {"base": {}, "other": {"optimizer": {"weight_decay": 0}}},
    "runs": [{"settings": ["base"]}, {"settings": ["other"], "sizes": ["d4"], "seeds": [0]}],
    "seeds": [0, 1],
    "steps": 8,
    "checkpoints": {"every": 2},
}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the family of the recipe."""
    root = tmp_path_factory.mktemp("store")
    for run in planned_runs(RECIPE):
        grow(run, root)
    return root


@pytest.fixture
def store(grown: Path, tmp_path: Path) -> Path:
    """A copy of the store to damage."""
    return Path(shutil.copytree(grown, tmp_path / "checkpoints"))


NAMES = st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True).filter(lambda name: not name.startswith("seed"))


@given(
    family=NAMES,
    size=NAMES,
    setting=st.none() | NAMES,
    seed=st.none() | st.integers(0, 99),
    step=st.none() | st.integers(0, 10**6),
)
def test_an_address_reads_back(family: str, size: str, setting: str | None, seed: int | None, step: int | None) -> None:
    address = Address(family=family, size=size, setting=setting, seed=seed, step=step)
    assert parse_address(format_address(address)) == address


@pytest.mark.parametrize("text", ["", ":d4", "a:b:c", "a@b", "a@step", "a:b/c/d@step1", "a@step1@step2", "a:b@step-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(interp.InputError, match="is not an address"):
        parse_address(text)


def test_every_checkpoint_is_listed_in_order_and_resolves_to_itself(grown: Path) -> None:
    refs = family("tiny", root=grown).checkpoints()
    assert len(refs) == 5 * 5
    assert refs == family("tiny", root=grown).refs
    assert [ref.size for ref in refs[:15]] == ["d4"] * 15  # the smaller model first
    for run in {(ref.size, ref.setting, ref.seed) for ref in refs}:
        steps = [ref.step for ref in refs if (ref.size, ref.setting, ref.seed) == run]
        assert steps == [0, 2, 4, 6, 8]
    for ref in refs:
        assert resolve(format_address(ref), root=grown) == ref
    assert "tiny" in families(grown)


def test_filters_select_and_name_the_nearest(grown: Path) -> None:
    tiny = family("tiny", root=grown)
    assert {(r.size, r.seed) for r in tiny.checkpoints(size="d16", seed=1)} == {("d16", 1)}
    assert {r.step for r in tiny.checkpoints(step=[2, 8])} == {2, 8}
    assert {r.setting for r in tiny.checkpoints(setting=["other"])} == {"other"}
    with pytest.raises(interp.InputError, match=r"unknown size of tiny 'd15'; did you mean 'd16'\?"):
        tiny.checkpoints(size="d15")
    with pytest.raises(interp.InputError, match="no step 5; the nearest is 4"):
        tiny.checkpoints(step=5)
    with pytest.raises(interp.InputError, match=r"did you mean 'other'\?"):
        tiny.checkpoints(setting="othr")
    with pytest.raises(interp.InputError, match=r"unknown family 'tinny'; did you mean 'tiny'\?"):
        family("tinny", root=grown)


def test_a_part_is_left_out_only_where_there_is_one_choice(grown: Path) -> None:
    assert resolve("tiny:d16/seed1@step4", root=grown).setting == "base"
    assert resolve("tiny:d4/other@step4", root=grown).seed == 0
    for address, part in {"tiny@step2": "size", "tiny:d4@step2": "setting", "tiny:d16@step2": "seed"}.items():
        with pytest.raises(interp.InputError, match=f"leaves out the {part}, and there are several"):
            resolve(address, root=grown)
    with pytest.raises(interp.InputError, match="leaves out the step"):
        resolve("tiny:d16/seed1", root=grown)
    with pytest.raises(interp.InputError, match="no step 3; the nearest is 2"):
        resolve("tiny:d16/seed1@step3", root=grown)


def test_a_part_of_a_store_is_a_family_by_its_path(grown: Path) -> None:
    assert len(family(str(grown / "tiny" / "d4")).refs) == 15
    assert resolve(f"{grown}/tiny/d4/other/seed0@step6") == resolve("tiny:d4/other@step6", root=grown)
    assert resolve(f"{grown}/tiny/d4/other/seed0/step6") == resolve("tiny:d4/other@step6", root=grown)


def test_the_store_is_found_by_its_variable(grown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERP_CHECKPOINTS", str(grown))
    assert len(family("tiny").refs) == 25


def test_a_recipe_not_trained_yet_is_a_family_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = tmp_path / "experiments" / "recipes"
    recipes.mkdir(parents=True)
    (recipes / "planned.yaml").write_text(json.dumps({**RECIPE, "name": "planned"}))
    monkeypatch.chdir(tmp_path)
    ref = resolve("planned:d4/other@step6")
    assert (ref.path, len(family("planned").refs)) == (None, 25)
    with pytest.raises(interp.InputError, match=r"interp train experiments/recipes/planned\.yaml"):
        read_weights(ref)


def test_a_family_cut_short_before_its_first_checkpoint_is_none(tmp_path: Path) -> None:
    (tmp_path / "new" / "d4" / "base" / "seed0" / "step0").mkdir(parents=True)
    assert "new" not in families(tmp_path)
    with pytest.raises(interp.InputError, match="unknown family 'new'"):
        resolve("new:d4@step0", root=tmp_path)


def test_sound_checkpoints_have_no_problems(grown: Path) -> None:
    assert verify(family("tiny", root=grown).refs) == []


def test_every_kind_of_damage_is_reported_once(store: Path) -> None:
    run = store / "tiny" / "d4" / "base" / "seed0"
    refs = family("tiny", root=store).refs
    content = (run / "step2" / "model.safetensors").read_bytes()
    (run / "step2" / "model.safetensors").write_bytes(content[:-5])
    (run / "step4" / "model.safetensors").unlink()
    flipped = bytearray((run / "step6" / "model.safetensors").read_bytes())
    flipped[-1] ^= 1
    (run / "step6" / "model.safetensors").write_bytes(flipped)
    (run / "step7").mkdir()
    problems = verify(refs)
    assert len(problems) == 4
    for said, problem in zip(
        ("step2: model.safetensors is trunc", "step4: model.safetensors is missing"), problems, strict=False
    ):
        assert said in problem
    assert "has the digest" in problems[2]
    assert problems[3].endswith("step7 is incomplete: it has no manifest.json")


def test_steps_with_equal_weights_are_reported(store: Path) -> None:
    run = store / "tiny" / "d16" / "base" / "seed1"
    shutil.copy(run / "step2" / "model.safetensors", run / "step8" / "model.safetensors")
    manifest = json.loads((run / "step8" / "manifest.json").read_text())
    manifest["sha256"] = json.loads((run / "step2" / "manifest.json").read_text())["sha256"]
    write_json(run / "step8" / "manifest.json", manifest)
    assert "tiny:d16/base/seed1: steps 2 and 8 have the same weights" in verify(family("tiny", root=store).refs)


@pytest.mark.parametrize("seed", range(5))
def test_weights_that_jump_back_or_come_from_elsewhere_are_reported(seed: int, tmp_path: Path) -> None:
    """A random walk in which one step is all but the first again; the walk itself is never reported."""
    rng = torch.Generator().manual_seed(seed)
    walk = torch.randn(24, 500, generator=rng).cumsum(0)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "native"}))
    for step, weights in enumerate(walk):
        save_file({"w": weights}, tmp_path / f"step{step}.safetensors")
    assert verify(family(str(tmp_path)).refs) == []
    save_file({"w": walk[0] + 0.01 * walk[1]}, tmp_path / "step19.safetensors")
    problems = verify(family(str(tmp_path)).refs)
    assert len(problems) == 1
    assert "step19: its weights lie apart" in problems[0]


def test_a_checkpoint_cut_short_is_told_from_one_that_never_was(store: Path) -> None:
    run = store / "tiny" / "d16" / "base" / "seed0"
    (run / "step4" / "manifest.json").unlink()
    with pytest.raises(interp.InputError, match=r"step4 is incomplete"):
        resolve("tiny:d16/base/seed0@step4", root=store)
    weights = run / "step6" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(interp.InputError, match=r"step6/model.safetensors is truncated"):
        resolve("tiny:d16/base/seed0@step6", root=store)
    weights.unlink()
    with pytest.raises(interp.InputError, match=r"step6/model.safetensors is missing"):
        resolve("tiny:d16/base/seed0@step6", root=store)
    (run / "step8" / "manifest.json").write_text("{")
    with pytest.warns(UserWarning, match=r"step8/manifest.json is not valid JSON"):  # the others are read
        assert "step8" not in {ref.path.name for ref in family("tiny", root=store).refs if ref.path.parent == run}
    with pytest.raises(interp.InputError, match=r"step8"), pytest.warns(UserWarning, match="not valid JSON"):
        resolve("tiny:d16/base/seed0@step8", root=store)


@given(cut=st.integers(0, 400))
def test_only_the_whole_file_is_whole(cut: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.safetensors"
        save_file({"a": torch.arange(50.0), "b": torch.ones(3, dtype=torch.int64)}, path)
        content = path.read_bytes()
        path.write_bytes(content[:cut])
        assert is_whole(path) == (cut >= len(content))
        path.write_bytes(content + b"x")
        assert not is_whole(path)


def test_a_stream_is_one_model_with_the_weights_of_each(grown: Path) -> None:
    tokens = torch.tensor([[0, 1, 5], [4, 4, 5]])
    refs = family("tiny", root=grown).checkpoints(size="d4")
    modules = set()
    for ref, model in stream(refs):
        fresh = interp.load(ref)
        with torch.no_grad():
            assert torch.equal(model(tokens), fresh(tokens))
        assert model.ref == ref
        modules.add(id(model.module))
    assert len(modules) == 1
    sizes = [model.d_model for _, model in stream(family("tiny", root=grown).checkpoints(step=8))]
    assert sizes == [4, 4, 4, 16, 16]


def test_a_stream_reads_ahead_while_the_caller_computes(grown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from interp.families import streaming

    read, events = streaming._read, {}

    def noted(ref: CheckpointRef) -> Any:
        found = read(ref)
        events.setdefault(ref.step, threading.Event()).set()
        return found

    monkeypatch.setattr(streaming, "_read", noted)
    refs = family("tiny", root=grown).checkpoints(size="d4", setting="other")
    for ref in refs:
        events[ref.step] = threading.Event()
    for ref, following in zip((ref for ref, _ in stream(refs)), [*refs[1:], None], strict=True):
        assert events[ref.step].is_set()
        if following is not None:
            assert events[following.step].wait(20)


def test_a_swap_that_gives_other_logits_is_refused(grown: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from interp.families import streaming
    from interp.models import Model

    swap = Model.swap

    def forgetful(self: Model, weights: Any, **options: Any) -> None:
        swap(self, {**weights, "head.weight": torch.zeros_like(weights["head.weight"])}, **options)

    monkeypatch.setattr(streaming, "_PROVED", set())
    monkeypatch.setattr(Model, "swap", forgetful)
    with pytest.raises(interp.InputError, match="gives other logits than a model loaded afresh"):
        list(stream(family("tiny", root=grown).checkpoints(size="d4", setting="other")))


def test_a_truncated_file_in_a_stream_is_named(store: Path) -> None:
    weights = store / "tiny" / "d4" / "other" / "seed0" / "step4" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    walk = stream(family("tiny", root=store).checkpoints(setting="other"))
    assert [next(walk)[0].step, next(walk)[0].step] == [0, 2]
    with pytest.raises(interp.InputError, match=r"tiny:d4/other/seed0@step4: .*truncated"):
        next(walk)


def test_a_folder_of_state_dicts_beside_a_config_is_a_family(grown: Path, tmp_path: Path) -> None:
    refs = family("tiny", root=grown).checkpoints(size="d4", setting="other")
    for ref in refs:
        assert ref.path is not None
        shutil.copy(ref.path / "model.safetensors", tmp_path / f"weights_{ref.step}.safetensors")
        shutil.copy(ref.path / "config.json", tmp_path / "config.json")
    own = family(str(tmp_path)).refs
    assert [ref.step for ref in own] == [0, 2, 4, 6, 8]
    assert all(torch.equal(v, read_weights(refs[3])[k]) for k, v in read_weights(own[3]).items())
    assert read_config(own[0]) == read_config(refs[0])


def test_a_folder_without_checkpoints_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(interp.InputError, match="expected folders checkpoint-500/"):
        family(str(tmp_path))


def old_names(config: dict[str, Any], rng: torch.Generator) -> dict[str, torch.Tensor]:
    """Random weights of a model under the names and shapes of the old HookedTransformer."""
    d, h, k, f, v = (config[name] for name in ("d_model", "n_heads", "d_head", "d_mlp", "d_vocab"))
    shapes: dict[str, tuple[int, ...]] = {
        "embed.W_E": (v, d),
        "pos_embed.W_pos": (config["n_ctx"], d),
        "unembed.W_U": (d, v),
    }
    shapes |= {"ln_final.w": (d,), "ln_final.b": (d,)}
    for layer in range(config["n_layers"]):
        block = f"blocks.{layer}."
        shapes |= {f"{block}attn.W_{x}": (h, d, k) for x in "QKV"} | {f"{block}attn.b_{x}": (h, k) for x in "QKV"}
        shapes |= {f"{block}attn.W_O": (h, k, d), f"{block}attn.b_O": (d,)}
        shapes |= {f"{block}ln{i}.{x}": (d,) for i in (1, 2) for x in "wb"}
        shapes |= {
            f"{block}mlp.W_in": (d, f),
            f"{block}mlp.b_in": (f,),
            f"{block}mlp.W_out": (f, d),
            f"{block}mlp.b_out": (d,),
        }
    return {name: torch.randn(shape, generator=rng) / 4 for name, shape in shapes.items()}


def reference_logits(w: dict[str, torch.Tensor], config: dict[str, Any], tokens: torch.Tensor) -> torch.Tensor:
    """The old model's forward pass, written out from its names."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        x = x - x.mean(-1, keepdim=True)
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * w[f"{name}.w"] + w[f"{name}.b"]

    n = tokens.shape[1]
    x = w["embed.W_E"][tokens] + w["pos_embed.W_pos"][:n]
    for layer in range(config["n_layers"]):
        block = f"blocks.{layer}"
        q, k, v = (
            torch.einsum("bpd,hdk->bhpk", norm(x, f"{block}.ln1"), w[f"{block}.attn.W_{c}"])
            + w[f"{block}.attn.b_{c}"][:, None]
            for c in "QKV"
        )
        scores = (q @ k.transpose(-1, -2)) / config["d_head"] ** 0.5
        z = scores.masked_fill(torch.ones(n, n).triu(1).bool(), float("-inf")).softmax(-1) @ v
        x = x + torch.einsum("bhpk,hkd->bpd", z, w[f"{block}.attn.W_O"]) + w[f"{block}.attn.b_O"]
        hidden = torch.nn.functional.gelu(norm(x, f"{block}.ln2") @ w[f"{block}.mlp.W_in"] + w[f"{block}.mlp.b_in"])
        x = x + hidden @ w[f"{block}.mlp.W_out"] + w[f"{block}.mlp.b_out"]
    return norm(x, "ln_final") @ w["unembed.W_U"]


@pytest.mark.parametrize("seed", range(2))
def test_legacy_state_dicts_compute_what_the_old_model_did(seed: int, tmp_path: Path) -> None:
    config = {"d_model": 8, "n_layers": 2, "d_mlp": 12, "d_head": 3, "n_heads": 2, "n_ctx": 6, "d_vocab": 10}
    described = {**config, "act_fn": "gelu", "attn_only": False, "normalization": "LN", "model_name": "old"}
    (tmp_path / "config.json").write_text(json.dumps(described))
    rng = torch.Generator().manual_seed(seed)
    old = {step: old_names(config, rng) for step in (10, 20, 30)}
    for step, weights in old.items():
        torch.save({**weights, "blocks.0.attn.mask": torch.ones(6, 6)}, tmp_path / f"Old_2L_{step}.pth")
    tokens = torch.randint(10, (3, 6), generator=rng)
    seen = []
    for ref, model in stream(family(str(tmp_path)).refs):
        with torch.no_grad():
            torch.testing.assert_close(
                model(tokens), reference_logits(old[ref.step], config, tokens), rtol=1e-4, atol=1e-5
            )
        seen.append(ref.step)
    assert seen == [10, 20, 30]


def test_a_legacy_file_with_more_than_tensors_or_an_unknown_configuration_is_refused(tmp_path: Path) -> None:
    config = {
        "d_model": 8,
        "n_layers": 1,
        "d_mlp": 8,
        "d_head": 4,
        "n_heads": 2,
        "n_ctx": 4,
        "d_vocab": 5,
        "act_fn": "relu",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save({"evil": Path("/")}, tmp_path / "x_1.pth")
    ref = family(str(tmp_path)).refs[0]
    with pytest.raises(interp.InputError, match="cannot be read as plain tensors"):
        read_weights(ref)
    (tmp_path / "config.json").write_text(json.dumps({**config, "shortformer_pos": True}))
    with pytest.raises(interp.InputError, match="no attribute 'shortformer_pos'"):
        read_config(ref)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_embed": 7}, r"no attribute 'n_embed'; did you mean 'n_embd'\?"),
        ({"sliding_scale": 2}, "refusing to guess"),
        ({"architectures": ["GPT9LMHeadModel"]}, "names no architecture"),
        ({"architectures": None}, "names no architecture"),
        ({"model_type": "llama"}, "model_type is 'llama'"),
        ({"auto_map": {"AutoModelForCausalLM": "x.py"}}, "code of its own"),
    ],
)
def test_a_configuration_that_is_not_understood_is_an_error(change: dict[str, Any], message: str) -> None:
    from transformers import GPT2Config

    config = {**GPT2Config(n_layer=1).to_dict(), "architectures": ["GPT2LMHeadModel"]}
    assert understood(config, where="config.json")["architecture"] == "GPT2LMHeadModel"
    with pytest.raises(interp.InputError, match=message):
        understood({**config, **change}, where="config.json")


PUBLISHED = {
    "GPTNeoXForCausalLM": """
        bos_token_id eos_token_id hidden_act hidden_size initializer_range intermediate_size layer_norm_eps
        max_position_embeddings model_type num_attention_heads num_hidden_layers rotary_emb_base rotary_pct
        tie_word_embeddings torch_dtype transformers_version use_cache use_parallel_residual vocab_size
    """,
    "GPT2LMHeadModel": """
        activation_function attn_pdrop bos_token_id embd_pdrop eos_token_id initializer_range
        layer_norm_epsilon model_type n_ctx n_embd n_head n_layer n_positions resid_pdrop summary_activation
        summary_first_dropout summary_proj_to_logits summary_type summary_use_proj task_specific_params
        vocab_size scale_attn_by_inverse_layer_idx reorder_and_upcast_attn n_inner gradient_checkpointing
        scale_attn_weights use_cache transformers_version torch_dtype
    """,
    "LlamaForCausalLM": """
        _name_or_path attention_bias attention_dropout bos_token_id eos_token_id hidden_act hidden_size
        initializer_range intermediate_size max_position_embeddings mlp_bias model_type num_attention_heads
        num_hidden_layers num_key_value_heads pretraining_tp rms_norm_eps rope_scaling rope_theta
        tie_word_embeddings torch_dtype use_cache vocab_size
    """,
    "BloomForCausalLM": """
        apply_residual_connection_post_layernorm attention_dropout attention_softmax_in_fp32 bos_token_id
        eos_token_id hidden_dropout hidden_size initializer_range layer_norm_epsilon masked_softmax_fusion
        model_type n_head n_inner n_layer offset_alibi pad_token_id pretraining_tp seq_length skip_bias_add
        skip_bias_add_qkv slow_but_exact transformers_version unk_token_id use_cache vocab_size
    """,
}


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_the_attributes_of_published_configurations_are_understood(architecture: str) -> None:
    import transformers

    kind = getattr(transformers, architecture).config_class
    values = kind().to_dict()
    config = {name: values.get(name) for name in PUBLISHED[architecture].split()} | {"model_type": kind.model_type}
    assert understood({**config, "architectures": [architecture]}, where="config.json")["architecture"] == architecture
