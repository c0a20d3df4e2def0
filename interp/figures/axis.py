"""Where steps stand on a logarithmic axis: one rule for figures, tables and judgements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def zero_place(steps: Iterable[float]) -> float:
    """Where steps ≤ 0 stand: at half the first positive step (at 1 where there is none, whose logarithm is 0)."""
    values = np.asarray(steps if isinstance(steps, np.ndarray) else list(steps), dtype=float)
    positive = values[values > 0]
    return float(positive.min()) / 2 if positive.size else 1.0


def placed(steps: Sequence[float] | np.ndarray, zero: float) -> np.ndarray:
    """Steps as they stand on the axis, those ≤ 0 at `zero`."""
    values = np.asarray(steps, dtype=float)
    return np.where(values > 0, values, np.where(np.isnan(values), np.nan, zero))
