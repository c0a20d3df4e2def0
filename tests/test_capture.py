"""Capture and single interventions: TransformerLens' numbers, nothing kept or computed that was not asked, no trace left."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import CONFIGS, MAIN, UNMAPPED, VOCAB, padding, pairs, state_of, tiny

from interp.errors import InputError
from interp.hooks.activations import capture
from interp.hooks.interventions import KINDS, Intervention, intervene
from interp.models import build, wrap
from interp.models.by_bridge import _NAMES
from interp.models.sites import BLOCK_SITES, DIMS, EXPERT_SITES, SCORE_SITES, SITES


def sites_of(model):
    gone = {"resid_mid"} if model.sites is not None and model.sites.parallel else set()
    if model.sites is not None and model.sites.mlp is None:
        gone |= {"resid_mid", "mlp_out", "mlp_pre", "mlp_post"}
    return [site for site in SITES if site not in (*gone, *EXPERT_SITES) and "." not in site]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_site_is_transformer_lenses(name, masked):
    model, tokens = tiny(name), pairs().clean
    mask = padding() if masked else None
    kept = capture(model, tokens, sites_of(model), mask=mask)
    real = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
    with torch.no_grad():
        logits, cache = model.bridge.run_with_cache(tokens, **({} if mask is None else {"attention_mask": mask.long()}))
    for site in kept:
        assert len(DIMS[site]) == kept[site].dim()
        for layer in range(len(kept[site])):
            ours = kept[site][layer]
            theirs = logits if site == "logits" else cache[_NAMES[site].format(layer)]
            if site in SCORE_SITES:
                if site == "attn_scores" and model.sites.attention != "table":
                    theirs = cache[_NAMES["pattern"].format(layer)]  # the bridge shows its pattern there
                    ours = ours.softmax(-1)
                seen = (kept["attn_scores"][layer] > -torch.inf) & real[:, None, :, None]
                torch.testing.assert_close(ours[seen], theirs[seen], rtol=1e-4, atol=1e-4)
            else:
                theirs = theirs.reshape(ours.shape)
                torch.testing.assert_close(ours[real], theirs[real], rtol=1e-4, atol=1e-4)


def test_patterns_are_the_softmax_of_scores_and_sum_to_one():
    for name in MAIN:
        kept = capture(tiny(name), pairs().clean, ("attn_scores", "pattern"))
        torch.testing.assert_close(kept["attn_scores"].softmax(-1), kept["pattern"])


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_slice_of_a_capture_is_the_capture_of_a_slice(data):
    model = tiny(data.draw(st.sampled_from(MAIN)))
    n_pos = data.draw(st.integers(4, 9))
    tokens = torch.randint(VOCAB, (3, n_pos), generator=torch.Generator().manual_seed(n_pos))
    mask = padding(3, n_pos) if data.draw(st.booleans()) else None
    site = data.draw(st.sampled_from([s for s in sites_of(model) if s in BLOCK_SITES]))
    layers = data.draw(st.lists(st.integers(0, 1), min_size=1, unique=True))
    n_heads = {"k": model.n_kv_heads, "v": model.n_kv_heads}.get(site, model.n_heads)
    has_heads = site in ("z", "q", "k", "v", *SCORE_SITES)
    heads = data.draw(st.lists(st.integers(0, n_heads - 1), min_size=1, unique=True)) if has_heads else None
    positions = data.draw(st.lists(st.integers(0, n_pos - 1), min_size=1, unique=True))
    own = torch.tensor([data.draw(st.integers(0, n_pos - 1)) for _ in range(3)])
    whole = capture(model, tokens, site, mask=mask)[site][layers]
    part = capture(model, tokens, site, layers=layers, heads=heads, positions=positions, mask=mask)[site]
    each = capture(model, tokens, site, layers=layers, positions=own, mask=mask)[site]
    if site in SCORE_SITES:
        expected = whole[:, :, heads][:, :, :, positions]
        one = torch.stack([whole[:, i, :, p : p + 1] for i, p in enumerate(own)], 1)
    else:
        expected = whole[:, :, positions] if heads is None else whole[:, :, positions][:, :, :, heads]
        one = torch.stack([whole[:, i, p : p + 1] for i, p in enumerate(own)], 1)
    torch.testing.assert_close(part, expected)
    torch.testing.assert_close(each, one)


def test_negative_positions_count_from_each_prompts_last_token():
    model, tokens, mask = tiny("gpt2"), pairs().clean, padding()
    whole = capture(model, tokens, mask=mask)["resid_post"]
    last = capture(model, tokens, positions=-1, mask=mask)["resid_post"]
    torch.testing.assert_close(last[:, :, 0], torch.stack([whole[:, 0, 6], whole[:, 1, 5], whole[:, 2, 6]], 1))


@pytest.mark.parametrize("name", MAIN)
def test_the_pass_stops_after_the_last_that_is_needed(name):
    model = wrap(build(CONFIGS[name], seed=0))
    ran = []
    paths = [f"{model.sites.blocks}.1", model.sites.unembed, model.sites.ln_final]
    for path in paths:
        model.module.get_submodule(path).register_forward_pre_hook(lambda *_, path=path: ran.append(path))
    capture(model, pairs().clean, ("z", "pattern"), layers=0)  # tries once, in whole passes, that patterns are in reach
    ran.clear()
    capture(model, pairs().clean, ("z", "pattern"), layers=0)
    assert ran == []
    capture(model, pairs().clean, ("resid_post",))
    assert ran == paths[:1]
    capture(model, pairs().clean, ("ln_final", "embed"))
    assert paths[1] not in ran
    capture(model, pairs().clean, "logits")
    assert paths[1] in ran


def test_the_stream_between_two_blocks_is_kept_once():
    kept = capture(tiny("gpt2"), pairs().clean, ("resid_pre", "resid_post"))
    assert kept["resid_pre"][1].data_ptr() == kept["resid_post"][0].data_ptr()
    for site in ("resid_pre", "resid_post"):
        torch.testing.assert_close(kept[site], capture(tiny("gpt2"), pairs().clean, site)[site])


@pytest.mark.parametrize("name", [*MAIN, "gpt-neo", "native-rotary"])
def test_gradients_are_the_limit_of_differences(name):
    model = wrap(build(CONFIGS[name], seed=0))
    model.module.double()
    tokens, mask = pairs().clean, None if name == "gemma2" else padding()  # transformers' own float64 Gemma 2 gives NaN
    rng = torch.Generator().manual_seed(0)

    def metric(logits):
        return logits[:, 4].log_softmax(-1)[:, 3]

    step = 1e-6 if name in ("native", "gpt2") else 1e-3  # the others compute norms or rotations in float32
    sites = [site for site in sites_of(model) if site not in ("logits", "attn_scores")]
    found = capture(model, tokens, sites, mask=mask, gradients_of=metric, logits_at=None)
    assert found.gradients is not None
    for site in sites:
        gradient = found.gradients[site][0]
        direction = torch.randn(gradient.shape, generator=rng, dtype=torch.float64)
        ends = [
            metric(
                intervene(model, tokens, [Intervention(site=site, layer=0, kind="add", value=h * direction)], mask=mask)
            ).sum()
            for h in (step, -step)
        ]
        torch.testing.assert_close((gradient * direction).sum(), (ends[0] - ends[1]) / (2 * step), rtol=2e-2, atol=5e-3)
    assert all(p.grad is None for p in model.module.parameters())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_do_not_depend_on_the_callers_mode(mode):
    for name in ("native", "gpt2"):
        found = []
        for context in (torch.enable_grad, mode):
            with context():
                tokens = pairs().clean
                grads = capture(tiny(name), tokens, "z", gradients_of=lambda logits: logits[:, -1, 3]).gradients
                assert torch.is_grad_enabled() == (context is torch.enable_grad)
            found.append(grads["z"])
        assert found[0].abs().max() > 0
        assert torch.equal(*found)


def test_somebody_elses_hooks_and_shadows_are_honoured_and_stay():
    model, tokens = wrap(build(CONFIGS["gpt2"], seed=0)), pairs().clean
    plain = capture(model, tokens, ("resid_pre", "resid_post"))
    block = model.module.transformer.h[0]
    handles = [
        block.register_forward_hook(lambda module, args, output: output + 1),
        block.register_forward_pre_hook(lambda module, args: (args[0] * 0, *args[1:])),
    ]
    own = model.module.transformer.h[1].forward
    model.module.transformer.h[1].forward = shadow = lambda *args, **kwargs: own(*args, **kwargs) - 2
    seen = capture(model, tokens, ("resid_pre", "resid_post"))
    assert torch.equal(seen["resid_pre"][0], plain["resid_pre"][0] * 0)
    with torch.no_grad():
        hooked = model.module(tokens, output_hidden_states=True, use_cache=False).hidden_states
    torch.testing.assert_close(seen["resid_post"][0], hooked[1])
    assert model.module.transformer.h[1].forward is shadow
    for handle in handles:
        handle.remove()


def test_logits_at_unembeds_these_positions_only():
    model, tokens = tiny("llama"), pairs().clean
    whole = capture(model, tokens, "logits")["logits"]
    torch.testing.assert_close(capture(model, tokens, "logits", logits_at=[2, 5])["logits"], whole[:, :, [2, 5]])
    torch.testing.assert_close(capture(model, tokens, "logits", positions=[2, 5])["logits"], whole[:, :, [2, 5]])


def test_what_is_kept_has_the_dtype_asked_for():
    kept = capture(tiny("gpt2"), pairs().clean, ("z", "logits"), dtype="bfloat16")
    assert {tensor.dtype for tensor in kept.values()} == {torch.bfloat16}


def test_an_architecture_without_a_map_goes_through_the_bridge():
    model = wrap(build(UNMAPPED, seed=0))
    assert model.sites is None
    tokens, mask = pairs().clean, padding()
    kept = capture(model, tokens, ("resid_pre", "z", "k", "pattern", "mlp_post", "logits"), mask=mask)
    with torch.no_grad():
        logits, cache = model.bridge.run_with_cache(tokens, attention_mask=mask.long())
    torch.testing.assert_close(kept["logits"][0], logits)
    torch.testing.assert_close(kept["logits"][0][mask], model(tokens, mask)[mask].detach(), rtol=1e-4, atol=1e-5)
    for layer in range(2):
        torch.testing.assert_close(kept["z"][layer], cache[f"blocks.{layer}.attn.hook_z"].reshape(3, 7, 4, 6))
        torch.testing.assert_close(kept["pattern"][layer], cache[f"blocks.{layer}.attn.hook_pattern"])
    cut = intervene(
        model, tokens, [Intervention(site="mlp_out", kind="zero"), Intervention(site="attn_out", kind="zero")]
    )
    last = capture(model, tokens, "resid_pre", layers=0)["resid_pre"][0]
    norm, head = model.module.model.norm, model.module.lm_head
    torch.testing.assert_close(cut, head(norm(last)).detach(), rtol=1e-4, atol=1e-5)


def test_a_module_without_attention_is_run_without_a_cache():
    """Blocks of linear attention: transformers' cache refuses them where no block attends."""
    from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 50, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "layer_types": ["linear_attention"] * 2}
    linear = {
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    }
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    experts |= {"shared_expert_intermediate_size": 16}
    torch.manual_seed(0)
    module = Qwen3NextForCausalLM(Qwen3NextConfig(**sizes, **heads, **linear, **experts)).eval()
    tokens = torch.arange(12).reshape(2, 6)
    with torch.no_grad():
        own = module(tokens, output_hidden_states=True, use_cache=False).hidden_states
    kept = capture(wrap(module), tokens, ["resid_post"])["resid_post"]
    assert torch.allclose(kept[0], own[1], atol=1e-6)


