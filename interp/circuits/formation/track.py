"""Following a circuit through a run, and saying when it formed (`interp.table.forming`), from nothing but the checkpoints up
to then."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from interp.circuits._attribution import choose, pair_of
from interp.circuits._circuit import Circuit
from interp.circuits._edges_from_nodes import edges_between
from interp.circuits._find import find_circuit
from interp.circuits._masked import masked_values
from interp.circuits.formation.roles import role_scores
from interp.circuits.formation.tracked import Snapshot, TrackedCircuit
from interp.circuits.testing.faithfulness import exact_match, of_circuit
from interp.circuits.testing.size import GRID, smallest_faithful
from interp.errors import InputError
from interp.measure.metrics import check_prompts
from interp.models.handle import check_model
from interp.table.forming import (
    FALSE_RATE,
    STRICT,
    THRESHOLD,
    least_prompts,
    presences,
    similarity,
    when_formed,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from interp.measure.metrics import Metric
    from interp.models import Model
    from interp.types import Prompts


def track_circuit(
    model: Model,
    states: Iterable[tuple[int, Mapping[str, Tensor]]],
    prompts: Prompts,
    *,
    method: str = "eap-ig",
    threshold: float = THRESHOLD,
    n_resamples: int = 500,
    seed: int = 0,
) -> TrackedCircuit:
    """Follow a run, (step, weights) in order, read once, and say when the circuit for these prompts formed and was lost.

    `model` is what the weights are put into; its own are put back at the end. Half of the prompts find circuits, the other
    half tries them; a warning says where these are too few for chance to be kept out.
    """
    check_model(model)
    check_prompts(prompts)
    least = least_prompts(threshold=threshold)
    if len(prompts.clean) < 2 * least:
        warnings.warn(
            f"{len(prompts.clean)} prompts are too few: with fewer than {2 * least}, chance alone passes for a circuit in "
            f"more than {FALSE_RATE:.0%} of runs of 60 checkpoints",
            stacklevel=2,
        )
    own = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    ref = model.ref
    seen: list[Snapshot] = []
    try:
        for step, weights in map(_step_and_weights, states):
            if seen and step <= seen[-1].step:
                raise InputError(f"states must be in order of their steps, each once; got {step} after {seen[-1].step}")
            model.swap(weights)
            seen.append(snapshot(model, step, prompts, method=method, previous=seen[-1].circuit if seen else None))
    finally:
        model.swap(own, ref=ref)
    if not seen:
        raise InputError("states gave no checkpoint; expected (step, weights) pairs")
    return formation_of(seen, threshold=threshold, n_resamples=n_resamples, seed=seed)


def _step_and_weights(state: Any) -> tuple[int, Mapping[str, Tensor]]:
    """Raises InputError for what is no pair of a step and a state dict."""
    if not isinstance(state, tuple | list) or len(state) != 2 or not isinstance(state[1], Mapping):
        raise InputError(
            f"states gave a {type(state).__name__}; expected (step, weights) pairs, weights as a state dict"
        )
    return state[0], state[1]


def snapshot(
    model: Model,
    step: int,
    prompts: Prompts,
    *,
    method: str,
    metric: Metric = "logit_diff",
    previous: Circuit | None = None,
    circuit: Circuit | None = None,
) -> Snapshot:
    """One checkpoint's circuit, found on every other prompt and tried on the rest. circuit: what was found, where it
    is known."""
    found_on, tried_on = split(prompts)
    circuit = find_circuit(model, found_on, method, metric) if circuit is None else circuit
    rivals = find_circuit(model, tried_on, method, metric)
    whole = edges_between(circuit)
    best = smallest_faithful(model, found_on, whole)
    included = torch.zeros_like(whole.included) if best is None else best.included
    masks = torch.stack([included, torch.zeros_like(included), circuit.graph.edges]).float()
    kept, empty, clean = masked_values(masks, pair_of(model, tried_on))
    right, none_right, whole_right = masked_values(masks, pair_of(model, tried_on, _is_right(tried_on))) > 0
    carried = ((kept > 0) & (empty < 0)).cpu().numpy()
    chosen = replace(circuit, included=included)
    searched = 2 * (GRID + 2) + 2
    return Snapshot(
        step=step,
        circuit=chosen,
        carried=carried,
        whole=((clean > 0) & (empty < 0)).cpu().numpy(),
        strict=(right & ~none_right).cpu().numpy(),
        whole_strict=(whole_right & ~none_right).cpu().numpy(),
        inherited=None if previous is None else still_carried(model, prompts, previous, chosen, carried),
        metric=float(clean.nanmean()),
        noise_floor=similarity(magnitudes(circuit), magnitudes(rivals)),
        similarity=math.nan if previous is None else similarity(magnitudes(circuit), magnitudes(previous)),
        roles={role: _best_head(scores) for role, scores in role_scores(model, found_on).items()},
        passes=sum(c.about.get("passes", 0) for c in (circuit, rivals))
        + searched
        + len(masks)
        + 3
        + 4
        + (0 if previous is None else 4)
        + 1,
    )


def still_carried(
    model: Model, prompts: Prompts, previous: Circuit, circuit: Circuit, carried: Bool[np.ndarray, "prompt"]
) -> Bool[np.ndarray, "prompt"]:
    """Which of the prompts tried an earlier checkpoint's circuit carries in the weights of now, whose own is `circuit` and
    carries `carried`. What is still there whole was joined, and carries what they carry together, though alone it may tie:
    a second head's corrupt value speaks against it."""
    old = previous.included
    if bool(old.any()) and not bool((old & ~circuit.included).any()):
        return carried
    _, tried_on = split(prompts)
    kept, empty = masked_values(torch.stack([old, torch.zeros_like(old)]).float(), pair_of(model, tried_on))
    return ((kept > 0) & (empty < 0)).cpu().numpy()


