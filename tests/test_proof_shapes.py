"""Every engine stays exact when the world around a module changes between two calls: functions and classes patched in
transformers, settings, copies, threads, hooks that cut gradients; and for every shape of prompts, padded or not."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any

import pytest
import torch
from test_proof import Lora
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama import modeling_llama

import interp
from interp.hooks.interventions import Intervention, intervene
from interp.models import wrap
from interp.models.sites import variants
from interp.models.state import state_of
from interp.models.tiny import tiny_config, tiny_configs, tiny_model
from interp.types import Prompts

LAYERS = 2


def _module(architecture: str = "LlamaForCausalLM", **settings: Any) -> nn.Module:
    # two of eleven layers would be full where every sixth is: the windows are what is tried here
    sizes = {**dict(variants(architecture)[0]), "num_hidden_layers": LAYERS, **settings}
    return tiny_model(tiny_config(architecture, **sizes)).module


def _prompts(n: int = 3, n_pos: int = 7, *, pad: str = "", position: Any = -1, seed: int = 0) -> Prompts:
    rng = torch.Generator().manual_seed(seed)
    clean = torch.randint(1, 29, (n, n_pos), generator=rng)
    corrupt, mask = clean.clone(), torch.ones(n, n_pos, dtype=torch.bool)
    at = min(3, n_pos - 1)
    corrupt[:, at] = clean[:, at] % 28 + 1
    if pad == "left":
        mask[0, :2], mask[-1, :1] = False, False
    if pad == "right":
        mask[0, -2:], mask[-1, -1:] = False, False
    answer = torch.randint(1, 29, (n,), generator=rng)
    return Prompts(
        clean=clean, corrupt=corrupt, answer=answer, wrong=(answer + 3) % 28 + 1, position=position,
        mask=mask if pad else None,
    )  # fmt: skip


# ---- the reference: plain hooks on the module ---------------------------------------------------------------------------


def _run(module: nn.Module, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    inputs = {"input_ids": tokens, "use_cache": False}
    if mask is not None:
        counted = (mask.long().cumsum(1) - 1).clamp(min=0)
        plain = torch.arange(mask.shape[1]).expand_as(mask)
        early = ((counted != plain) & mask).any(1, keepdim=True)
        inputs |= {"attention_mask": mask.long()}
        if bool(early.any()):
            inputs["position_ids"] = torch.where(early, counted, plain)
    with torch.no_grad():
        return module.eval()(**inputs).logits


def _difference(prompts: Prompts, logits: torch.Tensor) -> torch.Tensor:
    n, n_pos = prompts.clean.shape
    real = torch.ones(n, n_pos, dtype=torch.bool) if prompts.mask is None else prompts.mask
    end = (real * torch.arange(1, n_pos + 1)).amax(1)
    asked = torch.as_tensor(prompts.position).expand(n)
    read = logits[torch.arange(n), torch.where(asked < 0, end + asked, asked)]
    return (read.gather(1, prompts.answer[:, None]) - read.gather(1, prompts.wrong[:, None]))[:, 0]


def _swept(
    module: nn.Module, part: nn.Module, prompts: Prompts, places: list[Any], *, before: bool, n_heads: int = 0
) -> torch.Tensor:
    """The mean difference of the corrupt run when each place of what `part` is given, or gives, is the clean run's."""
    kept: list[torch.Tensor] = []

    def first(value: Any) -> torch.Tensor:
        return value[0] if isinstance(value, tuple) else value

    def keeping(_: nn.Module, args: Any, *output: Any) -> None:
        kept.append(first(output[0] if output else args).clone())

    def attach(hook: Callable) -> Any:
        return (part.register_forward_pre_hook if before else part.register_forward_hook)(hook)

    handle, found = attach(keeping), []
    _run(module, prompts.clean, prompts.mask)
    handle.remove()
    for place in places:

        def put(_: nn.Module, args: Any, *output: Any, place: Any = place) -> Any:
            raw = output[0] if output else args
            new, old = first(raw).clone(), kept[0]
            seen, clean = (t.unflatten(-1, (n_heads, -1)) if n_heads else t for t in (new, old))
            seen[place] = clean[place]
            return (new, *raw[1:]) if isinstance(raw, tuple) else new

        handle = attach(put)
        found.append(_difference(prompts, _run(module, prompts.corrupt, prompts.mask)).mean())
        handle.remove()
    return torch.stack(found)


