"""Every notebook runs from top to bottom, and is committed with light outputs and an image of each figure."""

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "experiments" / "notebooks").glob("*.ipynb"))
SMOLLM2 = Path(__file__).parents[1] / "checkpoints" / "SmolLM2-135M-Instruct"
FIGURE = "application/vnd.plotly.v1+json"
MOST_BYTES = 1_500_000


def outputs_of(notebook) -> list:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path):
    if path.stem == "pretrained_model" and not SMOLLM2.is_dir():
        pytest.skip("needs the folder that `make smollm2` makes")
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": tmp_path}}
    client.NotebookClient(notebook, timeout=900, kernel_name="python3", resources=where).execute()
    outputs = outputs_of(notebook)
    assert not [output for output in outputs if output.output_type == "error"]
    assert any(FIGURE in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_with_its_outputs(path):
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < MOST_BYTES
    ran = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert ran == list(range(1, len(ran) + 1)), "not run from top to bottom: make notebooks"
    outputs = outputs_of(notebook)
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    figures = [output.data for output in outputs if FIGURE in output.get("data", {})]
    assert figures
    assert all(len(data["image/png"]) > 5000 and "text/html" not in data for data in figures)
    last = notebook.cells[-1]
    assert last.cell_type == "markdown"
    assert last.source.startswith("## What was learned")
