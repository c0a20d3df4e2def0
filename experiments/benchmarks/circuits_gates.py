"""What `validate_circuit` says of circuits whose gates were built in: is every group of backups and of cancelling parts named, and
no other?

    python -m experiments.benchmarks.circuits_gates [--seeds 2] [--prompts 48] [--methods eap-ig acdc exact] [--unseen]

A verdict is right where `backups`, `cancelling` and `negative` are exactly those that the gate states. One line a gate, how
many of its verdicts are right by method; then the share over all, the median cost in runs of the prompts, and on how many
random models, in which nothing was built, a group is named. `--unseen`: gates that the test-bed does not have, without a norm and
behind LayerNorm and RMSNorm, one verdict each.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import interp
from experiments.benchmarks._unseen_gates import NORM_ORS, UNSEEN, norm_or
from interp.circuits.validation import Validation
from interp.models import build
from interp.testbed.built import Built, build_program
from interp.testbed.normed import with_norm
from interp.testbed.programs.gates import GATES, Gate, named_parts

RANDOM = {
    "GPT2LMHeadModel": dict(n_embd=24, n_layer=2, n_head=4, n_positions=16),
    "GPTNeoXForCausalLM": dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32),
    "LlamaForCausalLM": dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32),
}
VOCAB, TOP = 23, 8


def is_right(gate: Gate, built: Built, found: Validation) -> bool:
    return (
        set(found.backups) == {named_parts(built, group) for group in gate.backups}
        and set(found.cancelling) == {named_parts(built, group) for group in gate.cancelling}
        and set(found.negative) == set(named_parts(built, gate.negative))
    )


def validated(built: Built, method: str, n_prompts: int, seed: int) -> Validation:
    prompts, held_out = (
        built.prompts(n_prompts, rng=torch.Generator().manual_seed(1000 * part + seed)) for part in (0, 1)
    )
    circuit = interp.find_circuit(built.model, prompts, method=method)
    # ACDC decides what is in; of a ranking its best edges are taken.
    chosen = circuit if method == "acdc" else circuit.top(TOP)
    return interp.validate_circuit(built.model, held_out, chosen, minimal=False)


def random_validation(architecture: str, scale: float, seed: int) -> Validation:
    """A model of random weights on the pair of answers that it tells best apart."""
    config = {"architecture": architecture, "vocab_size": VOCAB, "bos_token_id": 0, "eos_token_id": 0}
    model = interp.wrap(build({**config, **RANDOM[architecture], "initializer_range": scale}, seed=seed))
    rng = torch.Generator().manual_seed(seed)
    clean = torch.randint(1, VOCAB, (32, 7), generator=rng)
    corrupt = clean.clone()
    corrupt[:, 3] = 1 + (clean[:, 3] + torch.randint(VOCAB - 3, (32,), generator=rng)) % (VOCAB - 1)
    with torch.no_grad():
        moved = model.module(clean).logits[:, -1] - model.module(corrupt).logits[:, -1]
    prompts = interp.Prompts(clean=clean, corrupt=corrupt, answer=moved.argmax(-1), wrong=moved.argmin(-1))
    circuit = interp.find_circuit(model, prompts, method="eap").top(12)
    return interp.validate_circuit(model, prompts, circuit, minimal=False)


def unseen(n_prompts: int) -> None:
    """Verdicts on the gates of `_unseen_gates`; those that are wrong are named."""
    gates = [(make(), name, kind) for kind in (None, "LN", "RMS") for name, make in UNSEEN.items()]
    gates += [(norm_or(scales), name, kind) for kind in ("LN", "RMS") for name, scales in NORM_ORS.items()]
    right, passes = [], []
    for at, (gate, name, kind) in enumerate(gates):
        built = build_program(gate.program, seed=at % 3, n_distractors=1)
        if kind is not None:
            built = with_norm(built, constant=1.0 if name in NORM_ORS else 30.0, kind=kind)
        method = ("acdc", "eap-ig")[at % 2]
        found = validated(built, method, n_prompts, at % 3)
        right.append(is_right(gate, built, found))
        passes.append(found.passes)
        if not right[-1]:
            print(
                f"wrong: {name} {kind or 'without a norm'}, {method}: {found.backups} {found.cancelling} {found.negative}"
            )
    print(f"right: {sum(right)} of {len(right)}; cost {np.median(passes):.0f} runs, at most {max(passes):.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--methods", nargs="+", default=["eap-ig", "acdc", "exact"])
    parser.add_argument("--unseen", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.unseen:
        return unseen(args.prompts)
    right: list[bool] = []
    passes: list[float] = []
    print(f"{'':18s}" + "".join(f"{method:>10s}" for method in args.methods), flush=True)
    for name, make in GATES.items():
        row = []
        for method in args.methods:
            for seed in range(args.seeds):
                gate = make()
                built = build_program(gate.program, seed=seed)
                found = validated(built, method, args.prompts, seed)
                row.append(is_right(gate, built, found))
                passes.append(found.passes)
        right += row
        counts = np.reshape(row, (len(args.methods), args.seeds)).sum(1)
        print(f"{name:18s}" + "".join(f"{n:>6d} of {args.seeds}" for n in counts), flush=True)
    print(f"right: {sum(right)} of {len(right)} ({np.mean(right):.1%}); median cost {np.median(passes):.0f} runs")
    kinds = [(kind, scale) for kind in RANDOM for scale in (0.1, 0.3)]
    false = [bool(random_validation(*kind, seed).backups) for kind in kinds for seed in range(4 * args.seeds)]
    print(f"random models with a group of backups: {sum(false)} of {len(false)}")


if __name__ == "__main__":
    main()