def magnitudes(circuit: Circuit) -> dict[str, float]:
    """Edge (or node, where the method scores nodes only) -> |score|; what has no score is left out."""
    scores = circuit.edge_scores() or circuit.node_scores()
    return {name: abs(score) for name, score in scores.items() if score == score}


def _best_head(scores: Float[Tensor, "layer head"]) -> tuple[str, float]:
    if bool(scores.isnan().all()):
        return "", math.nan
    layer, head = divmod(int(scores.argmax()), scores.shape[1])
    return f"L{layer}H{head}", float(scores[layer, head])


def split(prompts: Prompts) -> tuple[Prompts, Prompts]:
    """Every other prompt, and the rest; of a single prompt, it and itself."""
    rows = torch.arange(len(prompts.clean))
    first, second = (rows[start::2] if len(rows) > 1 else rows for start in (0, 1))
    return choose(prompts, first), choose(prompts, second)


def formation_of(
    snapshots: Sequence[Snapshot], *, threshold: float = THRESHOLD, n_resamples: int = 500, seed: int = 0
) -> TrackedCircuit:
    """The presences that a run's snapshots show, and their bands over resampled prompts."""
    carried = np.stack([snap.carried for snap in snapshots])
    steps = [snap.step for snap in snapshots]
    when = when_formed(steps, carried, threshold=threshold, n_resamples=n_resamples, seed=seed)
    weak = presences(
        steps, carried, inherited=_inherited(snapshots), threshold=threshold, n_resamples=n_resamples, seed=seed
    )
    right = np.stack([snap.strict for snap in snapshots])
    strict = presences(steps, right, threshold=STRICT, chance=0.0, n_resamples=n_resamples, seed=seed)
    return TrackedCircuit(**asdict(when), intervals=weak, strict=strict, snapshots=tuple(snapshots))


def _inherited(snapshots: Sequence[Snapshot]) -> Bool[np.ndarray, "step prompt"]:
    """What each checkpoint's predecessor still carries there; the first has none and counts as its own."""
    return np.stack([snap.carried if snap.inherited is None else snap.inherited for snap in snapshots])


def _is_right(prompts: Prompts) -> Metric:
    """The strict criterion as a metric: 1 where the whole answer comes first among all tokens."""

    def right(logits: Float[Tensor, "prompt answer_len vocab"]) -> Float[Tensor, "prompt"]:
        return exact_match(logits, prompts)

    return right


def applied_backwards(
    model: Model, states: Iterable[tuple[int, Mapping[str, Tensor]]], prompts: Prompts, final: Circuit
) -> dict[int, float]:
    """Step -> faithfulness of the run's *final* circuit at that checkpoint. Hindsight: it must not enter a comparison
    of leads."""
    own = {name: tensor.clone() for name, tensor in model.module.state_dict().items()}
    ref = model.ref
    values = {}
    try:
        for step, weights in states:
            model.swap(weights)
            values[step] = of_circuit(model, prompts, final)
    finally:
        model.swap(own, ref=ref)
    return values
