"""Speed of capture and of patching sweeps, as ratios to a plain forward pass of the underlying Hugging Face module.

    OMP_NUM_THREADS=1 python experiments/benchmarks/patching.py [toy] [mid] [small] [--device cuda]

One thread, random weights, pairs that first differ at the middle position, last-position metric; all runs interleaved, best of
several, in CPU time (wall time on a GPU). FLOPs done are counted by torch while the sweep runs; FLOPs needed are those of the
positions and layers that a patch can change. nnsight (0.8) is in the table where it is installed.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel, logging

import interp
from interp.models import Model
from interp.types import Prompts

SHAPES = {
    "toy": (dict(n_embd=128, n_layer=2, n_head=4, vocab_size=128, n_positions=32), 8, 16, 40),
    "mid": (dict(n_embd=256, n_layer=4, n_head=8, vocab_size=512, n_positions=64), 32, 32, 5),
    "small": (dict(n_embd=768, n_layer=12, n_head=12, vocab_size=50257, n_positions=128), 2, 32, 2),
}
TARGETS = {
    "toy": {"capture": 1.1, "head": 0.4, "heads": 3.5, "resid": 6.0},
    "mid": {"capture": 1.1, "head": 0.4, "heads": 3.5, "resid": 6.0},
    "small": {"capture": 1.1, "head": 0.25, "heads": 5.0, "resid": 6.0},
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model, its prompts, and everything that is to be timed on them, by name."""

    model: Model
    prompts: Prompts
    runs: dict[str, Callable[[], Any]]


def make_case(shape: str, device: str) -> Case:
    torch.manual_seed(0)
    options, n_prompts, n_pos, _ = SHAPES[shape]
    module = GPT2LMHeadModel(GPT2Config(bos_token_id=0, eos_token_id=0, **options)).eval().to(device)
    model = interp.wrap(module)
    clean = torch.randint(options["vocab_size"], (n_prompts, n_pos))
    corrupt = clean.clone()
    corrupt[:, n_pos // 2] = (corrupt[:, n_pos // 2] + 1) % options["vocab_size"]
    answer = torch.ones(n_prompts, dtype=torch.long)
    prompts = Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=answer - 1)
    runs = {
        "plain forward": lambda: module(clean.to(device)),
        "capture resid_post: interp": lambda: interp.capture(model, clean, ("resid_post",)),
        "capture resid_post: raw hooks": lambda: raw_hooks(module, clean.to(device)),
        "heads: interp": lambda: interp.patch(model, prompts, site="z", by=("layer", "head")),
        "resid by layer, pos: interp": lambda: interp.patch(model, prompts, site="resid_pre", by=("layer", "pos")),
    }
    return Case(
        model=model,
        prompts=prompts,
        runs=runs
        | transformer_lens_runs(model, prompts)
        | (nnsight_runs(model, prompts) if find_spec("nnsight") else {}),
    )


def raw_hooks(module: Any, tokens: torch.Tensor) -> list[torch.Tensor]:
    kept: list[torch.Tensor] = []
    handles = [
        block.register_forward_hook(lambda _, args, output: kept.append(output)) for block in module.transformer.h
    ]
    module(tokens)
    for handle in handles:
        handle.remove()
    return kept


def transformer_lens_runs(model: Model, prompts: Prompts) -> dict[str, Callable[[], Any]]:
    from transformer_lens import patching

    bridge, device = model.bridge, model.device
    patching.tqdm = lambda rows: rows  # its progress bar would be timed
    clean, corrupt = prompts.clean.to(device), prompts.corrupt.to(device)

    def metric(logits: torch.Tensor) -> torch.Tensor:
        return (logits[:, -1, 1] - logits[:, -1, 0]).mean()

    def heads() -> Any:
        _, cache = bridge.run_with_cache(clean, names_filter=lambda name: name.endswith("hook_z"))
        return patching.get_act_patch_attn_head_out_all_pos(bridge, corrupt, cache, metric)

    def resid() -> Any:
        _, cache = bridge.run_with_cache(clean, names_filter=lambda name: name.endswith("hook_resid_pre"))
        return patching.get_act_patch_resid_pre(bridge, corrupt, cache, metric)

    return {
        "capture resid_post: TransformerLens": lambda: bridge.run_with_cache(
            clean, names_filter=lambda name: name.endswith("hook_resid_post")
        ),
        "heads: TransformerLens": heads,
        "resid by layer, pos: TransformerLens": resid,
    }


