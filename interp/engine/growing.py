"""Growing what an experiment needs, before its units are known."""

from __future__ import annotations

from pathlib import Path

from interp.engine.config import Experiment
from interp.engine.units import chosen_runs, reference_of
from interp.errors import InputError, unknown


def grow(experiment: Experiment, *, root: str | Path | None = None, workers: int | None = None) -> dict[str, str]:
    """Trains the recipes' runs that are missing; those that could not be grown to their end, with the reason.

    Raises:
        InputError: a family or a recipe is wrong; before the first run is grown.
    """
    from interp.training import grow_runs

    _refuse_early(experiment, root)
    failed: dict[str, str] = {}
    for spec in experiment.families:
        if spec.recipe is not None:
            failed |= grow_runs(spec.recipe, root=root, workers=workers, only=chosen_runs(spec))
    return failed


def _refuse_early(experiment: Experiment, root: str | Path | None) -> None:
    """Raises InputError for a family or a reference that is not there, or cannot be grown, before the first of them is grown."""
    from interp.families import family
    from interp.training import refuse_ungrowable

    grown = [
        refuse_ungrowable(spec.recipe, root=root, only=chosen_runs(spec)) for spec in experiment.families if spec.recipe
    ]
    for spec in experiment.families:
        if (name := spec.name or spec.hub) is not None and name not in grown:
            sizes = family(name, root=root).sizes
            for size in spec.sizes or ():
                if size not in sizes:
                    raise unknown(f"size of {name}", size, sizes)
    wanted = experiment.circuits.reference if experiment.circuits is not None else None
    if wanted is not None and wanted.partition(":")[0] not in grown:
        try:
            reference_of(experiment, root)
        except InputError as error:
            raise InputError(f"experiment {experiment.name!r}, circuits.reference: {error}") from None
