"""What changed between two tensors, as PyTorch works it out from the same file."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from pathlib import Path

import pytest
import torch as th

from sacdoctor import Checkpoint
from sacdoctor.errors import UnsupportedCheckpoint
from sacdoctor.history.distance import UNCHANGED, Distance, distance
from tests.archives import write_sb3

Compare = Callable[[th.Tensor, th.Tensor], Distance]


@pytest.fixture
def changed(tmp_path: Path) -> Compare:
    def call(before: th.Tensor, after: th.Tensor) -> Distance:
        paths = [write_sb3(tmp_path / f"{n}.zip", {"x": x}) for n, x in ((1, before), (2, after))]
        with Checkpoint(paths[0]) as a, Checkpoint(paths[1]) as b:
            return distance(a.tensors["x"], b.tensors["x"])

    return call


FLOATS = [th.float64, th.float32, th.float16, th.bfloat16]
LAYOUTS = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.t().contiguous().t(),
    "every other": lambda x: x.repeat_interleave(2, 1)[:, ::2],
    "large": lambda x: x.repeat(300, 900),
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_numbers_are_those_of_torch(changed: Compare, dtype: th.dtype, layout: str) -> None:
    generator = th.Generator().manual_seed(0)
    before = th.randn(6, 8, generator=generator).to(dtype)
    after = before.clone()
    after[1:3] += th.randn(2, 8, generator=generator).to(dtype)
    before, after = LAYOUTS[layout](before), LAYOUTS[layout](after)
    found = changed(before, after)
    gap = after.double() - before.double()
    assert found.changed == int((before != after).sum())
    assert found.max_abs == float(gap.abs().max())
    assert found.l2 == pytest.approx(float(gap.norm()), rel=1e-9)
    assert found.relative_l2 == pytest.approx(float(gap.norm() / before.double().norm()), rel=1e-9)


def test_the_same_bits_are_unchanged_nan_too(changed: Compare) -> None:
    tensor = th.tensor([nan, inf, -0.0, 1.0])
    assert changed(tensor, tensor.clone()) == UNCHANGED


def test_another_sign_of_zero_is_a_change_of_size_zero(changed: Compare) -> None:
    assert changed(th.tensor([0.0, 2.0]), th.tensor([-0.0, 2.0])) == Distance(1, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("value", [nan, inf])
def test_what_is_not_finite_has_no_distance(changed: Compare, value: float) -> None:
    before = th.tensor([1.0, 2.0, 3.0])
    assert changed(before, th.tensor([1.0, value, 4.0])) == Distance(2, None, None, None)


def test_a_change_from_zeros_has_no_relative_size(changed: Compare) -> None:
    assert changed(th.zeros(2), th.tensor([3.0, 4.0])) == Distance(2, 4.0, 5.0, None)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (th.tensor([1, 5]), th.tensor([1, 2]), Distance(1, 3.0, 3.0, 3 / 26**0.5)),
        (th.tensor([True, False]), th.tensor([True, True]), Distance(1, 1.0, 1.0, 1.0)),
        (th.tensor([3 + 4j]), th.tensor([0j]), Distance(1, 5.0, 5.0, 1.0)),
        (th.tensor(2.0), th.tensor(3.0), Distance(1, 1.0, 1.0, 0.5)),
        (th.zeros(0, 3), th.zeros(0, 3), UNCHANGED),
        # float8 is compared by its bits and has no arithmetic
        (
            th.tensor([1.0, 2.0]).to(th.float8_e4m3fn),
            th.tensor([1.0, 4.0]).to(th.float8_e4m3fn),
            Distance(1, None, None, None),
        ),
        # another type: by value
        (
            th.tensor([0.5, 0.1]).double(),
            th.tensor([0.5, 0.25]),
            Distance(1, 0.15, 0.15, 0.15 / 0.26**0.5),
        ),
        (th.tensor([nan, 1.0]).double(), th.tensor([nan, 1.0]), UNCHANGED),
    ],
)
def test_other_types(
    changed: Compare, before: th.Tensor, after: th.Tensor, expected: Distance
) -> None:
    found = changed(before, after)
    assert found.changed == expected.changed
    for name in ("max_abs", "l2", "relative_l2"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name))


def test_repeated_elements_count_as_often_as_they_are_repeated(changed: Compare) -> None:
    before, after = th.tensor([[1.0], [2.0]]), th.tensor([[1.0], [5.0]])
    found = changed(before.expand(2, 1000), after.expand(2, 1000))
    gap = (after - before).expand(2, 1000).norm()
    assert found.changed == 1000
    assert found.l2 == pytest.approx(float(gap))
    assert found.relative_l2 == pytest.approx(float(gap / before.expand(2, 1000).norm()))


def test_two_ways_of_repeating_are_not_waited_for(changed: Compare) -> None:
    size = 100_000  # squared: more than anyone would wait for
    column, row = th.ones(size, 1).expand(size, size), th.ones(1, size).expand(size, size)
    with pytest.raises(UnsupportedCheckpoint, match="repeat their elements in different ways"):
        changed(column, row)
