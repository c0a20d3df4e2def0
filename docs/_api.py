"""Hook of MkDocs: the page `api.md` gets an entry for every public name, by the wing it lives in."""

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
