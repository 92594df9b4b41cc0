"""Norms are PyTorch's, and those that overflow there are not lost."""

from __future__ import annotations

import math

import pytest
import torch as th

from sacdoctor.training.gradients.norms import accurate_norm, clip, quick_norm


def of_pytorch(gradients: list[th.Tensor]) -> float:
    """What `clip_grad_norm_` returns: the norm of all gradients together."""
    parameters = [th.zeros_like(gradient) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    return float(th.nn.utils.clip_grad_norm_(parameters, 1.0))


@pytest.mark.parametrize("by_numpy", [True, False])
def test_the_quick_norm_is_that_of_all_elements_together(by_numpy: bool) -> None:
    assert quick_norm([th.tensor([3.0]), th.tensor([[4.0]])], by_numpy) == pytest.approx(5.0)
    th.manual_seed(0)
    drawn = [th.randn(7, 5), th.randn(5), th.randn(()), th.randn(2, 3).T]
    assert quick_norm(drawn, by_numpy) == pytest.approx(of_pytorch(drawn), rel=1e-6)
    assert accurate_norm(drawn) == pytest.approx(of_pytorch(drawn), rel=1e-6)


@pytest.mark.parametrize("by_numpy", [True, False])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_element_that_is_not_finite_shows_in_both(value: float, by_numpy: bool) -> None:
    gradients = [th.zeros(3), th.tensor([1.0, value])]
    assert not math.isfinite(quick_norm(gradients, by_numpy))
    assert not math.isfinite(accurate_norm(gradients))


def test_squares_beyond_single_precision_do_not_overflow_the_accurate_norm() -> None:
    assert accurate_norm([th.tensor([3e38, 0.0]), th.tensor([3e38])]) == pytest.approx(
        3e38 * math.sqrt(2.0), rel=1e-6
    )


def test_a_sparse_gradient_counts_repeated_indices_as_one_element() -> None:
    """As the optimizer does: an embedding's gradient may name a row twice."""
    sparse = th.sparse_coo_tensor(
        th.tensor([[0, 0, 2]]), th.tensor([1.0, 2.0, 4.0]), (3,), check_invariants=True
    )
    for norm in (accurate_norm([sparse]), quick_norm([sparse], by_numpy=True)):
        assert norm == pytest.approx(5.0)


def test_clipping_is_that_of_pytorch() -> None:
    ours = [th.tensor([3.0]), th.tensor([4.0])]
    copies = [th.zeros(1), th.zeros(1)]
    for copy, gradient in zip(copies, ours, strict=True):
        copy.grad = gradient.clone()
    th.nn.utils.clip_grad_norm_(copies, 0.5)
    assert clip(ours, 0.5)
    for gradient, copy in zip(ours, copies, strict=True):
        assert copy.grad is not None and th.allclose(gradient, copy.grad, rtol=1e-6)


def test_what_is_below_the_limit_keeps_its_bits() -> None:
    gradient = th.tensor([0.1, -0.7])
    assert not clip([gradient], 1.0)
    assert gradient.tolist() == th.tensor([0.1, -0.7]).tolist()
