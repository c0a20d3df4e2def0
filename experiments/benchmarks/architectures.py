"""Every architecture with a map of sites against plain hooks on the plain Hugging Face module: served, refused or wrong.

    OMP_NUM_THREADS=1 python -m experiments.benchmarks.architectures [NAME …] [--seeds 1] [--out FILE.md]

Tiny models with random weights, of every mapped architecture under each of the settings that its map lists. A column is the
largest error of all its checks, relative to the largest number expected; `refused` has the reason. What is held against what:

wrap         logits of the handle, also padded on the left and on the right, against the module's own
capture      every site against plain hooks, the module's own hidden states, and what must add up
patch        interp.patch at every site by layer, head or position, on both roads, against hooks that put the values in
pattern      patterns against the module's eager attentions; a patched one against (other pattern) × values put into z
attribution  the parts' sum against the logit difference; the lens against the module with its later blocks skipped
circuit      each head and MLP cut off in the graph against hooks that exchange it; EAP against the slope of masked runs; the
             whole and the empty circuit against the two runs
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import interp
from experiments.benchmarks._architecture_checks import CHECKS, TOLERANCE
from interp.models.tiny import tiny_configs, tiny_model

COLUMNS = tuple(CHECKS)


def main(argv: list[str]) -> int:
    """Prints the table; 1 if any number is wrong or any error raw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only names that begin so")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(argv)
    rows, bad = [f"| architecture | {' | '.join(COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"], 0
    served: dict[str, bool] = {}
    print("\n".join(rows))
    for name, config in tiny_configs():
        if asked.names and not any(name.startswith(one) for one in asked.names):
            continue
        cells = examine(config, range(asked.seeds))
        bad += sum(cell.startswith(("WRONG", "RAW")) for cell in cells.values())
        kind = str(config["architecture"])
        served[kind] = served.get(kind, True) and all(cell[0].isdigit() for cell in cells.values())
        rows.append(f"| {name} | {' | '.join(cells[column] for column in COLUMNS)} |")
        print(rows[-1], flush=True)
    rows.append(f"\n{len(served)} architectures, {sum(served.values())} fully served, {bad} cells wrong or raw.")
    print(rows[-1])
    if asked.out is not None:
        asked.out.write_text("\n".join(rows) + "\n")
    return int(bad > 0)


def examine(config: dict[str, Any], seeds: range = range(1)) -> dict[str, str]:
    """Column -> the largest error, or why there is none."""
    found = {}
    for column in COLUMNS:
        try:
            worst = max(max(CHECKS[column](tiny_model(config, seed))) for seed in seeds)
            found[column] = f"{worst:.0e}" if worst <= TOLERANCE else f"WRONG {worst:.1e}"
        except interp.InputError as refusal:
            found[column] = f"refused: {refusal}"
        except Exception as error:
            found[column] = f"RAW {type(error).__name__}: {str(error)[:120]}"
    return found


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
