"""For MkDocs: the page `api.md` gets an entry for every public name, by the wing it lives in (a hook), and lines of a docstring
that begin with a name become a list (an extension of griffe, which reads the docstrings)."""

import re

import griffe

import interp

TITLES = {
    "types": "Records",
    "errors": "Records",
    "models": "Models and checkpoints",
    "families": "Models and checkpoints",
    "hooks": "Activations",
    "tasks": "Skills",
    "patching": "Patching",
    "lenses": "Lenses and direct attribution",
    "circuits": "Circuits",
    "measure": "Measuring",
    "engine": "Sweeps and training loops",
    "table": "Tables, jumps, leads",
    "jumps": "Tables, jumps, leads",
    "leads": "Tables, jumps, leads",
    "prevalence": "Tables, jumps, leads",
    "exchange": "From and to other tools",
}
"""Wing -> heading; a wing that is not here is its own heading."""


def on_page_markdown(markdown: str, page, **_) -> str:
    """The page's text, with the entries behind it."""
    if page.file.src_uri != "api.md":
        return markdown
    sections: dict[str, list[str]] = {title: [] for title in TITLES.values()}
    for name, home in interp._HOME.items():
        wing = home.split(".")[1]
        sections.setdefault(TITLES.get(wing, wing), []).append(f"::: {home}.{name}")
    parts = [f"## {title}\n\n" + "\n\n".join(entries) for title, entries in sections.items() if entries]
    return "\n\n".join([markdown, *parts])


FIELD = re.compile(r"^([a-z]\w*(?:, [a-z]\w*)*): ", re.M)
"""`clean, corrupt: token ids of the two runs.` at the left margin; what belongs to it is indented below."""


class Fields(griffe.Extension):
    """Lines `name: what it is` as a list."""

    def on_instance(self, *, obj: griffe.Object, **_) -> None:
        """Called for every class, function and module that was read."""
        if obj.docstring is not None:
            text = FIELD.sub(r"- **\1**: ", obj.docstring.value)
            obj.docstring.value = re.sub(r"(?<=\n)(?=- \*\*)", "\n", text)
