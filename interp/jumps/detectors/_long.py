"""Long curves by some of their checkpoints: a few hundred show any change but its exact place."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray


def chosen(x: Float[ndarray, "point"], most: int) -> Int[ndarray, "some"]:
    """At most `most` checkpoints: even half in count and half in decades, so that neither the dense end of a grid nor its
    sparse one is lost. They are chosen, not averaged: means of many beside means of few would have uneven errors, which
    look like leaps and spikes."""
    place = np.linspace(0, 0.5, len(x)) + 0.5 * (x - x[0]) / (x[-1] - x[0])
    cell = np.minimum((place * most).astype(int), most - 1)
    starts = np.flatnonzero(np.diff(cell, prepend=-1))
    return (starts + np.append(starts[1:], len(x)) - 1) // 2