def _close(got: Any, want: Any) -> None:
    got, want = torch.as_tensor(got).double(), torch.as_tensor(want).double()
    assert got.shape == want.shape
    off = float((got - want).abs().max() / want.abs().max().clamp(min=1e-2))  # effects that a window keeps out are 0
    assert off <= 1e-4, f"off by {off:.2g}"


# ---- the law ------------------------------------------------------------------------------------------------------------


def _engines(model: Any, prompts: Prompts) -> Iterator[Callable[[], None]]:
    module, sites = model.module, model.sites
    clean, corrupt = (_run(module, tokens, prompts.mask) for tokens in (prompts.clean, prompts.corrupt))
    difference, empty = _difference(prompts, clean), _difference(prompts, corrupt)
    real = slice(None) if prompts.mask is None else prompts.mask
    block = module.get_submodule(f"{sites.blocks}.0")
    o = module.get_submodule(f"{sites.blocks}.{LAYERS - 1}.{sites.o}")
    heads = [(..., head, slice(None)) for head in range(model.n_heads)]
    positions = [(slice(None), pos) for pos in range(prompts.clean.shape[1])]
    mask = prompts.mask

    yield lambda: _close(
        interp.capture(model, prompts.clean, ("resid_post", "logits"), mask=mask)["logits"][0][real], clean[real]
    )
    yield lambda: _close(
        interp.patch(model, prompts).values[-1],
        _swept(module, o, prompts, heads, before=True, n_heads=model.n_heads),
    )
    yield lambda: _close(
        interp.patch(model, prompts, site="resid_post", by=("layer", "pos")).values[0],
        _swept(module, block, prompts, positions, before=False),
    )
    for site in ("resid_mid", "attn_out", "k", "pattern", "mlp_post"):
        yield lambda site=site: _roads(model, prompts, site)
    yield lambda: _close(interp.direct_logit_attribution(model, prompts, by="head").total(), difference)
    yield lambda: _close(interp.logit_lens(model, prompts.clean, mask=mask)[-1][real], clean[real])
    yield lambda: _written(model, prompts)
    yield lambda: _faithful(model, prompts, difference.mean(), empty.mean())
    yield lambda: _exact_edges(model, prompts)


def _roads(model: Any, prompts: Prompts, site: str) -> None:
    naive = interp.patch(model, prompts, site=site, by=("layer", "pos"), road="naive")
    _close(naive.clean, _difference(prompts, _run(model.module, prompts.clean, prompts.mask)).mean())
    _close(interp.patch(model, prompts, site=site, by=("layer", "pos")).values, naive.values)


def _written(model: Any, prompts: Prompts) -> None:
    """What attention and MLP are said to add is what the next block gets more."""
    sites = ("resid_pre", "attn_out", "mlp_out", "resid_post")
    found = interp.capture(model, prompts.clean, sites, mask=prompts.mask)
    if model.sites.written and state_of(model).is_plain:
        _close(found["resid_pre"] + found["attn_out"] + found["mlp_out"], found["resid_post"])


def _faithful(model: Any, prompts: Prompts, clean: torch.Tensor, corrupt: torch.Tensor) -> None:
    circuit = interp.find_circuit(model, prompts, method="eap")
    curve = interp.faithfulness(model, prompts, circuit, fractions=(1.0,))
    _close(curve.clean, clean)
    _close(curve.empty, corrupt)
    _close(curve.values[-1], 1.0)


def _exact_edges(model: Any, prompts: Prompts) -> None:
    circuit, last = interp.find_circuit(model, prompts, method="exact"), LAYERS - 1
    corrupt = interp.capture(model, prompts.corrupt, "mlp_out", layers=last, mask=prompts.mask)["mlp_out"][0]
    held = Intervention(site="mlp_out", layer=last, value=corrupt)
    off, on = (intervene(model, prompts.clean, made, mask=prompts.mask) for made in ([held], []))
    want = (_difference(prompts, on) - _difference(prompts, off)).mean()
    _close(circuit.scores[-1, circuit.graph.mlp_column(last)], want)


def _holds(model: Any, prompts: Prompts) -> int:
    """How many engines served; each is exact or refuses."""
    served = 0
    for engine in _engines(model, prompts):
        with suppress(interp.InputError):
            engine()
            served += 1
    return served


# ---- architectures with windows or fused projections, and shapes ----------------------------------------------------------

