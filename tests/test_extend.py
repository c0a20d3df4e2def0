"""The templates of the README, pasted as they stand into a copy of the package, keep their contracts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRACTS = {
    "tasks": "test_tasks.py",
    "indicators": "test_indicators_contract.py",
    "circuits": "test_circuits_methods.py",
    "detectors": "test_jump_detectors.py",
}
"""The contract test of each folder."""


def templates() -> dict[str, str]:
    """Path in the repository -> the block that is to be saved there; a block names its file in its first line."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n# (interp/\S+\.py)\n(.*?)```", text, re.DOTALL)
    section = text.split("## Add an indicator: one file")[1]
    path = re.search(r"Save this as `(\S+\.py)`", section)[1]
    return {**dict(blocks), path: re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package and its tests with every template in its folder."""
    folder = tmp_path_factory.mktemp("extended")
    for part in ("interp", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for path, code in templates().items():
        assert not (folder / path).exists(), f"{path} is there already: the template would overwrite it"
        (folder / path).write_text(code, encoding="utf-8")
    return folder


@pytest.mark.parametrize("kind", CONTRACTS)
def test_every_template_keeps_its_contract(copy: Path, kind: str) -> None:
    names = [Path(path).stem for path in templates() if Path(path).parent.name == kind]
    assert names, f"the README has no template for {kind}"
    contract = ["-m", "pytest", "-p", "no:cacheprovider", f"tests/{CONTRACTS[kind]}", "-k", " or ".join(names)]
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *contract], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= len(names)
