"""Laws of weight files as others publish them: nesting, prefixes, orientation and series change no logit."""

import json

import pytest
import torch
from safetensors.torch import load_file

import interp
from interp.families import stream
from interp.families.folder import digested
from interp.families.published import state_dict
from interp.models import build

CONFIG = {
    "d_model": 12, "n_layers": 2, "n_heads": 3, "d_head": 4, "d_mlp": 20, "n_ctx": 6, "d_vocab": 11, "act_fn": "relu",
    "normalization_type": None, "positional_embedding_type": "standard",
}  # fmt: skip


def lens_weights(seed):
    """Random weights in TransformerLens' older names and layout, without attention biases."""
    made = torch.Generator().manual_seed(seed)
    shapes = {"embed.W_E": (11, 12), "pos_embed.W_pos": (6, 12), "unembed.W_U": (12, 11)}
    for layer in range(2):
        at = f"blocks.{layer}."
        shapes |= {f"{at}attn.W_{n}": (3, 12, 4) for n in "QKV"} | {f"{at}attn.W_O": (3, 4, 12)}
        shapes |= {
            f"{at}mlp.W_in": (12, 20),
            f"{at}mlp.b_in": (20,),
            f"{at}mlp.W_out": (20, 12),
            f"{at}mlp.b_out": (12,),
        }
    return {name: torch.randn(shape, generator=made) / 3 for name, shape in shapes.items()}


def turned(weights):
    """The same weights as the grokking studies' own code lays them out."""
    found = {}
    for name, value in weights.items():
        last = name.split(".")[-1]
        if last == "W_O":
            value = value.flatten(0, 1).T
        elif last in ("W_E", "W_Q", "W_K", "W_V", "W_in", "W_out"):
            value = value.mT
        found[name] = value.contiguous()
    return {**found, "blocks.0.attn.mask": torch.ones(6, 6).tril()}


def authors_logits(w, tokens):
    """The forward pass by its definition, in float64."""
    w = {name: value.double() for name, value in w.items()}
    x = w["embed.W_E"][tokens] + w["pos_embed.W_pos"][: tokens.shape[1]]
    later = torch.ones(tokens.shape[1], tokens.shape[1]).triu(1).bool()
    for layer in range(2):
        a, m = f"blocks.{layer}.attn.", f"blocks.{layer}.mlp."
        q, k, v = (torch.einsum("bpd,hde->bhpe", x, w[f"{a}W_{n}"]) for n in "QKV")
        pattern = (q @ k.mT / 2).masked_fill(later, -torch.inf).softmax(-1)
        x = x + torch.einsum("bhpe,hed->bpd", pattern @ v, w[f"{a}W_O"])
        x = x + (x @ w[f"{m}W_in"] + w[f"{m}b_in"]).relu() @ w[f"{m}W_out"] + w[f"{m}b_out"]
    return x @ w["unembed.W_U"]


TOKENS = torch.tensor([[1, 5, 3, 10, 0], [7, 7, 2, 9, 4]])


def saved(folder, content, name="run_1.pth"):
    (folder / "config.json").write_text(json.dumps(CONFIG))
    torch.save(content, folder / name)
    return interp.family(str(folder)).checkpoints()


def agrees(ref, weights, bound=1e-5):
    with torch.no_grad():
        found = interp.load(ref)(TOKENS).double()
    expected = authors_logits(weights, TOKENS)
    return bool((found - expected).abs().max() <= bound * expected.abs().max())


@pytest.mark.parametrize("layout", [dict, turned])
@pytest.mark.parametrize("nest", [("model",), ("state_dict",), ("checkpoint", "model"), ()])
def test_nesting_and_orientation_change_no_logit(tmp_path, layout, nest):
    content = layout(lens_weights(0))
    for key in nest:
        content = {key if key != "checkpoint" else "model": content, "loss": 0.5}
    assert agrees(saved(tmp_path, content)[0], lens_weights(0))


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."])
def test_wrappers_prefixes_change_no_logit(tmp_path, prefix):
    assert agrees(saved(tmp_path, {prefix + n: v for n, v in lens_weights(0).items()})[0], lens_weights(0))