WINDOW = {"sliding_window": 3}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "GPTNeoXForCausalLM": {}, "BloomForCausalLM": {}, "Phi3ForCausalLM": {}, "FalconForCausalLM": {},
    "MistralForCausalLM": WINDOW, "Gemma2ForCausalLM": WINDOW, "Gemma3ForCausalLM": WINDOW, "Cohere2ForCausalLM": WINDOW,
    "Olmo3ForCausalLM": WINDOW,
}  # fmt: skip
SHAPES = {
    "left": lambda: _prompts(pad="left"),
    "right": lambda: _prompts(pad="right"),
    "as many positions as heads": lambda: _prompts(4, 4),
    "one position": lambda: _prompts(3, 1),
    "one prompt": lambda: _prompts(1, 6),
    "own positions": lambda: _prompts(3, 8, pad="left", position=torch.tensor([5, 4, 7])),
}


@pytest.mark.parametrize("shape", ["left", "own positions"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_windows_and_fused_projections(architecture, shape):
    model = wrap(_module(architecture, **ARCHITECTURES[architecture]))
    assert _holds(model, SHAPES[shape]()) >= 8


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape):
    assert _holds(wrap(_module()), SHAPES[shape]()) == 13


@pytest.mark.parametrize("architecture", ["GPT2LMHeadModel", "GPTNeoXForCausalLM", "Phi3ForCausalLM"])
def test_adapters_on_fused_projections(architecture):
    torch.manual_seed(0)
    module = _module(architecture)
    model = wrap(module)
    _holds(model, _prompts())
    owner, _, name = f"{model.sites.blocks}.1.{model.sites.q}".rpartition(".")
    base = getattr(module.get_submodule(owner), name)
    sizes = base.weight.shape if type(base).__name__ == "Conv1D" else base.weight.shape[::-1]
    setattr(module.get_submodule(owner), name, Lora(base, *sizes))
    assert _holds(model, _prompts(pad="left")) >= 5


# ---- what changes between two calls ---------------------------------------------------------------------------------------


@contextmanager
def _patched(owner: Any, name: str, make: Callable) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, make(before))
    try:
        yield
    finally:
        setattr(owner, name, before)


def _late(function: Callable) -> Callable:
    """Another function behind the sixth position: what six tokens cannot show."""

    def patched(self: Any, x: torch.Tensor) -> torch.Tensor:
        y = function(self, x).clone()
        y[:, 6:] *= 0.3
        return y

    return patched


def _late_rotation(function: Callable) -> Callable:
    def patched(q: torch.Tensor, k: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        q, k = function(q, k, *args, **kwargs)
        return torch.cat([q[:, :, :6], q[:, :, 6:] * 0.3], dim=2), k

    return patched


PATCHES = {
    "rotation": (modeling_llama, "apply_rotary_pos_emb", _late_rotation),
    "MLP": (modeling_llama.LlamaMLP, "forward", _late),
    "norm": (modeling_llama.LlamaRMSNorm, "forward", _late),
}


@pytest.mark.parametrize("first", [True, False], ids=["after a call", "from the start"])
@pytest.mark.parametrize("patch", PATCHES)
def test_code_patched_in_transformers(patch, first):
    model, prompts = wrap(_module()), _prompts(3, 9)
    if first:
        _holds(model, prompts)
    with _patched(*PATCHES[patch]):
        assert not state_of(model).is_plain
        assert _holds(model, prompts) >= 6
    assert state_of(model).is_plain


def test_attention_exchanged_in_the_table():
    model, prompts = wrap(_module()), _prompts()
    _holds(model, prompts)
    plain = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def weaker(*args, **kwargs):
        z, pattern = plain(*args, **kwargs)
        return z * 0.7, pattern

    ALL_ATTENTION_FUNCTIONS["sdpa"] = weaker
    try:
        with pytest.raises(interp.InputError, match="weaker"):
            interp.capture(model, prompts.clean, "pattern")
        assert _holds(model, prompts) >= 6
    finally:
        del ALL_ATTENTION_FUNCTIONS["sdpa"]


def _residual(module: nn.Module) -> None:
    for block in module.model.layers:
        block.residual_multiplier = 0.9


SETTINGS = {
    "cap": ("Gemma2ForCausalLM", lambda module: setattr(module.config, "final_logit_softcapping", None)),
    "logits": ("GraniteForCausalLM", lambda module: setattr(module.config, "logits_scaling", 0.37)),
    "residual": ("GraniteForCausalLM", _residual),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_after_a_call(setting):
    architecture, change = SETTINGS[setting]
    model, prompts = wrap(_module(architecture)), _prompts()
    _holds(model, prompts)
    change(model.module)
    assert _holds(model, prompts) >= 4
    with pytest.raises(interp.InputError):
        interp.direct_logit_attribution(model, prompts)


@pytest.mark.parametrize(
    "make", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deep", "pickle"]
)
def test_a_copy_is_a_module_of_its_own(make):
    model, prompts = wrap(_module()), _prompts()
    _holds(model, prompts)
    before, other = interp.patch(model, prompts).values, make(model)
    with torch.no_grad():
        for weight in other.module.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    assert _holds(other, prompts) == 13
    _close(interp.patch(model, prompts).values, before)


def test_weights_changed_in_place_and_two_handles():
    module = _module(tie_word_embeddings=True)
    model, other, prompts = wrap(module), wrap(module), _prompts()
    assert _holds(model, prompts) == 13
    with torch.no_grad():
        module.model.embed_tokens.weight.mul_(1.5)
    assert _holds(model, prompts) == 13
    for weight in module.parameters():
        weight.data = torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)) * 0.3
    assert _holds(other, prompts) == 13
    handle = module.model.layers[1].register_forward_hook(lambda _, args, output: output * 1.3)
    assert _holds(model, prompts) >= 6
    assert _holds(other, prompts) >= 6
    handle.remove()
    assert _holds(other, prompts) == 13


