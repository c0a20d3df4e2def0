"""What single indicators say: closed forms, planted weights and independent computations."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from observed import adding, inducing, look, native, shortened, summing

import interp
from interp.circuits.testing.faithfulness import of_circuit
from interp.circuits.testing.size import smallest_faithful
from interp.indicators._fourier import (
    basis,
    frequency_shares,
    neuron_counts,
    neuron_frequencies,
    sum_directions,
    wave_norms,
)
from interp.indicators._spectra import entropy_rank, gini, participation
from interp.indicators._weights import distinct, heads, matrices
from interp.indicators.weight_spectrum import tail_exponent
from interp.measure.needs import need
from interp.measure.observe import Observation, measure
from interp.measure.scoring import sequence_mean, token_rank
from interp.models import build, wrap
from interp.seeds import generator
from interp.types import Batch, Prompts, Structure


def value(obs, name, **params):
    rows, failures = measure(obs, [(name, params)])
    assert failures == []
    return rows[0]["value"] if len(rows) == 1 else torch.tensor([row["value"] for row in rows])


def shown(logits, prompts, task=None, splits=None, **kept) -> Observation:
    """An observation with given contents and no passes behind it."""
    model, own = adding()
    kept = {"logits": logits} | {name.replace("__", "."): tensor for name, tensor in kept.items()}
    return Observation(
        model=model, task=task or own, prompts=prompts, splits=splits or {}, rng=generator(0),
        needs={name: need(name) for name in kept}, kept=kept,
    )  # fmt: skip


def asking(answers) -> Prompts:
    """Prompts of one token each, with these answers."""
    return Prompts(clean=answers[:, None], corrupt=answers[:, None], answer=answers, wrong=answers)


# behaviour


def test_behaviour_of_multi_token_answers_is_that_of_greedy_decoding():
    """Teacher forcing in one pass against a loop that decodes token by token."""
    model, task = summing()
    obs = look(model, task, ["exact_match", "log_prob", "digit_loss"], n=40)
    tokens, right, log_prob = obs.prompts.clean, [], torch.zeros(40, dtype=torch.float64)
    for digit in range(obs.answers.shape[1]):
        logits = model(tokens)[:, -1].detach().double()
        log_prob += logits.log_softmax(-1).gather(1, obs.answers[:, [digit]])[:, 0]
        right.append(logits.argmax(-1) == obs.answers[:, digit])
        tokens = torch.cat([tokens, obs.answers[:, [digit]]], dim=1)
    assert value(obs, "exact_match") == pytest.approx(float(torch.stack(right).all(0).double().mean()))
    assert value(obs, "log_prob") == pytest.approx(float(log_prob.mean()), rel=1e-5)
    assert -value(obs, "digit_loss").sum() == pytest.approx(float(log_prob.mean()), rel=1e-5)


def test_exact_match_has_a_binomial_error():
    logits = torch.eye(5)[torch.tensor([0, 1, 2, 3, 4, 0, 0, 0])][:, None]
    answers = torch.tensor([0, 1, 2, 3, 4, 1, 1, 1])
    rows, _ = measure(shown(logits, asking(answers)), ["exact_match"])
    assert (rows[0]["value"], rows[0]["n"]) == (5 / 8, 8)
    assert rows[0]["stderr"] == pytest.approx(math.sqrt(5 / 8 * 3 / 8 / 8))


def test_padding_changes_nothing():
    model, task = inducing()
    plain = task.prompts(5, rng=generator(1))
    length = plain.clean.shape[1] - 3
    cut = {name: getattr(plain, name)[:, 3:] for name in ("clean", "corrupt")}
    padded = {name: torch.cat([tokens, torch.zeros(5, 3, dtype=torch.long)], dim=1) for name, tokens in cut.items()}
    mask = torch.arange(length + 3).expand(5, -1) < length
    names = ["log_prob", "attention_entropy", "previous_token", "rankme", "head_importance", "masking_curve"]
    short = look(model, task, names, prompts=Prompts(**cut, answer=plain.answer, wrong=plain.wrong))
    long = look(model, task, names, prompts=Prompts(**padded, answer=plain.answer, wrong=plain.wrong, mask=mask))
    for name in names:
        found = [torch.as_tensor(value(obs, name)) for obs in (short, long)]
        assert torch.allclose(*found, atol=1e-4, equal_nan=True), name


def test_clustered_errors_are_those_of_sequences():
    """Positions that say the same thing are one observation, not many."""
    x = torch.randn(30, generator=generator(0), dtype=torch.float64)
    scored = torch.ones(30, 4, dtype=torch.bool)
    repeated, single = sequence_mean(x.repeat_interleave(4), scored), sequence_mean(x, scored[:, :1])
    assert repeated.value == pytest.approx(single.value)
    assert repeated.stderr == pytest.approx(single.stderr)
    assert (repeated.n, single.n) == (120, 30)


def test_a_uniform_guess():
    """V equal logits: log-probability −ln V, Brier 1 − 1/V, entropy ln V, middle rank, no scale."""
    answers = torch.arange(6)
    obs = shown(torch.zeros(6, 1, 10), replace(asking(answers), wrong=answers.flip(0)))
    assert value(obs, "log_prob") == pytest.approx(-math.log(10))
    assert value(obs, "answer_prob") == pytest.approx(0.1)
    assert value(obs, "brier") == pytest.approx(0.9)
    assert value(obs, "answer_entropy") == pytest.approx(math.log(10))
    assert value(obs, "answer_rank") == pytest.approx(5.5)
    assert value(obs, "logit_scale") == 0
    assert value(obs, "logit_diff") == 0


def test_ranks_count_ties_half():
    logits = torch.tensor([[3.0, 2.0, 2.0, 1.0]]).expand(4, -1)
    assert token_rank(logits, torch.arange(4)).tolist() == [1, 2.5, 2.5, 4]


def test_losses_stay_exact_where_float32_underflows():
    """A margin of 30 nats leaves a loss of e^-30, which float32 rounds to 0."""
    batch = Batch(tokens=torch.zeros(1, 1, dtype=torch.long), targets=torch.zeros(1, 1, dtype=torch.long))
    one = torch.zeros(1, dtype=torch.long)
    margin = torch.tensor([[30.0, 0.0]])
    obs = shown(torch.zeros(1, 1, 2), asking(one), splits={"train": batch}, train__logits=margin)
    assert value(obs, "train_loss") == pytest.approx(math.log1p(math.exp(-30)), rel=1e-6)


def test_references_have_no_distance_to_themselves():
    task = shortened(interp.task("markov", length=20), 8)
    batch = task.splits(0)["test"]
    prompts = task.prompts(3, rng=generator(0))
    for name in ("unigram", "bigram"):
        logits = task.structure.references(batch.tokens)[name].log().flatten(0, 1)
        obs = shown(torch.zeros(3, 1, 3), prompts, task=task, splits={"test": batch}, test__logits=logits)
        assert value(obs, f"{name}_kl") == pytest.approx(0, abs=1e-6)
        other = {"unigram": "bigram", "bigram": "unigram"}[name]
        assert value(obs, f"{other}_kl") > 0.01


# geometry


@pytest.mark.parametrize("n", [1, 3, 7])
def test_spectra_of_equal_and_of_single_values(n):
    flat, spike = torch.full((n,), 2.5), torch.eye(n)[0]
    assert entropy_rank(flat) == pytest.approx(n)
    assert participation(flat) == pytest.approx(n)
    assert gini(flat) == pytest.approx(0, abs=1e-12)
    assert entropy_rank(spike) == participation(spike) == pytest.approx(1)
    assert gini(spike) == pytest.approx(1 - 1 / n)
    for summary in (entropy_rank, participation, gini):
        assert math.isnan(summary(torch.zeros(n)))


@pytest.mark.parametrize("seed", range(3))
def test_gini_is_the_mean_difference(seed):
    x = torch.rand(17, generator=generator(seed), dtype=torch.float64)
    assert gini(x) == pytest.approx(float((x[:, None] - x).abs().mean() / (2 * x.mean())))


def with_stream(stream, previous=None):
    """An observation whose residual stream [layer, prompt, d_model] is given."""
    answers = torch.zeros(stream.shape[1], dtype=torch.long)
    obs = shown(torch.zeros(len(answers), 1, 2), asking(answers), resid_post=stream)
    return replace(obs, previous=None if previous is None else with_stream(previous))


@pytest.mark.parametrize("dims", [1, 3, 8])
def test_dimensions_of_planted_subspaces(dims):
    """Activations that fill `dims` orthogonal directions equally."""
    frame = torch.linalg.qr(torch.randn(20, 20, generator=generator(dims), dtype=torch.float64)).Q[:dims]
    stream = torch.cat([frame, -frame])[None]
    assert float(value(with_stream(stream), "participation_ratio")) == pytest.approx(dims)
    assert float(value(with_stream(stream), "rankme")) == pytest.approx(dims)


def test_collapse_and_alignment():
    x = torch.randn(1, 30, 12, generator=generator(0), dtype=torch.float64)
    units = torch.nn.functional.normalize(x[0], dim=-1)
    pairs = (units @ units.T)[~torch.eye(30, dtype=torch.bool)]
    assert value(with_stream(x), "cosine_collapse") == pytest.approx(float(pairs.mean()))
    assert value(with_stream(x[:, :1].expand(-1, 5, -1)), "cosine_collapse") == pytest.approx(1)
    turn = torch.linalg.qr(torch.randn(12, 12, generator=generator(1), dtype=torch.float64)).Q
    assert value(with_stream(x, previous=3 * x @ turn + 7), "cka_previous") == pytest.approx(1)
    other = torch.randn(1, 30, 12, generator=generator(2), dtype=torch.float64)
    centred = [y[0] - y[0].mean(0) for y in (x, other)]
    k, m = (y @ y.T for y in centred)
    assert value(with_stream(x, previous=other), "cka_previous") == pytest.approx(
        float((k * m).sum() / k.norm() / m.norm())
    )


def test_tail_exponents_of_power_laws():
    """A sample of density λ^−α has its α found."""
    for alpha in (2.0, 3.5):
        u = (torch.arange(1, 20_001, dtype=torch.float64) - 0.5) / 20_000
        assert tail_exponent(u ** (-1 / (alpha - 1))) == pytest.approx(alpha, rel=0.02)


# weights


CONFIGS = {
    "gpt2": {
        "architecture": "GPT2LMHeadModel", "vocab_size": 11, "n_positions": 8, "n_embd": 8, "n_layer": 2, "n_head": 2,
    },
    "neox": {
        "architecture": "GPTNeoXForCausalLM", "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 8,
    },
    "llama": {
        "architecture": "LlamaForCausalLM", "vocab_size": 11, "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 16, "max_position_embeddings": 8,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGS)
def test_head_weights_compute_what_the_architecture_computes(kind):
    """v of a head's input times its o, summed over heads, is what attention adds at the first position (bias aside)."""
    from interp.hooks.activations import capture

    model = wrap(build(CONFIGS[kind], seed=0))
    with torch.no_grad():
        for name, parameter in model.module.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    w = heads(model)
    tokens = torch.tensor([[3]])
    block = model.module.get_submodule(f"{model.sites.blocks}.1")
    stream = capture(model, tokens, "resid_pre")["resid_pre"][1, 0, 0]
    read = block.get_submodule(model.sites.ln1)(stream).detach().double()
    written = torch.einsum("h e d, h e m, d -> m", w.v[1], w.o[1], read)
    assert torch.allclose(written, capture(model, tokens, "attn_out")["attn_out"][1, 0, 0].double(), atol=1e-5)
    q = capture(model, tokens, "q")["q"][1, 0, 0].double()
    assert torch.allclose(w.q[1] @ read, q, atol=1e-5)


