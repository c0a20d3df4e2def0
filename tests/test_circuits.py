"""Laws of circuits on random models of every kind of architecture: masked runs, edge scores, and what one says about
the other."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import CONFIGS, UNMAPPED

import interp
from interp.circuits import (
    Circuit,
    Graph,
    among,
    exact_match,
    find_circuit,
    from_mib,
    graph_of,
    read_mib,
    to_mib,
    whole,
)
from interp.circuits._attribution import pair_of
from interp.circuits._graph import edge_mask, edge_names
from interp.circuits._masked import masked_logits, masked_values, masker, measure
from interp.errors import InputError
from interp.measure import scoring
from interp.measure.metrics import evaluate, questions
from interp.models import build, wrap
from interp.types import Prompts

HF = {"vocab_size": 23, "num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4}
HF |= {
    "max_position_embeddings": 16,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
NATIVE = {
    "architecture": "native",
    "n_layers": 2,
    "d_model": 16,
    "n_heads": 4,
    "d_head": 4,
    "d_mlp": 24,
    "n_ctx": 16,
    "d_vocab": 23,
}
MODELS = {
    "gpt2": {
        "architecture": "GPT2LMHeadModel", "vocab_size": 23, "n_layer": 2, "n_embd": 16, "n_head": 4, "n_positions": 16,
        "bos_token_id": 0, "eos_token_id": 0,
    },
    "neox": {**HF, "architecture": "GPTNeoXForCausalLM", "rotary_pct": 0.5},
    "neox_sequential": {**HF, "architecture": "GPTNeoXForCausalLM", "use_parallel_residual": False},
    "llama_gqa": {**HF, "architecture": "LlamaForCausalLM", "num_key_value_heads": 2},
    "qwen3_gqa": {**HF, "architecture": "Qwen3ForCausalLM", "num_key_value_heads": 2, "head_dim": 4},
    "gemma2": {
        **HF, "architecture": "Gemma2ForCausalLM", "num_key_value_heads": 2, "head_dim": 4, "query_pre_attn_scalar": 4
    },
    "olmo2": {**HF, "architecture": "Olmo2ForCausalLM"},
    "native": {**NATIVE, "act_fn": "gelu", "normalization_type": "LN"},
    "native_attn_only": {**NATIVE, "attn_only": True, "normalization_type": None},
}  # fmt: skip


MODELS |= {kind: CONFIGS[kind] for kind in ("native-rotary", "mistral", "qwen2", "olmo", "gemma", "gemma3", "gpt-neo")}


def random_model(kind: str, seed: int = 0) -> interp.Model:
    """A model of that architecture whose weights are large enough for its attention to matter."""
    model = wrap(build(MODELS[kind], seed=seed))
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.module.named_parameters():
            if weight.dim() > 1:
                weight.copy_(torch.randn(weight.shape, generator=rng) / weight.shape[-1] ** 0.5)
            elif name.endswith("bias"):
                weight.copy_(0.1 * torch.randn(weight.shape, generator=rng))
    return model


def random_prompts(seed: int = 0, n: int = 5, n_pos: int = 7, same: int = 2, *, padded: bool = False) -> Prompts:
    """Prompts whose pairs share their first `same` tokens; answers at the last position, or at each prompt's own."""
    rng = torch.Generator().manual_seed(seed)
    clean, corrupt = (torch.randint(1, 23, (n, n_pos), generator=rng) for _ in range(2))
    corrupt[:, :same] = clean[:, :same]
    mask = None
    if padded:
        mask = torch.arange(n_pos) < torch.randint(3, n_pos + 1, (n, 1), generator=rng)
    answer = torch.randint(0, 23, (n,), generator=rng)
    return Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=(answer + 1) % 23, mask=mask)


