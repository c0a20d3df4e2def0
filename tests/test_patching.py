"""Sweeps: TransformerLens' numbers on every architecture, the fast road's equal to the naive one's, laws of patching."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from live_bytes import LiveBytes, peak_bytes
from tiny_models import CONFIGS, MAIN, UNMAPPED_MORE, VOCAB, pairs, state_of, tiny

from interp.errors import InputError
from interp.measure.metrics import METRICS
from interp.models import build, wrap
from interp.patching import knock_out, patch, path_patch
from interp.patching.fast.reuse import reuse_runs
from interp.patching.request import checked
from interp.types import Prompts

SWEEPS = {
    "get_act_patch_resid_pre": ("resid_pre", ("layer", "pos")),
    "get_act_patch_resid_mid": ("resid_mid", ("layer", "pos")),
    "get_act_patch_attn_out": ("attn_out", ("layer", "pos")),
    "get_act_patch_mlp_out": ("mlp_out", ("layer", "pos")),
    "get_act_patch_attn_head_out_by_pos": ("z", ("layer", "head", "pos")),
    "get_act_patch_attn_head_q_by_pos": ("q", ("layer", "head", "pos")),
    "get_act_patch_attn_head_k_by_pos": ("k", ("layer", "head", "pos")),
    "get_act_patch_attn_head_v_by_pos": ("v", ("layer", "head", "pos")),
    "get_act_patch_attn_head_pattern_by_pos": ("pattern", ("layer", "head", "pos")),
    "get_act_patch_attn_head_pattern_dest_src_pos": ("pattern", ("layer", "head", "pos", "key")),
    "get_act_patch_attn_head_out_all_pos": ("z", ("layer", "head")),
    "get_act_patch_attn_head_q_all_pos": ("q", ("layer", "head")),
    "get_act_patch_attn_head_k_all_pos": ("k", ("layer", "head")),
    "get_act_patch_attn_head_v_all_pos": ("v", ("layer", "head")),
    "get_act_patch_attn_head_pattern_all_pos": ("pattern", ("layer", "head")),
}
POSITION_FIRST = ("get_act_patch_attn_head_out_by_pos", "q_by_pos", "k_by_pos", "v_by_pos")
SITES_BY = [
    *((site, by) for site in ("resid_pre", "resid_post", "attn_out") for by in (("layer",), ("layer", "pos"))),
    *((site, by) for site in "zqkv" for by in (("layer",), ("layer", "head"), ("layer", "pos"), ("layer", "head", "pos"))),
    ("resid_mid", ("layer", "pos")), ("resid_mid", ("layer",)), ("mlp_out", ("layer",)), ("mlp_out", ("layer", "pos")),
    ("mlp_post", ("layer",)), ("mlp_post", ("layer", "pos")), ("mlp_post", ("layer", "neuron")),
    ("pattern", ("layer", "head")), ("pattern", ("layer", "head", "pos")), ("pattern", ("layer", "key")),
    ("pattern", ("layer", "head", "pos", "key")),
]  # fmt: skip


@cache
def lens(name, masked):
    """TransformerLens' cache of the clean run, and a way to run its sweeps under padding."""
    model, prompts = tiny(name), pairs(masked=masked, n_pos=5)
    options = {} if prompts.mask is None else {"attention_mask": prompts.mask.long()}
    with torch.no_grad():
        _, cache_ = model.bridge.run_with_cache(prompts.clean, **options)

    class Padded:
        cfg = model.bridge.cfg

        def run_with_hooks(self, tokens, fwd_hooks):
            return model.bridge.run_with_hooks(tokens, fwd_hooks=fwd_hooks, **options)

    return cache_, Padded()


def tl_metric(prompts):
    mask = torch.ones_like(prompts.clean).bool() if prompts.mask is None else prompts.mask
    at = (mask * torch.arange(1, mask.shape[1] + 1)).argmax(1)
    rows = torch.arange(len(at))
    return lambda logits: (logits[rows, at, prompts.answer] - logits[rows, at, prompts.wrong]).mean()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["native", "native-rotary", "gpt2", "neox", "llama", "qwen2", "gemma"])
