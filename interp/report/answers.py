"""What each section answers, in one clause: its heading."""

from __future__ import annotations

import pandas as pd

from interp.figures import style
from interp.report.headline import mover_clause
from interp.report.outcomes import jump_frame
from interp.report.rows import rows_of
from interp.report.section import Material


def tally(found: pd.DataFrame) -> str:
    """n and censoring in words."""
    k, n = int(found["jumped"].sum()), len(found)
    rest = found.loc[~found["jumped"], "kind"]
    named = {kind: int((rest == kind).sum()) for kind in ("artefact", "spike", "undetermined")}
    named = {"censored": len(rest) - sum(named.values()), **named}
    others = "".join(f", {count} {word}" for word, count in named.items() if count)
    return f"{k} of {n} {'run' if n == 1 else 'runs'} jumped{others}"


def what_changed(material: Material) -> str:
    """How many runs jumped, of the task with most."""
    if jump_frame(material.jumps).empty or not material.found:
        return "jumps have not been looked for"
    (task, measure), found = max(material.found.items(), key=lambda item: int(item[1]["jumped"].sum()))
    where = f" on {task}" if len(material.found) > 1 else ""
    return f"{tally(found)}: {style.pretty(measure)}{where}"


def what_moved(material: Material, curve: tuple[str, str]) -> str:
    onsets = material.onsets
    return (mover_clause(onsets[onsets["task"] == curve[0]]) if len(onsets) else "") or "indicators around the jump"


def what_carries(material: Material, data: pd.DataFrame) -> str:
    """The components with the largest effects at the end of the runs that jumped (of all, where none did): medians."""
    jumped = {(run, task) for (task, _), found in material.found.items() for run in found.loc[found["jumped"], "run"]}
    pairs = pd.Series(list(zip(data["run"], data["task"], strict=True)), index=data.index)
    part = data[pairs.isin(list(jumped))] if jumped else data
    last = part[part["step"] == part.groupby(["run", "task"])["step"].transform("max")]
    effects = last.groupby("component")["value"].median().dropna()
    best = effects[effects > 0].nlargest(3)
    if best.empty:
        return "no component helps the right answer at the end"
    if not jumped:
        return f"no run jumped; most effect at the end: {', '.join(map(str, best.index))}"
    return f"{', '.join(map(str, best.index))} carr{'ies' if len(best) == 1 else 'y'} most at the end, in this order"


def when_they_jump(material: Material) -> str:
    """Between which steps the midpoints of all jumps lie."""
    found = pd.concat(list(material.found.values())) if material.found else pd.DataFrame({"jumped": [], "midpoint": []})
    middle = found.loc[found["jumped"].astype(bool), "midpoint"].astype(float).dropna()
    if middle.empty:
        return "no run jumped"
    low, high = (style.number(float(end)) for end in (middle.min(), middle.max()))
    spread = f", from {low} to {high}" if low != high else ""
    return f"at step {style.number(float(middle.median()))}{' (median)' if len(middle) > 1 else ''}{spread}"


def strongest(data: pd.DataFrame, curve: tuple[str, str]) -> str:
    """The three strongest edges (nodes, where there are no edges) of the first run's last circuit."""
    own = data[(data["run"] == curve[0]) & (data["task"] == curve[1])]
    last = own[(own["step"] == own["step"].max()) | own["step"].isna()]
    kind = "edge" if (last["kind"] == "edge").any() else "node"
    top = last[(last["kind"] == kind) & (last["score"] > 0)].nlargest(3, "score")
    names = [f"{row.source} → {row.target}" if kind == "edge" else str(row.source) for row in rows_of(top)]
    return (
        f"in {curve[0]}, {', '.join(names)} are strongest at the end"
        if names
        else f"in {curve[0]}, nothing helps at the end"
    )