def metric_of(model: interp.Model, prompts: Prompts, tokens: torch.Tensor) -> torch.Tensor:
    """The logit difference of every prompt, from the model's own forward pass."""
    asked = questions(prompts, model)
    with torch.no_grad():
        logits = model(tokens, prompts.mask)
    return evaluate("logit_diff", logits[torch.arange(len(tokens))[:, None], asked.read][None], asked)[0]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_all_edges_give_the_clean_run_and_none_the_corrupt_one(kind: str, padded: bool) -> None:
    model, prompts = random_model(kind), random_prompts(padded=padded)
    pair = pair_of(model, prompts)
    ends = torch.stack([pair.graph.edges.float(), torch.zeros(pair.graph.edges.shape)])
    values = masked_values(ends, pair)
    assert torch.allclose(values[0], metric_of(model, prompts, prompts.clean), atol=1e-4)
    assert torch.allclose(values[1], metric_of(model, prompts, prompts.corrupt), atol=1e-4)


@pytest.mark.parametrize("ablation", ["corrupt", "zero", "mean"])
@pytest.mark.parametrize("kind", MODELS)
def test_eap_is_the_derivative_of_masked_runs(kind: str, ablation: str) -> None:
    """d m / d mask(u->r) at all masks 1 is (u_clean − what replaces u)·∂m/∂r: two roads that share no code behind the
    records."""
    model, prompts = random_model(kind, 1), random_prompts(1, padded=ablation != "corrupt")
    circuit = find_circuit(model, prompts, "eap", options={"ablation": ablation})
    pair = pair_of(model, prompts)
    masks = pair.graph.edges.float()[None].clone().requires_grad_()
    ready = masker(pair, ablation=ablation)
    measure(ready, masked_logits(ready, masks)).mean().backward()
    edges = pair.graph.edges
    assert masks.grad is not None
    assert torch.allclose(circuit.scores[edges], masks.grad[0][edges], atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "native_attn_only"])
def test_means_are_those_of_real_tokens(kind: str) -> None:
    """Mean ablation is the same whatever stands in the padding, and leaves nothing that depends on the prompt."""
    model, prompts = random_model(kind, 3), random_prompts(3, padded=True)
    assert prompts.mask is not None
    other = replace(prompts, corrupt=torch.where(prompts.mask, prompts.corrupt, 7))
    pairs = [pair_of(model, each) for each in (prompts, other)]
    empty = [masked_values(torch.zeros(1, *pair.graph.edges.shape), pair, ablation="mean") for pair in pairs]
    assert torch.allclose(*empty, atol=1e-5)
    for seed in range(2):
        same = replace(random_prompts(seed), answer=torch.full((5,), 3), wrong=torch.full((5,), 8))
        pair = pair_of(model, same)
        values = masked_values(torch.zeros(1, *pair.graph.edges.shape), pair, ablation="mean")[0]
        assert torch.allclose(values, values[:1].expand(5), atol=1e-5)


