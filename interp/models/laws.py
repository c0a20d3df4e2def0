"""What a bridge, or a map of somebody's own, shows at a site is held against laws that any transformer keeps, before it is believed.

A whole site put in from another run makes what follows from it that run's own; what is added to the output of attention or MLP
is added to the residual stream; z is pattern × v, head by head; a query, key or value is made of its own position alone, and
tells in its own heads. Prompts have another number of positions than there are heads, so that axes are told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from interp.errors import InputError
from interp.models.sites import GLOBAL_SITES

if TYPE_CHECKING:
    from torch import Tensor

    from interp.models.handle import Model

Change = Callable[["Tensor"], None]
Pass = Callable[["Tensor", Mapping[str, Change], Sequence[str]], dict[str, "Tensor"]]
"""(tokens, site -> change, sites to see) -> what is seen, and the logits under "logits"; all at one layer."""


_LEAST = 1e-6
"""What counts as a change at all: numbers of size 1 in float32 are known to 1e-7."""


class _Broken(Exception):
    """A law that does not hold, in words."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Trial:
    """Two runs that differ at every position, and how to make others. has: whether the bridge names a site."""

    run: Pass
    has: Callable[[str], bool]
    base: Tensor
    source: Tensor
    tolerance: float
    n_heads: int
    n_kv_heads: int
    parallel: bool

    def same(self, found: Tensor, expected: Tensor, what: str) -> None:
        size = expected.detach().abs().max().clamp(min=torch.finfo(torch.float32).tiny)
        if found.shape != expected.shape or not bool((found - expected).abs().max() <= self.tolerance * size):
            raise _Broken(what)

    def put_in(self, sites: Sequence[str], then: str) -> None:
        """All of `sites` from the source run: `then` is the source's."""
        theirs, usual = self.run(self.source, {}, [*sites, then]), self.run(self.base, {}, [then])[then]
        changes = {site: _setting(theirs[site]) for site in sites}
        found = self.run(self.base, changes, [then])[then]
        self.same(found - usual, theirs[then] - usual, f"put in from another run, it does not make {then} that run's")

    def adds_like(self, site: str, other: str) -> None:
        """What is added to `site` tells as if it were added to `other`."""
        usual = self.run(self.base, {}, [other])
        delta = self.noise(usual[other])
        one, two = (self.run(self.base, {at: _adding(delta)}, [])["logits"] - usual["logits"] for at in (site, other))
        self.same(one, two, f"what is added there does not tell as if added to {other}")

    def noise(self, like: Tensor) -> Tensor:
        drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(0)).to(like)
        return drawn * like.detach().float().std().to(like)


def _setting(value: Tensor) -> Change:
    def change(x: Tensor) -> None:
        x.copy_(value)

    return change


def _adding(value: Tensor) -> Change:
    def change(x: Tensor) -> None:
        x.add_(value)

    return change


def prove(
    model: Model,
    run: Pass,
    has: Callable[[str], bool],
    site: str,
    *,
    parallel: bool,
    tolerance: float,
    who: str = "TransformerLens'",
) -> None:
    """Raises InputError, with what is wrong, unless `site` (of the layer that `run` is for) keeps its laws. who: whose it is."""
    base = proof_tokens(model)
    trial = _Trial(
        run=run,
        has=has,
        base=base,
        source=(base * 3 + 1) % model.d_vocab,
        tolerance=tolerance,
        n_heads=model.n_heads,
        n_kv_heads=model.n_kv_heads,
        parallel=parallel,
    )
    try:
        _LAWS[site](trial)
    except _Broken as broken:
        raise InputError(f"{who} {site} of {model.config['architecture']} is not to be trusted: {broken}") from None


def proof_tokens(model: Model) -> Tensor:
    """Two prompts that differ, of as many positions as there are neither heads nor widths of heads; of as many as the model takes
    where these are few."""
    sizes = (model.n_heads, model.n_kv_heads, model.d_head)
    lengths = [n for n in range(5, 99) if n <= model.n_ctx and n not in sizes]
    few = sorted(range(2, min(model.n_ctx, 4) + 1), key=lambda n: (n not in sizes, n))
    if not lengths and not few:
        raise InputError(f"sites are proved on prompts of two positions or more, and n_ctx is {model.n_ctx}")
    n = lengths[0] if lengths else few[-1]
    return (torch.arange(2 * n, device=model.device).reshape(2, n) * 7 + 3) % min(model.d_vocab, model.n_tokens)


def _stream(site: str) -> Callable[[_Trial], None]:
    return lambda trial: trial.put_in([site], "logits")


def _attn_out(trial: _Trial) -> None:
    trial.adds_like("attn_out", "resid_post" if trial.parallel or not trial.has("resid_mid") else "resid_mid")
    seen = trial.run(trial.base, {}, ["resid_pre", "attn_out", "mlp_out", "resid_post"])
    trial.same(
        seen["resid_pre"] + seen["attn_out"] + seen["mlp_out"], seen["resid_post"], "the stream is not their sum"
    )


def _mlp_out(trial: _Trial) -> None:
    trial.adds_like("mlp_out", "resid_post")
    _attn_out(trial)


def _z(trial: _Trial) -> None:
    _attn_out(trial)
    trial.put_in(["z"], "attn_out")
    seen = trial.run(trial.base, {}, ["z", "pattern", "v"])
    trial.same(seen["z"], _mixed(trial, seen["pattern"], seen["v"]), "it is not pattern × v")


