"""The passes that all indicators share: one over the prompts, one over each split that somebody asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from interp.errors import InputError
from interp.hooks.activations import Activations, capture
from interp.models.site_tensors import resolve_positions
from interp.models.sites import NEURON_SITES, SCORE_SITES
from interp.types import Batch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Generator, Tensor

    from interp.hooks.interventions import Intervention
    from interp.models import Model
    from interp.types import Prompts, Task

SPLITS = ("train", "test")
ASKED = "asked."
"""What the names of the needs begin with that are scores of a text task's questions."""
BESIDE = ("previous", "initial", "final", "circuit", "reference")
CHUNK = 2**23
"""How many logits a pass over a split computes at once."""


class Extended(NamedTuple):
    """Prompts with their right answers written behind them, and where each answer token is predicted."""

    tokens: Int[Tensor, "prompt pos"]
    mask: Bool[Tensor, "prompt pos"] | None
    at: Int[Tensor, "prompt answer_len"]


def run_passes(
    model: Model,
    prompts: Prompts,
    splits: Mapping[str, Batch],
    needs: Mapping[str, str],
    task: Task | None = None,
    rng: Generator | None = None,
) -> dict[str, Any]:
    """Everything that `needs` names, on the CPU; None for a site that this architecture does not have, and for the
    scores of questions where the task lists none."""
    kept: dict[str, Any] = {need: None for need in needs if _absent(model, need)}
    wanted = {need: positions for need, positions in needs.items() if need not in (*BESIDE, *kept)}
    if wanted.pop("weights", None):
        kept["weights"] = copy_weights(model)
    asked = [need for need in wanted if need.startswith(ASKED)]
    if asked:
        kept |= _ask(model, task, asked, rng)
    for split in SPLITS:
        sites = [need.removeprefix(f"{split}.") for need in wanted if need.startswith(f"{split}.")]
        if sites:
            found = _run_split(model, _split(splits, split), sites)
            kept |= {f"{split}.{site}": value for site, value in found.items()}
    on_prompts = {need: wanted[need] for need in wanted if need not in asked and need.partition(".")[0] not in SPLITS}
    return kept | (_run_prompts(model, prompts, on_prompts) if on_prompts else {})


def _ask(model: Model, task: Task | None, needs: Sequence[str], rng: Generator | None) -> dict[str, Any]:
    """The scores of the questions that the task lists, and how many tokens they took."""
    from interp.measure.questions import ask

    text = None if task is None else task.text
    if task is None or text is None or not text.examples:
        return {**dict.fromkeys(needs), f"{ASKED}n_tokens": 0}
    answers = ask(model, text.examples, task.tokenizer, protocol=text.protocol, rng=rng)
    scores = {need: answers.scores.get(need.removeprefix(ASKED)) for need in needs}
    return {**scores, f"{ASKED}n_tokens": answers.n_tokens}


def run_prompts(
    model: Model, prompts: Prompts, interventions: Sequence[Intervention] = ()
) -> Float[Tensor, "prompt answer_len vocab"]:
    """The logits that predict each answer token after the right ones before it, on the CPU."""
    tokens, mask, at = extend(prompts)
    found = capture(model, tokens, "logits", logits_at=at, mask=mask, device="cpu", interventions=interventions)
    return found["logits"][0]


def extend(prompts: Prompts) -> Extended:
    """Write all tokens of the answer but the last behind the position that predicts the first; nothing changes for
    one-token answers.

    Whatever the prompt had there is overwritten: it comes after the position that is asked about.
    """
    answer = prompts.answer[:, None] if prompts.answer.ndim == 1 else prompts.answer
    first = answer_positions(prompts)
    n_prompts, n_pos = prompts.clean.shape
    at = first[:, None] + torch.arange(answer.shape[1])
    missing = int(at.max()) + 1 - n_pos
    tokens = torch.cat([prompts.clean.cpu(), torch.zeros(n_prompts, max(missing, 0), dtype=prompts.clean.dtype)], dim=1)
    tokens = tokens.scatter(1, at[:, 1:], answer[:, :-1].clamp(min=0).cpu().to(tokens.dtype))
    mask = prompts.mask
    if mask is not None:
        mask = torch.cat([mask.cpu(), torch.zeros(n_prompts, max(missing, 0), dtype=torch.bool)], dim=1)
        mask = mask.scatter(1, at[:, 1:], torch.ones_like(at[:, 1:], dtype=torch.bool))
    return Extended(tokens, mask, at)


def answer_positions(prompts: Prompts) -> Int[Tensor, "prompt"]:
    """The position, from the left, of the logits that predict each prompt's first answer token."""
    at = resolve_positions(prompts.position, prompts.clean, prompts.mask)
    assert at is not None  # None stands for every position, which `Prompts` does not allow
    return at[:, 0].cpu()


def at_answer(value: Tensor, need: str, prompts: Prompts) -> Tensor:
    """Activations at each prompt's answer position: [layer, prompt, pos, …] -> [layer, prompt, …]; of a pattern, the
    query axis."""
    value = value.movedim(3, 2) if need.removesuffix(".grad") in SCORE_SITES else value
    return value[:, torch.arange(value.shape[1]), answer_positions(prompts)]


