"""The house: a tower of wings, each standing on those below it; no circle of imports, those in functions counted."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "interp"
TOWER = (
    ("types", "errors", "seeds", "plugins", "documents", "files", "processes"),
    ("figures",),
    ("table",),
    ("exchange",),
    ("models",),
    ("hooks",),
    ("tasks",),
    ("families",),
    ("training",),
    ("measure",),
    ("patching",),
    ("circuits",),
    ("testbed",),
    ("indicators",),
    ("engine",),
    ("jumps",),
    ("prevalence",),
    ("leads",),
    ("report",),
    ("lenses",),
    ("cli",),
)
"""From the ground up. Wings of one floor do not know each other."""

NO_TORCH = ("figures", "table", "exchange", "jumps", "prevalence", "leads", "report")
MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in PACKAGE.rglob("*.py")
}


def _imported(name: str, file: Path) -> set[str]:
    """Every module of the package that a file imports, wherever the import stands in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


def _known(name: str) -> str:
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


IMPORTS = {name: {_known(other) for other in _imported(name, file)} - {"", name} for name, file in MODULES.items()}


def _wing(name: str) -> str:
    return [*name.split("."), ""][1]


def test_at_most_eight_files_lie_loose():
    assert len(list(PACKAGE.glob("*.py"))) <= 8


def test_every_wing_has_its_floor():
    named = {wing for floor in TOWER for wing in floor} | {"", "__main__"}
    assert {_wing(name) for name in MODULES} <= named


@pytest.mark.parametrize("floor", range(len(TOWER)), ids=lambda floor: "+".join(TOWER[floor]))
def test_a_wing_stands_on_those_below_it(floor):
    below = {wing for lower in TOWER[: floor + (floor == 0)] for wing in lower}
    for name in MODULES:
        if _wing(name) in TOWER[floor]:
            above = {other for other in IMPORTS[name] if _wing(other) not in below | {"", _wing(name)}}
            assert not above, f"{name} imports from above: {sorted(above)}"


def test_no_circle_of_imports():
    # A package's __init__ is not followed from inside of the package: it only gathers the names of its files.
    graph = {
        name: {other for other in others if not name.startswith(f"{other}.") and other != "interp"}
        for name, others in IMPORTS.items()
    }
    left = dict(graph)
    while leaves := [name for name, others in left.items() if not others & left.keys()]:
        for name in leaves:
            del left[name]
    while tops := [name for name in left if not any(name in others for others in left.values())]:
        for name in tops:
            del left[name]
    assert not left, f"in or between circles: {sorted(left)}"


def test_what_judges_a_table_needs_no_torch():
    for name in MODULES:
        if _wing(name) in NO_TORCH:
            outside = {other.partition(".")[0] for other in _imported(name, MODULES[name])}
            assert not outside & {"torch", "transformers", "transformer_lens"}, name
