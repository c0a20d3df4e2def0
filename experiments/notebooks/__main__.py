"""Run the notebooks and keep their outputs, light: `python -m experiments.notebooks [NAME …]` (`make notebooks`).

Beside every interactive figure stands a static image of it, taken in a headless Chromium, because code hosts and exported pages
show nothing else. Nothing that is large is kept: of a text its first lines, of a figure the figure without the library.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
FIGURE = "application/vnd.plotly.v1+json"
NEEDS = {"pretrained_model": HERE.parents[1] / "checkpoints" / "SmolLM2-135M-Instruct"}
"""Folders that a notebook reads; this one `make smollm2` makes."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTH, HEIGHT = 860, 420  # of the image, in pixels; a figure's own height goes before
MOST_TEXT = 4000  # characters of one text
MOST_BYTES = 1_500_000  # of a whole notebook


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with fresh outputs."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=900, kernel_name="python3", resources=where).execute()
    return notebook


def lighten(notebook: nbformat.NotebookNode, browser: str) -> None:
    """Keep of each output what a reader sees, and draw each figure."""
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":  # warnings and progress are of the machine that ran it
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = output.text[:MOST_TEXT]
            data = output.get("data", {})
            if FIGURE in data:
                output.data = {FIGURE: data[FIGURE], "image/png": drawn(data[FIGURE], browser)}
            elif "text/plain" in data:
                data["text/plain"] = data["text/plain"][:MOST_TEXT]


def drawn(figure: dict, browser: str) -> str:
    """A figure's image as base64 of a PNG."""
    from plotly.offline import get_plotlyjs

    layout = figure.get("layout", {})
    width, height = int(layout.get("width") or WIDTH), int(layout.get("height") or HEIGHT)
    plot = json.dumps({"data": figure["data"], "layout": {**layout, "width": width, "height": height}})
    plot = plot.replace("</", "<\\/")
    page = (
        f"<meta charset='utf-8'><body style='margin:0;background:white'><div id='f'></div>"
        f"<script>{get_plotlyjs()}</script><script>var p={plot};"
        "Plotly.newPlot('f',p.data,p.layout,{staticPlot:true})</script>"
    )
    with tempfile.TemporaryDirectory() as folder:
        source, image = Path(folder, "figure.html"), Path(folder, "figure.png")
        source.write_text(page, encoding="utf-8")
        command = [
            browser,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--screenshot={image}",
        ]
        command += [
            f"--window-size={width},{height}",
            f"--user-data-dir={folder}/profile",
            "--virtual-time-budget=8000",
        ]
        subprocess.run([*command, source.as_uri()], check=True, capture_output=True, timeout=180)
        return base64.b64encode(image.read_bytes()).decode()


def main(names: list[str]) -> int:
    """Every notebook, or those named."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        print(f"no browser to draw images with; looked for {', '.join(BROWSERS)}", file=sys.stderr)
        return 2
    os.environ["PLOTLY_RENDERER"] = "plotly_mimetype"
    for path in sorted(HERE.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        if path.stem in NEEDS and not NEEDS[path.stem].is_dir():
            print(f"{path.name}: left as it is, {NEEDS[path.stem]} is not there (make smollm2)", file=sys.stderr)
            continue
        notebook = executed(path)
        lighten(notebook, browser)
        text = nbformat.writes(notebook)
        if len(text.encode()) > MOST_BYTES:
            print(f"{path.name}: {len(text.encode())} bytes, more than {MOST_BYTES}", file=sys.stderr)
            return 1
        path.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
        print(f"{path.name}: {len(text.encode()) // 1000} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
