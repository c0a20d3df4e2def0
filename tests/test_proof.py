"""Every engine is exact for the module as it is now, or refuses with the reason: adapters, hooks, exchanged, wrapped, compiled,
quantised parts. The reference is the module's own forward pass with plain torch hooks of the test's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import pytest
import torch
from tiny_models import CONFIGS, pairs
from torch import nn
from torch.nn.utils import parametrizations, prune

import interp
from interp.hooks.interventions import Intervention, intervene
from interp.models import build, wrap
from interp.types import Prompts

METHODS = ("attribution", "information_flow", "atp_star")  # eap and exact are held to their numbers below


class Lora(nn.Module):
    """As adapters are: the base layer's weight is shown, the forward adds the low-rank part."""

    def __init__(self, base: nn.Module, d_in: int, d_out: int):
        super().__init__()
        self.base_layer = base
        self.a = nn.Parameter(torch.randn(4, d_in) * 0.3)
        self.b = nn.Parameter(torch.randn(d_out, 4) * 0.3)

    weight = property(lambda self: self.base_layer.weight)
    bias = property(lambda self: self.base_layer.bias)

    def forward(self, x):
        return self.base_layer(x) + x @ self.a.T @ self.b.T


class LoraEmbedding(nn.Module):
    def __init__(self, base: nn.Embedding):
        super().__init__()
        self.base_layer, self.more = base, nn.Parameter(torch.randn_like(base.weight) * 0.3)

    weight = property(lambda self: self.base_layer.weight)

    def forward(self, tokens):
        return self.base_layer(tokens) + self.more[tokens]


class Int8(nn.Module):
    def __init__(self, base: nn.Linear):
        super().__init__()
        self.bias = base.bias
        scale = base.weight.detach().abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.weight = nn.Parameter((base.weight.detach() / scale).round().to(torch.int8), requires_grad=False)

    def forward(self, x):
        out = x @ (self.weight.float() * self.scale).T
        return out if self.bias is None else out + self.bias


class Wrapped(nn.Module):
    """A part in an envelope that scales what it gives; its names are reached through."""

    def __init__(self, inner: nn.Module, factor: float = 1.0):
        super().__init__()
        self.inner, self.factor = inner, factor

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, *args, **kwargs):
        output = self.inner(*args, **kwargs)
        return (output[0] * self.factor, *output[1:]) if isinstance(output, tuple) else output * self.factor


class Squashed(nn.Linear):
    def forward(self, x):
        return torch.tanh(super().forward(x)) * 2


def _exchange(path: str, make: Callable[[nn.Module], nn.Module]) -> Callable[[nn.Module], None]:
    def change(module: nn.Module) -> None:
        owner, _, name = path.rpartition(".")
        parent = module.get_submodule(owner)
        setattr(parent, name, make(getattr(parent, name)))

    return change


def _lora(module: nn.Module) -> Lora:
    return Lora(module, module.in_features, module.out_features)


def _hook(path: str, hook: Callable) -> Callable[[nn.Module], None]:
    return lambda module: module.get_submodule(path).register_forward_hook(hook) and None


def _pre(path: str, hook: Callable, **options) -> Callable[[nn.Module], None]:
    return lambda module: module.get_submodule(path).register_forward_pre_hook(hook, **options) and None


def _first(change: Callable) -> Callable:
    return lambda _, args, out: (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)