def test_what_transformer_lens_runs_into_is_told_in_a_line(monkeypatch):
    model = wrap(build(UNMAPPED, seed=0))
    monkeypatch.setattr(type(model.bridge), "forward", lambda *_, **__: 1 / 0)
    with pytest.raises(InputError, match=r"bridge over .* fails: ZeroDivisionError"):
        capture(model, pairs().clean, ["resid_post"])


def test_a_bridge_that_computes_something_else_is_not_trusted():
    model = wrap(build({**UNMAPPED, "architecture": "StableLmForCausalLM", "partial_rotary_factor": 0.25}, seed=0))
    model.sites = None
    with pytest.raises(InputError, match="other logits"):  # a rotation of one and a half dimensions
        capture(model, pairs().clean, "z")


def test_what_the_bridge_cannot_show_is_said():
    xglm = dict(
        architecture="XGLMForCausalLM", d_model=24, num_layers=2, attention_heads=4, ffn_dim=32, vocab_size=VOCAB
    )
    model, tokens = wrap(build(xglm, seed=0)), pairs().clean
    with pytest.raises(InputError, match="pattern of XGLMForCausalLM is not to be trusted: z does not follow"):
        intervene(model, tokens, [Intervention(site="pattern", kind="zero")])
    with torch.no_grad():
        hidden = model.module(tokens, output_hidden_states=True).hidden_states
    torch.testing.assert_close(capture(model, tokens, "resid_pre")["resid_pre"], torch.stack(hidden[:2]))
    with pytest.raises(InputError, match="shown by maps of sites alone"):
        capture(model, tokens, "router_logits")
    absent = wrap(build({**UNMAPPED, "architecture": "HeliumForCausalLM", "head_dim": 6}, seed=0))
    with pytest.raises(InputError, match="cannot build a bridge over this HeliumForCausalLM"):
        capture(absent, tokens)


