"""The passes that all indicators share: one over the prompts, one over each split that somebody asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import InputError
from interp.hooks.activations import Activations, capture
from interp.measure.metrics import questions
from interp.measure.needs import SPLITS, Need
from interp.models.site_tensors import resolve_positions
from interp.models.sites import NEURON_SITES, SCORE_SITES
from interp.types import Batch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Generator, Tensor

    from interp.hooks.interventions import Intervention
    from interp.models import Model
    from interp.types import Prompts, Task

N_TOKENS = "question tokens"
"""What is kept beside the scores of questions: how many tokens they took."""

CHUNK = 2**23
"""How many logits a pass over a split computes at once."""


def run_passes(
    model: Model,
    prompts: Prompts,
    splits: Mapping[str, Batch],
    needs: Sequence[Need],
    task: Task | None = None,
    rng: Generator | None = None,
) -> dict[str, Any]:
    """Everything that `needs` names, on the CPU; None for a site that this architecture does not have, and for the
    scores of questions where the task lists none."""
    kept: dict[str, Any] = {need.name: None for need in needs if _absent(model, need)}
    wanted = [need for need in needs if need.name not in kept]
    if any(need.on == "weights" for need in wanted):
        kept["weights"] = copy_weights(model)
    asked = [need for need in wanted if need.on == "questions"]
    if asked:
        kept |= _ask(model, task, asked, rng)
    for split in SPLITS:
        sites = [need.what for need in wanted if need.on == split]
        if sites:
            found = _run_split(model, _split(splits, split), sites)
            kept |= {f"{split}.{site}": value for site, value in found.items()}
    on_prompts = [need for need in wanted if need.on == "prompts"]
    return kept | (_run_prompts(model, prompts, on_prompts) if on_prompts else {})


def _ask(model: Model, task: Task | None, needs: Sequence[Need], rng: Generator | None) -> dict[str, Any]:
    """The scores of the questions that the task lists, and how many tokens they took."""
    from interp.measure.questions import ask

    text = None if task is None else task.text
    if task is None or text is None or not text.examples:
        return {**dict.fromkeys(need.name for need in needs), N_TOKENS: 0}
    answers = ask(model, text.examples, task.tokenizer, protocol=text.protocol, rng=rng)
    return {**{need.name: answers.scores.get(need.what) for need in needs}, N_TOKENS: answers.n_tokens}


def run_prompts(
    model: Model, prompts: Prompts, interventions: Sequence[Intervention] = ()
) -> Float[Tensor, "prompt answer_len vocab"]:
    """The logits that predict each answer token after the right ones before it, on the CPU."""
    asked = questions(prompts, model)
    return capture(
        model,
        asked.clean,
        "logits",
        logits_at=asked.read,
        mask=asked.mask,
        decoder=asked.decoder,
        device="cpu",
        interventions=interventions,
    )["logits"][0]


def answer_positions(prompts: Prompts) -> Int[Tensor, "prompt"]:
    """The position, from the left, of the logits that predict each prompt's first answer token."""
    at = resolve_positions(prompts.position, prompts.clean, prompts.mask)
    assert at is not None  # None stands for every position, which `Prompts` does not allow
    return at[:, 0].cpu()


def at_answer(value: Tensor, need: Need, prompts: Prompts) -> Tensor:
    """Activations at each prompt's answer position: [layer, prompt, pos, …] -> [layer, prompt, …]; of a pattern, the
    query axis."""
    value = value.movedim(3, 2) if need.what in SCORE_SITES else value
    return value[:, torch.arange(value.shape[1]), answer_positions(prompts)]


def copy_weights(model: Model) -> dict[str, Tensor]:
    """A copy of the parameters by name; names that are tied share one tensor."""
    copies: dict[int, Tensor] = {}
    named = dict(model.module.named_parameters(remove_duplicate=False))
    for parameter in named.values():
        if id(parameter) not in copies:
            copies[id(parameter)] = parameter.detach().to("cpu", copy=True)
    return {name: copies[id(parameter)] for name, parameter in named.items()}


def _run_prompts(model: Model, prompts: Prompts, needs: Sequence[Need]) -> dict[str, Tensor]:
    """One pass over the prompts, and a backward one where a gradient is needed."""
    asked = questions(prompts, model)
    everywhere = any(need.positions == "all" for need in needs if need.what != "logits")
    found = capture(
        model,
        asked.clean,
        list(dict.fromkeys(need.what for need in needs)),
        positions=None if everywhere else asked.read[:, :1],
        logits_at=asked.read,
        mask=asked.mask,
        decoder=asked.decoder,
        gradients_of=_first_token_loss(prompts) if any(need.gradient for need in needs) else None,
        device="cpu",
    )
    n_pos, kept = prompts.clean.shape[1], {}
    for need in needs:
        value = _found(found, need)
        if need.what == "logits":
            kept[need.name] = value[0]
            continue
        value = _cropped(value, need, n_pos)
        if need.positions == "answer":
            value = at_answer(value, need, prompts) if everywhere else _only_position(value, need)
        kept[need.name] = value
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


def _found(found: Activations, need: Need) -> Tensor:
    if not need.gradient:
        return found[need.what]
    if found.gradients is None:
        raise AssertionError("gradients were asked for")
    return found.gradients[need.what].cpu()


def _cropped(value: Tensor, need: Need, n_pos: int) -> Tensor:
    """Without the positions of the answer's tokens."""
    return value[..., :n_pos, :n_pos] if need.what in SCORE_SITES else value[:, :, :n_pos]


def _only_position(value: Tensor, need: Need) -> Tensor:
    return value.select(3 if need.what in SCORE_SITES else 2, 0)


def _absent(model: Model, need: Need) -> bool:
    """Whether this architecture has no such site: no MLPs, or no stream between attention and MLP."""
    site, sites = need.site, model.sites
    if sites is None or site is None:
        return False
    no_mlp = sites.mlp is None and site in ("resid_mid", "mlp_out", *NEURON_SITES)
    return no_mlp or (sites.parallel and site == "resid_mid")


def _split(splits: Mapping[str, Batch], name: str) -> Batch:
    if name not in splits:
        raise InputError(f"an indicator needs the {name} split, and only {sorted(splits)} were given")
    return splits[name]
