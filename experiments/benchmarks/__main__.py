"""Every benchmark in turn, or those named: `python -m experiments.benchmarks [training swap …]`. Tables go to standard output."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(names: list[str]) -> int:
    """Run each benchmark in a process of its own; returns how many failed."""
    known = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    unknown = sorted(set(names) - set(known))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names or known:
        print(f"\n== {name}", flush=True)
        failed += (
            subprocess.run([sys.executable, "-m", f"experiments.benchmarks.{name}"], cwd=HERE.parents[1]).returncode
            != 0
        )
    return failed


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