# ---- hooks that cut gradients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["layers.0", "layers.1", "layers.1.self_attn.q_proj", "layers.1.mlp", "layers.1.input_layernorm", "norm"]
)
def test_hooks_that_detach(path):
    """Values stay; of gradients, those behind the cut are the module's, and those before it zero."""
    module, prompts = _module(), _prompts()
    plain = interp.capture(
        wrap(_module()), prompts.clean, "mlp_out", gradients_of=lambda logits: _difference(prompts, logits)
    )
    module.model.get_submodule(path).register_forward_hook(lambda _, args, output: output.detach())
    model = wrap(module)
    found = interp.capture(model, prompts.clean, "mlp_out", gradients_of=lambda logits: _difference(prompts, logits))
    if path in ("layers.1", "norm"):
        assert not found.gradients["mlp_out"].any()
    else:
        _close(found.gradients["mlp_out"][1], plain.gradients["mlp_out"][1])
    for method in ("eap", "eap-ig", "information_flow"):
        interp.find_circuit(model, prompts, method=method)
    assert _holds(model, prompts) >= 6


def test_no_gradient_at_all_is_refused():
    module, prompts = _module(), _prompts()
    module.lm_head.register_forward_hook(lambda _, args, output: output.detach())
    model = wrap(module)
    with pytest.raises(interp.InputError, match="gradient"):
        interp.find_circuit(model, prompts, method="eap")
    with pytest.raises(interp.InputError, match="gradients_of"):
        interp.capture(wrap(_module()), prompts.clean, "z", gradients_of=lambda logits: logits.detach().sum())


# ---- modes and threads ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "trainable"])
def test_callers_modes(mode, frozen):
    module = _module().requires_grad_(not frozen).train()
    with mode():
        assert _holds(wrap(module), _prompts(pad="right")) == 13


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_implementations_that_give_everything(implementation):
    module = _module()
    module.set_attn_implementation(implementation)
    module.config.output_attentions = implementation == "eager"
    module.config.output_hidden_states = True
    assert _holds(wrap(module), _prompts(pad="left")) == 13


def test_threads_on_one_handle():
    """Each thread gets its own prompts' numbers, and nothing is left on the module."""
    model = wrap(_module())
    asked = [_prompts(2, 5, seed=seed) for seed in range(4)]
    logits = [_run(model.module, prompts.clean, None) for prompts in asked]
    z = [interp.capture(model, prompts.clean, "z")["z"] for prompts in asked]
    edges = [interp.find_circuit(model, prompts, method="eap").scores.nan_to_num() for prompts in asked]
    wrong: list[BaseException] = []

    def work(i: int) -> None:
        try:
            for _ in range(4):
                _close(model(asked[i].clean).detach(), logits[i])
                _close(interp.capture(model, asked[i].clean, "z")["z"], z[i])
                interp.capture(model, asked[i].clean, "pattern")
                _close(interp.find_circuit(model, asked[i], method="eap").scores.nan_to_num(), edges[i])
        except BaseException as error:
            wrong.append(error)

    threads = [Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not any({"forward", "_call_impl"} & vars(part).keys() for part in model.module.modules())


def test_all_maps_are_of_plain_modules():
    """Nothing of torch's and transformers' own is taken for somebody else's, or the fast roads would never be taken."""
    for name, config in tiny_configs():
        model = tiny_model(config)
        assert state_of(model).is_plain, name
        assert state_of(model) is state_of(model), name