def test_wrong_requests_name_the_nearest():
    model, tokens = tiny("gpt2"), pairs().clean
    with pytest.raises(InputError, match="unknown site 'resid_pots'; did you mean 'resid_post'"):
        capture(model, tokens, "resid_pots")
    with pytest.raises(InputError, match="there is no layer 2: this model has 2, 0 to 1"):
        capture(model, tokens, layers=2)
    with pytest.raises(InputError, match="there is no head 9"):
        capture(model, tokens, "z", heads=9)
    with pytest.raises(InputError, match="a position lies outside"):
        capture(model, tokens, positions=7)
    with pytest.raises(InputError, match="parallel block read the same"):
        capture(tiny("neox"), tokens, "resid_mid")
    with pytest.raises(InputError, match="no MLPs"):
        capture(tiny("native-attn-only"), tokens, "mlp_out")


def test_labels_go_to_xarray():
    kept = capture(
        tiny("llama"), pairs().clean, ("z", "k", "resid_post", "pattern"), layers=1, heads=[1, 0], positions=[2, 4]
    )
    table = kept.to_xarray()
    assert table["z"].dims == ("layer", "prompt", "pos", "head", "d_head")
    assert table["z"].coords["layer"].values.tolist() == [1]
    assert table["z"].coords["head"].values.tolist() == [1, 0]
    assert table["resid_post"].coords["pos"].values.tolist() == [2, 4]
    torch.testing.assert_close(torch.tensor(table["k"].sel(head=0).values), kept["k"][:, :, :, 1])