@pytest.mark.parametrize(("key", "steps"), [("state_dicts", "epochs"), ("checkpoints", "steps")])
@pytest.mark.parametrize("kind", [list, torch.tensor])
def test_a_series_is_one_checkpoint_a_step_in_order(tmp_path, key, steps, kind):
    content = {key: [lens_weights(seed) for seed in (2, 0, 1)], steps: kind([200, 0, 100])}
    refs = saved(tmp_path, content, "full_run_data.pth")
    assert [ref.step for ref in refs] == [0, 100, 200]
    assert all(agrees(ref, lens_weights(seed)) for seed, ref in enumerate(refs))
    assert len({digested(ref).sha256 for ref in refs}) == 3


def test_a_series_without_as_many_steps_is_refused(tmp_path):
    with pytest.raises(interp.InputError, match="steps"):
        saved(tmp_path, {"state_dicts": [lens_weights(0)] * 3, "epochs": [0, 1]}, "run.pth")


def test_a_bias_of_some_layers_only_is_refused(tmp_path):
    weights = {**lens_weights(0), "blocks.0.attn.b_Q": torch.zeros(3, 4)}
    with pytest.raises(interp.InputError, match=r"layers\.1\.attn\.q\.bias"):
        interp.load(saved(tmp_path, weights)[0])


def test_a_mask_with_a_window_is_refused(tmp_path):
    with pytest.raises(interp.InputError, match="mask"):
        interp.load(saved(tmp_path, {**lens_weights(0), "blocks.0.attn.mask": torch.ones(6, 6).tril().triu(-1)})[0])


def test_half_precision_and_ignore_buffers(tmp_path):
    half = {name: value.half() for name, value in lens_weights(0).items()}
    refs = saved(tmp_path, {**half, "blocks.1.attn.IGNORE": torch.tensor(-1e5)})
    assert agrees(refs[0], {name: value.float() for name, value in half.items()})


def test_objects_are_never_unpickled(tmp_path):
    with pytest.raises(interp.InputError, match="run code"):
        interp.load(saved(tmp_path, {"model": build, "epoch": 3})[0])


def test_only_the_asked_checkpoint_of_a_run_is_held(tmp_path):
    n, seeds = 40, range(40)
    refs = saved(tmp_path, {"checkpoints": {10 * seed: lens_weights(seed) for seed in seeds}})
    state = state_dict(refs[7].path / "run_1.pth", step=70)
    held = sum(value.untyped_storage().nbytes() for value in state.values())
    assert held == sum(value.nbytes for value in state.values())
    assert held * n < 2 * (tmp_path / "run_1.pth").stat().st_size
    before = {name: value.clone() for name, value in state.items()}
    (tmp_path / "run_1.pth").write_bytes(b"")  # nothing of what was read depends on the file any more
    assert all(torch.equal(state[name], value) for name, value in before.items())


