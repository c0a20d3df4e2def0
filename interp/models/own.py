"""A module of one's own, with a map of where its activations are: checked on arrival, site by site.

The map's keys are those of the library's own maps (`interp.models.sites.Sites`). Nothing of it is believed: every path has to
be there, the residual stream has to be the sum of what the map says is written to it, the logits have to be what the final
norm and the unembedding make of it, and every site of every layer has to keep the laws of transformers
(`interp.models.laws`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from interp.errors import InputError, unknown
from interp.models.handle import Model
from interp.models.laws import Change, proof_tokens, prove
from interp.models.running import run
from interp.models.shadowing import evaluating
from interp.models.site_tensors import blocks
from interp.models.sites import Sites
from interp.models.weights import logits as unembedded

AT_MODEL = ("embed", "pos_embed", "blocks", "ln_final", "unembed")
PATHS = (
    *AT_MODEL,
    *("ln1", "attn", "q", "k", "v", "o", "q_norm", "k_norm", "ln1_post", "ln2", "mlp", "mlp_in", "mlp_up", "mlp_final", "ln2_post"),
)  # fmt: skip
ABSENT = ("ln_final", "ln1", "ln2", "mlp", "mlp_in", "mlp_final")
"""Keys that a map may leave out though the library's own always say them: there is no such part then."""
TOLERANCE = 1e-3  # relative; the laws compare effects of changes, which float32 rounds to about 1e-5
ORDER = ("resid_pre", "attn_out", "z", "v", "pattern", "q", "k", "attn_scores", "resid_post")
ORDER_MLP = ("resid_mid", "mlp_out", "mlp_post", "mlp_pre")


def own_model(
    module: nn.Module, sites: Mapping[str, Any] | Sites, config: Mapping[str, Any] | None, tokenizer: Any
) -> Model:
    """The handle over a module of one's own. See `interp.wrap`.

    Raises:
        InputError: an unknown or missing key, a path that is not there, a size that does not fit, or a site that breaks a law.
    """
    found = sites if isinstance(sites, Sites) else _map_of(module, sites)
    _check_paths(module, found)
    model = Model(module=module, config=_sizes(module, found, config or {}), tokenizer=tokenizer, sites=found, own=True)
    _check_sizes(model)
    with torch.no_grad(), evaluating(module):
        _check_stream(model)
        for layer in range(model.n_layers):
            _check_sites(model, layer)
    return model


def _map_of(module: nn.Module, given: Mapping[str, Any]) -> Sites:
    known = [field.name for field in fields(Sites)]
    for key in given:
        if key not in known:
            raise unknown("key of a map of sites", key, known)
    needed = [f.name for f in fields(Sites) if f.default is MISSING and f.name not in ABSENT]
    for key in needed:
        if given.get(key) is None:
            raise InputError(f"the map of {type(module).__name__} lacks {key!r}; it needs {', '.join(needed)}")
    same = {given[slot] for slot in "qkv"}
    if len(same) == 1 and "qkv" not in given:
        raise InputError(
            "q, k and v are one module: say with qkv how its output is laid out, 'concat' for [q | k | v] or 'interleaved' "
            "head by head"
        )
    mlp = given.get("mlp")
    chain = {"mlp": tuple(mlp)} if isinstance(mlp, list) else {}
    return Sites(**{**dict.fromkeys(ABSENT), "attention": "softmax", **given, **chain})


def _check_paths(module: nn.Module, sites: Sites) -> None:
    listed = _part(module, sites.blocks, "blocks", type(module).__name__)
    if not isinstance(listed, nn.ModuleList | nn.Sequential) or not len(listed):
        raise InputError(f"blocks: {sites.blocks!r} is a {type(listed).__name__}, expected a ModuleList of blocks")
    for key in PATHS:
        value = getattr(sites, key)
        for path in value if isinstance(value, tuple) else (value,):
            if path is None:
                continue
            if key in AT_MODEL:
                _part(module, path, key, type(module).__name__)
                continue
            for index, block in enumerate(listed):
                _part(block, path, key, f"block {index}")


