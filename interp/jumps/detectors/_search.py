"""Which sigmoids of a grid's lattice make the curve: the best one, the best two at once, and so on while they pay."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from interp.jumps.detectors._design import Terms, terms
from interp.jumps.detectors._fit import Data, Fit, evidence, outlier_of, polish, pruned, solve, tame, term_price, worth
from interp.jumps.instrument import INSTRUMENT
from interp.jumps.null import max_terms

ROUNDS = 2

Chosen = list[int]
_Left = tuple[Float[ndarray, "atom"], Float[ndarray, "atom"], tuple[Float[ndarray, "atom"], ...]]


def fit_curve(data: Data, start: Fit | None = None) -> tuple[Fit, int | None]:
    """The terms that pay, one or two at a time (a bump needs two), or those of an earlier fit where they are better; and
    the index of a point that has to be set aside first, where that explains as much as the next term."""
    search = _Search.of(data, terms(data.grid, data.weight, data.rho))
    price, most = term_price(len(data)), max_terms(len(data))
    chosen: Chosen = []
    best = solve(data, search.centres(chosen), search.widths(chosen))
    while len(chosen) < most and best.squares > data.floor:
        one = search.more(chosen)
        found = search.solved(one)
        outlier = outlier_of(data, best)
        if outlier is not None and best.squares - worth(data, best)[outlier] <= found.squares:
            return best, outlier
        pays = evidence(data, best.squares, found.squares) > price and search.tame(one)
        if not pays and chosen and len(one) < most:
            one = search.two_more(chosen)
            found = search.solved(one)
            pays = evidence(data, best.squares, found.squares) > 2 * price and search.tame(one)
        if chosen and not pays:
            break
        chosen, best = one, found
    best = pruned(data, polish(data, best), price)
    if start is not None:
        earlier = pruned(data, polish(data, solve(data, start.centre, start.width)), price)
        more = len(earlier.centre) - len(best.centre)
        best = earlier if evidence(data, best.squares, earlier.squares) > more * price else best
    return best, outlier_of(data, best)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Search:
    """Sets of a grid's sigmoids by their products alone: overlap of each with the values, and each other. What was found of
    a set is kept: the same ones come up again and again. least: the power that an atom has to keep beside others."""

    data: Data
    terms: Terms
    overlap: Float[ndarray, "atom"]
    least: Float[ndarray, "atom"]
    fits: dict[tuple[int, ...], Fit] = field(default_factory=dict)
    tames: dict[tuple[int, ...], bool] = field(default_factory=dict)
    lefts: dict[tuple[int, ...], _Left] = field(default_factory=dict)
    pairs: dict[tuple[int, ...], tuple[int, int]] = field(default_factory=dict)

    @staticmethod
    def of(data: Data, shared: Terms) -> _Search:
        overlap = data.white(data.y) @ shared.values
        return _Search(data=data, terms=shared, overlap=overlap, least=INSTRUMENT.apart * shared.power)

    def centres(self, chosen: Chosen) -> Float[ndarray, "term"]:
        return self.terms.centre[chosen] if chosen else np.zeros(0)

    def widths(self, chosen: Chosen) -> Float[ndarray, "term"]:
        return self.terms.width[chosen] if chosen else np.zeros(0)

    def solved(self, chosen: Chosen) -> Fit:
        key = tuple(chosen)
        if key not in self.fits:
            self.fits[key] = solve(self.data, self.centres(chosen), self.widths(chosen))
        return self.fits[key]

    def tame(self, chosen: Chosen) -> bool:
        key = tuple(chosen)
        if key not in self.tames:
            rise = np.linalg.lstsq(self.terms.products[np.ix_(chosen, chosen)], self.overlap[chosen], rcond=1e-9)[0]
            self.tames[key] = tame(self.data, rise * self.terms.moves[chosen])
        return self.tames[key]

    def left(self, chosen: tuple[int, ...]) -> _Left:
        """What the chosen leave of each atom's overlap and power, and their orthonormal rows."""
        if chosen in self.lefts:
            return self.lefts[chosen]
        if not chosen:
            found: _Left = self.overlap, self.terms.power, ()
        else:
            *_, place = chosen
            overlap, power, rows = self.left(chosen[:-1])
            row = self.terms.products[place] - sum(other * other[place] for other in rows)
            root = np.sqrt(max(float(row[place]), 1e-12))
            row = row / root
            found = overlap - row * (overlap[place] / root), power - row**2, (*rows, row)
        self.lefts[chosen] = found
        return found

    def best(self, chosen: Chosen) -> int:
        """The atom that explains most beside the chosen."""
        overlap, power, _ = self.left(tuple(chosen))
        gain = np.where(power > self.least, overlap**2 / np.maximum(power, 1e-12), 0.0)
        return int(gain.argmax())

    def more(self, chosen: Chosen) -> Chosen:
        """The chosen with the best one beside them, or with the last of them replaced by the best pair."""
        options = [self.settled([*chosen, self.best(chosen)])]
        if chosen:
            pair = [*chosen[:-1], *self.pair(chosen[:-1])]
            options += [pair, self.settled(pair)]
        return self.closest(options)

    def closest(self, options: list[Chosen]) -> Chosen:
        """The set that leaves least, of those that are tame if there are any."""
        ranked = sorted(options, key=lambda option: self.solved(option).squares)
        return next((option for option in ranked if self.tame(option)), ranked[0])

    def two_more(self, chosen: Chosen) -> Chosen:
        """The chosen with the best pair beside them, or, if that explains more, with one of them replaced by a pair and
        one more: two at once, since neither may explain anything alone."""
        pair = [*chosen, *self.pair(chosen)]
        parted = [*chosen[:-1], *self.pair(chosen[:-1])]
        return self.closest([pair, self.settled(pair), self.settled([*parted, self.best(parted)])])

    def pair(self, chosen: Chosen) -> tuple[int, int]:
        """The two atoms, of some, that explain most together, beside the chosen."""
        key, some = tuple(chosen), self.terms.some
        if key in self.pairs:
            return self.pairs[key]
        overlap, power, beside = self.left(key)
        rows = np.reshape(beside, (-1, len(overlap)))[:, some]
        overlap, power = overlap[some], power[some]
        usable = power > self.least[some]
        root = np.where(usable, 1 / np.sqrt(np.maximum(power, 1e-12)), 0.0)
        scaled, sine2 = overlap * root, np.outer(root, root)
        apart = self.terms.paired - rows.T @ rows  # in place from here on: such tables are slow to get from the system
        apart *= sine2
        np.square(apart, out=sine2)
        np.subtract(1, sine2, out=sine2)
        np.maximum(sine2, 1e-12, out=sine2)
        apart *= scaled[None, :]
        np.subtract(scaled[:, None], apart, out=apart)
        half = scaled[:, None] * apart
        gain = half + half.T
        gain /= sine2
        np.abs(apart, out=apart)
        apart *= (root * self.terms.moves[some])[:, None]
        wild = apart > np.multiply(INSTRUMENT.tame * np.ptp(self.data.y), sine2, out=half)
        gain[(sine2 < INSTRUMENT.apart) | wild | wild.T] = 0.0
        first, second = np.unravel_index(int(gain.argmax()), gain.shape)
        self.pairs[key] = int(some[first]), int(some[second])
        return self.pairs[key]

    def settled(self, chosen: Chosen) -> Chosen:
        """Every atom re-chosen given the others, ROUNDS times."""
        chosen = list(dict.fromkeys(chosen))
        if len(chosen) < 2:
            return chosen
        for _ in range(ROUNDS):
            before = list(chosen)
            for place in range(len(chosen)):
                chosen[place] = self.best([*chosen[:place], *chosen[place + 1 :]])
            if chosen == before:
                break
        return chosen