def test_every_sweep_of_transformer_lens_gives_the_same_numbers(name, masked):
    import transformer_lens.patching as theirs

    model, prompts = tiny(name), pairs(masked=masked, n_pos=5)
    clean_cache, runner = lens(name, masked)
    for function, (site, by) in SWEEPS.items():
        if site == "resid_mid" and model.sites.parallel:
            continue
        grouped = site in ("k", "v") and model.n_kv_heads != model.n_heads
        if grouped or ("key" in by and (masked or name != "gpt2")):
            continue  # theirs walks over n_heads; hundreds of runs
        ours = patch(model, prompts, site=site, by=by)
        assert ours.road == "reuse"
        with torch.no_grad():
            expected = getattr(theirs, function)(runner, prompts.corrupt, clean_cache, tl_metric(prompts))
        expected = torch.as_tensor(expected)
        if function.endswith(POSITION_FIRST):
            expected = expected.movedim(1, 2)
        torch.testing.assert_close(
            ours.values, expected.float(), rtol=1e-4, atol=1e-5, msg=lambda m, function=function: f"{function}: {m}"
        )


@pytest.mark.parametrize("name", [n for n in CONFIGS if n not in ("mistral", "native-no-norm")])
def test_both_roads_give_the_same_numbers(name):
    model, number = tiny(name), list(CONFIGS).index(name)
    absent = {"resid_mid"} if model.sites.parallel else set()
    absent |= {"resid_mid", "mlp_out", "mlp_post"} if model.sites.mlp is None else set()
    for index, (site, by) in enumerate(SITES_BY):
        turn = index + number
        if site in absent or (len(by) > 2 and turn % 3) or ({"neuron", "key"} & set(by) and turn % 4):
            continue
        position = (-1, torch.tensor([4, 3, 5]), torch.tensor([5, 5, 2]))[turn % 3]
        prompts = pairs(masked=turn % 2 == 0, seed=turn, position=position)
        options = dict(
            site=site, by=by, metric=("log_prob", "logit_diff")[turn % 2], direction=("denoise", "noise")[turn % 2]
        )
        fast, slow = patch(model, prompts, **options), patch(model, prompts, road="naive", **options)
        assert slow.road == "naive"
        assert fast.road == ("naive" if model.sites.flat_qk_norm and site in ("q", "k") else "reuse")
        assert fast.values.shape == tuple(len(fast.coords[axis]) for axis in by)
        for what in ("values", "per_prompt"):
            torch.testing.assert_close(
                getattr(fast, what),
                getattr(slow, what),
                rtol=1e-4,
                atol=2e-5,
                msg=lambda m, site=site, by=by: f"{site} {by}: {m}",
            )
        assert (fast.clean, fast.corrupt) == pytest.approx((slow.clean, slow.corrupt), rel=1e-4, abs=1e-5)


