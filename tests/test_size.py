"""The size of the rooms: no file over 300 lines, no function over 50 lines of code (docstrings and the parser apart)."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "interp"
SOURCES = {file.relative_to(PACKAGE).as_posix(): file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py")}
LONGEST_FILE, LONGEST_FUNCTION = 300, 50
DECLARED = {("cli/parser.py", "_parser")}
"""Pure declarations: one call after the other, each of which says one option."""


def _docstrings(node: ast.AST) -> set[int]:
    """The lines of all docstrings in a node, those of what is defined in it included."""
    lines: set[int] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(part):
            first = part.body[0]
            lines |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return lines


def _functions(source: str):
    """Every function of a file, nested ones too, with its number of lines: those of its docstrings do not count."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, len(set(range(node.lineno, (node.end_lineno or 0) + 1)) - _docstrings(node))


def test_docstrings_do_not_count_and_all_other_lines_do():
    source = 'def f(\n    x,\n):\n    """One\n    two."""\n    # why\n    y = x\n\n    def g():\n        "in"\n        return y\n'
    assert list(_functions(source)) == [("f", 8), ("g", 2)]


def test_no_file_is_longer_than_300_lines():
    long = {name: n for name, source in SOURCES.items() if (n := len(source.splitlines())) > LONGEST_FILE}
    assert not long


def test_no_function_is_longer_than_50_lines():
    long = {
        (name, function): n
        for name, source in SOURCES.items()
        for function, n in _functions(source)
        if n > LONGEST_FUNCTION and (name, function) not in DECLARED
    }
    assert not long
