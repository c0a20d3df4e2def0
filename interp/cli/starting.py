"""The first files of a study, and what of the machine they will meet: `interp init` and `interp doctor`."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from interp.cli.printing import print_json
from interp.errors import InputError
from interp.figures.text import in_columns

RECIPE = """# The family: models grown here on one task, over sizes and seeds. `interp train recipes/{name}.yaml` grows it
# alone; `interp run {name}.yaml` grows what is missing. Every key: docs/schema.md.
name: {name}
task: {{name: {task}, params: {params}}}
model: {{n_layers: 2, n_heads: 4, act_fn: relu, normalization_type: LN}}   # what all sizes share
sizes:                                       # small models: minutes on a CPU
  d32: {{d_model: 32, d_head: 8, d_mlp: 128}}
  d64: {{d_model: 64, d_head: 16, d_mlp: 256}}
seeds: [0, 1, 2]                             # a claim about leads needs more: about twenty runs that jump
optimizer: {{name: adamw, lr: 1.0e-3, weight_decay: 0.1, warmup: 10}}
batch: 64                                    # sequences a step (full: the whole training split, for grokking)
steps: 2000                                  # the planned end; no run is stopped because it jumped
checkpoints: {{log: 40, every: 100}}           # jumps are seen between checkpoints: log ones early, even ones late
"""

EXPERIMENT = """# The experiment: what is measured of the family. First `interp plan {name}.yaml`, then `interp run {name}.yaml`.
# Every key: docs/schema.md; what can be measured: `interp list measures`; circuit methods: `interp list methods`.
name: {name}
families:
  - recipe: recipes/{name}.yaml
    steps: {{log: 30}}                         # which of the stored checkpoints are looked at; all: every one
tasks:
  - {{name: {task}, params: {params}, n_prompts: 128}}
measures:
  - exact_match                              # behaviour: what jumps
  - log_prob                                 # its continuous companion: is the jump the metric's doing?
  - train_loss                               # trivial measures: a lead has to add to these
  - weight_norm
  - attention_entropy                        # candidates
  - rankme
  - participation_ratio
circuits: {{method: eap-ig, every: 5}}         # where the circuit is looked for: at every fifth of these checkpoints
seed: 0
"""


def do_init(args: argparse.Namespace) -> int:
    """interp init TASK"""
    from interp.cli.commands import task_argument
    from interp.engine.checks import read_experiment
    from interp.tasks import task

    name, params = task_argument(args.task)
    task(name, **params)  # a name or parameter that does not exist is told of here
    own = re.sub(r"\W+", "_", args.name or name.rpartition(":")[2])
    folder = Path(args.out)
    facts = {"name": own, "task": json.dumps(name) if ":" in name else name, "params": json.dumps(params)}
    files = {folder / "recipes" / f"{own}.yaml": RECIPE, folder / f"{own}.yaml": EXPERIMENT}
    for path in files:
        if path.exists():
            raise InputError(f"{path} exists; name another with --name, or another folder with --out")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(**facts), encoding="utf-8")
        print(f"wrote {path}")
    read_experiment(folder / f"{own}.yaml")
    print(f"next: interp plan {folder / f'{own}.yaml'}")
    return 0


EXTRAS = {
    "xarray": "labelled arrays (.to_xarray())",
    "dask": "sweeps over several machines (interp run --dask)",
    "lm_eval": "benchmark tasks of the evaluation harness",
    "gguf": "SmolLM2's tokenizer from a GGUF file",
    "nbclient": "running the notebooks",
    "lightning": "measuring in its Trainer (interp.lightning_callback)",
    "wandb": "results into Weights & Biases (interp export --to wandb:PROJECT)",
    "trackio": "results into trackio (interp export --to trackio:PROJECT)",
}
"""Module -> what it is for: the optional dependencies of pyproject.toml, and tools that are yours."""

CORE = ("torch", "transformers", "transformer-lens", "numpy", "pandas", "plotly")


def do_doctor(args: argparse.Namespace) -> int:
    """interp doctor: exit code 1 where something that is needed is missing."""
    found = diagnosis(args.root)
    if args.json:
        print_json(found)
    else:
        print(_told(found))
    return 1 if None in found["installed"].values() else 0


def diagnosis(root: str | None = None) -> dict[str, Any]:
    """What is installed, which devices there are, and where things are kept."""
    import torch

    from interp.families.hub import hub_cache
    from interp.families.store import store_root

    cuda = torch.cuda.is_available()
    devices = ["cpu", *([f"cuda ({torch.cuda.get_device_name(0)})"] if cuda else [])]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    places = {"checkpoints": store_root(root), "hub cache": hub_cache(), "runs": Path("runs")}
    return {
        "installed": {name: _version(name) for name in CORE},
        "extras": {
            name: {"for": use, "there": importlib.util.find_spec(name) is not None} for name, use in EXTRAS.items()
        },
        "cores": os.cpu_count(),
        "devices": devices,
        "gpu": _GPU[len(devices) > 1],
        "places": {name: {"path": str(path.absolute()), "gb": _size(path)} for name, path in places.items()},
    }


_GPU = {
    False: "none here. Small families are measured on cores, one process each; how long a GPU would take: `interp plan "
    "EXPERIMENT.yaml --gpu a100` (t4, v100, l4, a100, h100, h200)",
    True: "`device: cuda` (mps) in an experiment uses it; `interp verify MODEL --device cuda` compares its numbers with the CPU's",
}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _size(path: Path) -> float | None:
    """GB of files under a folder, links not followed; None where there is no folder."""
    if not path.is_dir():
        return None
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink()) / 1e9


def _told(found: dict[str, Any]) -> str:
    core = [["installed", "version"], *([name, version or "missing"] for name, version in found["installed"].items())]
    extras = [["extra", "there", "for"]]
    extras += [[name, "yes" if each["there"] else "no", each["for"]] for name, each in found["extras"].items()]
    places = [["kept in", "GB", "path"]]
    places += [
        [name, "-" if each["gb"] is None else f"{each['gb']:.3g}", each["path"]]
        for name, each in found["places"].items()
    ]
    machine = f"{found['cores']} cores; {', '.join(found['devices'])}"
    return "\n".join(
        [*in_columns(core), "", *in_columns(extras), "", machine, f"GPU: {found['gpu']}", "", *in_columns(places)]
    )