def _mixed(trial: _Trial, pattern: Tensor, v: Tensor) -> Tensor:
    """z [prompt, pos, head, d_head]."""
    if pattern.shape[1] != trial.n_heads or v.shape[2] not in (trial.n_kv_heads, trial.n_heads):
        raise _Broken("heads are not on the axis where they should be")
    values = v.repeat_interleave(trial.n_heads // v.shape[2], dim=2)
    return torch.einsum("bhqk,bkhd->bqhd", pattern, values)


def _v(trial: _Trial) -> None:
    _z(trial)
    _own_position(trial, "v")
    seen = trial.run(trial.base, {}, ["pattern", "v"])
    delta = trial.noise(seen["v"])
    found = trial.run(trial.base, {"v": _adding(delta)}, ["z"])["z"]
    trial.same(found, _mixed(trial, seen["pattern"], seen["v"] + delta), "z does not follow what is changed there")


def _pattern(trial: _Trial) -> None:
    _z(trial)
    seen = trial.run(trial.base, {}, ["pattern", "v", "z"])
    if bool(seen["pattern"].triu(1).any()):
        raise _Broken("queries see later keys")
    delta = trial.noise(seen["pattern"])
    found = trial.run(trial.base, {"pattern": _adding(delta)}, ["z"])["z"]
    trial.same(found - seen["z"], _mixed(trial, delta, seen["v"]), "z does not follow what is changed there")


def _scores(trial: _Trial) -> None:
    _pattern(trial)
    usual = trial.run(trial.base, {}, ["attn_scores", "pattern"])
    scores = usual["attn_scores"]
    changed = scores + torch.randn(scores.shape, generator=torch.Generator().manual_seed(0)).to(scores)
    found = trial.run(trial.base, {"attn_scores": _setting(changed)}, ["pattern"])["pattern"]
    expected = torch.softmax(changed, -1) - torch.softmax(scores, -1)
    trial.same(found - usual["pattern"], expected, "the pattern is not its softmax")


def _query_or_key(site: str, n_heads: Callable[[_Trial], int]) -> Callable[[_Trial], None]:
    def law(trial: _Trial) -> None:
        _pattern(trial)
        trial.put_in(["q", "k"], "pattern")
        _own_position(trial, site)
        usual = trial.run(trial.base, {}, ["pattern", site])
        group = trial.n_heads // n_heads(trial)
        at = torch.zeros_like(usual[site])
        n_pos = trial.base.shape[1]
        middle = n_pos // 2
        at[:, middle] = trial.noise(usual[site])[:, middle]
        rows = (
            (trial.run(trial.base, {site: _adding(at)}, ["pattern"])["pattern"] - usual["pattern"])
            .abs()
            .amax((0, 1, 3))
        )
        elsewhere = rows[[n for n in range(n_pos) if n != middle]].max()
        if n_pos > 2 and bool(elsewhere > 1e-3 * rows.max()) == (site == "q"):
            raise _Broken("a query tells in its own row of the pattern alone, and a key in others; this does not")
        for head in (0, n_heads(trial) - 1):
            delta = torch.zeros_like(usual[site])
            delta[:, :, head] = trial.noise(usual[site])[:, :, head]
            found = trial.run(trial.base, {site: _adding(delta)}, ["pattern"])["pattern"]
            change = (found - usual["pattern"]).abs().amax((0, 2, 3))
            moved = (change > 1e-3 * change.max()) & (change.max() > _LEAST)
            if moved.nonzero()[:, 0].tolist() != list(range(head * group, (head + 1) * group)):
                raise _Broken("a change of one head does not tell in the patterns of that head alone")

    return law


def _own_position(trial: _Trial, site: str) -> None:
    """Where the stream is made the same at the first and the last position, so is the site."""

    def alike(x: Tensor) -> None:
        x[:, -1] = x[:, 0]

    seen = trial.run(trial.base, {"resid_pre": alike}, [site])[site]
    trial.same(seen[:, -1], seen[:, 0], "it is not made of the stream at its own position alone")


def _mlp_post(trial: _Trial) -> None:
    _mlp_out(trial)
    trial.put_in(["mlp_post"], "mlp_out")
    seen = trial.run(trial.base, {}, ["mlp_post", "mlp_out"])
    delta = trial.noise(seen["mlp_post"])
    one, two = (trial.run(trial.base, {"mlp_post": _adding(n * delta)}, ["mlp_out"])["mlp_out"] for n in (1, -1))
    trial.same(one + two, 2 * seen["mlp_out"], "mlp_out is not linear in it")


def _mlp_pre(trial: _Trial) -> None:
    _mlp_post(trial)
    theirs = trial.run(trial.source, {}, ["mlp_pre", "mlp_post"])
    usual = trial.run(trial.base, {}, ["mlp_pre", "mlp_post"])
    only_last = theirs["mlp_pre"].clone()
    only_last[:, :-1] = usual["mlp_pre"][:, :-1]
    found = trial.run(trial.base, {"mlp_pre": _setting(only_last)}, ["mlp_post"])["mlp_post"]
    trial.same(found[:, :-1], usual["mlp_post"][:, :-1], "a change at one position tells at others")
    if bool((found[:, -1] - usual["mlp_post"][:, -1]).abs().max() <= _LEAST):
        raise _Broken("nothing follows what is changed there")


_LAWS: Mapping[str, Callable[[_Trial], None]] = {
    **{site: _stream(site) for site in ("resid_pre", "resid_mid", "resid_post", *GLOBAL_SITES[:2])},
    "attn_out": _attn_out,
    "mlp_out": _mlp_out,
    "z": _z,
    "q": _query_or_key("q", lambda trial: trial.n_heads),
    "k": _query_or_key("k", lambda trial: trial.n_kv_heads),
    "v": _v,
    "pattern": _pattern,
    "attn_scores": _scores,
    "mlp_pre": _mlp_pre,
    "mlp_post": _mlp_post,
}