@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_the_roads_agree_on_any_prompts(data):
    model = tiny(data.draw(st.sampled_from(MAIN)))
    n_prompts, n_pos = data.draw(st.integers(1, 3)), data.draw(st.integers(2, 6))
    rng = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    clean, corrupt = torch.randint(VOCAB, (2, n_prompts, n_pos), generator=rng)
    first = data.draw(st.integers(0, n_pos))
    corrupt[:, :first] = clean[:, :first]
    mask = torch.ones(n_prompts, n_pos, dtype=torch.bool)
    if data.draw(st.booleans()):
        mask[0, : data.draw(st.integers(0, n_pos - 1))] = False
    answer = torch.randint(VOCAB, (n_prompts,), generator=rng)
    wrong = (answer + 3) % VOCAB
    at = torch.tensor([data.draw(st.integers(0, n_pos - 1)) for _ in range(n_prompts)])
    at = torch.where(mask.gather(1, at[:, None])[:, 0], at, n_pos - 1)
    prompts = Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=wrong, position=at, mask=mask)
    site, by = data.draw(st.sampled_from([one for one in SITES_BY if "neuron" not in one[1] and one[0] != "resid_mid"]))
    fast, slow = (patch(model, prompts, site=site, by=by, road=road) for road in (None, "naive"))
    torch.testing.assert_close(fast.per_prompt, slow.per_prompt, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("road", ["reuse", "naive"])
@pytest.mark.parametrize("name", MAIN)
def test_a_run_patched_with_itself_is_itself_and_wholly_patched_is_the_other(name, road):
    model, prompts = tiny(name), pairs()
    same = Prompts(clean=prompts.clean, corrupt=prompts.clean, answer=prompts.answer, wrong=prompts.wrong)
    for site, by in (("z", ("layer", "head")), ("resid_pre", ("layer", "pos")), ("k", ("layer",))):
        found = patch(model, same, site=site, by=by, road=road)
        torch.testing.assert_close(found.values, torch.full_like(found.values, found.clean), rtol=1e-4, atol=1e-5)
        assert found.normalised().isnan().all()
    whole = ["resid_pre", "resid_post"] + ([] if model.sites.parallel else ["resid_mid"])
    for site in whole:
        for direction, end in (("denoise", 1.0), ("noise", 0.0)):
            found = patch(model, prompts, site=site, by="layer", road=road, direction=direction)
            torch.testing.assert_close(found.normalised(), torch.full((2,), end), rtol=1e-3, atol=1e-4)


def test_all_layers_at_once_takes_the_naive_road_and_says_so():
    found = patch(tiny("gpt2"), pairs(), site="z", by="head")
    assert (found.road, tuple(found.values.shape)) == ("naive", (4,))
    everything = patch(tiny("gpt2"), pairs(), site="resid_pre", by=())
    assert float(everything.values) == pytest.approx(everything.clean, rel=1e-4)
    with pytest.raises(InputError, match="cannot reuse"):
        patch(tiny("gpt2"), pairs(), by="head", road="reuse")


def test_somebody_elses_hook_is_honoured():
    model = wrap(build(CONFIGS["gpt2"], seed=0))
    plain = patch(model, pairs())
    handle = model.module.transformer.h[1].mlp.register_forward_hook(lambda module, args, output: output * 2)
    hooked = patch(model, pairs())
    handle.remove()
    assert (plain.road, hooked.road) == ("reuse", "naive")
    assert not torch.allclose(plain.values, hooked.values)
    assert torch.equal(patch(model, pairs()).values, plain.values)


@pytest.mark.parametrize("name", ["native", "llama"])
def test_reuse_costs_a_fraction_of_the_naive_road(name):
    fast, slow = (patch(tiny(name), pairs(n_pos=9), road=road) for road in ("reuse", "naive"))
    assert slow.passes == 2 + slow.values.numel()
    assert fast.passes < slow.passes / 2.5


@pytest.mark.parametrize("by", [("layer", "head"), ("layer", "head", "pos"), ("layer", "pos"), ("layer", "neuron")])
@pytest.mark.parametrize("name", ["native", "gpt2"])
def test_a_sweep_holds_what_it_keeps_and_two_forward_passes_at_most(name, by):
    """1024 positions, where a batch of patches could be as large as one pass: the peak does not grow with the patches."""
    model, prompts = tiny(name), pairs(n_prompts=64, n_pos=16)
    site = {"head": "z", "neuron": "mlp_post"}.get(by[1], "resid_pre")
    patch(model, prompts, site=site, by=by)
    with torch.no_grad():
        forward = peak_bytes(lambda: model.module(prompts.clean))
        with LiveBytes() as tracker:
            runs = reuse_runs(checked(model, prompts, site, by, "logit_diff", "denoise"))
    kept = tracker.live
    assert runs.base.numel()
    found = patch(model, prompts, site=site, by=by)
    results = 4 * found.per_prompt.nbytes
    assert found.values.numel() > 6
    assert peak_bytes(lambda: patch(model, prompts, site=site, by=by)) <= kept + 2 * forward + results


def test_hidden_states_that_were_asked_of_transformers_do_not_close_the_fast_road():
    model = wrap(build(CONFIGS["llama"], seed=0))
    model.module(input_ids=pairs().clean, output_hidden_states=True)
    assert patch(model, pairs()).road == "reuse"


@pytest.mark.parametrize("name", UNMAPPED_MORE)
def test_architectures_without_a_map_are_swept_through_the_bridge(name):
    model, prompts = wrap(build(UNMAPPED_MORE[name], seed=0)), pairs(n_prompts=2, n_pos=5)
    for site, by in (("z", ("head",)), ("k", ("layer", "head")), ("mlp_post", ("neuron",))):
        found = patch(model, prompts, site=site, by=by)
        assert found.road == "naive"
        assert not torch.allclose(found.values, torch.tensor(found.corrupt), atol=1e-6)
    whole = patch(model, prompts, site="resid_pre", by="layer")
    assert float(whole.values[0]) == pytest.approx(whole.clean, rel=1e-4)


def test_a_parallel_block_without_a_map_has_no_path_from_its_head_to_its_mlp():
    model = wrap(build(UNMAPPED_MORE["codegen"], seed=0))
    with pytest.raises(InputError, match="does not come after"):
        path_patch(model, pairs(), "L0H0", "L0.mlp")


def test_metrics_are_those_of_a_plain_run():
    model, prompts = tiny("llama"), pairs(masked=True)
    at, rows = torch.tensor([6, 5, 6]), torch.arange(3)
    with torch.no_grad():
        clean, corrupt = (model(tokens, prompts.mask)[rows, at] for tokens in (prompts.clean, prompts.corrupt))
    p, q = clean.log_softmax(-1), corrupt.log_softmax(-1)
    expected = {
        "logit_diff": corrupt[rows, prompts.answer] - corrupt[rows, prompts.wrong],
        "log_prob": q[rows, prompts.answer],
        "prob": q[rows, prompts.answer].exp(),
        "kl": (p.exp() * (p - q)).sum(-1),
        "rank": 1 + (corrupt > corrupt[rows, prompts.answer][:, None]).sum(-1).float(),
    }
    assert set(expected) == set(METRICS)
    for name, values in expected.items():
        found = patch(model, prompts, site="z", by="layer", metric=name)
        assert found.corrupt == pytest.approx(float(values.mean()), rel=1e-4, abs=1e-5)
    assert patch(model, prompts, by="layer", metric="kl").clean == pytest.approx(0, abs=1e-6)


def test_a_function_is_a_metric():
    model, prompts = tiny("native"), pairs()
    named = patch(model, prompts)
    rows = torch.arange(3)
    own = patch(model, prompts, metric=lambda logits: logits[rows, prompts.answer] - logits[rows, prompts.wrong])
    torch.testing.assert_close(own.per_prompt, named.per_prompt)
    two = patch(model, prompts, metric=lambda logits, asked: logits.gather(1, asked.answer[:, None])[:, 0])
    assert two.per_prompt is not None
    single = patch(
        model, prompts, metric=lambda logits: (logits[rows, prompts.answer] - logits[rows, prompts.wrong]).mean()
    )
    assert single.per_prompt is None
    torch.testing.assert_close(single.values, named.values)
    with pytest.raises(InputError, match="gives a number for each of 3 prompts"):
        patch(model, prompts, metric=lambda logits: logits)


@pytest.mark.parametrize("masked", [False, True])
def test_longer_answers_are_scored_by_teacher_forcing(masked):
    model, short = tiny("gpt2"), pairs(masked=masked)
    answer = torch.tensor([[1, 2, 3], [4, 5, -1], [6, -1, -1]])
    wrong = torch.tensor([[1, 7, 3], [8, 5, -1], [9, -1, -1]])
    prompts = Prompts(clean=short.clean, corrupt=short.corrupt, answer=answer, wrong=wrong, mask=short.mask)
    found = {metric: patch(model, prompts, by="layer", metric=metric) for metric in ("log_prob", "prob", "logit_diff")}
    slow = patch(model, prompts, by="layer", metric="log_prob", road="naive")
    torch.testing.assert_close(found["log_prob"].per_prompt, slow.per_prompt, rtol=1e-4, atol=1e-5)
    mask = torch.ones_like(short.clean).bool() if short.mask is None else short.mask
    log_probs, differences = [], []
    for i in range(3):
        row = torch.cat([short.clean[i][mask[i]], answer[i][answer[i] >= 0]])[None]
        n = int((answer[i] >= 0).sum())
        with torch.no_grad():
            logits = model(row)[0, -n - 1 : -1]
        log_probs.append(logits.log_softmax(-1)[torch.arange(n), answer[i, :n]].sum())
        j = int((answer[i] != wrong[i]).nonzero()[0])
        differences.append(logits[j, answer[i, j]] - logits[j, wrong[i, j]])
    assert found["log_prob"].clean == pytest.approx(float(torch.stack(log_probs).mean()), rel=1e-4)
    assert found["prob"].clean == pytest.approx(float(torch.stack(log_probs).exp().mean()), rel=1e-4)
    assert found["logit_diff"].clean == pytest.approx(float(torch.stack(differences).mean()), rel=1e-4, abs=1e-5)
    with pytest.raises(InputError, match="must be the last unmasked one"):
        patch(
            model,
            Prompts(clean=short.clean, corrupt=short.corrupt, answer=answer, wrong=wrong, position=3, mask=short.mask),
        )


def test_wrong_requests_name_the_nearest():
    model, prompts = tiny("gpt2"), pairs()
    for options, message in (
        ({"site": "zz"}, "unknown site"),
        ({"site": "embed"}, "unknown site to patch 'embed'"),
        ({"by": ("layer", "heads")}, "unknown axis 'heads'; did you mean 'head'"),
        ({"site": "resid_pre", "by": "head"}, "resid_pre has no axis 'head'; it has layer, pos"),
        ({"metric": "logit_dif"}, "unknown metric 'logit_dif'; did you mean 'logit_diff'"),
        ({"direction": "denoize"}, "unknown direction 'denoize'; did you mean 'denoise'"),
    ):
        with pytest.raises(InputError, match=message):
            patch(model, prompts, **options)
    with pytest.raises(InputError, match="parallel block"):
        patch(tiny("neox"), prompts, site="resid_mid", by="layer")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["native", "gpt2", "gemma2", "gpt-neo"])
