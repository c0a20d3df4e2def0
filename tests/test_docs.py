"""What the pages say runs, what they link to is there, and every page is in the site."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import interp

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
RUN = [
    pytest.param("tutorial", marks=pytest.mark.slow),
    pytest.param("own-family", marks=pytest.mark.slow),
    "own-training",
    "extend",
    "big-model",
]
"""Pages whose Python blocks are one script."""


def test_every_python_block_is_python() -> None:
    for page in PAGES:
        for block in re.findall(r"^```python[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
            ast.parse(block, filename=page.name)


def test_every_name_of_the_library_that_a_page_shows_is_there() -> None:
    for page in PAGES:
        for name in set(re.findall(r"\binterp\.([A-Za-z_]\w*)", page.read_text(encoding="utf-8"))):
            assert hasattr(interp, name) or importlib.util.find_spec(f"interp.{name}"), f"{page.name}: interp.{name}"


def test_every_path_that_a_page_names_is_there() -> None:
    templates = (ROOT / "README.md").read_text(encoding="utf-8")  # pages take its blocks in
    for page in PAGES:
        text = page.read_text(encoding="utf-8") + templates
        for path in set(re.findall(r"`((?:interp|experiments|tests)/[\w./-]+)`", text)):
            template = f"# {path}\n" in text or f"Save this as `{path}`" in text or "NAME" in path
            assert template or (ROOT / path).exists(), f"{page.name} names {path}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as MkDocs and code hosts make them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", head.lower()).strip()) for head in heads}


def test_no_link_is_dead() -> None:
    for page in PAGES:
        prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            if target.startswith(("https://", "http://")):
                continue
            path, _, anchor = target.partition("#")
            there = page.parent / path if path else page
            assert there.exists(), f"{page.name} links to {target}"
            assert not anchor or anchor in anchors(there), f"{page.name} links to {target}"


def test_the_site_has_every_page() -> None:
    listed = set(re.findall(r"[\w-]+\.md", str(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])))
    assert listed == {page.name for page in DOCS.glob("*.md")}, "mkdocs.yml, nav: one line for each page"


@pytest.mark.parametrize("name", RUN)
def test_the_page_s_script_runs(name: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / f"{name}.md").read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    script = [sys.executable, "-c", "\n".join(blocks)]  # no file, as in a notebook: workers need no guard
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_readme_shows_every_wing() -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Where things are")[1]
    shown = {name for row in re.findall(r"^\| (`.*?) \|", section, re.M) for name in re.findall(r"`(\w+)`", row)}
    there = {path.stem for path in (ROOT / "interp").iterdir() if path.is_dir() or path.suffix == ".py"}
    assert shown == {name for name in there if not name.startswith("_")}


@pytest.mark.slow
def test_the_readme_s_script_runs(tmp_path: Path) -> None:
    """On the smallest family there is, up to what needs a finished run directory."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    code = next(block for block in blocks if "interp.family(" in block).split("jumps = interp.find_jumps")[0]
    for there, here in (
        ("grokking_demo", "grokking_mini"),
        ("d40", "d16"),
        ("p=53", "p=11"),
        ("=(0.01, 0.1, 1.0)", "=(0.1, 1.0)"),
    ):
        assert there in code
        code = code.replace(there, here)
    recipe = str(ROOT / "experiments" / "recipes" / "grokking_mini.yaml")
    grow = f"from interp.cli import main; assert main(['train', {recipe!r}, '--workers', '1']) == 0"
    for script in (grow, code):
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package)
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    page = (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
    missing = [name for name, home in interp._HOME.items() if f'id="{home}.{name}"' not in page]
    assert not missing