def copy_weights(model: Model) -> dict[str, Tensor]:
    """A copy of the parameters by name; names that are tied share one tensor."""
    copies: dict[int, Tensor] = {}
    named = dict(model.module.named_parameters(remove_duplicate=False))
    for parameter in named.values():
        if id(parameter) not in copies:
            copies[id(parameter)] = parameter.detach().to("cpu", copy=True)
    return {name: copies[id(parameter)] for name, parameter in named.items()}


def _run_prompts(model: Model, prompts: Prompts, needs: Mapping[str, str]) -> dict[str, Tensor]:
    """One pass over the prompts, and a backward one where a gradient is needed."""
    extended = extend(prompts)
    sites = list(dict.fromkeys(need.removesuffix(".grad") for need in needs))
    everywhere = any(positions == "all" for need, positions in needs.items() if need != "logits")
    found = capture(
        model,
        extended.tokens,
        sites,
        positions=None if everywhere else extended.at[:, :1],
        logits_at=extended.at,
        mask=extended.mask,
        gradients_of=_first_token_loss(prompts) if any(need.endswith(".grad") for need in needs) else None,
        device="cpu",
    )
    n_pos, kept = prompts.clean.shape[1], {}
    for need, positions in needs.items():
        value = _found(found, need)
        if need == "logits":
            kept[need] = value[0]
            continue
        value = _cropped(value, need, n_pos)
        if positions == "answer":
            value = at_answer(value, need, prompts) if everywhere else _only_position(value, need)
        kept[need] = value
    return kept


def _run_split(model: Model, batch: Batch, sites: list[str]) -> dict[str, Tensor]:
    """The scored positions of a split, sequence by sequence: logits [scored, vocab], other sites [layer, scored, …]."""
    if not len(batch.tokens):  # nothing to score: one token goes in, and nothing of it is kept
        batch = Batch(tokens=torch.zeros(1, 1, dtype=torch.long), targets=torch.full((1, 1), -1))
    scored = (batch.targets >= 0).cpu()
    per_chunk = max(1, CHUNK // max(1, int(scored.sum(dim=1).max()) * model.d_vocab))
    chunks = [
        _run_chunk(model, tokens, where, sites)
        for tokens, where in zip(batch.tokens.split(per_chunk), scored.split(per_chunk), strict=True)
    ]
    joined = {site: torch.cat([chunk[site] for chunk in chunks], dim=1) for site in sites}
    return {site: value[0] if site == "logits" else value for site, value in joined.items()}


def _run_chunk(
    model: Model, tokens: Int[Tensor, "prompt pos"], scored: Bool[Tensor, "prompt pos"], sites: list[str]
) -> dict[str, Tensor]:
    counts = scored.sum(dim=1)
    n = int(counts[0])
    even = n > 0 and bool((counts == n).all())
    at = scored.nonzero()[:, 1].view(-1, n) if even else None
    found = capture(model, tokens.clamp(min=0), sites, positions=at, logits_at=at, device="cpu")
    kept = {}
    for site in sites:
        value = found[site].movedim(3, 2) if site in SCORE_SITES else found[site]
        kept[site] = value.flatten(1, 2) if even else value[:, scored]
    return kept


def _first_token_loss(prompts: Prompts) -> Any:
    """Negative log-probability of each prompt's first answer token, from the logits [prompt, answer_len, vocab]."""
    first = prompts.answer if prompts.answer.ndim == 1 else prompts.answer[:, 0]

    def loss(logits: Tensor) -> Tensor:
        return -logits[:, 0].float().log_softmax(dim=-1).gather(1, first.to(logits.device)[:, None])[:, 0]

    return loss


def _found(found: Activations, need: str) -> Tensor:
    if not need.endswith(".grad"):
        return found[need]
    if found.gradients is None:
        raise AssertionError("gradients were asked for")
    return found.gradients[need.removesuffix(".grad")].cpu()


def _cropped(value: Tensor, need: str, n_pos: int) -> Tensor:
    """Without the positions of the answer's tokens."""
    if need.removesuffix(".grad") in SCORE_SITES:
        return value[..., :n_pos, :n_pos]
    return value if need.startswith("logits") else value[:, :, :n_pos]


def _only_position(value: Tensor, need: str) -> Tensor:
    return value.select(3 if need.removesuffix(".grad") in SCORE_SITES else 2, 0)


def _absent(model: Model, need: str) -> bool:
    """Whether this architecture has no such site: no MLPs, or no stream between attention and MLP."""
    site, sites = need.removesuffix(".grad").rpartition(".")[2], model.sites
    if sites is None:
        return False
    no_mlp = sites.mlp is None and site in ("resid_mid", "mlp_out", *NEURON_SITES)
    return no_mlp or (sites.parallel and site == "resid_mid")


def _split(splits: Mapping[str, Batch], name: str) -> Batch:
    if name not in splits:
        raise InputError(f"an indicator needs the {name} split, and only {sorted(splits)} were given")
    return splits[name]
