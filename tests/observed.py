"""Small models, and what an observation keeps of them, for the tests of indicators."""

from dataclasses import replace

import torch

import interp
from interp import plugins
from interp.measure.needs import needs_of
from interp.measure.observe import Observation, observe
from interp.models import Model, build, wrap
from interp.seeds import generator
from interp.types import Prompts, Task

torch.set_num_threads(1)  # threads that wait for each other cost more than these models take

INDICATORS = plugins.names("indicators")
CHEAP = {
    "llc": {"draws": 4, "burn_in": 2, "tokens": 96},
    "head_llc": {"draws": 2, "burn_in": 1, "tokens": 96},
    "hessian_trace": {"probes": 2, "tokens": 96},
    "hessian_top_eigenvalue": {"iterations": 4, "tokens": 96},
    "gradient_norm": {"tokens": 96},
    "gradient_noise_scale": {"batches": 2},
    "commutator_defect": {"batch_size": 8},
}
"""Parameters that make the expensive indicators quick enough for tests of laws that hold at any parameters."""


def native(task: Task, *, seed: int = 0, d_model: int = 16, n_heads: int = 2, **config) -> Model:
    """A randomly initialised native model that fits a task."""
    config = {
        "architecture": "native", "d_model": d_model, "n_layers": 1, "n_heads": n_heads, "d_head": d_model // n_heads,
        "d_mlp": 2 * d_model, "n_ctx": task.n_ctx, "d_vocab": len(task.vocab), "d_vocab_out": len(task.vocab),
        "act_fn": "relu", "normalization_type": None, "positional_embedding_type": "standard", **config,
    }  # fmt: skip
    return wrap(build(config, seed=seed), config=config)


def adding() -> tuple[Model, Task]:
    """One layer with an MLP, on modular addition."""
    task = interp.task("modular_addition", p=7, train_fraction=0.5)
    return native(task), task


def inducing() -> tuple[Model, Task]:
    """Two attention-only layers, on induction."""
    task = interp.task("induction")
    return native(task, n_layers=2, attn_only=True), shortened(task)


def summing() -> tuple[Model, Task]:
    """Two layers, on sums with answers of several tokens."""
    task = interp.task("addition", n_digits=1)
    return native(task, n_layers=2), shortened(task)


def shortened(task: Task, n: int = 12) -> Task:
    """The same task with only n sequences in each split."""
    short = {name: replace(b, tokens=b.tokens[:n], targets=b.targets[:n]) for name, b in task.splits(0).items()}
    return replace(task, splits=lambda seed: short)


def look(
    model: Model, task: Task, measures=INDICATORS, *, prompts: Prompts | None = None, n: int = 6, **beside
) -> Observation:
    """An observation that serves `measures`."""
    prompts = task.prompts(n, rng=generator(1, "prompts")) if prompts is None else prompts
    return observe(model, task, prompts, task.splits(0), needs_of(measures), generator(0, "measures"), **beside)


def reordered(prompts: Prompts, order: torch.Tensor) -> Prompts:
    """The same prompts in another order."""
    own = {name: getattr(prompts, name) for name in ("clean", "corrupt", "answer", "wrong", "position", "mask")}
    return Prompts(**{name: value[order] if isinstance(value, torch.Tensor) else value for name, value in own.items()})


def copying_at_a_mask(model: Model) -> Observation:
    """A model that fills in masked tokens, on sequences said twice, with one token of the second time masked (token 2)."""
    tokens = torch.randint(3, model.d_vocab, (6, 3), generator=torch.Generator().manual_seed(0))
    others = (tokens - 3 + 5) % (model.d_vocab - 3) + 3
    clean, corrupt = (torch.cat([said, said], dim=1).index_fill(1, torch.tensor([4]), 2) for said in (tokens, others))
    prompts = Prompts(clean=clean, corrupt=corrupt, answer=tokens[:, 1], wrong=others[:, 1], position=4)
    return look(model, shortened(interp.task("copying")), ["head_importance", "masking_curve"], prompts=prompts)