def test_nothing_of_the_model_changes_even_when_the_metric_raises(name, training):
    model = wrap(build(CONFIGS[name], seed=0).train(training))
    before, prompts, calls = state_of(model), pairs(), []

    def late(logits):
        calls.append(logits)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return logits[:, 0]

    for road in ("reuse", "naive"):
        patch(model, prompts, road=road)
        assert state_of(model) == before
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            patch(model, prompts, site="mlp_post", by=("layer", "pos"), metric=late, road=road)
        assert state_of(model) == before
    calls.extend([None] * 3)
    for function in (
        lambda: path_patch(model, prompts, "L0H1", "L1H0.q", metric=late),
        lambda: knock_out(model, prompts, queries=-1, keys=0, metric=late),
    ):
        with pytest.raises(KeyboardInterrupt):
            function()
        assert state_of(model) == before


def test_labels_go_to_xarray():
    table = patch(tiny("llama"), pairs(), site="k", by=("layer", "head", "pos")).to_xarray()
    assert dict(table.sizes) == {"layer": 2, "head": 2, "pos": 7, "prompt": 3}
    assert table.attrs["road"] == "reuse"
    torch.testing.assert_close(
        torch.tensor(table["per_prompt"].mean("prompt").values), torch.tensor(table["values"].values)
    )


