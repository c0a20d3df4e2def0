"""What the pages show is pasted into a folder and run: recipe, experiment, card and spec."""

import json
import re
from pathlib import Path

import pytest

from interp.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```yaml\n# (?P<name>[\w/]+\.yaml)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
"""A block whose first line is the name of a file is that file."""


@pytest.fixture
def pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with every file that the pages show."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for page in PAGES:
        for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
            path = tmp_path / block["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            assert not path.exists() or path.read_text() == block["text"], f"{page.name}: two files {block['name']}"
            path.write_text(block["text"])
    return tmp_path


def test_the_recipe_and_the_experiment_run(pasted, capsys):
    assert main(["train", "tiny.yaml", "--workers", "1"]) == 0
    assert {path.parent.name for path in pasted.rglob("checkpoints/tiny/d8/few/seed0/step*/manifest.json")} == {
        "step0",
        "step2",
        "step4",
    }
    assert main(["plan", "first.yaml"]) == 0
    assert main(["run", "first.yaml", "--workers", "1", "--no-report"]) == 0
    capsys.readouterr()
    assert main(["export", "runs/first"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert sum(",exact_match," in row for row in rows) == 2 * 3


def test_the_card_lists_its_checkpoints(pasted, capsys):
    assert main(["list", "checkpoints", "lab.yaml"]) == 0
    found = capsys.readouterr().out.split()
    assert len(found) == 2 * 24
    assert found[-1].endswith(":31m/base/seed0@step20000")


def test_the_spec_is_read(pasted):
    from interp.leads.spec import read_spec

    assert read_spec("spec.yaml").rates == (0.05, 0.1)


def test_the_paired_design_trains(pasted):
    shrunk = Path("clamped.yaml").read_text()
    for there, here in (
        ("[0, 1, 2, 3, 4, 5, 6, 7]", "[0]"),
        ("steps: 1200", "steps: 4"),
        ("batch: 64", "batch: 4"),
        ("{log: 40, every: 25}", "{every: 4}"),
    ):
        assert there in shrunk
        shrunk = shrunk.replace(there, here)
    Path("clamped.yaml").write_text(shrunk)
    Path("causes.yaml").write_text(Path("causes.yaml").read_text().replace("256", "4"))
    assert main(["train", "clamped.yaml", "--workers", "1"]) == 0
    drawn = json.loads(Path("checkpoints/clamped/d48/clamp.placebo=1/seed0/step4/manifest.json").read_text())
    assert drawn["interventions"][0]["placebo"] == {"offset": 1}
    assert main(["plan", "causes.yaml"]) == 0
    assert main(["run", "causes.yaml", "--workers", "1", "--no-report"]) == 0
    block = re.search(r"^```python\n(.*?)^```", (ROOT / "docs/interventions.md").read_text(), re.MULTILINE | re.DOTALL)
    there = {}
    exec(block[1], there)
    assert [row["dose"] for row in there["found"].effects if not row["is_placebo"]] == [0.25, 0.5, 1]
    assert {row["n_neither"] for row in there["found"].effects} == {1}