@pytest.mark.parametrize("metric", ["logit_diff", "kl"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("eap", {}),
        ("eap", {"ablation": "mean"}),
        ("eap-ig", {"steps": 2}),
        ("eap-ig", {"steps": 3, "rule": "gauss", "ablation": "mean"}),
        ("eap-ig-activations", {"steps": 2}),
        ("attribution", {}),
        ("atp-star", {}),
        ("information-flow", {}),
    ],
)
def test_prompts_in_parts_give_the_scores_of_all_at_once(
    method: str, options: dict[str, object], metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Means over prompts add up part by part: where a prompt has no value, too, and its place on the path is its own."""
    model, prompts = random_model("llama_gqa", 9), random_prompts(9, n=7, padded=True)
    prompts.wrong[2] = prompts.answer[2]
    at_once = find_circuit(model, prompts, method, metric, options=options)
    sizes = []
    monkeypatch.setattr("interp.circuits._attribution.numbers_of_a_prompt", lambda pair: sizes.append(1) or 2**26)
    in_parts = find_circuit(model, prompts, method, metric, options=options)
    assert sizes
    assert torch.allclose(in_parts.scores, at_once.scores, atol=1e-5, rtol=1e-4, equal_nan=True)
    assert in_parts.node_scores() == pytest.approx(at_once.node_scores(), abs=1e-4)
    assert in_parts.about.get("inputs", {}) == pytest.approx(at_once.about.get("inputs", {}), abs=1e-4)


def test_whole_nodes_are_all_edges_between_them() -> None:
    graph = Graph(n_layers=2, n_heads=2, n_kv_heads=1)
    circuit = among(graph, {"L0H1", "L1.mlp"})
    assert set(circuit.edges()) == {
        *(f"embed->L0H{reader}" for reader in ("1.q", "0.k", "0.v")), "embed->L1.mlp", "L0H1->L1.mlp",
        "embed->logits", "L0H1->logits", "L1.mlp->logits",
    }  # fmt: skip
    assert among(graph, graph.writers[1:]).n_edges == int(graph.edges.sum())
    with pytest.raises(InputError, match=r"did you mean 'L1.mlp'"):
        among(graph, {"L1.mpl"})


def all_rank_first(logits: torch.Tensor, prompts: Prompts) -> torch.Tensor:
    logits = logits if logits.dim() == 3 else logits[:, None]
    tokens = scoring.columns(prompts.answer).unbind(1)
    ranks = torch.stack([scoring.token_rank(logits[:, i], token) for i, token in enumerate(tokens)], dim=1)
    return ((ranks == 1) | ranks.isnan()).all(1).float()


def test_exact_match_counts_whole_answers() -> None:
    """The same prompts are right by this metric as by the ranks of all their tokens."""
    model, one = random_model("gpt2", 1), random_prompts(1, n=60)
    rng = torch.Generator().manual_seed(0)
    for answer in (one.answer, torch.randint(0, 23, (60, 2), generator=rng)):
        with torch.no_grad():
            tokens = one.clean if answer.dim() == 1 else torch.cat([one.clean, answer[:, :1]], 1)
            best = model(tokens).argmax(-1)[:, 6:].view(answer.shape)
        answer = torch.where(torch.rand(answer.shape, generator=rng) < 0.6, best, answer)
        if answer.dim() == 2:
            answer[::5, 1] = -1
        prompts = replace(one, answer=answer, wrong=(answer + 1) % 23)
        pair = pair_of(model, prompts, all_rank_first)
        masks = pair.graph.edges.float()[None]
        expected = masked_values(masks, pair)
        found = masked_values(masks, pair_of(model, prompts, exact_match))
        assert torch.equal(found, expected)
        assert 5 < float(found.sum()) < 60


@pytest.mark.parametrize("kind", ["gpt2", "neox", "llama_gqa", "native_attn_only"])
def test_a_circuit_of_whole_nodes_is_node_patching(kind: str) -> None:
    """Without the edges out of a node, its corrupt output goes everywhere: `interp.patch` in the noising direction."""
    model, prompts = random_model(kind, 2), random_prompts(2)
    pair = pair_of(model, prompts)
    graph = pair.graph
    columns = [column for layer in range(2) for column in range(*graph.head_columns(layer).indices(99))]
    masks = graph.edges.float().repeat(len(columns), 1, 1)
    masks[torch.arange(len(columns)), :, columns] = 0.0
    patched = interp.patch(model, prompts, site="z", by=("layer", "head"), direction="noise")
    assert torch.allclose(masked_values(masks, pair).mean(1), patched.values.flatten(), atol=1e-4)


def test_layers_left_alone_and_prompts_in_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompts = random_model("neox", 3), random_prompts(3)
    exact, eap = (find_circuit(model, prompts, method).scores for method in ("exact", "eap"))
    pair = pair_of(model, prompts)
    place = pair.graph.edges.nonzero()[17].tolist()
    mask = pair.graph.edges.float()
    mask[place[0], place[1]] = 0.0
    other = torch.zeros_like(mask)  # beside a circuit without edges no layer can be taken from the clean run
    both = masked_values(torch.stack([mask, other]), pair)[0]
    effect = masked_values(pair.graph.edges.float()[None], pair)[0] - both
    assert float(effect.mean()) == pytest.approx(float(exact[place[0], place[1]]), abs=1e-5)
    monkeypatch.setattr("interp.circuits._masked.BUDGET", 1)
    monkeypatch.setattr("interp.circuits._masked.PROMPT_BUDGET", 1)
    assert torch.allclose(masked_values(torch.stack([mask, other]), pair)[0], both, atol=1e-5)
    for method, before in (("exact", exact), ("eap", eap)):
        assert torch.allclose(find_circuit(model, prompts, method).scores, before, atol=1e-5, equal_nan=True)


def test_eap_ig_equals_a_slow_and_obvious_reference() -> None:
    """Gradients of every reader's own input by autograd through masked runs from interpolated embeddings."""
    model, prompts = random_model("native", 4), random_prompts(4, same=0)
    steps = 4
    fast = find_circuit(model, prompts, options={"steps": steps, "rule": "left"}).scores
    module = model.module
    clean, corrupt = (module.tok_embed(t) + module.pos.weight[: t.shape[1]] for t in (prompts.clean, prompts.corrupt))
    slow = torch.zeros_like(fast)
    changes = [a - b for a, b in zip(_writers(module, clean), _writers(module, corrupt), strict=True)]
    for step in range(steps):
        readers: list[torch.Tensor] = []
        logits = _forward_by_reader(module, corrupt + step / steps * (clean - corrupt), readers)
        rows = torch.arange(len(logits))
        last = logits[rows, -1]
        metric = (last[rows, prompts.answer] - last[rows, prompts.wrong]).mean()
        for row, grad in enumerate(torch.autograd.grad(metric, readers)):
            for column, change in enumerate(changes):
                slow[row, column] += (change * grad).sum().detach() / steps
    edges = graph_of(model).edges
    assert torch.allclose(fast[edges], slow[edges], atol=1e-4, rtol=1e-3)


def _forward_by_reader(module, stream, readers):  # type: ignore[no-untyped-def]
    """A native model's forward pass in which every reader has its own copy of the residual stream, kept in the
    graph's order."""
    stream = stream.detach().requires_grad_()
    for block in module.layers:
        core, n = block.attn, block.attn.n_heads
        sides = []
        for project in (core.q, core.k, core.v):
            own = [stream.clone() for _ in range(n)]
            readers += own
            sides.append(
                torch.stack([project(block.ln1(x)).unflatten(-1, (n, -1))[:, :, h] for h, x in enumerate(own)], 2)
            )
        q, k, v = sides
        scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / core.scale
        scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), float("-inf"))
        stream = stream + core.o(torch.einsum("bhqk,bkhe->bqhe", scores.softmax(-1), v).flatten(2))
        readers.append(stream.clone())
        stream = stream + block.mlp(block.ln2(readers[-1]))
    readers.append(stream.clone())
    return module.head(module.ln_out(readers[-1]))


