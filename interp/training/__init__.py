"""Growing a family: a recipe in, checkpoints on a dense schedule out; deterministic, resumable."""

from interp.families.planned import PlannedRun, load_recipe, planned_runs
from interp.families.recipe import Recipe
from interp.families.schedule import schedule
from interp.training.pool import grow_runs, refuse_ungrowable, train

__all__ = ["PlannedRun", "Recipe", "grow_runs", "load_recipe", "planned_runs", "refuse_ungrowable", "schedule", "train"]
