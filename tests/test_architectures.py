"""Every map of sites against plain hooks on the plain module; and what is refused where there is none, or where it ends."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch
from observed import copying_at_a_mask
from tiny_models import UNMAPPED

import interp
from experiments.benchmarks._architecture_checks import CHECKS, TOLERANCE
from interp import plugins
from interp.errors import InputError
from interp.hooks.activations import capture
from interp.hooks.interventions import Intervention, intervene
from interp.measure.continuations import generate, log_likelihoods
from interp.models import build, sites, wrap
from interp.models.laws import prove
from interp.models.running import run as own_run
from interp.models.sites import SITES, architectures, find_sites, in_stack
from interp.models.tiny import tiny_config, tiny_configs, tiny_model

CONFIGS = dict(tiny_configs())
FIRST = {config["architecture"]: name for name, config in reversed(CONFIGS.items())}
NO_SUM = ("BertForMaskedLM", "T5ForConditionalGeneration", "MT5ForConditionalGeneration")


def holds(column: str, name: str) -> None:
    model = tiny_model(CONFIGS[name])
    if column in ("attribution", "circuit") and CONFIGS[name]["architecture"] in NO_SUM:
        with pytest.raises(InputError, match="sum of what is written"):
            max(CHECKS[column](model))
    else:
        assert max(CHECKS[column](model)) <= TOLERANCE


@pytest.mark.parametrize("column", [column for column in CHECKS if column != "patch"])
@pytest.mark.parametrize("name", FIRST.values())
def test_a_map_is_held_by_plain_hooks(name, column):
    holds(column, name)


@pytest.mark.slow
@pytest.mark.parametrize("column", CHECKS)
@pytest.mark.parametrize("name", CONFIGS)
def test_so_it_is_under_all_its_settings_and_in_every_sweep(name, column):
    holds(column, name)


def test_there_are_thirty_architectures_and_more():
    assert len(architectures()) >= 38
    assert set(architectures()) == {config["architecture"] for config in CONFIGS.values()}


@pytest.mark.parametrize(
    ("architecture", "settings", "named"),
    [
        ("OPTForCausalLM", {"do_layer_norm_before": False, "word_embed_proj_dim": 24}, "do_layer_norm_before=False"),
        ("OPTForCausalLM", {"word_embed_proj_dim": 12}, "word_embed_proj_dim=12"),
        ("BloomForCausalLM", {"apply_residual_connection_post_layernorm": True}, "apply_residual"),
        ("FalconForCausalLM", {"new_decoder_architecture": True}, "new_decoder_architecture=True"),
        ("MptForCausalLM", {"attn_config": {"clip_qkv": 1.0}}, "clip_qkv=1.0"),
        ("Qwen3MoeForCausalLM", {"mlp_only_layers": [0], "moe_intermediate_size": 16}, "mlp_only_layers"),
        ("OlmoeForCausalLM", {"clip_qkv": 2.0}, "clip_qkv=2.0"),
        ("BertForMaskedLM", {"is_decoder": True}, "is_decoder=True"),
    ],
)
def test_what_a_map_does_not_handle_is_refused_by_its_name(architecture, settings, named):
    with pytest.raises(InputError, match=named):
        wrap(build(tiny_config(architecture, **settings), seed=0))


def test_a_setting_that_an_architecture_does_not_have_changes_nothing():
    """Gemma 1 has no cap on its logits, whatever its configuration carries along."""
    assert find_sites(tiny_config("GemmaForCausalLM", final_logit_softcapping=5.0)).logit_cap is None


def test_the_map_that_the_page_shows_is_one_file_and_no_other_change(tmp_path, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "models.md").read_text()
    block = next(part for part in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL) if "ARCHITECTURES" in part)
    (tmp_path / "arcee.py").write_text(block)
    maps = importlib.import_module("interp.models.architectures")
    monkeypatch.setattr(maps, "__path__", [*maps.__path__, str(tmp_path)])
    sites._records.cache_clear()
    try:
        assert "ArceeForCausalLM" in architectures()
        model = tiny_model(tiny_config("ArceeForCausalLM", attention_bias=True))
        for column in ("capture", "pattern", "attribution", "circuit"):
            assert max(CHECKS[column](model)) <= TOLERANCE
    finally:
        sites._records.cache_clear()
        sys.modules.pop("interp.models.architectures.arcee", None)


# --- the bridge -------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:A hook on")
def test_a_pattern_that_the_bridge_shows_but_does_not_use_is_refused():
    model, tokens = tiny_model(tiny_config("GPTJForCausalLM", rotary_dim=4)), torch.arange(14).reshape(2, 7)
    model.sites = None
    with pytest.raises(InputError, match="pattern of GPTJForCausalLM is not to be trusted: z does not follow"):
        capture(model, tokens, "pattern")
    assert capture(model, tokens, "z")["z"].shape == (3, 2, 7, 4, 6)


def test_norms_on_the_stream_itself_are_found_out():
    config = {"n_embd": 24, "n_layer": 2, "n_head": 4, "vocab_size": 29, "n_positions": 32, "initializer_range": 0.3}
    model = wrap(build({"architecture": "OpenAIGPTLMHeadModel", **config}, seed=0))
    with pytest.raises(InputError, match="attn_out of OpenAIGPTLMHeadModel is not to be trusted"):
        capture(model, torch.arange(10).reshape(2, 5), "attn_out")


@pytest.mark.parametrize("lie", ["swapped axes", "deaf", "the next layer", "rotated"])
def test_every_kind_of_wrong_site_breaks_a_law(lie):
    """A made-up bridge, right but for one thing: the model's own map stands in for TransformerLens'."""
    model = tiny_model(tiny_config("LlamaForCausalLM"))
    site = {"swapped axes": "pattern", "deaf": "v", "the next layer": "mlp_post", "rotated": "q"}[lie]

    def run(tokens, changes, see):
        def at(name):
            return 1 if lie == "the next layer" and name == site else 0

        spots = {(name, at(name)): [change] for name, change in changes.items() if not (lie == "deaf" and name == site)}
        seen = {}
        looks = {(n, at(n)): (lambda x, n=n: seen.update({n: x.clone()})) for n in see if n != "logits"}
        seen["logits"] = own_run(model, tokens, changes=spots, looks=looks)
        if site in seen and lie == "swapped axes":
            seen[site] = seen[site].mT
        if site in seen and lie == "rotated":
            seen[site] = seen[site] * (1 + torch.arange(seen[site].shape[1])[:, None, None])
        return seen

    with torch.no_grad(), pytest.raises(InputError, match=f"{site} of LlamaForCausalLM is not to be trusted"):
        prove(model, run, lambda name: True, site, parallel=False, tolerance=1e-3)


def test_experts_are_shown_by_maps_alone():
    model = wrap(build(UNMAPPED, seed=0))
    with pytest.raises(InputError, match="expert_out is shown by maps of sites alone"):
        capture(model, torch.arange(10).reshape(2, 5), "expert_out")
    with pytest.raises(InputError, match="this model has no experts"):
        capture(tiny_model(tiny_config("LlamaForCausalLM")), torch.arange(10).reshape(2, 5), "expert_out")


# --- mixtures of experts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MixtralForCausalLM", "Qwen2MoeForCausalLM", "GptOssForCausalLM"])
def test_an_expert_that_is_switched_off_adds_nothing_and_one_that_is_chosen_by_hand_runs(name):
    model, tokens = tiny_model(CONFIGS[FIRST[name]]), torch.arange(10).reshape(2, 5)
    usual = capture(model, tokens, ("expert_weights", "expert_out", "mlp_out"), layers=1)
    off = Intervention(site="expert_out", layer=1, kind="scale", value=torch.tensor([0.0, 1, 1, 1, 1])[:, None])
    without = capture(model, tokens, "mlp_out", layers=1, interventions=[off])["mlp_out"]
    torch.testing.assert_close(without, usual["mlp_out"] - usual["expert_out"][:, :, :, 0], rtol=1e-4, atol=1e-5)
    alone = Intervention(site="expert_weights", layer=1, value=torch.tensor([0.0, 0, 0, 2.0, 0]))
    found = capture(model, tokens, "expert_out", layers=1, interventions=[alone])["expert_out"][0]
    assert (found.abs().sum((0, 1, 3)) > 0).tolist() == [False, False, False, True, False]


def test_router_logits_decide_who_is_chosen():
    model, tokens = tiny_model(CONFIGS[FIRST["OlmoeForCausalLM"]]), torch.arange(10).reshape(2, 5)
    pushed = Intervention(site="router_logits", layer=0, value=torch.tensor([9.0, 0, 0, 8.0, 0]))
    weights = capture(model, tokens, "expert_weights", layers=0, interventions=[pushed])["expert_weights"][0, 0, 0]
    assert (weights > 0).tolist() == [True, False, False, True, False]


# --- encoder and decoder ----------------------------------------------------------------------------------------------------


def test_sites_of_several_stacks_are_named_with_their_stack():
    model, tokens = tiny_model(CONFIGS["T5ForConditionalGeneration"]), torch.arange(2, 16).reshape(2, 7)
    assert {in_stack(site)[0] for site in SITES} == {"", "encoder", "decoder", "cross"}
    with pytest.raises(InputError, match=r"encoder\.resid_post or decoder\.resid_post"):
        capture(model, tokens, "resid_post")
    with pytest.raises(InputError, match="part of the decoder's blocks"):
        capture(model, tokens, "cross.resid_post")
    with pytest.raises(InputError, match="no encoder-decoder; z is its own"):
        capture(tiny_model(CONFIGS["GPT2"]), tokens, "encoder.z")
    with pytest.raises(InputError, match="no decoder of its own"):
        capture(tiny_model(CONFIGS["GPT2"]), tokens, "z", decoder=tokens)
    with pytest.raises(InputError, match="those of 2 prompts, not 1"):
        capture(model, tokens[:1], "logits", decoder=tokens)


def test_stacks_have_layers_and_positions_of_their_own():
    model, tokens = tiny_model(CONFIGS["T5ForConditionalGeneration"]), torch.arange(2, 16).reshape(2, 7)
    decoder = torch.tensor([[0, 5, 6], [0, 7, 8]])
    asked = ("encoder.z", "decoder.z", "cross.k", "cross.pattern")
    found = capture(model, tokens, asked, decoder=decoder, positions=-1)
    shapes = [(3, 2, 1, 4, 6), (2, 2, 1, 4, 6), (2, 2, 1, 4, 6), (2, 2, 4, 1, 7)]
    assert [tuple(found[site].shape) for site in asked] == shapes
    blind = Intervention(site="cross.pattern", kind="zero")
    logits = intervene(model, tokens, [blind], decoder=decoder)
    assert torch.equal(
        logits, intervene(model, tokens.flip(1), [blind], decoder=decoder)
    )  # it reads nothing of the prompt


class Letters:
    """A tokenizer that ends every text with EOS, as T5's does."""

    eos_token_id, pad_token_id, bos_token_id = 1, 0, None

    def encode(self, text, add_special_tokens=True):
        return [ord(c) - ord("a") + 2 for c in text if c != " "] + [1] * add_special_tokens

    def decode(self, ids):
        return "".join(chr(i - 2 + ord("a")) if i > 1 else "_" for i in ids)