def _writers(module, stream):  # type: ignore[no-untyped-def]
    """What each writer adds, in the graph's order."""
    found = [stream]
    for block in module.layers:
        core = block.attn
        kept = []
        handle = core.o.register_forward_pre_hook(lambda _, args, kept=kept: kept.append(args[0]))
        out = core(block.ln1(stream))[0]
        handle.remove()
        z = kept[0].unflatten(-1, (core.n_heads, -1))
        weight = core.o.weight.T.unflatten(0, (core.n_heads, -1))
        found += [z[:, :, h] @ weight[h] for h in range(core.n_heads)]
        stream = stream + out
        found.append(block.mlp(block.ln2(stream)))
        stream = stream + found[-1]
    return found


@pytest.mark.parametrize("method", ["eap", "eap-ig", "exact", "acdc", "eap-ig-activations", "patching", "attribution"])
def test_the_model_is_left_as_found_even_when_the_metric_fails(method: str) -> None:
    model, prompts = random_model("gpt2"), random_prompts()
    model.module.train()
    state = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    flags = [p.requires_grad for p in model.module.parameters()]

    def fails(logits: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no metric")

    before = find_circuit(model, prompts, method)
    with pytest.raises(RuntimeError, match="no metric"):
        find_circuit(model, prompts, method, fails)
    after = find_circuit(model, prompts, method)
    assert torch.equal(before.scores.nan_to_num(), after.scores.nan_to_num())
    assert model.module.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.module.state_dict().items())
    assert flags == [p.requires_grad for p in model.module.parameters()]
    assert all(p.grad is None for p in model.module.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks or "forward" in m.__dict__ for m in model.module.modules())