@pytest.mark.parametrize("kind", [*CONFIGS, "native"])
def test_components_hold_every_matrix_once(kind):
    task = interp.task("modular_addition", p=10)
    model = native(task, n_layers=2) if kind == "native" else wrap(build(CONFIGS[kind], seed=0))
    obs = look(model, task, ["effective_rank", "weight_norm"])
    found = sum(float(m.square().sum()) for name, m in matrices(obs).items() if name not in ("embed", "logits"))
    weights = {n: p for n, p in model.module.named_parameters() if ".weight" in n and p.ndim == 2}
    outside = (model.sites.embed, model.sites.pos_embed, model.sites.unembed)
    inside = [p for n, p in weights.items() if not any(path and n.startswith(path) for path in outside)]
    assert found == pytest.approx(sum(float(p.detach().double().square().sum()) for p in inside))
    total = sum(float(p.detach().double().square().sum()) for p in model.module.parameters())
    assert value(obs, "weight_norm") == pytest.approx(total), "tied weights count once"
    assert len(distinct(obs["weights"])) == len(list(model.module.parameters()))


def test_updates_and_distances():
    model, task = adding()
    other = native(task, seed=5)
    with torch.no_grad():
        for p, q in zip(other.module.parameters(), model.module.parameters(), strict=True):
            p.copy_(q)
        direction = torch.randn(16, generator=generator(0))
        other.module.tok_embed.weight += torch.outer(torch.ones(8), direction) * 0.3
        other.module.head.weight += torch.eye(8, 16)
    names = ["update_norm", "distance_from_init", "update_spectrum"]
    before = look(model, task, names)
    obs = look(other, task, names, previous=before, initial=before)
    length = math.sqrt(8 * 0.09 * float(direction.square().sum()) + 8)
    assert value(obs, "update_norm") == pytest.approx(length, rel=1e-5)
    assert value(obs, "distance_from_init") == pytest.approx(length, rel=1e-5)
    rows, _ = measure(obs, ["update_spectrum"])
    share = {row["component"]: row["value"] for row in rows}
    assert share["embed"] == pytest.approx(1)
    assert share["logits"] == pytest.approx(1 / 8, rel=1e-4)
    assert math.isnan(share["L0.mlp"])


