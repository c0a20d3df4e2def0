"""Lenses: the last layer's is the model's own; attributions add up everywhere; head scores against planted truth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import CONFIGS, UNMAPPED, VOCAB, padding, pairs, state_of, tiny

from interp.circuits.formation import role_nulls, role_scores
from interp.errors import InputError
from interp.hooks.activations import capture
from interp.indicators._composition import strongest_writer
from interp.indicators._weights import heads
from interp.lenses import (
    BREAKDOWNS,
    attention_figure,
    composition,
    direct_logit_attribution,
    head_scores,
    logit_lens,
)
from interp.measure import scoring
from interp.measure.metrics import questions
from interp.models import build, weights, wrap
from interp.models.site_tensors import mapped, part_of
from interp.types import Prompts

torch.set_num_threads(1)  # threads that wait for each other cost more than these models take


def stirred(name: str, seed: int = 1, **config):
    """A tiny model whose biases and norms are random too: fresh ones are all 0 or 1, and hide what is forgotten."""
    model = wrap(build({**CONFIGS[name], **config}, seed=seed))
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=rng)
    return model


def difference(model, prompts):
    """The logit difference of a plain run of the module."""
    asked = questions(prompts, model)
    with torch.no_grad():
        logits = model(asked.clean, asked.mask)
    rows = torch.arange(len(logits))[:, None]
    return scoring.logit_diff(logits[rows, asked.read], asked.answer, asked.wrong)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_lens_of_the_last_layer_is_the_models_logits(name, masked):
    model, tokens = stirred(name), pairs().clean
    mask = padding() if masked else None
    lens = logit_lens(model, tokens, mask=mask)
    assert lens.shape == (model.n_layers, *tokens.shape, VOCAB)
    keep = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
    with torch.no_grad():
        assert torch.allclose(lens[-1][keep], model(tokens, mask)[keep], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["native", "neox", "gemma2"])
def test_lens_of_a_layer_is_the_model_with_later_blocks_silent(name):
    """Blocks that add nothing leave the stream as it was."""
    model, tokens = stirred(name), pairs().clean
    lens = logit_lens(model, tokens, layers=0)[0]
    last = model.module.get_submodule(model.sites.blocks)[model.n_layers - 1]
    with torch.no_grad():
        for path in (model.sites.attn_out, model.sites.mlp_out):
            for parameter_name, parameter in last.get_submodule(path).named_parameters():
                # a Gemma norm multiplies by 1 + its weight
                parameter.fill_(-1.0 if name == "gemma2" and parameter_name == "weight" else 0.0)
        assert torch.allclose(lens, model(tokens), rtol=1e-5, atol=1e-5)


def test_lens_at_chosen_layers_and_positions():
    model, tokens = tiny("llama"), pairs().clean
    whole = logit_lens(model, tokens, mask=padding())
    own = logit_lens(model, tokens, layers=[1, 0], positions=-1, mask=padding())
    last = torch.tensor([6, 5, 6])
    for prompt, at in enumerate(last):
        assert torch.allclose(own[:, prompt, 0], whole[[1, 0], prompt, at], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("by", BREAKDOWNS)
@pytest.mark.parametrize("name", CONFIGS)
def test_attribution_adds_up_to_the_logit_difference(name, by):
    model = stirred(name)
    if by == "neuron" and model.sites.mlp is None:
        with pytest.raises(InputError, match="no MLPs"):
            direct_logit_attribution(model, pairs(), by=by)
        return
    for prompts in (pairs(), pairs(masked=True, seed=3), pairs(position=torch.tensor([4, 2, 6]))):
        found, expected = direct_logit_attribution(model, prompts, by=by), difference(model, prompts)
        scale = max(float(part.abs().max()) for part in found.values())
        assert torch.allclose(found.logit_diff, expected, rtol=1e-5, atol=1e-5)
        assert (found.total() - expected).abs().max() < 1e-5 * scale + 1e-5
        assert torch.allclose(sum(found.named().values()), found.total())


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 99), d_model=st.sampled_from([5, 8, 17]), norm=st.sampled_from([None, "LN", "RMS", "LNPre"]),
       n_pos=st.integers(4, 9), cap=st.sampled_from([-1.0, 3.0]))  # fmt: skip
def test_attribution_adds_up_at_any_size(seed, d_model, norm, n_pos, cap):
    model = stirred("native", seed, d_model=d_model, normalization_type=norm, output_logits_soft_cap=cap)
    prompts = pairs(seed=seed, n_pos=n_pos)
    for by in BREAKDOWNS:
        found = direct_logit_attribution(model, prompts, by=by)
        scale = max(float(part.abs().max()) for part in found.values())
        assert (found.total() - difference(model, prompts)).abs().max() < 1e-5 * scale + 1e-5


@pytest.mark.parametrize("name", ["native", "gpt2", "neox", "llama", "gemma2", "olmo2"])
def test_breakdowns_agree_with_each_other(name):
    model, prompts = stirred(name), pairs(masked=True)
    whole, by_layer, by_head, by_neuron = (
        direct_logit_attribution(model, prompts, by=by) for by in ("component", "layer", "head", "neuron")
    )
    close = dict(rtol=1e-4, atol=1e-4)
    assert torch.allclose(by_head["head"].sum(1) + by_head["attn_bias"], whole["attn"], **close)
    assert torch.allclose(by_neuron["neuron"].sum(1) + by_neuron["mlp_bias"], whole["mlp"], **close)
    assert torch.allclose(by_layer["layer"], whole["attn"] + whole["mlp"], **close)
    assert by_head["head"].shape == (model.n_layers, model.n_heads, 3)


def test_a_contribution_is_what_taking_the_component_out_costs_at_the_frozen_scale():
    """An independent account, straight from the definition of LayerNorm."""
    model, prompts = stirred("gpt2"), pairs()
    found = direct_logit_attribution(model, prompts, by="head")
    seen = capture(model, prompts.clean, ("resid_post", "z"), positions=-1)
    stream, final = seen["resid_post"][-1, :, 0], model.module.transformer.ln_f
    spread = (stream.var(-1, unbiased=False, keepdim=True) + final.eps).sqrt()
    written = seen["z"][1, :, 0, 2] @ weights.W_O(model, 1)[2]
    part = (written - written.mean(-1, keepdim=True)) / spread * final.weight
    logits = part @ model.module.lm_head.weight.T
    rows = torch.arange(3)
    expected = logits[rows, prompts.answer] - logits[rows, prompts.wrong]
    assert torch.allclose(found["head"][1, 2], expected.detach().double(), rtol=1e-4, atol=1e-5)


def test_a_component_that_writes_the_answer_gets_the_credit():
    """Without norms, one neuron that always writes (answer − wrong) and nothing else that does."""
    model = wrap(build({**CONFIGS["native-no-norm"], "act_fn": "relu"}, seed=0))
    prompts = replace(pairs(), answer=torch.full((3,), 4), wrong=torch.full((3,), 9))
    mlp, head = model.module.layers[1].mlp, model.module.head
    with torch.no_grad():
        head.weight.copy_(torch.eye(VOCAB, model.d_model))
        mlp.fc_in.weight[7], mlp.fc_in.bias[7] = 0.0, 2.0
        mlp.fc_out.weight[:, 7] = 5.0 * (head.weight[4] - head.weight[9])
    found = direct_logit_attribution(model, prompts, by="neuron")
    assert torch.allclose(found["neuron"][1, 7], torch.full((3,), 20.0, dtype=torch.float64))
    named = found.named()
    assert max(named, key=lambda name: float(named[name].mean())) == "L1N7"


def test_answers_of_several_tokens_and_answers_that_are_the_same():
    model, base = stirred("llama"), pairs()
    answer = torch.tensor([[3, 5], [3, 5], [7, -1]])
    wrong = torch.tensor([[3, 8], [4, 5], [7, -1]])
    prompts = Prompts(clean=base.clean, corrupt=base.corrupt, answer=answer, wrong=wrong)
    found, expected = direct_logit_attribution(model, prompts), difference(model, prompts)
    assert torch.allclose(found.total()[:2], expected[:2], rtol=1e-4, atol=1e-4)
    assert found.total()[2].isnan()
    assert all(part[..., 2].isnan().all() and not part[..., :2].isnan().any() for part in found.values())


def test_attribution_as_xarray():
    found = direct_logit_attribution(tiny("gpt2"), pairs(), by="head")
    data = found.to_xarray()
    assert data["head_part"].dims == found.dims("head") == ("layer", "head", "prompt")
    assert float(data["mlp"].sel(layer=1, prompt=2)) == float(found["mlp"][1, 2])


def test_a_norm_that_is_not_linear_at_a_frozen_scale_is_refused():
    model = wrap(build(CONFIGS["native"], seed=0))
    model.module.ln_out = torch.nn.Tanh()
    with pytest.raises(InputError, match="Tanh"):
        direct_logit_attribution(wrap(model.module), pairs())


def test_wrong_names_and_architectures_without_a_map():
    model, unmapped = tiny("gpt2"), wrap(build(UNMAPPED, seed=0))
    with pytest.raises(InputError, match="did you mean 'neuron'"):
        direct_logit_attribution(model, pairs(), by="neurons")
    with pytest.raises(InputError, match="did you mean 'head'"):
        direct_logit_attribution(model, pairs(), by="head")["heads"]
    with pytest.raises(InputError, match="no layer 9"):
        logit_lens(model, pairs().clean, layers=9)
    with pytest.raises(InputError, match="no head 4"):
        attention_figure(model, pairs().clean[0], None, 0, heads=4)
    for call in (
        lambda: logit_lens(unmapped, pairs().clean),
        lambda: direct_logit_attribution(unmapped, pairs()),
        lambda: composition(unmapped),
        lambda: head_scores(unmapped, pairs()),
    ):
        with pytest.raises(InputError, match="no map of sites"):
            call()
    with pytest.raises(InputError, match="random generator"):
        head_scores(model)
    with pytest.raises(InputError, match="one prompt"):
        attention_figure(model, pairs().clean, None, 0)
    with pytest.raises(InputError, match="7 labels"):
        attention_figure(model, pairs().clean[0], ["a"], 0)


def test_heads_on_repeated_tokens():
    model = tiny("native-rotary")
    found = head_scores(model, rng=torch.Generator().manual_seed(4), sequences=3)
    again = head_scores(model, rng=torch.Generator().manual_seed(4), sequences=3)
    assert all(torch.equal(found[role], again[role]) for role in found)
    assert set(found) == {"previous", "duplicate", "induction", "first", "answer", "copying"}
    block = torch.randint(VOCAB, (3, 8), generator=torch.Generator().manual_seed(4))
    tokens = block.repeat(1, 2)
    pattern = capture(model, tokens, "pattern")["pattern"]
    expected = pattern.diagonal(offset=-1, dim1=-2, dim2=-1).mean((1, 3))
    assert torch.allclose(found["previous"], expected, atol=1e-5)
    own = Prompts(clean=tokens, corrupt=tokens, answer=block[:, 0], wrong=block[:, 1])
    assert torch.equal(found["induction"], role_scores(model, own)["induction"])
    assert torch.equal(head_scores(model, own)["duplicate"], found["duplicate"])


def test_copying_is_one_where_the_ov_circuit_copies():
    """OV the identity and the unembedding the embedding: every eigenvalue is positive; with −OV negative."""
    config = {**CONFIGS["native-no-norm"], "attn_only": True, "n_heads": 2, "d_head": 24, "d_vocab": VOCAB}
    model = wrap(build(config, seed=0))
    attention = model.module.layers[0].attn
    with torch.no_grad():
        model.module.head.weight.copy_(model.module.tok_embed.weight)
        attention.v.weight.copy_(torch.eye(24).repeat(2, 1))
        attention.o.weight.copy_(torch.cat([torch.eye(24), -torch.eye(24)], dim=1))
    copying = head_scores(model, pairs())["copying"]
    assert torch.allclose(copying[0], torch.tensor([1.0, -1.0], dtype=torch.float64), atol=1e-4)


@pytest.mark.parametrize("name", ["native-attn-only", "gpt2", "neox", "llama"])
def test_composition_is_that_of_the_full_matrices(name):
    model = stirred(name)
    found, w = composition(model), heads(model)
    qk, ov = w.q.mT @ w.k, w.o.mT @ w.v
    norm = torch.linalg.matrix_norm
    sides = {"q": qk.mT, "k": qk, "v": ov}
    for side, a in sides.items():
        for head in range(model.n_heads):
            for writer in range(model.n_heads):
                composed = norm(a[1, head] @ ov[0, writer]) / (norm(a[1, head]) * norm(ov[0, writer]))
                assert found[side][0, writer, 1, head].item() == pytest.approx(composed.item(), rel=1e-9)
        layers = torch.arange(model.n_layers)
        below = layers[:, None] < layers[None, :]
        assert torch.equal(found[side].isnan()[:, 0, :, 0], ~below)
    best = found["k"].nan_to_num(-1).amax((0, 1))[1:]
    assert torch.allclose(best, strongest_writer(w, reader=w.k, onwards=w.q)[1:])


def test_a_baseline_takes_off_what_all_writers_share():
    """Head 2 of the first layer is the only one whose output a head of the second reads by its keys."""
    config = {
        **CONFIGS["native-no-norm"],
        "attn_only": True,
        "n_heads": 4,
        "d_head": 6,
        "d_vocab": VOCAB,
        "d_model": 24,
    }
    model = wrap(build(config, seed=0))
    first, second = model.module.layers[0].attn, model.module.layers[1].attn
    with torch.no_grad():
        first.v.weight.copy_(torch.eye(24))
        first.o.weight.copy_(torch.eye(24))  # head h writes directions 6 h to 6 h + 5
        for side in (second.q, second.k):
            side.weight.copy_(torch.eye(24)[12:18].repeat(4, 1))
    raw, random, writers = (composition(model, baseline=kind)["k"][0, :, 1] for kind in (None, "random", "writers"))
    assert torch.allclose(raw[2], torch.full((4,), 6**-0.5, dtype=torch.float64))
    assert torch.allclose(random, raw - 24**-0.5)
    assert torch.allclose(writers[2], raw[2])  # of the others nothing is read
    assert torch.allclose(writers[0], -raw[2] / 3)
    with pytest.raises(InputError, match="baseline"):
        composition(model, baseline="mean")


@pytest.mark.parametrize("name", ["native-attn-only", "llama"])
def test_composition_is_transformerlens(name):
    model = stirred(name)
    found = composition(model)
    for side, each in found.items():
        theirs = model.bridge.all_composition_scores(side.upper()).scores.detach().double()
        assert torch.allclose(theirs[0, :, 1], each[0, :, 1], atol=1e-6)


@pytest.mark.parametrize("name", ["native", "llama"])
def test_a_head_that_looks_at_all_alike_has_the_null_of_every_role(name):
    model, prompts = wrap(build(CONFIGS[name], seed=0)), pairs()
    with torch.no_grad():
        for layer in range(model.n_layers):
            for side in ("q", "k"):
                part = part_of(model, getattr(mapped(model), side), layer)
                part.weight.zero_()
                if part.bias is not None:
                    part.bias.zero_()
    null = role_nulls(model, prompts)
    for role, scores in role_scores(model, prompts).items():
        assert torch.allclose(scores, torch.full_like(scores, null[role]), atol=1e-6, equal_nan=True)


def test_attention_figure_shows_the_patterns():
    model, prompt = tiny("neox"), pairs().clean[0]
    labels = [f"t{i}" for i in range(len(prompt))]
    figure = attention_figure(model, prompt, labels, -1, heads=[3, 1])
    pattern = capture(model, prompt[None], "pattern")["pattern"][-1, 0]
    for square, head in zip(figure.data, (3, 1), strict=True):
        assert torch.allclose(torch.tensor(square.z), pattern[head])
    assert [note.text for note in figure.layout.annotations] == ["L1H3", "L1H1"]
    assert list(figure.layout.xaxis.ticktext) == labels


@pytest.mark.parametrize("name", ["native", "neox", "gemma2"])
def test_model_is_left_as_found(name):
    model = wrap(build(CONFIGS[name], seed=0))
    model.module.train()
    before, prompts = state_of(model), pairs()
    logit_lens(model, prompts.clean)
    for by in BREAKDOWNS:
        direct_logit_attribution(model, prompts, by=by)
    head_scores(model, rng=torch.Generator().manual_seed(0), sequences=1, length=4)
    composition(model)
    attention_figure(model, prompts.clean[:1], None, 0)
    assert state_of(model) == before


def test_half_precision_adds_up_to_its_own_rounding():
    model = stirred("llama")
    model.module.to(torch.bfloat16)
    found = direct_logit_attribution(model, pairs(), by="head")
    scale = max(float(part.abs().max()) for part in found.values())
    assert (found.total() - found.logit_diff).abs().max() < 0.05 * scale