@pytest.mark.parametrize("method", ["eap", "eap-ig", "patching", "attribution"])
def test_exchanging_clean_and_corrupt_or_right_and_wrong(method: str) -> None:
    """With the right and the wrong answer exchanged the metric changes sign, and so does every score."""
    model, prompts = random_model("llama_gqa", 5), random_prompts(5)
    turned = Prompts(clean=prompts.clean, corrupt=prompts.corrupt, answer=prompts.wrong, wrong=prompts.answer)
    one, other = find_circuit(model, prompts, method), find_circuit(model, turned, method)
    assert torch.allclose(one.scores, -other.scores, atol=1e-5, equal_nan=True)
    mine, theirs = (torch.tensor(list(c.node_scores().values())) for c in (one, other))
    assert torch.allclose(mine, -theirs, atol=1e-4)
    assert float(mine.abs().max()) > 0.01


def test_attribution_of_a_writer_is_the_sum_of_its_edges() -> None:
    model, prompts = random_model("gpt2", 6), random_prompts(6)
    nodes, edges = (find_circuit(model, prompts, m).node_scores() for m in ("attribution", "eap"))
    assert nodes == pytest.approx(edges, abs=1e-4)


def test_small_differences_are_attributed_exactly() -> None:
    """EAP is the first order of exact edge patching: as the pair comes together, the ratio of the two tends to 1."""
    model, prompts = random_model("native", 7), random_prompts(7, same=6)
    with torch.no_grad():
        table = model.module.tok_embed.weight
        table.copy_(table[:1] + 0.01 * (table - table[:1]))
    exact, eap = (find_circuit(model, prompts, m).scores[graph_of(model).edges] for m in ("exact", "eap"))
    assert float((exact - eap).abs().max()) < 0.05 * float(exact.abs().max())


@pytest.mark.parametrize(
    "graph",
    [
        Graph(n_layers=2, n_heads=3, n_kv_heads=3),
        Graph(n_layers=3, n_heads=4, n_kv_heads=2, parallel=True),
        Graph(n_layers=1, n_heads=2, n_kv_heads=1, mlps=False),
    ],
)
def test_the_graph(graph: Graph) -> None:
    assert len(set(graph.writers)) == len(graph.writers) == graph.edges.shape[1]
    assert len(set(graph.readers)) == len(graph.readers) == graph.edges.shape[0]
    names = edge_names(graph, graph.edges)
    assert torch.equal(edge_mask(graph, names), graph.edges)
    assert bool(graph.edges[-1].all())
    assert bool(graph.edges[:, 0].all())
    beside = "L0H0->L0.mlp" in names
    assert beside == (graph.mlps and not graph.parallel)
    for name in names:
        writer, reader = name.split("->")
        layer = (
            {"embed": -1}.get(writer)
            if writer == "embed"
            else int(writer[1 : writer.index("H" if "H" in writer else ".")])
        )
        if reader != "logits":
            reads_at = int(reader[1 : reader.index("H" if "H" in reader else ".")])
            assert layer < reads_at or (layer == reads_at and "H" in writer and reader.endswith(".mlp"))


def random_circuit(graph: Graph, seed: int = 0) -> Circuit:
    scores = torch.randn(graph.edges.shape, generator=torch.Generator().manual_seed(seed))
    return Circuit(
        graph=graph, scores=scores.masked_fill(~graph.edges, torch.nan), included=graph.edges, method="eap"
    ).top(20)


GRAPHS = [
    Graph(n_layers=2, n_heads=4, n_kv_heads=4),
    Graph(n_layers=2, n_heads=4, n_kv_heads=2),
    Graph(n_layers=2, n_heads=4, n_kv_heads=4, parallel=True),
    Graph(n_layers=3, n_heads=2, n_kv_heads=2, mlps=False),
]


