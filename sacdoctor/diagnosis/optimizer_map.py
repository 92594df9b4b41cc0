"""Which optimizer entry belongs to which tensor: the file numbers its entries and names none.

`torch.optim` numbers parameters as they came: usually `module.parameters()`, which is the order
of the state dict without buffers and aliases. Entries with moments have a shape; entries without
fit anywhere. Where layers are missing from an optimizer, its entries are a subsequence of the
module's parameters, and the question is which one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from msgspec import Struct

Shape = tuple[int, ...]

MAX_WORK = 600_000
"""Steps of the search, times one more than the groups that each step looks at, after which the
question is left open; real files need under 10,000."""


class Candidate(Struct, frozen=True):
    """A tensor that may be in the optimizer.

    `layer` is the module whose parameters come and go together, None for a tensor that may as
    well be a buffer.
    """

    name: str
    shape: Shape
    layer: str | None


class Entry(Struct, frozen=True):
    """A numbered entry of a parameter group.

    `shape` is that of its moments, None where it has none.
    """

    number: int
    shape: Shape | None


class Alignment(Struct, frozen=True):
    """What is certain: the entry of a tensor, or that it has none. All else is `unknown`.

    A tensor that may have one of several entries, none of which has moments, stands with the
    first of them: they say the same about it.
    """

    entries: Mapping[str, int]
    outside: frozenset[str]
    unknown: frozenset[str]


_State = tuple[tuple[int, ...], int]
"""Entries taken from each group, and what happened to the current layer so far."""
_FRESH, _TAKEN, _SKIPPED, _SPLIT = range(4)
_Step = tuple[_State, int, _State, int]
"""A state, the group that gives the candidate its entry (or `_SKIP`), the next state, the price."""
_SKIP = -1


def align(
    candidates: Sequence[Candidate], groups: Sequence[Sequence[Entry]], work: int = MAX_WORK
) -> Alignment:
    """Return what can be said for certain about each candidate.

    Every entry must find a candidate of its shape, each group in the candidates' order. Among
    the alignments that fit, those that split the fewest layers count: a module hands over all
    its parameters or none. What all of them agree on is certain. Where none fits, or the search
    takes more than `work`, nothing is.
    """
    everything = frozenset(candidate.name for candidate in candidates)
    search = _Search(candidates, groups, work)
    options = search.options()
    if options is None:
        return Alignment({}, frozenset(), everything)
    stateless = {entry.number for group in groups for entry in group if entry.shape is None}
    entries: dict[str, int] = {}
    outside: set[str] = set()
    for candidate, ways in zip(candidates, options, strict=True):
        if ways == {None}:
            outside.add(candidate.name)
        elif None not in ways and (len(ways) == 1 or ways <= stateless):
            entries[candidate.name] = min(number for number in ways if number is not None)
    return Alignment(entries, frozenset(outside), everything - outside - entries.keys())


class _Search:
    """Cheapest ways to walk through the candidates, taking or skipping each."""

    def __init__(
        self, candidates: Sequence[Candidate], groups: Sequence[Sequence[Entry]], work: int
    ) -> None:
        self.work = work
        self.candidates = candidates
        self.groups = groups
        self.sizes = tuple(len(group) for group in groups)
        self.windows = [self._window(group) for group in groups]

    def options(self) -> list[set[int | None]] | None:
        """Return, per candidate, the entries (None: no entry) of all cheapest alignments."""
        levels, steps = self._forward()
        finals = [state for state in levels[-1] if state[0] == self.sizes]
        if len(levels) <= len(self.candidates) or not finals:
            return None
        best = min(levels[-1][state] for state in finals)
        onward: dict[_State, int] = dict.fromkeys(finals, 0)
        options: list[set[int | None]] = []
        for level, stepped in zip(levels[-2::-1], reversed(steps), strict=True):
            ways: set[int | None] = set()
            before: dict[_State, int] = {}
            for state, group, following, price in stepped:
                if following not in onward:
                    continue
                rest = price + onward[following]
                before[state] = min(rest, before.get(state, rest))
                if level[state] + rest == best:
                    ways.add(self._number(group, state))
            options.append(ways)
            onward = before
        return options[::-1]

    def _forward(self) -> tuple[list[dict[_State, int]], list[list[_Step]]]:
        """Return the cheapest way to each state, level by level, and the steps between levels."""
        start: _State = (tuple(0 for _ in self.groups), _FRESH)
        levels: list[dict[_State, int]] = [{start: 0}]
        steps: list[list[_Step]] = []
        budget = self.work // (len(self.groups) + 1)
        for index in range(len(self.candidates)):
            level: dict[_State, int] = {}
            every = (step for state in levels[-1] for step in self._steps(index, state))
            stepped = list(islice(every, budget + 1))
            budget -= len(stepped)
            for state, _, following, price in stepped:
                total = levels[-1][state] + price
                level[following] = min(total, level.get(following, total))
            if not level or budget < 0:
                break
            levels.append(level)
            steps.append(stepped)
        return levels, steps

    def _window(self, group: Sequence[Entry]) -> list[tuple[int, int]]:
        """Return the first and the last candidate that each entry of a group can have at all."""
        count = len(self.candidates)
        first = self._greedy(group, range(count))
        last = self._greedy(group[::-1], range(count - 1, -1, -1))[::-1]
        return list(zip(first, last, strict=True))

    def _greedy(self, entries: Sequence[Entry], order: Sequence[int]) -> list[int]:
        """Give each entry the next candidate that fits; −1 from where none is left."""
        rest = iter(order)
        return [
            next((i for i in rest if entry.shape in (None, self.candidates[i].shape)), -1)
            for entry in entries
        ]

    def _steps(self, index: int, state: _State) -> Iterator[_Step]:
        """Yield what may happen to a candidate in `state`."""
        candidate = self.candidates[index]
        taken, layer = state
        if index and candidate.layer != self.candidates[index - 1].layer:
            layer = _FRESH
        left = len(self.candidates) - index - 1
        missing = sum(self.sizes) - sum(taken)
        following = [
            windows[position]
            for windows, position in zip(self.windows, taken, strict=True)
            if position < len(windows)
        ]
        if missing <= left and all(last > index for _, last in following):
            split, price = _mark(layer, _SKIPPED, candidate.layer)
            yield state, _SKIP, (taken, split), price
        if missing - 1 > left:
            return
        split, price = _mark(layer, _TAKEN, candidate.layer)
        for group, position in enumerate(taken):
            if position == self.sizes[group]:
                continue
            entry, (first, last) = self.groups[group][position], self.windows[group][position]
            if first <= index <= last and entry.shape in (None, candidate.shape):
                after = (*taken[:group], position + 1, *taken[group + 1 :])
                yield state, group, (after, split), price

    def _number(self, group: int, state: _State) -> int | None:
        return None if group == _SKIP else self.groups[group][state[0][group]].number


def _mark(layer: int, happening: int, name: str | None) -> tuple[int, int]:
    """Return the layer's mark after this happened to one of its tensors, and the price."""
    if name is None:
        return layer, 0
    if layer in (_FRESH, happening):
        return happening, 0
    return _SPLIT, int(layer != _SPLIT)
