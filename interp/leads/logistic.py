"""Logistic regression with a ridge penalty: one model, and many small ones on top of a fixed one at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

IN_CACHE = 2**17
"""Numbers of a design that are gone through at a time (half a megabyte in single precision), so that they stay near the core."""


def log_loss(
    logit: Float[np.ndarray, "*shape row"], label: Float[np.ndarray, "row"]
) -> Float[np.ndarray, "*shape row"]:
    """−ln P(label), in nats, from the logit of P(label = 1)."""
    return np.logaddexp(0, logit) - label * logit


def sigmoid(logit: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """1 / (1 + exp(−logit)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * logit))


def fit(
    design: Float[np.ndarray, "row column"],
    label: Float[np.ndarray, "row"],
    penalty: Float[np.ndarray, "column"],
    start: Float[np.ndarray, "column"] | None = None,
) -> Float[np.ndarray, "column"]:
    """The minimum over w of Σ log_loss(design·w) + ½ Σ penalty·w², by Newton's method with step halving.

    The minimum is unique and finite where every column is penalised; an intercept may carry a tiny penalty.
    """
    weight = np.zeros(design.shape[1]) if start is None else start.copy()
    logit = design @ weight
    value = log_loss(logit, label).sum() + 0.5 * penalty @ weight**2
    for _ in range(50):
        p = sigmoid(logit)
        gradient = design.T @ (p - label) + penalty * weight
        hessian = (design * (p * (1 - p))[:, None]).T @ design
        hessian[np.diag_indices_from(hessian)] += penalty
        move = np.linalg.solve(hessian, gradient)
        scale = 1.0
        while True:
            new = weight - scale * move
            new_logit = design @ new
            new_value = log_loss(new_logit, label).sum() + 0.5 * penalty @ new**2
            if new_value <= value or scale < 1e-6:
                break
            scale /= 2
        done = value - new_value <= 1e-8 * (1 + abs(value))
        weight, logit, value = new, new_logit, new_value
        if done:
            break
    return weight


def fit_many(
    design: Float[np.ndarray, "model column row"],
    label: Float[np.ndarray, "row"],
    offset: Float[np.ndarray, "row"],
    penalty: float,
    *,
    iterations: int = 12,
    reach: float = 2.0,
) -> Float[np.ndarray, "model column"]:
    """For each model the minimum over w of Σ log_loss(offset + w·design) + ½ penalty Σ w², by Newton steps of length
    ≤ `reach`, as many for each as the slowest needs.

    Columns are expected on a common scale of about 1; the arithmetic is in the precision of `design`.
    """
    n_models, n_columns, n_rows = design.shape
    weight, gradient = np.zeros((2, n_models, n_columns), design.dtype)
    hessian = np.empty((n_models, n_columns, n_columns), design.dtype)
    ridge = (penalty * np.eye(n_columns)).astype(design.dtype)
    size = min(n_models, 1 + IN_CACHE // (n_columns * n_rows))
    room, p = np.empty_like(design[:size]), sigmoid(offset)[None]
    for step in range(iterations):
        for first in range(0, n_models, size):
            some = slice(first, first + size)
            x = design[some]
            if step:
                p = sigmoid(offset + (weight[some, None, :] @ x)[:, 0])
            gradient[some] = (x @ (p - label)[:, :, None])[:, :, 0]
            hessian[some] = np.multiply(x, (p * (1 - p))[:, None, :], out=room[: len(x)]) @ x.transpose(0, 2, 1)
        move = np.linalg.solve(hessian + ridge, (gradient + penalty * weight)[:, :, None])[:, :, 0]
        length = np.sqrt((move**2).sum(axis=1, keepdims=True))
        weight -= move * np.minimum(1, reach / np.maximum(length, 1e-12))
        if length.max() < 0.05:  # Newton squares the error: what is left is about 2e-3
            break
    return weight