@pytest.mark.parametrize("graph", GRAPHS)
def test_json_of_ours_and_of_mib_comes_back(graph: Graph) -> None:
    circuit = replace(random_circuit(graph), nodes=torch.arange(len(graph.writers)) - 0.5)
    ours = Circuit.from_json(json.loads(json.dumps(circuit.to_json())))
    mib = from_mib(json.loads(json.dumps(to_mib(circuit, d_model=64))), graph)
    for back in (ours, mib):
        assert back.graph == graph
        assert torch.allclose(back.scores, circuit.scores, equal_nan=True)
        assert torch.equal(back.included, circuit.included)
        assert back.nodes is not None
        assert torch.equal(back.nodes, circuit.nodes)
    unscored = replace(circuit, scores=torch.full(graph.edges.shape, torch.nan), included=torch.zeros_like(graph.edges))
    assert bool(from_mib(to_mib(unscored), graph).scores.isnan().all())


# One layer of two heads as the EAP-IG repository lists it: every edge by name, q, k and v of a head in turn.
MIB_EDGES = ("input->a0.h0<q>", "input->a0.h0<k>", "input->a0.h0<v>", "input->a0.h1<q>", "input->a0.h1<k>",
             "input->a0.h1<v>", "input->m0", "a0.h0->m0", "a0.h1->m0", "input->logits", "a0.h0->logits",
             "a0.h1->logits", "m0->logits")  # fmt: skip
MIB = {
    "cfg": {"n_layers": 1, "n_heads": 2, "parallel_attn_mlp": False, "d_model": 8},
    "nodes": {name: {"in_graph": name != "a0.h1"} for name in ("input", "a0.h0", "a0.h1", "m0", "logits")},
    "edges": {
        name: {"score": i - 6.5, "in_graph": name in ("input->a0.h0<v>", "a0.h0->m0", "m0->logits")}
        for i, name in enumerate(MIB_EDGES)
    },
}


def test_what_eap_ig_and_mib_write_is_read_and_the_other_way_round(tmp_path: Path) -> None:
    circuit = from_mib(MIB)
    assert circuit.edges() == ["embed->L0H0.v", "L0H0->L0.mlp", "L0.mlp->logits"]
    assert circuit.edge_scores()["embed->L0H1.k"] == MIB["edges"]["input->a0.h1<k>"]["score"]
    written = to_mib(circuit, d_model=8)
    assert written["cfg"] == MIB["cfg"]
    assert written["nodes"] == MIB["nodes"]
    assert written["edges"] == MIB["edges"]
    older = {**MIB, "nodes": {name: node["in_graph"] for name, node in MIB["nodes"].items()}}
    older["edges"] = {name: {**edge, "score": None} for name, edge in MIB["edges"].items()}
    members = {**MIB, "edges": {name: {"in_graph": True} for name in circuit_names(MIB)}}
    for bare in (older, members):
        assert from_mib(bare).edges() == circuit.edges()
        assert bool(from_mib(bare).scores.isnan().all())
    few = {**MIB, "edges": dict(list(MIB["edges"].items())[-2:])}
    assert sorted(from_mib(few).edge_scores().values()) == [0.0] * 11 + [4.5, 5.5]
    path = tmp_path / "importances.json"
    path.write_text(json.dumps(MIB))
    assert torch.equal(read_mib(path).scores.nan_to_num(), circuit.scores.nan_to_num())
    readers = [f"a0.h{head}<{slot}>" for slot in "qkv" for head in range(2)] + ["m0", "logits"]
    writers = list(MIB["nodes"])[:-1]
    scores, inside = torch.zeros(4, 8), torch.zeros(4, 8, dtype=torch.bool)
    for name, edge in MIB["edges"].items():
        place = tuple(side.index(end) for side, end in zip((writers, readers), name.split("->"), strict=True))
        scores[place], inside[place] = edge["score"], edge["in_graph"]
    both = {"cfg": MIB["cfg"], "src_nodes": writers, "dst_nodes": readers, "edges_in_graph": inside}
    for matrices in ({"edges_scores": scores, "nodes_in_graph": torch.ones(4)}, {"edges": scores}):
        torch.save(both | matrices, tmp_path / "importances.pt")
        back = read_mib(tmp_path / "importances.pt", circuit.graph)
        assert torch.equal(back.scores.nan_to_num(nan=9.0), circuit.scores.nan_to_num(nan=9.0))
        assert torch.equal(back.included, circuit.included)