# Interventions


def one(site, model, **options):
    return Intervention(site=site, layer=None if site in ("embed", "ln_final") else 0, **options)


@pytest.mark.parametrize("name", ["native", "neox", "gemma2", "gpt-neo", "olmo2"])
def test_setting_what_is_there_changes_nothing_and_what_is_elsewhere_gives_that_run(name):
    model, tokens, other = tiny(name), pairs().clean, pairs().corrupt
    plain, kept = model(tokens).detach(), capture(model, tokens, sites_of(model))
    for site in sites_of(model):
        if site != "logits":
            same = intervene(model, tokens, [one(site, model, value=kept[site][0])])
            torch.testing.assert_close(same, plain, rtol=1e-4, atol=1e-5)
    for site in ("resid_pre", "resid_post", "ln_final", *(["resid_mid"] if "resid_mid" in sites_of(model) else [])):
        value = capture(model, other, site)[site][0]
        moved = intervene(model, tokens, [one(site, model, value=value)])
        torch.testing.assert_close(moved, model(other).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("site", ["resid_mid", "z", "q", "v", "pattern", "mlp_post", "attn_out"])
def test_each_kind_does_what_it_says_to_what_was_selected_and_to_nothing_else(site):
    model, tokens = tiny("llama"), pairs().clean
    before = capture(model, tokens, site, layers=0)[site][0]
    heads = [1] if site in ("z", "q", "v", "pattern") else None
    index = [[0], [2]], [[1, 4]]
    chosen = before[index[0], :, index[1]][:, :, 1] if site == "pattern" else before[index]
    chosen = chosen[:, :, 1] if site in ("z", "q", "v") else chosen
    rng = torch.Generator().manual_seed(0)
    basis = torch.randn(2, chosen.shape[-1], generator=rng)
    q = torch.linalg.qr(basis.mT).Q
    expected = {
        "set": torch.full_like(chosen, 0.5), "add": chosen + 0.5, "scale": chosen * 0.5, "zero": chosen * 0,
        "mean": chosen.mean(0, keepdim=True).expand_as(chosen), "subspace": chosen - chosen @ q @ q.mT,
    }  # fmt: skip
    for kind in KINDS:
        change = one(site, model, kind=kind, heads=heads, positions=[1, 4], prompts=[0, 2], basis=basis,
                     value=0.5 if kind in ("set", "add", "scale", "noise") else None, rng=torch.Generator().manual_seed(3))  # fmt: skip
        after = capture(model, tokens, site, layers=0, interventions=[change])[site][0]
        now = after[index[0], :, index[1]][:, :, 1] if site == "pattern" else after[index]
        now = now[:, :, 1] if site in ("z", "q", "v") else now
        if kind in expected:
            torch.testing.assert_close(now, expected[kind], rtol=1e-4, atol=1e-5)
        elif kind == "resample":
            assert all(any(torch.equal(row, source) for source in chosen) for row in now)
        else:
            assert 0.1 < (now - chosen).std() < 1.5
        untouched = (
            torch.ones(before.shape[:3], dtype=torch.bool)
            if before.dim() == 4
            else torch.ones(before.shape[:2], dtype=torch.bool)
        )
        for prompt in (0, 2):
            for pos in (1, 4):
                if site == "pattern":
                    untouched[prompt, 1, pos] = False
                elif heads is not None:
                    untouched[prompt, pos, 1] = False
                else:
                    untouched[prompt, pos] = False
        assert torch.equal(after[untouched], before[untouched])


def test_interventions_compose_in_order_and_noise_repeats_with_its_generator():
    model, tokens = tiny("native"), pairs().clean
    before = capture(model, tokens, "resid_post", layers=0)["resid_post"]
    steps = [one("resid_post", model, kind="add", value=1.0), one("resid_post", model, kind="scale", value=3.0)]
    after = capture(model, tokens, "resid_post", layers=0, interventions=steps)["resid_post"]
    torch.testing.assert_close(after, (before + 1) * 3)
    noisy = [
        intervene(model, tokens, [one("z", model, kind="noise", value=1.0, rng=torch.Generator().manual_seed(s))])
        for s in (1, 1, 2)
    ]
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], noisy[2])


