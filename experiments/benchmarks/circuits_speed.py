"""What attribution and faithfulness curves cost, in plain forward passes of the underlying model on the same batch.

    python experiments/benchmarks/circuits_speed.py [--peers] [--memory] [--shapes small mid toy] [--repeats 5]

One thread, runs interleaved, best of several; pairs first differ at the middle position. `small_gqa` has the small
shape's width, with key/value heads shared by three. `--peers` adds TransformerLens' edge attribution, one pair (it
takes no more). `--memory` gives the peak of the resident memory above that of the model and one forward pass instead,
each contender in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from interp.circuits import faithfulness, find_circuit
from interp.models import Model, build, wrap
from interp.types import Prompts

GPT2 = {"architecture": "GPT2LMHeadModel", "bos_token_id": 0, "eos_token_id": 0}
SHAPES = {
    "small": ({**GPT2, "n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257, "n_positions": 64}, 8, 64),
    "mid": ({**GPT2, "n_layer": 4, "n_embd": 256, "n_head": 8, "vocab_size": 512, "n_positions": 64}, 32, 32),
    "toy": ({**GPT2, "n_layer": 2, "n_embd": 128, "n_head": 4, "vocab_size": 128, "n_positions": 64}, 8, 16),
    "small_gqa": (
        {
            "architecture": "LlamaForCausalLM", "num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12,
            "num_key_value_heads": 4, "intermediate_size": 2048, "vocab_size": 50257, "max_position_embeddings": 64,
            "bos_token_id": 0, "eos_token_id": 0,
        },
        8,
        64,
    ),
}  # fmt: skip


def setup(shape: str) -> tuple[Model, Prompts]:
    """The model with random weights, and pairs that first differ in the middle."""
    config, n_prompts, n_pos = SHAPES[shape]
    model = wrap(build(config, seed=0))
    rng = torch.Generator().manual_seed(0)
    vocab = int(config["vocab_size"])
    clean, corrupt = (torch.randint(vocab, (n_prompts, n_pos), generator=rng) for _ in range(2))
    corrupt[:, : n_pos // 2] = clean[:, : n_pos // 2]
    answer = torch.randint(vocab - 1, (n_prompts,), generator=rng)
    return model, Prompts(clean=clean, corrupt=corrupt, answer=answer, wrong=answer + 1)


def first_of(prompts: Prompts, n_pos: int) -> Prompts:
    """One pair, its last positions."""
    return Prompts(
        clean=prompts.clean[:1, -n_pos:],
        corrupt=prompts.corrupt[:1, -n_pos:],
        answer=prompts.answer[:1],
        wrong=prompts.wrong[:1],
    )


def contenders(model: Model, prompts: Prompts, *, peers: bool) -> dict[str, Callable[[], object]]:
    """Name -> what is timed; `forward` is the unit."""
    circuit = find_circuit(model, prompts, "random")

    def forward() -> None:
        with torch.no_grad():
            model(prompts.clean)

    found: dict[str, Callable[[], object]] = {
        "forward": forward,
        "eap": lambda: find_circuit(model, prompts, "eap"),
        "eap-ig, 5 steps": lambda: find_circuit(model, prompts),
        "faithfulness, 10 sizes": lambda: faithfulness(model, prompts, circuit),
    }
    if peers:
        from transformer_lens.tools.analysis.attribution_patching import EdgeAttributionConfig, attribution_patch

        one = first_of(prompts, min(32, prompts.clean.shape[1]))

        def one_forward() -> None:
            with torch.no_grad():
                model(one.clean)

        def difference(logits: torch.Tensor) -> torch.Tensor:
            return logits[0, -1, one.answer[0]] - logits[0, -1, one.wrong[0]]

        bridge, config = model.bridge, EdgeAttributionConfig(granularity="edge")
        found |= {
            "forward, one pair": one_forward,
            "TransformerLens edges, one pair": lambda: attribution_patch(
                bridge, one.clean, one.corrupt, difference, config=config
            ),
            "eap, one pair": lambda: find_circuit(model, one, "eap"),
        }
    return found


def best_times(timed: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Seconds of CPU time, the best of interleaved runs."""
    best = dict.fromkeys(timed, float("inf"))
    for run in timed.values():
        run()
    for _ in range(repeats):
        for name, run in timed.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return best


def peak() -> float:
    """The largest resident memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def print_memory(shape: str, name: str) -> None:
    """In this process: the peak that one contender adds."""
    model, prompts = setup(shape)
    with torch.no_grad():
        model(prompts.clean)
    run, before = contenders(model, prompts, peers="one pair" in name)[name], peak()
    run()
    print(f"  {name:34s} {peak() - before:8.0f} MiB above {before:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=["small", "mid", "toy", "small_gqa"], choices=SHAPES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for shape in args.shapes:
        if args.only:
            print_memory(shape, args.only)
            continue
        if args.memory:
            print(f"\n{shape}", flush=True)
            names = ["eap", "eap-ig, 5 steps", "faithfulness, 10 sizes"]
            for name in [*names, "eap, one pair", "TransformerLens edges, one pair"] if args.peers else names:
                subprocess.run([sys.executable, __file__, "--shapes", shape, "--only", name], check=True)
            continue
        model, prompts = setup(shape)
        times = best_times(contenders(model, prompts, peers=args.peers), args.repeats)
        print(f"\n{shape}: {tuple(prompts.clean.shape)} tokens, forward {1e3 * times['forward']:.1f} ms")
        for name, seconds in times.items():
            unit = times["forward, one pair"] if "one pair" in name else times["forward"]
            print(f"  {name:34s} {seconds / unit:7.2f} forwards", flush=True)


if __name__ == "__main__":
    main()
