"""One version everywhere, typed, and a README's experiment that has every key."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

import interp

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_version_is_the_same_wherever_it_stands() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["version"] == interp.__version__ == citation["version"]
    assert f"## {interp.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "interp" / "py.typed").exists()
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_every_extra_that_is_asked_for_is_pinned() -> None:
    pinned = {
        re.split("==", line)[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    }
    asked = [need for needs in PROJECT["optional-dependencies"].values() for need in needs]
    names = {re.match(r"[\w-]+", need)[0].lower().replace("_", "-") for need in [*PROJECT["dependencies"], *asked]}
    assert names - pinned <= {"interp", "torch", "lm-eval"}  # lm-eval: whichever the user has


def test_the_readme_s_experiment_has_every_key() -> None:
    from interp.engine.config import CircuitSpec, Experiment

    text = re.search(
        r"^```yaml\n# whole.yaml\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )
    whole = yaml.safe_load(text[1])
    assert set(whole) == {field.name for field in fields(Experiment)}
    assert {field.name for field in fields(CircuitSpec)} - set(whole["circuits"]) <= {"reference"}


def test_the_readme_s_experiment_is_planned(tmp_path: Path, monkeypatch, capsys) -> None:
    from interp.cli import main

    text = re.search(
        r"^```yaml\n# whole.yaml\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )
    monkeypatch.chdir(tmp_path)
    Path("whole.yaml").write_text(text[1], encoding="utf-8")
    assert main(["plan", "whole.yaml"]) == 0
    capsys.readouterr()


@pytest.mark.slow
def test_the_wheel_works_outside_of_the_repository(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    left_out = shutil.ignore_patterns(
        ".*", "checkpoints", "runs", "site", "build", "*.egg-info", "__pycache__", "tests"
    )
    shutil.copytree(ROOT, copy, ignore=left_out)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path / "dist"),
        str(copy),
    ]
    done = subprocess.run(build, capture_output=True, text=True)
    if "No matching distribution" in done.stderr or "Could not find a version" in done.stderr:
        pytest.skip("setuptools, which builds it, is not to be had here")
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert wheel.name == f"interp-{interp.__version__}-py3-none-any.whl"
    there = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(there)
    assert (there / "interp" / "py.typed").exists()
    assert not (there / "tests").exists()
    environment = {**os.environ, "PYTHONPATH": str(there)}
    script = (
        "import interp; print(interp.__file__); from interp.cli import main; raise SystemExit(main(['plan', 'mini']))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith(str(there))