def circuit_names(mib: dict) -> list[str]:  # type: ignore[type-arg]
    return [name for name, edge in mib["edges"].items() if edge["in_graph"]]


def test_a_head_s_own_keys_there_are_the_group_s_keys_here() -> None:
    shared = from_mib(MIB, Graph(n_layers=1, n_heads=2, n_kv_heads=1))
    edges = MIB["edges"]
    assert (
        shared.edge_scores()["embed->L0H0.k"] == edges["input->a0.h0<k>"]["score"] + edges["input->a0.h1<k>"]["score"]
    )
    assert "embed->L0H0.v" in shared.edges()
    halves = to_mib(shared)["edges"]
    assert halves["input->a0.h0<k>"] == halves["input->a0.h1<k>"]


@pytest.mark.parametrize(
    ("change", "graph", "message"),
    [
        ({"edges": {"input->nowhere": {"score": 1}}}, None, "no edge input->nowhere"),
        ({"edges": {"m0->a0.h0<q>": {"score": 1}}}, None, "no edge m0->a0.h0<q>"),
        ({"edges": {"input": {"score": 1}}}, None, "not a circuit of EAP-IG or MIB"),
        ({"cfg": {"n_layers": 1}}, None, "cfg has"),
        ({}, Graph(n_layers=2, n_heads=2, n_kv_heads=2), "1 layers of 2 heads, sequential .* the model has 2 of 2"),
        ({}, Graph(n_layers=1, n_heads=4, n_kv_heads=2), "the model has 1 of 4"),
        ({}, Graph(n_layers=1, n_heads=2, n_kv_heads=2, parallel=True), "the model has 1 of 2, parallel"),
        ({}, Graph(n_layers=1, n_heads=2, n_kv_heads=2, mlps=False), "no edge input->m0"),
        ({"nodes": {"m0": {"in_graph": True, "neurons": [True, False]}}}, None, "single neurons"),
        ({"neurons": {"m0": [True, False]}}, None, "single neurons"),
    ],
)
def test_a_file_of_another_shape_or_kind_is_refused(change: dict, graph: Graph | None, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=message):
        from_mib({**MIB, **change}, graph)