def test_wrong_interventions_are_refused():
    model, tokens = tiny("gpt2"), pairs().clean
    with pytest.raises(InputError, match="unknown kind of intervention 'sett'"):
        intervene(model, tokens, [Intervention(site="z", kind="sett")])
    with pytest.raises(InputError, match="should add needs a value"):
        intervene(model, tokens, [Intervention(site="z", kind="add")])
    with pytest.raises(InputError, match="needs a basis"):
        intervene(model, tokens, [Intervention(site="z", kind="subspace")])
    with pytest.raises(InputError, match="has no heads"):
        intervene(model, tokens, [Intervention(site="resid_pre", kind="zero", heads=0)])
    with pytest.raises(InputError, match="has no keys"):
        intervene(model, tokens, [Intervention(site="z", kind="zero", keys=0)])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["native", "gpt2", "gpt-neo", "gemma2"])
def test_nothing_of_the_model_changes_even_when_something_raises(name, training):
    model = wrap(build(CONFIGS[name], seed=0).train(training))
    tokens, before = pairs().clean, state_of(model)

    def broken(logits):
        raise KeyboardInterrupt

    sites = ("z", "pattern", "attn_scores", "resid_mid")
    capture(model, tokens, sites)
    assert state_of(model) == before
    capture(model, tokens, sites, gradients_of=lambda logits: logits.sum())
    assert state_of(model) == before
    with pytest.raises(KeyboardInterrupt):
        capture(model, tokens, sites, gradients_of=broken)
    assert state_of(model) == before
    for site in sites:
        with pytest.raises(RuntimeError):
            intervene(model, tokens, [Intervention(site=site, layer=1, value=torch.zeros(17))])
        assert state_of(model) == before
