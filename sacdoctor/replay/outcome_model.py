"""How outcomes differ with actions, learned from pairs of transitions with like observations."""

from __future__ import annotations

from math import sqrt

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from sacdoctor.replay.transitions import Floats, Transitions

FEWEST = 90
"""Transitions below which nothing is learned."""
EXPLAINED = 0.5
"""The least share of the outcome's spread that actions must explain, on unseen pairs."""
_GOOD = 1e-4
"""What may be left of the spread so that no further action terms are tried."""
_NEGLIGIBLE = 1e-6
"""Share of an outcome's spread that single precision may leave by rounding."""
_NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

Pairs = tuple[Transitions, Transitions]


class OutcomeModel(Struct, frozen=True):
    """How one outcome differs with observations and actions; the transitions it compares with."""

    column: int
    by_observed: Floats
    by_action: Floats
    reference: Transitions
    scale: float

    def parts(self, first: Transitions, second: Transitions) -> tuple[Floats, Floats]:
        """Return what observations leave of the outcome's difference, and the action's share."""
        difference = (first.outcome - second.outcome)[:, self.column]
        left = difference - (first.observed - second.observed) @ self.by_observed
        return left, (first.action - second.action) @ self.by_action


def learn(part: Transitions, simple: int) -> tuple[OutcomeModel, Pairs] | None:
    """Return the model of the outcome that actions explain best, and the pairs it has not seen.

    It uses the first `simple` action terms alone, unless all of them leave less than half as much:
    an agent that repeats itself does not tell them apart. None where no outcome is explained well
    enough.
    """
    halves = part[::2], part[1::2]
    width, terms = part.observed.shape[1], part.action.shape[1]
    if len(halves[0]) < max(FEWEST / 2, 2 * (width + simple)):
        return None
    seen, unseen = map(paired, halves)
    best: tuple[float, int, Floats] | None = None
    for used in (simple, terms):
        if len(halves[0]) < 2 * (width + used) or (best is not None and best[0] < _GOOD):
            break
        coefficients, left, rest = _fit(seen, unseen, used)
        column = int(np.divide(rest, left, out=np.ones_like(rest), where=left > 0).argmin())
        share = float(rest[column] / left[column]) if left[column] > 0 else 1.0
        if best is None or share < best[0] / 2:
            best = share, column, coefficients[:, column]
    if best is None or best[0] > 1 - EXPLAINED:
        return None
    _, column, solution = best
    by_observed = solution[:width]
    by_action = np.append(solution[width:], np.zeros(width + terms - len(solution)))
    model = OutcomeModel(column, by_observed, by_action, halves[0], 1.0)
    errors = np.abs(compare(model, halves[1]).if_executed)
    floor = _NEGLIGIBLE * float(np.abs((unseen[0].outcome - unseen[1].outcome)[:, column]).max())
    return replace(model, scale=max(median(errors) * _NORMAL, floor)), unseen


def _fit(seen: Pairs, unseen: Pairs, terms: int) -> tuple[Floats, Floats, Floats]:
    """Return coefficients of observations and action terms, shape `(both, outcomes)`, and what is
    left of the unseen pairs' outcomes without and with the action, as sums of squares.

    What is left without is 0 where observations alone foretell an outcome down to rounding.
    """
    design, outcome = _differences(seen, terms)
    other, truth = _differences(unseen, terms)
    width = design.shape[1] - terms
    alone, whole = _solve(design[:, :width], outcome), _solve(design, outcome)
    left = ((truth - other[:, :width] @ alone) ** 2).sum(axis=0)
    rest = ((truth - other @ whole) ** 2).sum(axis=0)
    left[left <= _NEGLIGIBLE * (truth**2).sum(axis=0)] = 0.0
    return whole, left, rest


def _differences(pairs: Pairs, terms: int) -> tuple[Floats, Floats]:
    first, second = pairs
    observed, action = first.observed - second.observed, first.action - second.action
    return np.concatenate((observed, action[:, :terms]), axis=1), first.outcome - second.outcome


def _solve(terms: Floats, outcome: Floats) -> Floats:
    """Return least squares coefficients, shape `(terms, outcomes)`."""
    return np.asarray(np.linalg.lstsq(terms, outcome, rcond=1e-9)[0], np.float64)


def nearest(points: Floats, among: Floats, *, itself: bool) -> NDArray[np.int64]:
    """Return the index of the nearest of `among` for each point; `itself`: not the point itself."""
    points, among = points.astype(np.float32), among.astype(np.float32)
    squares = (among**2).sum(axis=1)
    found = np.empty(len(points), np.int64)
    for at in range(0, len(points), 512):
        distances = squares - 2 * points[at : at + 512] @ among.T
        if itself:
            rows = np.arange(len(distances))
            distances[rows, at + rows] = np.inf
        found[at : at + 512] = distances.argmin(axis=1)
    return found


def paired(table: Transitions) -> Pairs:
    """Return each transition with the one whose observation is nearest, every pair once."""
    numbers = np.arange(len(table))
    other = nearest(table.observed, table.observed, itself=True)
    once = (numbers < other) | (other[other] != numbers)
    return table[numbers[once]], table[other[once]]


def slope_of(model: OutcomeModel, pairs: Pairs) -> tuple[float, float]:
    """Return how far outcomes follow the action term, and the standard error.

    Least squares through the origin; the error is robust to unequal spreads (White 1980).
    """
    left, by_action = model.parts(*pairs)
    power = float((by_action**2).sum())
    if not power > 0:
        return 0.0, np.inf
    slope = float((left * by_action).sum()) / power
    return slope, sqrt(float((((left - slope * by_action) * by_action) ** 2).sum())) / power


class Comparison(Struct, frozen=True):
    """How far each outcome is from its prediction by the nearest reference transition."""

    if_executed: Floats
    if_forced: Floats

    def forced(self, stop: int, least: float) -> tuple[float, float]:
        """Return centre and spread of the first `stop` outcomes, taken for those of forced
        actions."""
        centre = median(self.if_forced[:stop])
        return centre, max(median(np.abs(self.if_forced[:stop] - centre)) * _NORMAL, least)

    def log_ratio(self, scale: float, centre: float, spread: float) -> Floats:
        """Return for each transition how much likelier its outcome is if its action was forced."""
        forced = _log_likelihood(self.if_forced - centre, spread)
        return forced - _log_likelihood(self.if_executed, scale)


def compare(model: OutcomeModel, table: Transitions) -> Comparison:
    """Return how far the outcomes of `table` are from what the model predicts."""
    reference = model.reference
    near = reference[nearest(table.observed, reference.observed, itself=False)]
    left, by_action = model.parts(table, near)
    return Comparison(left - by_action, left + near.action @ model.by_action)


def median(values: Floats) -> float:
    """Return the median. (np.median imports numpy's masked arrays, as long as all the rest.)"""
    ordered = np.sort(values)
    return float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _log_likelihood(errors: Floats, scale: float) -> Floats:
    """Return Student's t log density with 2 degrees of freedom: single outliers decide nothing."""
    density: Floats = -np.log(scale) - 1.5 * np.log1p((errors / scale) ** 2 / 2)
    return density