def test_files_that_are_no_circuits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        read_mib(tmp_path / "nothing.json")
    for name, content in (("broken.json", b"{"), ("broken.pt", b"no tensors"), ("circuit.csv", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            read_mib(tmp_path / name)
    torch.save({"cfg": Path}, tmp_path / "unsafe.pt")
    with pytest.raises(InputError, match=r"unsafe.pt: this is not a circuit"):
        read_mib(tmp_path / "unsafe.pt")
    with pytest.raises(InputError, match="circuit's JSON"):
        Circuit.from_json({"edges": []})


def test_choosing_edges() -> None:
    circuit = random_circuit(Graph(n_layers=2, n_heads=3, n_kv_heads=3))
    graph = circuit.graph
    for n in (1, 7, 30):
        best = circuit.top(n)
        assert best.n_edges == n
        inside, outside = (circuit.scores.abs()[m & graph.edges] for m in (best.included, ~best.included))
        assert float(inside.min()) >= float(outside.max())
        grown = circuit.greedy(n)
        assert grown.n_edges == n
        assert _all_lead_to_the_logits(grown)
    assert circuit.top(5, signed=True).scores[circuit.top(5, signed=True).included].min() > 0
    limit = float(circuit.scores.abs()[circuit.top(9).included].min())
    assert torch.equal(circuit.at_least(limit).included, circuit.top(9).included)
    a, b = circuit.top(10), random_circuit(graph, 1)
    assert (a | b).n_edges + (a & b).n_edges == a.n_edges + b.n_edges
    assert (a - b).n_edges == a.n_edges - (a & b).n_edges
    assert a.jaccard(a) == 1
    assert a.similarity(a) == 1
    assert 0 < a.similarity(b) < 1
    with pytest.raises(InputError, match="different graphs"):
        a | random_circuit(Graph(n_layers=1, n_heads=3, n_kv_heads=3))


def _all_lead_to_the_logits(circuit: Circuit) -> bool:
    reached, changed = {len(circuit.graph.readers) - 1}, True
    while changed:
        writers = {c for r, c in circuit.included.nonzero().tolist() if r in reached}
        rows = {row for c in writers for row in circuit.graph.rows_into(c)}
        changed, reached = not rows <= reached, reached | rows
    return all(row in reached for row in circuit.included.nonzero()[:, 0].tolist())


def test_pruning_removes_what_cannot_matter() -> None:
    model, prompts = random_model("llama_gqa", 8), random_prompts(8)
    pair = pair_of(model, prompts)
    circuit = random_circuit(pair.graph, 3)
    pruned = circuit.pruned()
    assert 0 < pruned.n_edges < circuit.n_edges
    values = masked_values(torch.stack([circuit.included, pruned.included]).float(), pair)
    assert torch.allclose(values[0], values[1], atol=1e-5)
    assert whole(pair.graph).pruned().n_edges == int(pair.graph.edges.sum())


def test_wrong_input_is_named() -> None:
    model, prompts = random_model("gpt2"), random_prompts()
    with pytest.raises(InputError, match="did you mean 'eap_ig'"):
        find_circuit(model, prompts, "eap-igg")
    with pytest.raises(InputError, match="did you mean 'steps'"):
        find_circuit(model, prompts, options={"step": 3})
    with pytest.raises(InputError, match="did you mean 'midpoint'"):
        find_circuit(model, prompts, options={"rule": "midpoints"})
    with pytest.raises(InputError, match="did you mean 'logit_diff'"):
        find_circuit(model, prompts, metric="logitdiff")
    with pytest.raises(InputError, match="comes after"):
        edge_mask(graph_of(model), {"L1H0->L0H0.q"})
    with pytest.raises(InputError, match="did you mean 'mean'"):
        find_circuit(model, prompts, options={"ablation": "means"})
    with pytest.raises(InputError, match=r"ArceeForCausalLM has none.*GPT2LMHeadModel"):
        find_circuit(wrap(build(UNMAPPED, seed=0)), prompts, "eap")


def test_what_is_of_another_kind_is_named() -> None:
    model = wrap(build(CONFIGS["native"], seed=0))
    tokens = torch.arange(12).reshape(4, 3)
    prompts = Prompts(clean=tokens, corrupt=tokens.flip(0), answer=torch.arange(4), wrong=torch.arange(4) + 1)
    circuit = find_circuit(model, prompts, "eap")
    wrong = [
        (
            lambda: interp.validate_circuit(model, prompts, "x"),
            "circuit is a str; expected what interp.find_circuit gives",
        ),
        (lambda: interp.validate_circuit(prompts, model, circuit), "model is a Prompts; expected what interp.load"),
        (lambda: interp.faithfulness(model, prompts, {}), "circuit is a dict"),
        (lambda: interp.find_circuit(model.module, prompts), "expected what interp.load or interp.wrap"),
        (lambda: interp.find_circuit(model, tokens), "prompts are a Tensor; expected interp.Prompts"),
        (lambda: interp.hypothesis(model, prompts, 3), "claim is a int; expected text such as 'L0H2"),
        (lambda: interp.track_circuit(model, [1], prompts), "states gave a int; expected .step, weights. pairs"),
    ]
    for call, said in wrong:
        with pytest.warns() if "states" in said else nullcontext(), pytest.raises(InputError, match=said):
            call()