def test_files_of_the_older_format_read_the_same(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    content = {step: lens_weights(step) for step in (0, 100)}
    torch.save(content, tmp_path / "run.pth", _use_new_zipfile_serialization=False)
    refs = interp.family(str(tmp_path)).checkpoints()
    assert [ref.step for ref in refs] == [0, 100]
    assert all(agrees(ref, lens_weights(ref.step)) for ref in refs)


FORMS = {
    "by step": lambda states, steps: dict(zip(steps, states, strict=True)),
    "by step in words": lambda states, steps: {
        f"step_{step}": state for step, state in zip(steps, states, strict=True)
    },
    "pairs": lambda states, steps: list(zip(steps, states, strict=True)),
    "two lists": lambda states, steps: (states, steps),
    "each with its own": lambda states, steps: [
        {"epoch": step, "model": state, "optimizer": {"state": {}}} for step, state in zip(steps, states, strict=True)
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_run_is_the_same_run(form, tmp_path):
    steps = [300, 0, 7]
    refs = saved(tmp_path, FORMS[form]([lens_weights(step) for step in steps], steps), "run.pth")
    assert [ref.step for ref in refs] == sorted(steps)
    assert all(agrees(ref, lens_weights(ref.step)) for ref in refs)


def test_a_list_takes_its_steps_from_beside_or_is_refused(tmp_path):
    states = [lens_weights(seed) for seed in (4, 9)]
    with pytest.raises(interp.InputError, match="2 state dicts and not their steps"):
        saved(tmp_path, states, "run.pth")
    (tmp_path / "steps.json").write_text("[4, 9]")
    refs = interp.family(str(tmp_path)).checkpoints()
    assert [ref.step for ref in refs] == [4, 9]
    assert all(agrees(ref, lens_weights(ref.step)) for ref in refs)
    (tmp_path / "steps.json").write_text("[4, 9, 12]")
    with pytest.raises(interp.InputError, match="not their steps"):
        interp.family(str(tmp_path)).checkpoints()


def test_bare_names_of_the_embeddings(tmp_path):
    short = {
        name.replace("unembed.", "").replace("pos_embed.", "").replace("embed.", ""): v
        for name, v in lens_weights(3).items()
    }
    assert "W_pos" in short
    assert agrees(saved(tmp_path, short)[0], lens_weights(3))


@pytest.mark.parametrize(
    "beside",
    [
        {"optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}}, {"config": {"lr": 1e-3}}, {"step": 3, "loss": 0.5},
        {"epoch": torch.tensor(3)}, {"train_losses": [torch.tensor(1.0)]}, {"name": "run"},
    ],
)  # fmt: skip
def test_what_stands_among_the_weights_and_is_none_changes_no_logit(beside, tmp_path):
    assert agrees(saved(tmp_path, {**lens_weights(0), **beside})[0], lens_weights(0))


def test_weights_nested_among_weights_are_not_dropped(tmp_path):
    """Left out they would be taken for biases that are zero."""
    content = {
        **lens_weights(0),
        "biases": {"blocks.0.attn.b_Q": torch.ones(3, 4), "blocks.1.attn.b_Q": torch.ones(3, 4)},
    }
    with pytest.raises(interp.InputError, match="holds no state dict"):
        interp.load(saved(tmp_path, content)[0])


@pytest.mark.parametrize("nest", [False, True])
def test_names_of_another_code_are_refused_with_the_way_out(nest, tmp_path):
    state = {"encoder.layer.weight": torch.ones(12, 12), "fc.bias": torch.ones(12)}
    with pytest.raises(
        interp.InputError, match=r"names of another code \(encoder\.layer\.weight, fc\.bias.*interp\.wrap"
    ):
        interp.load(saved(tmp_path, {"model": state} if nest else state)[0])


def test_quantised_weights_are_refused(tmp_path):
    whole = {name: (10 * value).to(torch.int8) for name, value in lens_weights(0).items()}
    with pytest.raises(interp.InputError, match=r"embed\.W_E is int8"):
        interp.load(saved(tmp_path, whole)[0])


def test_bfloat16_is_read_as_it_is_stored(tmp_path):
    half = {name: value.bfloat16() for name, value in lens_weights(0).items()}
    assert agrees(saved(tmp_path, half)[0], {name: value.float() for name, value in half.items()})


def llama(seed, *, tied):
    import transformers as hf

    torch.manual_seed(seed)
    config = hf.LlamaConfig(
        vocab_size=29, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=16, tie_word_embeddings=tied,
    )  # fmt: skip
    return hf.LlamaForCausalLM(config).eval()


def rewritten(folder, prefix):
    """The folder's weights as .bin files, with a prefix before every name."""
    for path in folder.glob("model*.safetensors"):
        name = path.name.replace("model", "pytorch_model").replace(".safetensors", ".bin")
        torch.save({prefix + key: value for key, value in load_file(path).items()}, folder / name)
        path.unlink()
    if (index := folder / "model.safetensors.index.json").is_file():
        told = json.loads(index.read_text())
        told["weight_map"] = {
            prefix + key: name.replace("model", "pytorch_model").replace(".safetensors", ".bin")
            for key, name in told["weight_map"].items()
        }
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(told))
        index.unlink()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("size", ["1GB", "8KB"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_bin_files_stream_exactly_sharded_and_prefixed(tied, size, prefix, tmp_path):
    modules = {step: llama(step, tied=tied) for step in (1, 2, 3)}
    for step, module in modules.items():
        module.save_pretrained(tmp_path / f"step{step}", max_shard_size=size)
        rewritten(tmp_path / f"step{step}", prefix)
    tokens = torch.arange(8)[None]
    with torch.no_grad():
        for ref, model in stream(interp.family(str(tmp_path)).checkpoints()):
            assert torch.equal(model(tokens), modules[ref.step](tokens).logits)


def test_a_base_model_with_an_adapter_inside_is_refused(tmp_path):
    llama(0, tied=False).save_pretrained(tmp_path / "base")
    interp.load(tmp_path / "base")
    (tmp_path / "base" / "mine").mkdir()
    (tmp_path / "base" / "mine" / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "base_model_name_or_path": "lab/x"}'
    )
    with pytest.raises(interp.InputError, match=r"mine holds an adapter \(LORA for lab/x\)"):
        interp.load(tmp_path / "base")