def test_a_decoder_writes_what_it_finds_likely():
    model = tiny_model(CONFIGS["T5ForConditionalGeneration-1"])
    context, continuation = [4, 5, 6, 1], [7, 8, 9]
    [(log_prob, greedy)] = log_likelihoods(model, [(context, continuation)])
    with torch.no_grad():
        own = model.module(
            input_ids=torch.tensor([context]), decoder_input_ids=torch.tensor([[0, 7, 8]])
        ).logits[0].double().log_softmax(-1)  # fmt: skip
        written = model.module.generate(torch.tensor([context]), max_new_tokens=4, do_sample=False, eos_token_id=1)[
            0, 1:
        ]
    assert log_prob == pytest.approx(float(own[range(3), continuation].sum()))
    assert greedy == bool((own.argmax(1) == torch.tensor(continuation)).all())
    [text] = generate(model, [context], Letters(), max_new_tokens=4)
    assert text == Letters().decode([int(t) for t in written if int(t) != 1])
    assert log_likelihoods(model, [(context, written.tolist())])[0][1]


# --- every position sees all others -----------------------------------------------------------------------------------------


def test_heads_of_a_masked_token_skill_are_weighed_and_switched_off():
    obs = copying_at_a_mask(tiny_model(tiny_config("BertForMaskedLM")))
    importance = plugins.load("indicators", "head_importance")(obs)
    model, prompts = obs.model, obs.prompts
    step, moved = 1e-3, torch.zeros(3, 4)
    for layer in range(3):
        for head in range(4):
            values = []
            for sign in (1, -1):
                gate = Intervention(site="z", layer=layer, heads=head, kind="scale", value=1 + sign * step)
                logits = intervene(model, prompts.clean, [gate], positions=4)[:, 0].double().log_softmax(-1)
                values.append(logits.gather(1, prompts.answer[:, None])[:, 0])
            moved[layer, head] = ((values[0] - values[1]) / (2 * step)).abs().mean()
    torch.testing.assert_close(importance.float(), moved / moved.norm(dim=1, keepdim=True), rtol=2e-2, atol=2e-2)
    assert plugins.load("indicators", "masking_curve")(obs) is not None


def test_a_masked_token_model_continues_nothing():
    model = tiny_model(tiny_config("BertForMaskedLM"))
    with pytest.raises(InputError, match="does not continue a text"):
        log_likelihoods(model, [([3, 4], [5])])
    clean, answer = torch.arange(10).reshape(2, 5), torch.tensor([[1, 2], [3, 4]])
    with pytest.raises(InputError, match="fills in one token"):
        interp.patch(model, interp.Prompts(clean=clean, corrupt=clean.flip(0), answer=answer, wrong=answer.flip(0)))
