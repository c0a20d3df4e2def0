"""A known circuit in a real training run: beside the trained weights of every checkpoint, a planted one of the same step.

Both parts read the same tokens and add to the same logits; otherwise each has its own residual directions, heads and
neurons (block-diagonal weights; the planted heads come first, so that the true edges keep their names). Head widths
are padded; so are layers, positions and the vocabulary where one part has fewer. The trained part is the noise: what
it says of the program's prompts changes from checkpoint to checkpoint as training goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import pad

from interp.errors import InputError
from interp.testbed.built import Built
from interp.testbed.planted import Kind, Planted, planted

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from interp.models import Model
    from interp.types import CheckpointRef

    State = Mapping[str, Float[Tensor, "..."]]

LIKE_BUILT = {"architecture": "native", "normalization_type": None, "act_fn": "relu", "attn_only": False}
N_PROMPTS = 64  # on which the loudness of the trained part is set


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spliced:
    """A training run with a planted circuit in it.

    planted: the circuit, and the truth of when. model: what the weights of every step go into.
    trained: step -> the trained part's weights. volume: the factor on what the trained part adds to the logits.
    """

    planted: Planted
    model: Model
    trained: Mapping[int, State]
    trained_config: Mapping[str, Any]
    volume: float

    @property
    def built(self) -> Built:
        return self.planted.built

    @property
    def steps(self) -> tuple[int, ...]:
        return self.planted.steps

    @property
    def formed_at(self) -> int | None:
        return self.planted.formed_at

    @property
    def interval(self) -> tuple[int, int] | None:
        return self.planted.interval

    def state(self, step: int) -> dict[str, Float[Tensor, "..."]]:
        """The weights at one of the run's steps, in the module's own names."""
        beside = {**self.trained[step], "head.weight": self.volume * self.trained[step]["head.weight"]}
        parts = ((self.planted.state(step), self.built.model.config), (beside, self.trained_config))
        return side_by_side(*parts[0], *parts[1])

    def states(self) -> Iterator[tuple[int, dict[str, Float[Tensor, "..."]]]]:
        """(step, weights) of every checkpoint, in order."""
        for step in self.steps:
            yield step, self.state(step)


def spliced(
    program: str | Built,
    refs: Sequence[CheckpointRef],
    formed_at: int | None,
    *,
    kind: Kind = "splice",
    seed: int = 0,
    loudness: float = 0.25,
) -> Spliced:
    """The checkpoints `refs` of one run with a circuit that forms at `formed_at` (None: a null run); see `planted`.

    loudness: largest root mean square over the run of the logit difference that the trained part adds, as a share of
        the circuit's own.

    Raises:
        InputError: a run of models that are not like the built ones (native, no norms, ReLU), or several runs.
    """
    from interp.families import read_weights
    from interp.models import build, wrap

    if len({(ref.family, ref.size, ref.setting, ref.seed) for ref in refs}) != 1:
        raise InputError("a circuit is spliced into the checkpoints of one run")
    run = planted(program, [ref.step for ref in refs], formed_at, kind=kind, seed=seed)
    config = _checked_config(refs[0])
    trained = {ref.step: read_weights(ref) for ref in refs}
    merged = merged_config(run.built.model.config, config)
    model = wrap(build(merged, seed=0), config=merged)
    quiet = {name: torch.zeros_like(tensor) for name, tensor in run.after.items()}
    heard = [
        _difference(run.built, model, side_by_side(quiet, run.built.model.config, state, config)).square().mean().sqrt()
        for state in trained.values()
    ]
    own = _difference(run.built, run.built.model, dict(run.after)).mean()
    volume = loudness * float(own) / max(float(max(heard)), 1e-6)
    model.swap(side_by_side(run.after, run.built.model.config, trained[run.steps[-1]], config))
    return Spliced(planted=run, model=model, trained=trained, trained_config=config, volume=volume)


def _checked_config(ref: CheckpointRef) -> Mapping[str, Any]:
    from interp.families.read import read_config

    config = read_config(ref)
    for name, value in LIKE_BUILT.items():
        if config.get(name, value) != value:
            raise InputError(
                f"{ref.family} has {name}={config[name]!r}; a circuit is spliced into models with {value!r}"
            )
    return config


@torch.no_grad()
def _difference(built: Built, model: Model, state: State) -> Float[Tensor, "prompt"]:
    """The logit differences of some of the program's prompts."""
    prompts = built.prompts(N_PROMPTS, rng=torch.Generator().manual_seed(0))
    logits = torch.func.functional_call(model.module, dict(state), (prompts.clean,))
    rows = torch.arange(N_PROMPTS)
    return logits[rows, prompts.position, prompts.answer] - logits[rows, prompts.position, prompts.wrong]


def merged_config(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of two models side by side."""
    config = {**LIKE_BUILT, "positional_embedding_type": "standard"}
    config |= {name: one[name] + other[name] for name in ("n_heads", "d_model", "d_mlp")}
    shared = ("n_layers", "d_head", "n_ctx", "d_vocab", "d_vocab_out")
    return config | {name: max(one[name], other[name]) for name in shared}


def side_by_side(
    one: State, one_config: Mapping[str, Any], other: State, other_config: Mapping[str, Any]
) -> dict[str, Float[Tensor, "..."]]:
    """Weights that compute the sum of both models' logits."""
    merged = merged_config(one_config, other_config)
    both = [_widened(state, config, merged) for state, config in ((one, one_config), (other, other_config))]
    joined = {}
    for name in both[0]:
        pair = [part[name] for part in both]
        blocks = name.endswith("weight") and name.startswith("layers")
        joined[name] = torch.block_diag(*pair) if blocks else torch.cat(pair, dim=-1)
    return joined


def _widened(state: State, config: Mapping[str, Any], merged: Mapping[str, Any]) -> dict[str, Tensor]:
    """One model's weights at the merged model's head width, vocabulary, context and depth, still alone."""
    d_head, more = config["d_head"], merged["d_head"] - config["d_head"]
    rows = {"tok_embed.weight": merged["d_vocab"], "pos.weight": merged["n_ctx"], "head.weight": merged["d_vocab_out"]}
    wide = {name: pad(state[name], (0, 0, 0, size - len(state[name]))) for name, size in rows.items()}
    for layer in range(merged["n_layers"]):
        here = min(layer, config["n_layers"] - 1)
        for place in ("attn.q", "attn.k", "attn.v", "attn.o", "mlp.fc_in", "mlp.fc_out"):
            for kind in ("weight", "bias"):
                tensor = state[f"layers.{here}.{place}.{kind}"]
                if place == "attn.o" and kind == "weight":
                    tensor = pad(tensor.unflatten(1, (-1, d_head)), (0, more)).flatten(1)
                elif place in ("attn.q", "attn.k", "attn.v"):
                    heads = tensor.unflatten(0, (-1, d_head)).movedim(1, -1)
                    tensor = pad(heads, (0, more)).movedim(-1, 1).flatten(0, 1)
                if place == "attn.q":
                    tensor = tensor * (merged["d_head"] / d_head) ** 0.5
                wide[f"layers.{layer}.{place}.{kind}"] = tensor if layer == here else torch.zeros_like(tensor)
    return wide