def _at_third(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[:, 3] += 0.5
    return x


def _at_last(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[:, -1] += 0.5
    return x


def _own_forward(path: str) -> Callable[[nn.Module], None]:
    def change(module: nn.Module) -> None:
        part = module.get_submodule(path)
        before = part.forward
        part.forward = lambda *args, **kwargs: _first(lambda x: x * 1.4)(None, (), before(*args, **kwargs))

    return change


def _squashed(base: nn.Linear) -> nn.Linear:
    made = Squashed(base.in_features, base.out_features, bias=False)
    made.weight = base.weight
    return made


def _shared_block(module: nn.Module) -> None:
    module.model.layers[1] = module.model.layers[0]


def _logits(factor: float) -> Callable:
    def hook(_, args, out):
        out.logits = out.logits * factor
        return out

    return hook


L1 = "model.layers.1"
SCALED = _first(lambda x: x * 1.3)
CHANGES: dict[str, Callable[[nn.Module], None]] = {
    **{f"lora on {p}": _exchange(f"{L1}.self_attn.{p}_proj", _lora) for p in "qkvo"},
    **{f"lora on {p}": _exchange(f"{L1}.mlp.{p}_proj", _lora) for p in ("gate", "up", "down")},
    "lora on the unembedding": _exchange("lm_head", _lora),
    "lora on the embedding": _exchange("model.embed_tokens", LoraEmbedding),
    "int8 o": _exchange(f"{L1}.self_attn.o_proj", Int8),
    "int8 down": _exchange(f"{L1}.mlp.down_proj", Int8),
    "a norm of another kind": _exchange(f"{L1}.input_layernorm", lambda _: nn.LayerNorm(24)),
    "no norm": _exchange(f"{L1}.post_attention_layernorm", lambda _: nn.Identity()),
    "the last norm exchanged": _exchange("model.norm", lambda _: nn.LayerNorm(24)),
    "another activation": _exchange(f"{L1}.mlp.act_fn", lambda _: nn.Tanh()),
    "an o that is not linear": _exchange(f"{L1}.self_attn.o_proj", _squashed),
    "a v that is not linear": _exchange(f"{L1}.self_attn.v_proj", _squashed),
    "a wrapped MLP": _exchange(f"{L1}.mlp", partial(Wrapped, factor=1.4)),
    "a wrapped attention": _exchange(f"{L1}.self_attn", partial(Wrapped, factor=1.4)),
    "a wrapped block": _exchange(L1, partial(Wrapped, factor=1.4)),
    "an MLP with a forward of its own": _own_forward(f"{L1}.mlp"),
    "a norm with a forward of its own": _own_forward(f"{L1}.input_layernorm"),
    "an o with a forward of its own": _own_forward(f"{L1}.self_attn.o_proj"),
    "attention with a forward of its own": _own_forward(f"{L1}.self_attn"),
    "a block with a forward of its own": _own_forward(L1),
    "a hook on ln1": _hook(f"{L1}.input_layernorm", SCALED),
    "a hook on ln2": _hook(f"{L1}.post_attention_layernorm", SCALED),
    "a hook on the last norm": _hook("model.norm", SCALED),
    "a hook on the whole": _hook("", _logits(1.3)),
    "a hook on the unembedding": _hook("lm_head", SCALED),
    "a hook on the embedding": _hook("model.embed_tokens", SCALED),
    "a hook on attention": _hook(f"{L1}.self_attn", SCALED),
    "a hook on q": _hook(f"{L1}.self_attn.q_proj", SCALED),
    "a hook on v": _hook(f"{L1}.self_attn.v_proj", SCALED),
    "a hook on o": _hook(f"{L1}.self_attn.o_proj", SCALED),
    "a hook on the MLP": _hook(f"{L1}.mlp", _first(lambda x: x + 0.3)),
    "a hook on a block": _hook("model.layers.0", SCALED),
    "a hook at one position": _hook("model.layers.0", _first(_at_third)),
    "a hook at the last position": _hook(f"{L1}.mlp", _first(_at_last)),
    "a hook at one position of the unembedding": _hook("lm_head", _first(_at_third)),
    "a hook before o": _pre(f"{L1}.self_attn.o_proj", lambda _, args: (args[0] * 1.3,)),
    "a hook before ln2": _pre(f"{L1}.post_attention_layernorm", lambda _, args: (args[0] * 1.3 + 0.2,)),
    "a hook before the MLP": _pre(f"{L1}.mlp", lambda _, args: (args[0] * 1.3,)),
    "a hook before a block": _pre(L1, lambda _, args, kwargs: ((args[0] * 1.3, *args[1:]), kwargs), with_kwargs=True),
    "a hook before attention": _pre(
        f"{L1}.self_attn",
        lambda _, args, kwargs: (args, {**kwargs, "hidden_states": kwargs["hidden_states"] + 0.2}),
        with_kwargs=True,
    ),
    "a block twice": _shared_block,
    "a compiled whole": lambda module: module.compile(backend="eager"),
    "a compiled block": lambda module: module.model.layers[1].compile(backend="eager"),
    "a compiled MLP": lambda module: module.model.layers[1].mlp.compile(backend="eager"),
    "a block in compile's envelope": _exchange(L1, partial(torch.compile, backend="eager")),
    "pruned": lambda module: prune.l1_unstructured(module.model.layers[1].self_attn.o_proj, "weight", 0.4) and None,
    "weight norm": lambda module: (
        parametrizations.weight_norm(module.model.layers[1].mlp.down_proj) and None
    ),
    "training": lambda module: module.train() and None,
}  # fmt: skip


def _module(changed: str | None = None, name: str = "llama") -> nn.Module:
    torch.manual_seed(0)
    module = build({**CONFIGS[name], "attention_dropout": 0.3}, seed=0)
    if changed is not None:
        CHANGES[changed](module)
    return module


# ---- the reference: the module itself, with plain hooks -----------------------------------------------------------------


def _own_logits(module: nn.Module, prompts: Prompts, tokens: torch.Tensor) -> torch.Tensor:
    training = [part for part in module.modules() if part.training]
    with torch.no_grad():
        logits = module.eval()(input_ids=tokens, use_cache=False).logits
    for part in training:
        part.training = True
    return logits


def _difference(prompts: Prompts, logits: torch.Tensor) -> torch.Tensor:
    last = logits[:, -1]
    return (last.gather(1, prompts.answer[:, None]) - last.gather(1, prompts.wrong[:, None]))[:, 0]


def _heads_by_hooks(module: nn.Module, prompts: Prompts, layer: int) -> torch.Tensor:
    o, kept = module.get_submodule(f"model.layers.{layer}.self_attn.o_proj"), []
    handle = o.register_forward_pre_hook(lambda _, args: kept.append(args[0].clone()))
    _own_logits(module, prompts, prompts.clean)
    handle.remove()
    values = []
    for head in range(4):

        def put(_, args, head=head):
            z = args[0].clone()
            z[..., head * 6 : head * 6 + 6] = kept[0][..., head * 6 : head * 6 + 6]
            return (z,)

        handle = o.register_forward_pre_hook(put)
        values.append(_difference(prompts, _own_logits(module, prompts, prompts.corrupt)).mean())
        handle.remove()
    return torch.stack(values)


def _stream_by_hooks(module: nn.Module, prompts: Prompts) -> torch.Tensor:
    """Corrupt run with the clean output of the first block at each position."""
    block, kept = module.get_submodule("model.layers.0"), []
    handle = block.register_forward_hook(lambda _, args, out: kept.append(out.clone()))
    _own_logits(module, prompts, prompts.clean)
    handle.remove()
    values = []
    for pos in range(prompts.clean.shape[1]):

        def put(_, args, out, pos=pos):
            out = out.clone()
            out[:, pos] = kept[0][:, pos]
            return out

        handle = block.register_forward_hook(put)
        values.append(_difference(prompts, _own_logits(module, prompts, prompts.corrupt)).mean())
        handle.remove()
    return torch.stack(values)


def _close(got: torch.Tensor, want: torch.Tensor) -> None:
    got, want = torch.as_tensor(got).float(), torch.as_tensor(want).float()
    off = float((got - want).abs().max() / want.abs().max())
    assert off <= 1e-4, f"off by {off:.2g}"


# ---- the law ------------------------------------------------------------------------------------------------------------


def _engines(model, prompts, reference: nn.Module) -> Iterator[Callable[[], None]]:
    """Each engine against the module's own passes. `reference` computes the same and may be hooked."""
    clean = _own_logits(reference, prompts, prompts.clean)
    corrupt = _own_logits(reference, prompts, prompts.corrupt)
    difference = _difference(prompts, clean)

    yield lambda: _close(interp.capture(model, prompts.clean, ("resid_post", "logits"))["logits"][0], clean)
    yield lambda: _close(intervene(model, prompts.corrupt, [], positions=-1)[:, 0], corrupt[:, -1])
    yield lambda: _close(interp.patch(model, prompts).values[1], _heads_by_hooks(reference, prompts, 1))
    yield lambda: _close(
        interp.patch(model, prompts, site="resid_post", by=("layer", "pos")).values[0],
        _stream_by_hooks(reference, prompts),
    )
    for site in ("resid_pre", "resid_mid", "attn_out", "mlp_out", "q", "k", "v", "pattern", "mlp_post"):
        yield lambda site=site: _same_roads(model, prompts, site)
    for by in ("layer", "component", "head", "neuron"):
        yield lambda by=by: _close(interp.direct_logit_attribution(model, prompts, by=by).total(), difference)
    yield lambda: _close(interp.logit_lens(model, prompts.clean)[-1], clean)
    for method in METHODS:
        yield lambda method=method: interp.find_circuit(model, prompts, method=method) and None
    yield lambda: _faithful(model, prompts, difference.mean(), _difference(prompts, corrupt).mean())
    yield lambda: _exact_edges(model, prompts)


def _same_roads(model, prompts: Prompts, site: str) -> None:
    by = ("layer", "head") if site in ("q", "k", "v", "pattern") else ("layer",)
    fast = interp.patch(
        model, prompts, site=site, by=by, road="reuse"
    )  # refused where it is not plain: then all is naive
    naive = interp.patch(model, prompts, site=site, by=by, road="naive")
    _close(fast.values, naive.values)
    _close(naive.clean, _difference(prompts, intervene(model, prompts.clean, [])).mean())


def _faithful(model, prompts: Prompts, clean: torch.Tensor, corrupt: torch.Tensor) -> None:
    curve = interp.faithfulness(model, prompts, interp.find_circuit(model, prompts, method="eap"), fractions=(0.3, 1.0))
    _close(curve.clean, clean)
    _close(curve.empty, corrupt)
    _close(curve.values[-1], 1.0)


def _exact_edges(model, prompts: Prompts) -> None:
    """What the last block's MLP is worth to the logits is what holding its output at the corrupt run's costs."""
    circuit = interp.find_circuit(model, prompts, method="exact")
    edge = circuit.scores[-1, circuit.graph.mlp_column(1)]
    corrupt = interp.capture(model, prompts.corrupt, "mlp_out", layers=1)["mlp_out"][0]
    held = intervene(model, prompts.clean, [Intervention(site="mlp_out", layer=1, value=corrupt)])
    clean = intervene(model, prompts.clean, [])
    _close(edge, (_difference(prompts, clean) - _difference(prompts, held)).mean())


@pytest.mark.parametrize("changed", CHANGES)
def test_every_engine_is_exact_or_refuses(changed):
    torch._dynamo.reset()
    module, reference = _module(changed), _module(changed)
    if "compile" in changed:
        reference = _module()
    prompts, model, served = pairs(), wrap(module), 0
    for engine in _engines(model, prompts, reference):
        with suppress(interp.InputError):
            engine()
            served += 1
    assert served > 0 or changed == "a block twice"