def _part(parent: nn.Module, path: Any, key: str, where: str) -> nn.Module:
    if not isinstance(path, str):
        raise InputError(f"{key}: {path!r} is no dotted path of a sub-module")
    here = parent
    for name in path.split(".") if path else []:
        child = getattr(here, name, None)
        if isinstance(child, nn.Parameter | Tensor):
            raise InputError(
                f"{key}: {path!r} of {where} is a tensor; a site is the input or output of a sub-module (hold it in an "
                "nn.Linear or nn.Embedding)"
            )
        if not isinstance(child, nn.Module):
            raise unknown(f"sub-module for {key} in {where}", path, [n for n, _ in parent.named_modules() if n])
        here = child
    return here


def _sizes(module: nn.Module, sites: Sites, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration, with what the module itself shows where it is left out."""
    listed: Any = module.get_submodule(sites.blocks)
    embed, unembed = (module.get_submodule(path) for path in (sites.embed, sites.unembed))
    seen: dict[str, Any] = {"architecture": type(module).__name__, "n_layers": len(listed)}
    if (table := getattr(embed, "weight", None)) is not None:
        seen |= {"d_vocab": table.shape[0], "d_model": table.shape[1]}
    if (width := getattr(unembed, "out_features", None)) is not None:
        seen["d_vocab_out"] = width
    if (
        sites.pos_embed is not None
        and (places := getattr(module.get_submodule(sites.pos_embed), "weight", None)) is not None
    ):
        seen["n_ctx"] = places.shape[0]
    found = {**seen, **config}
    for key in ("n_layers", "d_model", "d_vocab"):
        if key in seen and int(found[key]) != int(seen[key]):
            raise InputError(f"config: {key} is {found[key]}, the module has {seen[key]}")
    if "n_heads" not in found:
        raise InputError(
            "config lacks 'n_heads': how many heads z is made of cannot be seen, as in config={'n_heads': 4}"
        )
    return found


def _check_sizes(model: Model) -> None:
    if model.n_heads < 1 or model.n_heads % model.n_kv_heads:
        raise InputError(f"config: {model.n_heads} heads and {model.n_kv_heads} key/value heads do not fit")


def _see(
    model: Model, layer: int | None, tokens: Tensor, names: Sequence[str], changes: Mapping[str, Change]
) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}

    def note(name: str, tensor: Tensor) -> None:
        seen[name] = tensor.detach().clone()

    at = 0 if layer is None else layer
    looks = {(name, at): partial(note, name) for name in names if name != "logits"}
    found = run(model, tokens, changes={(name, at): [change] for name, change in changes.items()}, looks=looks)
    assert found is not None
    seen["logits"] = found
    return seen


def _check_stream(model: Model) -> None:
    """The stream is handed from block to block, begins with the embeddings and ends in the logits."""
    sites, tokens = model.sites, proof_tokens(model)
    assert sites is not None
    last = model.n_layers - 1
    try:
        ends = [_see(model, layer, tokens, ["resid_pre", "resid_post"], {}) for layer in range(model.n_layers)]
        first = _see(model, None, tokens, ["embed"], {})["embed"]
    except (RuntimeError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise (
            error if isinstance(error, InputError) else InputError(f"the module cannot be run with this map: {error}")
        ) from error
    width = (*tokens.shape, model.d_model)
    for layer, end in enumerate(ends):
        for name in ("resid_pre", "resid_post"):
            _same(end[name], width, f"blocks: the {name} of block {layer}")
    for layer in range(last):
        _close(
            ends[layer]["resid_post"],
            ends[layer + 1]["resid_pre"],
            f"blocks: block {layer} does not hand its stream to the next",
        )
    if (
        sites.pos_embed is not None
        and (places := getattr(model.module.get_submodule(sites.pos_embed), "weight", None)) is not None
    ):
        expected = first + places[: tokens.shape[1]]
        _close(expected, ends[0]["resid_pre"], "embed or pos_embed: their sum is not what the first block reads")
    _last_norm(model, tokens)
    _close(
        unembedded(model, ends[last]["resid_post"]),
        ends[last]["logits"],
        "ln_final or unembed: of the last block's stream they do not make the logits",
    )


def _last_norm(model: Model, tokens: Tensor) -> None:
    """The final norm reads what the last block gives: another norm of the module may make the same numbers of it."""
    sites = model.sites
    assert sites is not None
    if sites.ln_final is None:
        return
    read: list[Tensor] = []
    handle = model.module.get_submodule(sites.ln_final).register_forward_pre_hook(lambda _, args: read.append(args[0]))
    try:
        model(tokens)
    finally:
        handle.remove()
    stream = _see(model, model.n_layers - 1, tokens, ["resid_post"], {})["resid_post"]
    if len(read) != 1:
        raise InputError(f"ln_final: {sites.ln_final!r} is called {len(read)} times, expected once")
    _close(read[0], stream, f"ln_final: {sites.ln_final!r} does not read what the last block gives")


def _check_sites(model: Model, layer: int) -> None:
    sites = model.sites
    assert sites is not None
    names = _names(sites)

    def see(tokens: Tensor, changes: Mapping[str, Change], wanted: Sequence[str]) -> dict[str, Tensor]:
        seen = _see(model, layer, tokens, [name for name in wanted if name in names or name == "logits"], changes)
        if "mlp_out" in wanted and "mlp_out" not in names:
            seen["mlp_out"] = torch.zeros_like(seen["attn_out"])
        return seen

    _check_norms(model, layer)
    for site in names:
        try:
            prove(
                model,
                see,
                lambda name: name in names,
                site,
                parallel=sites.parallel,
                tolerance=TOLERANCE,
                who="your map's",
            )
        except InputError:
            raise
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            raise InputError(
                f"your map's {site} of layer {layer} cannot be read: {' '.join(str(error).split())}"
            ) from error


def _check_norms(model: Model, layer: int) -> None:
    """Each norm of the map is called once in its block, on the stream that it is said to read."""
    sites, tokens = model.sites, proof_tokens(model)
    assert sites is not None
    block = blocks(model)[layer]
    read: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda _, args: read.setdefault(name, args[0].detach().clone())

    norms = {name: path for name in ("ln1", "ln2") if (path := getattr(sites, name)) is not None}
    projections = {slot: getattr(sites, slot) for slot in "qkv"}
    handles = [
        block.get_submodule(path).register_forward_pre_hook(keep(name))
        for name, path in {**norms, **projections, "block": ""}.items()
    ]
    try:
        model(tokens)
    finally:
        for handle in handles:
            handle.remove()
    for name in norms:
        if name not in read:
            raise InputError(f"{name}: {getattr(sites, name)!r} of block {layer} is not called")
    if "ln1" in norms:
        _close(read["ln1"], read["block"], f"ln1: {sites.ln1!r} of block {layer} does not read what enters the block")
    stream = block.get_submodule(sites.ln1)(read["block"]) if sites.ln1 is not None else read["block"]
    for slot in "qkv":
        if slot not in read:
            raise InputError(f"{slot}: {projections[slot]!r} of block {layer} is not called")
        _close(
            read[slot], stream, f"{slot}: {projections[slot]!r} of block {layer} does not read the stream behind ln1"
        )
    if "ln2" in norms and not sites.parallel:
        moved = not bool(torch.equal(read["ln2"], read["block"]))
        if not moved:
            raise InputError(
                f"ln2: {sites.ln2!r} of block {layer} reads what enters the block; say parallel=True, or another norm"
            )


def _names(sites: Sites) -> list[str]:
    """The sites that the map says are there, in the order in which they rest on each other."""
    mlp = [name for name in ORDER_MLP if sites.mlp and not (name == "resid_mid" and sites.parallel)]
    mlp = [name for name in mlp if name not in ("mlp_post", "mlp_pre") or sites.mlp_final]
    return [*ORDER, *mlp]


def _same(found: Tensor, shape: Sequence[int], what: str) -> None:
    if tuple(found.shape) != tuple(shape):
        raise InputError(f"{what} has shape {tuple(found.shape)}, expected [prompt, pos, d_model] = {tuple(shape)}")


def _close(found: Tensor, expected: Tensor, what: str) -> None:
    if found.shape != expected.shape or not bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max()):
        raise InputError(what)