# Paths


@pytest.mark.parametrize("part", ["q", "k", "v"])
@pytest.mark.parametrize("name", ["gpt2", "neox", "llama"])
def test_direct_paths_are_transformer_lenses(name, part):
    from transformer_lens.patching import get_act_patch_direct_path

    model, prompts = tiny(name), pairs()
    if part != "q" and model.n_kv_heads != model.n_heads:
        pytest.skip("theirs refuses grouped heads")
    with torch.no_grad():
        caches = [model.bridge.run_with_cache(tokens)[1] for tokens in (prompts.clean, prompts.corrupt)]
        theirs = get_act_patch_direct_path(
            model.bridge, prompts.corrupt, *caches, tl_metric(prompts), 0, 1, component=part, verbose=False
        )[1]
    ours = [path_patch(model, prompts, "L0H1", f"L1H{head}.{part}").value for head in range(model.n_heads)]
    torch.testing.assert_close(torch.tensor(ours), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["native", "neox", "gemma2", "native-attn-only"])
def test_paths_through_everything_are_patches_and_direct_ones_to_the_logits_add_up(name):
    model, prompts = tiny(name), pairs()
    for head in range(model.n_heads):
        through = path_patch(model, prompts, f"L0H{head}", "logits", through="everything")
        assert through.value == pytest.approx(float(patch(model, prompts).values[0, head]), rel=1e-4, abs=1e-5)
    last = model.n_layers - 1
    if name == "native-attn-only":
        direct = path_patch(model, prompts, f"L{last}H0", "logits")
        assert direct.value == pytest.approx(float(patch(model, prompts).values[last, 0]), rel=1e-4, abs=1e-5)
    else:
        mlp = path_patch(model, prompts, f"L{last}.mlp", "logits")
        assert mlp.value == pytest.approx(
            float(patch(model, prompts, site="mlp_out", by="layer").values[last]), rel=1e-4, abs=1e-5
        )


