"""Local learning coefficient λ̂ (Lau et al. 2023, arXiv 2308.12108): nβ (E_w[L(w)] − L(w*)) over weights w that SGLD
draws around the present ones w*, with L the loss on a sample of the training split. Half the number of parameters for a
regular model, less for a degenerate one.

Moves: Δw = −(ε/2)(nβ ∇L + γ (w − w*)) + N(0, ε). nβ is B/ln B for B sequences a move, as in devinterp. ε too large,
and the chain diverges (NaN); too small, and it does not reach its stationary spread within the burn-in, about 2/(εγ)
moves. A finite γ makes the estimate low where nβ times the curvature is not large beside it: compare values of one
setting only.
"""

from __future__ import annotations

from interp.indicators._sgld import Chain, learning_coefficient
from interp.measure.observe import Observation

NEEDS: dict[str, str] = {}
DIMS, UNIT, ONLINE, COST = (), "parameters", True, "many"


def llc(
    obs: Observation,
    *,
    draws: int = 200,
    burn_in: int = 100,
    step_size: float = 3e-4,
    n_beta: float | None = None,
    localization: float = 100.0,
    tokens: int = 2048,
) -> float:
    """One chain; `step_size` is ε, `n_beta` nβ, `localization` γ; each move takes at most `tokens` tokens of
    sequences."""
    return learning_coefficient(obs, Chain(draws, burn_in, step_size, n_beta, localization, tokens))
