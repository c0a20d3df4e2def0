"""Modules of one's own, in several styles, with a map: exact in every engine, or refused by the site that does not fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

import interp

D, HEADS, VOCAB, N_CTX = 24, 3, 20, 12


class Attention(nn.Module):
    """style: separate projections ("split"), one of three parts ("fused"), torch's attention in one step ("sdpa")."""

    def __init__(self, style: str, n_kv_heads: int = HEADS):
        super().__init__()
        self.style, self.n_kv_heads = style, n_kv_heads
        if style == "fused":
            self.c_attn = nn.Linear(D, 3 * D)
        else:
            self.W_Q = nn.Linear(D, D, bias=False)
            self.W_K, self.W_V = (nn.Linear(D, n_kv_heads * D // HEADS) for _ in range(2))
        self.W_O = nn.Linear(D, D)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.c_attn(x).split(D, -1) if self.style == "fused" else (self.W_Q(x), self.W_K(x), self.W_V(x))
        q, k, v = (part.unflatten(-1, (-1, D // HEADS)).transpose(1, 2) for part in parts)
        k, v = (side.repeat_interleave(HEADS // side.shape[1], dim=1) for side in (k, v))
        if self.style == "sdpa":
            return self.W_O(scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        pattern = torch.softmax((q @ k.mT * (D // HEADS) ** -0.5).masked_fill(later, -1e9), dim=-1)
        return self.W_O((pattern @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, attention: Attention, *, norms: bool, mlp: bool):
        super().__init__()
        self.attention = attention
        self.norm_1, self.norm_2 = (nn.LayerNorm(D) if norms else None for _ in range(2))
        self.mlp = nn.Sequential(nn.Linear(D, 40), nn.ReLU(), nn.Linear(40, D)) if mlp else None

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x if self.norm_1 is None else self.norm_1(x))
        return x if self.mlp is None else x + self.mlp(x if self.norm_2 is None else self.norm_2(x))


class Own(nn.Module):
    def __init__(
        self, style: str = "split", *, norms: bool = True, mlp: bool = True, n_layers: int = 2, **attention: Any
    ):
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCAB, D), nn.Embedding(N_CTX, D)
        self.blocks = nn.ModuleList(Block(Attention(style, **attention), norms=norms, mlp=mlp) for _ in range(n_layers))
        self.norm = nn.LayerNorm(D) if norms else None
        self.head = nn.Linear(D, VOCAB, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(x if self.norm is None else self.norm(x))


MAP: dict[str, Any] = {
    "embed": "tokens", "pos_embed": "places", "blocks": "blocks", "ln_final": "norm", "unembed": "head", "ln1": "norm_1",
    "attn": "attention", "q": "attention.W_Q", "k": "attention.W_K", "v": "attention.W_V", "o": "attention.W_O",
    "ln2": "norm_2", "mlp": "mlp", "mlp_in": "mlp.0", "mlp_final": "mlp.2",
}  # fmt: skip
BARE = {key: value for key, value in MAP.items() if key not in ("ln_final", "ln1", "ln2")}
ATTENTION_ONLY = {key: value for key, value in MAP.items() if not key.startswith("mlp") and key != "ln2"}
FUSED = {**MAP, **dict.fromkeys("qkv", "attention.c_attn"), "qkv": "concat"}
STYLES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "separate projections": ({}, MAP, {}),
    "in one step": ({"style": "sdpa"}, MAP, {}),
    "fused": ({"style": "fused"}, FUSED, {}),
    "no norms, one layer": ({"norms": False, "n_layers": 1}, BARE, {}),
    "attention only": ({"mlp": False}, ATTENTION_ONLY, {}),
    "shared keys": ({"n_kv_heads": 1}, MAP, {"n_key_value_heads": 1}),
}


def made(style: str) -> tuple[Own, interp.Model]:
    torch.manual_seed(0)
    how, sites, more = STYLES[style]
    module = Own(**how).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module, interp.wrap(module, sites=sites, config={"n_heads": HEADS, **more})


def asked() -> interp.Prompts:
    clean = torch.randint(2, VOCAB, (4, 7), generator=torch.Generator().manual_seed(1))
    corrupt = clean.clone()
    corrupt[:, 3] = (clean[:, 3] + 5) % (VOCAB - 2) + 2
    answer = torch.tensor([5, 6, 7, 8])
    return interp.Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=answer + 7)


def difference(module: nn.Module, prompts: interp.Prompts, tokens: Tensor) -> float:
    with torch.no_grad():
        last = module(tokens)[:, -1]
    return float((last.gather(1, prompts.answer[:, None]) - last.gather(1, prompts.wrong[:, None])).mean())


@pytest.mark.parametrize("style", STYLES)
def test_every_engine_gives_the_modules_own_numbers(style: str) -> None:
    module, model = made(style)
    prompts = asked()
    clean, corrupt = (difference(module, prompts, tokens) for tokens in (prompts.clean, prompts.corrupt))
    last = module.blocks[-1].attention.W_O
    kept: dict[str, Tensor] = {}
    handle = last.register_forward_pre_hook(lambda _, args: kept.setdefault("z", args[0]))
    module(prompts.clean)
    handle.remove()
    width = D // HEADS

    def one_head(_: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        z = args[0].clone()
        z[..., width : 2 * width] = kept["z"][..., width : 2 * width]
        return (z,)

    handle = last.register_forward_pre_hook(one_head)
    patched = difference(module, prompts, prompts.corrupt)
    handle.remove()

    acts = interp.capture(model, prompts.clean, ("z", "pattern", "resid_post"))
    torch.testing.assert_close(acts["z"][-1].flatten(-2), kept["z"], rtol=1e-5, atol=1e-6)
    assert float(acts["pattern"].sum(-1).sub(1).abs().max()) < 1e-5
    values = interp.patch(model, prompts, site="z").values
    assert float(values[-1, 1]) == pytest.approx(patched, rel=1e-4, abs=1e-5)
    total = interp.direct_logit_attribution(model, prompts, by="head").total().mean()
    assert float(total) == pytest.approx(clean, rel=1e-4, abs=1e-5)
    for method in ("eap", "eap-ig", "exact"):
        curve = interp.faithfulness(model, prompts, interp.find_circuit(model, prompts, method=method), (1.0,))
        assert (curve.clean, curve.empty) == (
            pytest.approx(clean, rel=1e-4),
            pytest.approx(corrupt, rel=1e-4, abs=1e-5),
        )
        assert curve.values[0] == pytest.approx(1.0, abs=1e-4)
    lens = interp.logit_lens(model, prompts.clean, positions=-1)
    with torch.no_grad():
        torch.testing.assert_close(lens[-1][:, 0], module(prompts.clean)[:, -1], rtol=1e-4, atol=1e-4)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "keys and values exchanged": ({"k": MAP["v"], "v": MAP["k"]}, r"\b(k|v|z|pattern)\b"),
    "queries and keys exchanged": ({"q": MAP["k"], "k": MAP["q"]}, r"\b(q|k|pattern|attn_scores)\b"),
    "queries and values exchanged": ({"q": MAP["v"], "v": MAP["q"]}, r"\b(q|v|z)\b"),
    "the norms exchanged": ({"ln1": "norm_2", "ln2": "norm_1"}, r"\b(ln1|ln2|resid_mid|attn_out)\b"),
    "the norm of another part as the last": ({"ln_final": "blocks.0.norm_1"}, r"\bln_final\b"),
    "the embedding of positions as that of tokens": ({"embed": "places", "pos_embed": "tokens"}, r"\bembed\b"),
    "the MLP's two layers exchanged": ({"mlp_in": "mlp.2", "mlp_final": "mlp.0"}, r"\bmlp_(in|post|pre|final)\b"),
    "the MLP's output where its neurons are": ({"mlp_final": "mlp.1"}, r"\bmlp_(post|pre|final)\b"),
    "a path that is not there": ({"q": "attention.query"}, r"for q\b.*attention\.query"),
    "a tensor": ({"unembed": "head.weight"}, r"unembed: .*tensor"),
    "an unknown key": ({"ln_1": "norm_1"}, r"ln_1.*ln1"),
    "no such list of blocks": ({"blocks": "norm"}, r"\bblocks\b"),
    "a parallel block that is none": ({"parallel": True}, r"resid_post|attn_out|mlp_out|resid_mid"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_map_is_refused_by_what_does_not_fit(what: str) -> None:
    torch.manual_seed(0)
    module = Own().eval()
    change, named = WRONG[what]
    with pytest.raises(interp.InputError) as caught:
        interp.wrap(module, sites={**MAP, **change}, config={"n_heads": HEADS})
    assert re.search(named, str(caught.value)), caught.value
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({}, "n_heads"),
        ({"n_heads": 4}, "z|q|k|v|pattern|heads"),
        ({"n_heads": HEADS, "d_model": 5}, "d_model is 5, the module has 24"),
        ({"n_heads": HEADS, "n_layers": 3}, "n_layers is 3, the module has 2"),
        ({"n_heads": HEADS, "n_key_value_heads": 2}, "heads"),
    ],
)
def test_a_wrong_size_is_refused(config: dict[str, int], named: str) -> None:
    with pytest.raises(interp.InputError, match=named):
        interp.wrap(Own().eval(), sites=MAP, config=config)


def test_a_needed_key_that_is_missing_is_named() -> None:
    for key in ("embed", "blocks", "unembed", "attn", "q", "k", "v", "o"):
        with pytest.raises(interp.InputError, match=f"lacks '{key}'"):
            interp.wrap(Own(), sites={k: v for k, v in MAP.items() if k != key}, config={"n_heads": HEADS})


def test_a_module_is_left_as_found_and_padding_is_refused() -> None:
    module, model = made("separate projections")
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    interp.wrap(module, sites=MAP, config={"n_heads": HEADS})
    assert module.training
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in module.modules())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    tokens = torch.randint(VOCAB, (2, 5))
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[0, 0] = False
    with pytest.raises(interp.InputError, match="padding"):
        interp.capture(model, tokens, "resid_post", mask=mask)


def test_weights_may_change_after_the_map_was_proved() -> None:
    module, model = made("separate projections")
    prompts = asked()
    interp.patch(model, prompts, site="z")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    total = interp.direct_logit_attribution(model, prompts, by="head").total().mean()
    assert float(total) == pytest.approx(difference(module, prompts, prompts.clean), rel=1e-4)


def test_the_page_runs() -> None:
    """Its module, its map and what the map gives, as they stand on the page."""
    page = (Path(__file__).parents[1] / "docs" / "own-module.md").read_text(encoding="utf-8")
    written, used = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    space: dict[str, Any] = {}
    exec(written + used, space)
    assert space["heads"].shape == (1, 4)
    assert "L0.mlp->logits" in space["circuit"].edge_scores()