def test_composition_is_that_of_the_full_matrices():
    model, task = inducing()
    obs = look(model, task, ["q_composition", "k_composition", "v_composition", "copying"])
    w = heads(model)
    ov = w.o.mT @ w.v
    readers = {"q": w.k.mT @ w.q, "k": w.q.mT @ w.k, "v": ov}
    for kind, reader in readers.items():
        composed = (reader[1][:, None] @ ov[0]).norm(dim=(2, 3))
        sizes = reader[1].norm(dim=(1, 2))[:, None] * ov[0].norm(dim=(1, 2))
        expected = (composed / sizes).amax(dim=1).tolist()
        got = value(obs, f"{kind}_composition")
        assert got[:2].isnan().all()
        assert got[2:].tolist() == pytest.approx(expected)
    embed, unembed = (part.weight.detach().double() for part in (model.module.tok_embed, model.module.head))
    whole = torch.linalg.eigvals(unembed @ ov[1, 0] @ embed.T)
    assert value(obs, "copying")[2] == pytest.approx(float(whole.real.sum() / whole.abs().sum()), abs=1e-6)


def test_a_head_that_copies():
    """Embedding and unembedding are the same, v and o the identity: everything attended to becomes likelier."""
    model, task = adding()
    with torch.no_grad():
        module = model.module
        module.tok_embed.weight.copy_(torch.eye(8, 16))
        module.head.weight.copy_(torch.eye(8, 16))
        module.layers[0].attn.v.weight.copy_(torch.eye(16))
        module.layers[0].attn.o.weight.copy_(torch.diag(torch.tensor([1.0] * 8 + [-1.0] * 8)))
    first, second = value(look(model, task, ["copying"]), "copying")
    assert first == pytest.approx(1)
    assert math.isnan(second), "what the second head reads and writes is outside of the vocabulary's directions"