def nnsight_runs(model: Model, prompts: Prompts) -> dict[str, Callable[[], Any]]:
    import nnsight

    traced = nnsight.NNsight(copy.deepcopy(model.module))
    clean, corrupt = prompts.clean.to(model.device), prompts.corrupt.to(model.device)

    def capture() -> Any:
        with traced.trace(clean):
            kept = nnsight.save([])
            for block in traced.transformer.h:
                kept.append(block.output)
        return kept

    def heads() -> Any:
        with traced.trace(clean):
            z = nnsight.save([])
            for block in traced.transformer.h:
                z.append(block.attn.c_proj.input)
        found = []
        for layer in range(model.n_layers):
            for head in range(model.n_heads):
                own = slice(head * model.d_head, (head + 1) * model.d_head)
                with traced.trace(corrupt):
                    traced.transformer.h[layer].attn.c_proj.input[:, :, own] = z[layer][:, :, own]
                    logits = traced.lm_head.output.save()
                found.append((logits[:, -1, 1] - logits[:, -1, 0]).mean())
        return torch.stack(found)

    return {"capture resid_post: nnsight": capture, "heads: nnsight": heads}


def flops(run: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def needed(case: Case) -> float:
    """FLOPs of the head sweep if nothing is computed twice: both runs, and for a head of layer l its MLP and all that is above,
    from the first position that differs; in the last layer keys and values of all these positions, the rest of one."""
    model, (n_prompts, n_pos) = case.model, case.prompts.clean.shape
    d, n_layers, n_heads, tail = model.d_model, model.n_layers, model.n_heads, n_pos - n_pos // 2
    row = 2 * d * d  # multiply-adds of a d × d matrix, at one position
    last = 2 * tail * row + 10 * row  # keys and values; query, output and MLP of the position that is read
    above = [(n_layers - 2 - layer) * 12 * tail * row + 8 * tail * row + last for layer in range(n_layers - 1)] + [
        9 * row
    ]
    unembedding = 2 * d * model.d_vocab
    both = (n_layers - 1) * 12 * (n_pos + tail) * row + 2 * (n_pos + tail) * row + 20 * row + 2 * unembedding
    return n_prompts * (both + n_heads * sum(one + unembedding for one in above))


def best_times(case: Case, repeats: int, device: str) -> dict[str, float]:
    """Seconds, the best of several interleaved rounds; the peers' sweeps run in the first rounds only."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    best: dict[str, float] = {}
    for round_ in range(repeats + 1):
        for name, run in case.runs.items():
            if round_ > max(1, repeats // 8) and "interp" not in name and ": " in name and "capture" not in name:
                continue
            for _ in range(3 if "capture" in name or name == "plain forward" else 1):
                started = clock()
                run()
                if device != "cpu":
                    torch.cuda.synchronize()
                if round_ > 0:
                    best[name] = min(best.get(name, float("inf")), clock() - started)
    return best


def report(shape: str, device: str) -> bool:
    """Prints one shape's table; whether all targets are met."""
    case, repeats = make_case(shape, device), SHAPES[shape][3]
    with torch.no_grad():
        times = best_times(case, repeats, device)
        forward, done = flops(case.runs["plain forward"]), flops(case.runs["heads: interp"])
    plain, n_heads = times["plain forward"], case.model.n_layers * case.model.n_heads
    print(f"\n{shape}: plain forward {1e3 * plain:.2f} ms, {n_heads} heads")
    for name, seconds in sorted(times.items()):
        print(f"  {name:42s} {seconds / plain:8.2f} forwards")
    ratios = {
        "capture": times["capture resid_post: interp"] / plain,
        "head": times["heads: interp"] / plain / n_heads,
        "heads": times["heads: TransformerLens"] / times["heads: interp"],
        "resid": times["resid by layer, pos: TransformerLens"] / times["resid by layer, pos: interp"],
    }
    print(f"  FLOPs of all heads, in forwards: done {done / forward:.2f}, needed {needed(case) / forward:.2f}")
    met = {
        name: ratios[name] <= t if name in ("capture", "head") else ratios[name] >= t
        for name, t in TARGETS[shape].items()
    }
    labels = {
        "capture": "capture, forwards",
        "head": "a head, forwards",
        "heads": "heads, times faster than TransformerLens",
        "resid": "residual, times faster than TransformerLens",
    }
    for name, target in TARGETS[shape].items():
        sign = "≤" if name in ("capture", "head") else "≥"
        print(f"  {labels[name]:46s} {ratios[name]:6.2f}  (target {sign} {target})  {'ok' if met[name] else 'MISSED'}")
    return all(met.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", choices=[*SHAPES, []], default=["toy", "mid"])
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    met = {shape: report(shape, arguments.device) for shape in arguments.shapes}
    return 0 if all(met.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
