"""The handle: one plain module with its weights swapped in place, and TransformerLens' view of a copy of it."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import CONFIGS, MAIN, VOCAB, padding, pairs, state_of, tiny

from interp.engine.precision import verify_device
from interp.errors import InputError
from interp.families import load
from interp.hooks.activations import capture
from interp.models import build, weights, wrap


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_the_bridges_with_and_without_padding(name):
    model, tokens, mask = tiny(name), pairs().clean, padding()
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), model.bridge(tokens), rtol=1e-4, atol=1e-5)
        ours, theirs = model(tokens, mask), model.bridge(tokens, attention_mask=mask.long())
    torch.testing.assert_close(ours[mask], theirs[mask], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["native", "gpt2", "neox", "gemma2"])
def test_left_padding_changes_nothing(name):
    model, tokens = tiny(name), pairs().clean
    padded = torch.nn.functional.pad(tokens, (3, 0), value=1)
    with torch.no_grad():
        torch.testing.assert_close(model(padded, padded.new_ones(padded.shape).index_fill_(1, torch.arange(3), 0).bool())[:, 3:],
                                   model(tokens), rtol=1e-4, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_sizes(name):
    model = tiny(name)
    assert (model.d_model, model.n_heads, model.d_head, model.d_vocab) == (24, 4, 6, VOCAB)
    assert model.n_layers == len(model.module.get_submodule(model.sites.blocks))
    assert model.n_kv_heads == (2 if CONFIGS[name].get("num_key_value_heads") or "rotary" in name else 4)
    assert model.dtype == torch.float32
    assert model.ref is None


@pytest.mark.parametrize("name", CONFIGS)
def test_a_swap_gives_a_fresh_builds_logits_in_the_same_tensors(name):
    model, other = wrap(build(CONFIGS[name], seed=1)), tiny(name)
    tokens = pairs().clean
    before = model.bridge
    places = [parameter.data_ptr() for parameter in model.module.parameters()]
    model.swap(other.module.state_dict())
    with torch.no_grad():
        assert torch.equal(model(tokens), other(tokens))
        assert model.bridge is not before
        torch.testing.assert_close(model.bridge(tokens), other(tokens), rtol=1e-4, atol=1e-5)
    assert places == [parameter.data_ptr() for parameter in model.module.parameters()]


def test_a_swap_that_does_not_fit_is_refused_and_changes_nothing():
    model = wrap(build(CONFIGS["native"], seed=1))
    given = dict(tiny("native").module.state_dict())
    logits = model(pairs().clean)
    with pytest.raises(InputError, match=r"layers.0.attn.q.weigh.*did you mean 'layers.0.attn.q.weight'"):
        model.swap({"layers.0.attn.q.weigh": torch.zeros(1), **given})
    with pytest.raises(InputError, match=r"lack head\.weight"):
        model.swap({name: value for name, value in given.items() if name != "head.weight"})
    with pytest.raises(InputError, match=r"tok_embed.weight is \(23, 24\) in the model and \(5, 24\)"):
        model.swap({**given, "tok_embed.weight": torch.zeros(5, 24)})
    assert torch.equal(model(pairs().clean), logits)


def test_tied_weights_may_come_under_one_name():
    model, other = wrap(build(CONFIGS["gpt2"], seed=1)), tiny("gpt2")
    given = {name: value for name, value in other.module.state_dict().items() if name != "lm_head.weight"}
    model.swap(given)
    assert torch.equal(model(pairs().clean), other(pairs().clean))


def test_the_bridge_follows_weights_that_change_in_place():
    model = wrap(build(CONFIGS["native"], seed=1))
    before = model.bridge
    with torch.no_grad():
        model.module.head.weight.mul_(2)
        torch.testing.assert_close(model.bridge(pairs().clean), model(pairs().clean))
    assert model.bridge is not before


def test_building_a_bridge_leaves_the_module_alone():
    model = wrap(build(CONFIGS["neox"], seed=1))
    before, names = state_of(model), list(model.module.state_dict())
    model.bridge(pairs().clean)
    assert state_of(model) == before
    assert list(model.module.state_dict()) == names


@pytest.mark.parametrize("name", ["native", "neox", "gpt2", "gemma3"])
def test_a_checkpoint_folder_gives_the_model_back(name, tmp_path):
    model = tiny(name)
    save_file({k: v.clone().contiguous() for k, v in model.module.state_dict().items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(dict(model.config), default=str))
    loaded = load(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(pairs().clean), model(pairs().clean))
    assert load(tmp_path, dtype="bfloat16").dtype == torch.bfloat16


def test_folders_that_are_not_checkpoints_say_what_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"with a config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["native"]))
    with pytest.raises(InputError, match=r"holds no checkpoints"):
        load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"12345678garbage")
    with pytest.raises(InputError, match=r"holds no checkpoints|model\.safetensors.*(truncated|damaged)"):
        load(tmp_path)
    with pytest.raises(InputError, match="unknown dtype 'floot32'; did you mean 'float32'"):
        load(tmp_path, dtype="floot32")


def test_a_seed_decides_the_weights_and_leaves_the_global_generator():
    before = torch.random.get_rng_state()
    for name in ("native", "gpt2"):
        one, same, other = (build(CONFIGS[name], seed=seed) for seed in (1, 1, 2))
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
        assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert torch.equal(before, torch.random.get_rng_state())


def test_configurations_that_are_not_handled_are_refused():
    with pytest.raises(InputError, match=r"unknown field 'd_modell'.*did you mean 'd_model'"):
        build({**CONFIGS["native"], "d_modell": 3})
    with pytest.raises(InputError, match="no architecture"):
        build({"architecture": "Nonsense"})
    with pytest.raises(InputError, match=r"clip_qkv=1\.0 is not handled"):
        wrap(build({**CONFIGS["olmo"], "clip_qkv": 1.0}, seed=0))
    with pytest.raises(InputError, match="cannot wrap a Linear"):
        wrap(torch.nn.Linear(2, 2))


def test_what_a_config_leaves_out_is_as_the_module_has_it():
    module = build(CONFIGS["gemma2"], seed=0)
    partial = wrap(module, config={"architecture": "Gemma2ForCausalLM"})
    assert partial.sites == tiny("gemma2").sites
    assert partial.sites.logit_cap == 5.0
    assert (partial.n_kv_heads, partial.d_head, partial.n_layers) == (2, 6, 2)
    with pytest.raises(InputError, match="is not that of the Gemma2ForCausalLM"):
        wrap(module, config={**CONFIGS["gemma2"], "final_logit_softcapping": 30.0})
    with pytest.raises(InputError, match="is not that of the Gemma2ForCausalLM"):
        wrap(module, config=CONFIGS["llama"])


@pytest.mark.parametrize("name", [n for n in CONFIGS if n not in ("olmo2", "qwen3", "gemma3")])
def test_weights_by_head_make_what_is_captured(name):
    model, tokens = tiny(name), pairs().clean
    kept = capture(model, tokens, ("resid_pre", "q", "k", "v", "z", "ln_final", "logits"))
    with torch.no_grad():
        for layer in range(model.n_layers):
            read = weights.norm(model, "ln1", layer)(kept["resid_pre"][layer])
            for site, w, b in (
                ("q", weights.W_Q, weights.b_Q),
                ("k", weights.W_K, weights.b_K),
                ("v", weights.W_V, weights.b_V),
            ):
                made = torch.einsum("bpd,hde->bphe", read, w(model, layer))
                bias = b(model, layer)
                made = made if bias is None else made + bias
                torch.testing.assert_close(made, kept[site][layer], rtol=1e-4, atol=1e-5)
            raw = torch.einsum("bphe,hed->bpd", kept["z"][layer], weights.W_O(model, layer))
            raw = raw if weights.b_O(model, layer) is None else raw + weights.b_O(model, layer)
            written = weights.norm(model, "ln1_post", layer)(raw)
            torch.testing.assert_close(
                written, capture(model, tokens, "attn_out")["attn_out"][layer], rtol=1e-4, atol=1e-5
            )
        if model.sites.mlp is not None:
            hidden, raw = (
                capture(model, tokens, "mlp_post")["mlp_post"][0],
                capture(model, tokens, "mlp_out")["mlp_out"][0],
            )
            out = hidden @ weights.W_out(model, 0)
            out = out if weights.b_out(model, 0) is None else out + weights.b_out(model, 0)
            torch.testing.assert_close(weights.norm(model, "ln2_post", 0)(out), raw, rtol=1e-4, atol=1e-5)
        logits = kept["ln_final"] @ weights.W_U(model)
        if model.sites.logit_cap is not None:
            logits = model.sites.logit_cap * torch.tanh(logits / model.sites.logit_cap)
    torch.testing.assert_close(logits, kept["logits"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MAIN)
def test_tokens_that_do_not_fit_are_refused(name):
    model = tiny(name)
    with pytest.raises(InputError, match="do not fit the model's context"):
        model(torch.zeros(1, 99, dtype=torch.long))
    with pytest.raises(InputError, match=r"integers \[prompt, pos\]"):
        model(torch.zeros(4))
    with pytest.raises(InputError, match="mask of the tokens' shape"):
        model(pairs().clean, torch.ones(1, 2))


def test_a_precision_states_its_error():
    model = tiny("llama")
    exact, coarse = verify_device(model, "cpu"), verify_device(model, "cpu", "bfloat16")
    assert exact == {"forward": 0, "capture": 0, "pattern": 0, "patch": 0, "agrees": True}
    assert coarse["agrees"]
    assert 1e-5 < coarse["forward"] < 0.2
    with pytest.raises(InputError, match="cannot put a model on 'nowhere'"):
        verify_device(model, "nowhere")