def test_paths_to_all_readers_through_everything_are_the_whole_patch():
    model, prompts = tiny("native-attn-only"), pairs()
    readers = [f"L{layer}H{head}.{part}" for layer in (1, 2) for head in range(4) for part in "qkv"]
    told = path_patch(model, prompts, "L0H2", readers, through="everything").value
    total, direct = (
        path_patch(model, prompts, "L0H2", "logits", through=how).value for how in ("everything", "nothing")
    )
    assert abs(told - total) > 1e-4  # all but the direct path to the logits
    assert abs(direct - total) > 1e-4


def test_paths_that_do_not_exist_are_refused():
    model, prompts = tiny("neox"), pairs()
    for sender, receiver, message in (
        ("L1H0", "L0H0.q", "does not come after"),
        ("L0H0", "L0.mlp", "does not come after"),
        ("L0H0", "L1H0", "L1H0.q, L1H0.k or L1H0.v"),
        ("L0H0.q", "logits", "receives"),
        ("head", "logits", "such as L0H3"),
        ("L0H9", "logits", "there is no head 9"),
        ("L0H0", "L5H0.q", "there is no layer 5"),
    ):
        with pytest.raises(InputError, match=message):
            path_patch(model, prompts, sender, receiver)
    assert (
        path_patch(tiny("native"), prompts, "L0H0", "L0.mlp").value
        != path_patch(tiny("native"), prompts, "L0H0", "L1.mlp").value
    )


def test_knocking_out_attention_to_what_differs_makes_the_runs_equal():
    for name in ("native", "llama", "neox", "gpt-neo"):
        model, prompts = tiny(name), pairs(n_prompts=2)
        clean, corrupt = prompts.clean[1:], prompts.corrupt[1:]
        one = Prompts(clean=clean, corrupt=corrupt, answer=prompts.answer[1:], wrong=prompts.wrong[1:])
        cut = [knock_out(model, one, queries=[4, 5, 6], keys=[3], run=run) for run in ("clean", "corrupt")]
        assert cut[0].value == pytest.approx(cut[1].value, rel=1e-4, abs=1e-5)
        assert abs(cut[0].clean - cut[0].corrupt) > 1e-3
        part = knock_out(model, one, queries=-1, keys=[3], layers=0, heads=[1])
        assert part.value != pytest.approx(part.clean, abs=1e-7)
