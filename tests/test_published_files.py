"""Laws of weight files as others publish them: nesting, prefixes, orientation and series change no logit."""

import json

import pytest
import torch

import interp
from interp.families.folder import digested
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