# modular addition


@pytest.mark.parametrize("p", [5, 7, 8, 12, 13])
def test_waves_are_an_orthonormal_basis_without_the_constant(p):
    waves = basis(p)
    assert waves.shape == (p - 1, p)
    assert torch.allclose(waves @ waves.T, torch.eye(p - 1, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(waves.sum(1), torch.zeros(p - 1, dtype=torch.float64), atol=1e-9)
    x = torch.randn(p, 3, generator=generator(p), dtype=torch.float64)
    assert float(wave_norms(x).square().sum()) == pytest.approx(float((x - x.mean(0)).square().sum()))
    spans = torch.cat([sum_directions(p, k, 1) for k in range(1, p // 2 + 1)])
    assert torch.allclose(spans @ spans.T, torch.eye(p - 1, dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize("p", [11, 12])
def test_planted_frequencies_are_the_key_frequencies(p):
    a, b = (x.double().flatten() for x in torch.meshgrid(torch.arange(p), torch.arange(p), indexing="ij"))
    neurons = [3 + torch.cos(2 * math.pi * k * a / p + 1) + torch.cos(2 * math.pi * k * b / p + 2) for k in (2, 5, 5)]
    neurons += [torch.cos(2 * math.pi * 3 * (a + b) / p), torch.full_like(a, 2.0)]
    noise = torch.randn(p * p, len(neurons), generator=generator(0), dtype=torch.float64)
    planted = torch.stack(neurons, dim=1) + 0.1 * noise * torch.tensor([1.0, 1, 1, 1, 0])
    assert neuron_frequencies(planted, p) == [2, 3, 5]
    assert neuron_counts(planted, p) == {2: 1, 3: 1, 5: 2}
    shares = frequency_shares(planted, p)
    assert shares.shape == (p // 2, 4)  # the constant neuron is left out
    assert bool((shares.max(0).values > 0.9).all())
    assert bool((shares.sum(0) <= 1 + 1e-9).all())
    assert neuron_frequencies(torch.ones(p * p, 4, dtype=torch.float64), p) == []


def planted_adder(p=11, frequencies=(1, 3), memory=0.0):
    """What is kept of a model whose logits are waves cos 2πk(a + b − c)/p, with a memory of its training set."""
    task = interp.task("modular_addition", p=p, train_fraction=0.5)
    splits = task.splits(0)
    kept, n = {}, torch.arange(p, dtype=torch.float64)
    for name, batch in splits.items():
        total = (batch.tokens[:, 0] + batch.tokens[:, 1]).double()
        angle = 2 * math.pi * (total[:, None] - n) / p
        logits = 6 * torch.stack([torch.cos(k * angle) for k in frequencies]).sum(0)
        if name == "train":
            logits = logits + memory * torch.eye(p, dtype=torch.float64)[batch.targets[:, -1]]
        kept[f"{name}.logits"] = logits
        kept[f"{name}.mlp_post"] = torch.stack([torch.cos(2 * math.pi * k * total / p) for k in frequencies], 1)[None]
    prompts = task.prompts(4, rng=generator(0))
    obs = shown(torch.zeros(4, 1, p), prompts, task=task, splits=splits)
    return replace(obs, kept=kept, needs={name: need(name) for name in kept})


def test_restricted_and_excluded_loss_of_a_planted_adder():
    """All in the key frequencies: restricting changes nothing, excluding leaves a uniform guess over the p answers."""
    adder = planted_adder()
    obs = replace(adder, final=adder)
    sizes = [len(obs.targets(split)) for split in ("train", "test")]
    whole = np.average([value(obs, "train_loss"), value(obs, "test_loss")], weights=sizes)
    assert value(obs, "restricted_loss") == pytest.approx(whole, rel=1e-5)
    assert value(obs, "excluded_loss") == pytest.approx(math.log(11), rel=1e-6)
    by_component = {row["component"]: row["value"] for row in measure(obs, ["key_frequencies", "frequency_energy"])[0]}
    assert by_component[""] == 2
    assert by_component["k=1"] == pytest.approx(0.5)  # one neuron each; the last rows are shares of the variance
    assert sum(v for k, v in by_component.items() if k) == pytest.approx(1.0)


def test_a_memory_of_the_training_set_survives_exclusion():
    """Excluding the waves leaves what was memorised; restricting to them loses it."""
    adder = planted_adder()
    memoriser = replace(planted_adder(frequencies=(2,), memory=20.0), final=adder)
    assert value(memoriser, "excluded_loss") < 0.05
    assert value(memoriser, "restricted_loss") > 5 * value(replace(adder, final=adder), "restricted_loss")


def test_concentration_of_planted_embeddings():
    model, task = adding()
    with torch.no_grad():
        waves = basis(7).float()
        model.module.tok_embed.weight.zero_()
        model.module.tok_embed.weight[:7, :2] = waves[2:4].T
    obs = look(model, task, ["gini_embed", "gini_unembed"])
    assert value(obs, "gini_embed") == pytest.approx(1 - 2 / 6, abs=1e-5)
    to_logits = (model.module.head.weight[:7] @ model.module.layers[0].mlp.fc_out.weight).detach().double()
    assert value(obs, "gini_unembed") == pytest.approx(gini((basis(7) @ to_logits).norm(dim=1)))


# heads


def with_pattern(pattern, tokens, task):
    """An observation whose attention [layer, prompt, head, query, key] is given."""
    last = tokens[:, -1]
    prompts = Prompts(clean=tokens, corrupt=tokens, answer=last, wrong=last)
    obs = shown(torch.zeros(len(tokens), 1, 3), prompts, task=task)
    return replace(obs, kept={"pattern": pattern}, needs={"pattern": need("pattern", "all")})


def test_attention_scores_of_planted_patterns():
    task = interp.task("markov", length=8)
    tokens = torch.tensor([[0, 1, 2, 0, 1, 1, 0, 2]])
    shift = torch.diag(torch.ones(7), -1)
    shift[0, 0] = 1
    spread = torch.tril(torch.ones(8, 8)) / torch.arange(1, 9)[:, None]
    pattern = torch.stack([shift, spread])[None, None]
    obs = with_pattern(pattern, tokens, task)
    first, second = value(obs, "previous_token")
    assert first == 1
    assert second == pytest.approx(float((1 / torch.arange(2, 9.0)).mean()))
    assert value(obs, "attention_entropy").tolist() == pytest.approx([0, math.log(8)])
    required = task.structure.required(tokens)[0]
    asked = required.any(-1)
    assert value(obs, "attention_progress")[1] == pytest.approx(float((spread * required).sum(-1)[asked].mean()))


def test_prefix_matching_of_a_hand_set_induction_head():
    """Attention that is spread over what followed the earlier occurrences scores 1, and 0 for duplicate tokens."""
    from interp.indicators import _repeats

    model, task = inducing()
    obs = look(model, task, ["prefix_matching", "duplicate_token"])

    def pattern_of(_, tokens, sites):
        n = tokens.shape[1]
        period = next(k for k in range(2, n) if torch.equal(tokens[:, k:], tokens[:, :-k]))
        pattern = torch.zeros(2, len(tokens), 2, n, n)
        for query in range(n):
            keys = list(range(query - period + 1, 0, -period)) or [0]
            pattern[:, :, 0, query, keys] = 1 / len(keys)
            pattern[:, :, 1, query, query] = 1
        return {"pattern": pattern}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_repeats, "capture", pattern_of)
        assert value(obs, "prefix_matching").tolist() == pytest.approx([1, 0, 1, 0])
        assert value(obs, "duplicate_token").tolist() == pytest.approx([0, 0, 0, 0])


def test_head_importance_is_the_derivative_of_a_gate():
    """Against finite differences of the loss with one head's output scaled, prompt by prompt."""
    from interp.hooks.interventions import Intervention
    from interp.measure.passes import run_prompts

    model, task = inducing()
    model.module.double()
    obs = look(model, task, ["head_importance"], n=5)

    def losses(layer, head, gate):
        scaled = Intervention(site="z", layer=layer, heads=head, kind="scale", value=gate)
        logits = run_prompts(model, obs.prompts, [scaled])[:, 0]
        return -logits.log_softmax(-1).gather(1, obs.answers)[:, 0]

    expected = torch.zeros(2, 2, dtype=torch.float64)
    for layer, head in ((0, 0), (0, 1), (1, 0), (1, 1)):
        slope = (losses(layer, head, 1 + 1e-4) - losses(layer, head, 1 - 1e-4)) / 2e-4
        expected[layer, head] = slope.abs().mean()
    expected /= expected.norm(dim=1, keepdim=True)
    assert torch.allclose(value(obs, "head_importance").double().view(2, 2), expected, atol=1e-3)


def test_a_logit_lens_after_the_last_layer_is_the_model():
    model, task = inducing()
    obs = look(model, task, ["logit_lens_rank", "answer_rank"])
    assert value(obs, "logit_lens_rank")[-1] == pytest.approx(value(obs, "answer_rank"))


# probes


@pytest.mark.parametrize("strength", [0.0, 3.0])
def test_probes_find_what_is_linearly_there(strength):
    task = interp.task("addition", n_digits=2)
    prompts = task.prompts(400, rng=generator(0))
    carry = task.structure.labels(prompts.clean)["use_carry"].double()
    noise = torch.randn(400, 10, generator=generator(1), dtype=torch.float64)
    stream = noise + strength * torch.nn.functional.pad(carry * 2 - 1, (0, 10 - carry.shape[1]))
    labels = task.structure.labels
    only_carry = replace(task, structure=Structure(labels=lambda tokens: {"use_carry": labels(tokens)["use_carry"]}))
    obs = shown(torch.zeros(400, 3, 12), prompts, task=only_carry, resid_post=stream[None])
    assert value(obs, "label_probe") == pytest.approx(0.5 if strength == 0 else 1.0, abs=0.06)


def test_the_linear_probe_reads_one_hot_streams():
    """A stream that holds the target is read perfectly; one of noise is read at chance."""
    answers = torch.arange(5).repeat(40)
    batch = Batch(tokens=answers[:, None], targets=answers[:, None])
    for signal, expected in ((1.0, 1.0), (0.0, 0.2)):
        noise = [torch.randn(200, 5, generator=generator(i)) for i in range(2)]
        fit, held = ((signal * torch.eye(5)[answers] + 0.1 * part)[None] for part in noise)
        splits = {"train": batch, "test": batch}
        kept = {"train__resid_post": fit, "test__resid_post": held}
        obs = shown(torch.zeros(5, 1, 5), asking(answers[:5]), splits=splits, **kept)
        assert value(obs, "linear_probe") == pytest.approx(expected, abs=0.1)


# circuits


class Scored:
    """As much of a circuit as these indicators read."""

    def __init__(self, **edges):
        self.edges = edges

    def edge_scores(self):
        return self.edges

    def node_scores(self):
        return {}


def test_similarity_and_concentration_of_circuits():
    model, task = adding()
    obs = look(model, task, ["circuit_similarity"])
    now, before = Scored(a=3.0, b=-1.0, c=0.0), Scored(a=1.0, b=2.0, d=1.0)
    seen = replace(obs, circuit=now, previous=replace(obs, circuit=before))
    assert value(seen, "circuit_similarity") == pytest.approx((1 + 1 + 0 + 0) / (3 + 2 + 0 + 1))
    assert value(replace(seen, previous=seen), "circuit_similarity") == 1
    assert value(seen, "circuit_concentration") == pytest.approx(gini(torch.tensor([3.0, 1.0, 0.0])))
    assert math.isnan(value(obs, "circuit_similarity"))


def test_the_size_of_a_found_circuit():
    model, task = inducing()
    obs = look(model, task, ["circuit_size_80"], n=8)
    found = replace(obs, circuit=interp.find_circuit(model, obs.prompts, method="eap"))
    share = value(found, "circuit_size_80")
    total = int(found.circuit.graph.edges.sum())
    best = smallest_faithful(model, obs.prompts, found.circuit)
    assert share == best.n_edges / total
    assert best.n_edges == best.pruned().n_edges

    assert 0 < share <= 1
    assert of_circuit(model, obs.prompts, best) >= 0.8
    assert np.isfinite(value(found, "circuit_concentration"))
