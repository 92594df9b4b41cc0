"""Entries are given names only where nothing else fits; identity in live objects is the judge."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import groupby

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sacdoctor.diagnosis.optimizer_map import Alignment, Candidate, Entry, Shape, align
from tests.diagnosis.live_optimizers import Live, live

LONGEST = 2.0  # seconds for any question, answered or left open
SLOW_TO_DRAW = [HealthCheck.too_slow, HealthCheck.data_too_large]

A, B = (4, 3), (4,)


def layers(*shapes: Sequence[Shape]) -> list[Candidate]:
    """Layers called `0`, `1`, …; their tensors `0.0`, `0.1`, …"""
    return [
        Candidate(f"{layer}.{number}", shape, str(layer))
        for layer, parts in enumerate(shapes)
        for number, shape in enumerate(parts)
    ]


def group(*shapes: Shape | None, start: int = 0) -> list[Entry]:
    return [Entry(number, shape) for number, shape in enumerate(shapes, start)]


def assert_partition(alignment: Alignment, candidates: Sequence[Candidate]) -> None:
    names = [*alignment.entries, *alignment.outside, *alignment.unknown]
    assert sorted(names) == sorted(candidate.name for candidate in candidates)


# -- against live objects ----------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=SLOW_TO_DRAW)
@given(made=live(whole_layers=True))
def test_no_claim_is_wrong_where_layers_are_in_or_out_as_a_whole(made: Live) -> None:
    alignment = align(made.candidates, made.groups)
    assert_partition(alignment, made.candidates)
    for name, number in alignment.entries.items():
        assert made.says_truly(name, number), (name, number)
    assert not alignment.outside & set(made.order)


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW_TO_DRAW)
@given(made=live(whole_layers=True))
def test_everything_is_known_where_one_group_has_every_parameter(made: Live) -> None:
    names = {name: number for number, (name, _) in enumerate(made.module.named_parameters())}
    candidates = [candidate for candidate in made.candidates if candidate.name in names]
    shapes = [c.shape if made.has_moments(c.name) else None for c in candidates]
    assert align(candidates, [group(*shapes)]).entries == names


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW_TO_DRAW)
@given(made=live(whole_layers=False))
def test_a_wrong_claim_needs_a_layer_of_which_only_a_part_was_given(made: Live) -> None:
    """The assumption that the docstring names: a module hands over all its parameters or none."""
    alignment = align(made.candidates, made.groups)
    wrong = [n for n, number in alignment.entries.items() if not made.says_truly(n, number)]
    wrong += [name for name in alignment.outside if name in made.order]
    assert not wrong or _splits(made.candidates, set(made.order)) > 0


# -- against trying every way ------------------------------------------------------------------

_SHAPES = st.sampled_from([A, B, (2,)])
_ENTRIES = st.one_of(_SHAPES, _SHAPES, st.none())


@settings(max_examples=300, deadline=None)
@given(
    made=st.lists(st.tuples(st.sampled_from([*"abcd", None]), _SHAPES), min_size=1, max_size=7),
    first=st.lists(_ENTRIES, max_size=4),
    second=st.lists(_ENTRIES, max_size=2),
)
def test_what_is_certain_is_what_all_of_the_least_splitting_ways_agree_on(
    made: list[tuple[str | None, Shape]],
    first: list[Shape | None],
    second: list[Shape | None],
) -> None:
    candidates = [Candidate(str(n), shape, layer) for n, (layer, shape) in enumerate(made)]
    groups = [group(*first), group(*second, start=len(first))]
    ways = list(_ways(candidates, [list(entries) for entries in groups]))
    least = min((_splits(candidates, {*way}) for way in ways), default=0)
    ways = [way for way in ways if _splits(candidates, {*way}) == least]

    alignment = align(candidates, groups)

    stateless = {entry.number for entries in groups for entry in entries if entry.shape is None}
    assert_partition(alignment, candidates)
    for candidate in candidates:
        options = {way.get(candidate.name) for way in ways}
        if ways and options == {None}:
            assert candidate.name in alignment.outside
        elif ways and None not in options and (len(options) == 1 or options <= stateless):
            assert alignment.entries[candidate.name] in options
        else:
            assert candidate.name in alignment.unknown


def _ways(candidates: Sequence[Candidate], groups: list[list[Entry]]) -> Iterator[dict[str, int]]:
    if not candidates:
        if not any(groups):
            yield {}
        return
    first, *rest = candidates
    yield from _ways(rest, groups)
    for position, entries in enumerate(groups):
        if entries and entries[0].shape in (None, first.shape):
            left = [*groups[:position], entries[1:], *groups[position + 1 :]]
            for way in _ways(rest, left):
                yield {first.name: entries[0].number, **way}


def _splits(candidates: Sequence[Candidate], taken: set[str]) -> int:
    """How many layers are neither in nor out as a whole."""
    runs = [[*run] for layer, run in groupby(candidates, lambda c: c.layer) if layer is not None]
    return sum(0 < sum(c.name in taken for c in run) < len(run) for run in runs)


# -- single questions --------------------------------------------------------------------------


def test_as_many_entries_as_tensors_are_theirs_one_by_one() -> None:
    made = layers([A, B], [A, B], [A, B])
    alignment = align(made, [group(A, B, None, None, A, B)])
    assert alignment.entries == {c.name: number for number, c in enumerate(made)}


def test_layer_with_a_shape_of_its_own_is_found_missing() -> None:
    alignment = align(layers([A, B], [(5, 5), (5,)], [A, B]), [group(A, B, A, B)])
    assert alignment.outside == {"1.0", "1.1"}
    assert alignment.entries == {"0.0": 0, "0.1": 1, "2.0": 2, "2.1": 3}


def test_twins_of_which_one_is_missing_are_not_told_apart() -> None:
    alignment = align(layers([A, B], [A, B], [(1, 4), (1,)]), [group(A, B, (1, 4), (1,))])
    assert alignment.unknown == {"0.0", "0.1", "1.0", "1.1"}
    assert alignment.entries == {"2.0": 2, "2.1": 3}


def test_twin_tensor_in_a_layer_without_a_twin_is_told_apart() -> None:
    """Only one bias of shape B has its weight in the optimizer too."""
    alignment = align(layers([A, B], [(4, 9), B]), [group(A, B)])
    assert alignment.entries == {"0.0": 0, "0.1": 1}
    assert alignment.outside == {"1.0", "1.1"}


def test_tensor_that_may_be_a_buffer_is_not_said_to_be_missing_instead_of_its_double() -> None:
    buffer, parameter = Candidate("mean", B, None), Candidate("gain", B, None)
    alignment = align([buffer, parameter], [group(B)])
    assert alignment.unknown == {"mean", "gain"}


def test_entries_without_moments_fit_any_shape_and_say_the_same() -> None:
    """Which of the two numbers a tensor has is open, that its gradient was None is not."""
    alignment = align(layers([A, B], [A, B]), [group(None, None), group(None, None, start=2)])
    assert set(alignment.entries) == {"0.0", "0.1", "1.0", "1.1"}
    assert not alignment.outside


@pytest.mark.parametrize(
    "entries",
    [group((9, 9)), group(A, B, A, B, A, B), group(B, A), [*group(A, B), *group((7,), start=2)]],
    ids=["no-such-shape", "too-many", "other-order", "one-too-strange"],
)
def test_entries_that_fit_in_no_way_leave_everything_open(entries: list[Entry]) -> None:
    made = layers([A, B], [(5, 5), (5,)])
    alignment = align(made, [entries])
    assert alignment == Alignment({}, frozenset(), frozenset(c.name for c in made))


def test_groups_interleave() -> None:
    """Weights and biases in groups of their own, a layer of other shapes missing in both."""
    made = layers([A, B], [(2, 2), (2,)], [A, B])
    alignment = align(made, [group(B, B), group(A, A, start=2)])
    assert alignment.outside == {"1.0", "1.1"}
    assert set(alignment.entries) | alignment.unknown == {"0.0", "0.1", "2.0", "2.1"}


def test_no_entries_at_all_leave_every_tensor_outside() -> None:
    assert align(layers([A, B]), []).outside == {"0.0", "0.1"}
    assert align(layers([A, B]), [[]]).outside == {"0.0", "0.1"}
    assert align([], []) == Alignment({}, frozenset(), frozenset())


# -- the price of the assumption ---------------------------------------------------------------


def test_biases_trained_alone_beside_a_norm_are_taken_for_the_norms_whole() -> None:
    """Known and documented: an optimizer that is given half of each layer is misread."""
    made = layers([(4, 4), B], [B, B])  # a Linear and a LayerNorm; the truth: entries 0.1, 1.1
    alignment = align(made, [group(B, B)])
    assert alignment.entries == {"1.0": 0, "1.1": 1}
    assert alignment.outside == {"0.0", "0.1"}


# -- the limit on work -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tensors", "sizes", "shape"),
    [
        (4000, [2000], B),
        (4000, [2000], None),
        (5000, [4990], B),
        (2000, [1000, 1000], B),
        (100, [10] * 5, B),
        (60, [1] * 30, B),
        (60, [1] * 60, None),
    ],
)
def test_hopeless_questions_are_left_open_in_time(
    tensors: int, sizes: list[int], shape: Shape | None
) -> None:
    made = layers(*([B, B] for _ in range(tensors // 2)))
    groups = [
        group(*[shape] * size, start=sum(sizes[:number])) for number, size in enumerate(sizes)
    ]
    start = time.process_time()
    alignment = align(made, groups)
    assert time.process_time() - start < LONGEST
    assert len(alignment.unknown) == tensors or sum(sizes) == tensors


def test_thousands_of_entries_that_match_one_by_one_are_named_in_time() -> None:
    made = layers(*([A, B] for _ in range(2500)))
    start = time.process_time()
    alignment = align(made, [group(*(candidate.shape for candidate in made))])
    assert time.process_time() - start < LONGEST
    assert len(alignment.entries) == 5000
