"""Norms are PyTorch's, and those that overflow there are not lost."""

from __future__ import annotations

import math

import pytest
import torch as th

from sacdoctor.training.gradients.norms import Arithmetic, accurate_norm


def of_pytorch(gradients: list[th.Tensor]) -> float:
    """What `clip_grad_norm_` returns: the norm of all gradients together."""
    parameters = [th.zeros_like(gradient) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    return float(th.nn.utils.clip_grad_norm_(parameters, 1.0))


FLAT, SINGLY = 0, 60_000
"""Elements of a further tensor of zeros, which decides how all are gone through."""


@pytest.mark.parametrize("more", [FLAT, SINGLY])
@pytest.mark.parametrize("dtype", [th.float32, th.float64, th.bfloat16])
def test_the_norm_is_that_of_all_elements_together(more: int, dtype: th.dtype) -> None:
    zeros = th.zeros(more, dtype=dtype)
    threes = [th.tensor([3.0], dtype=dtype), th.tensor([[4.0]], dtype=dtype), zeros]
    assert Arithmetic(threes).norm(threes) == pytest.approx(5.0)
    th.manual_seed(0)
    drawn = [th.randn(7, 5), th.randn(5), th.randn(()), th.randn(2, 3).T, th.zeros(more)]
    drawn = [gradient.to(dtype) for gradient in drawn]
    expected = of_pytorch([gradient.double() for gradient in drawn])
    within = 1e-6 if dtype is not th.bfloat16 else 1e-2
    assert Arithmetic(drawn).norm(drawn) == pytest.approx(expected, rel=within)
    assert accurate_norm(drawn) == pytest.approx(expected, rel=1e-6)


def test_gradients_of_two_types_have_one_norm() -> None:
    mixed = [th.tensor([3.0]), th.tensor([4.0], dtype=th.float64)]
    assert Arithmetic(mixed).norm(mixed) == pytest.approx(5.0)
    assert not Arithmetic(mixed).are_finite(mixed)  # not told so fast


@pytest.mark.parametrize("more", [FLAT, SINGLY])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_element_that_is_not_finite_shows_everywhere(value: float, more: int) -> None:
    gradients = [th.zeros(3), th.tensor([1.0, value]), th.zeros(more)]
    judge = Arithmetic(gradients)
    assert not math.isfinite(judge.norm(gradients))
    assert not math.isfinite(accurate_norm(gradients))
    assert not judge.are_finite(gradients)
    assert judge.are_finite([th.ones(3), th.ones(2), th.zeros(more)])  # of the next step


def test_squares_beyond_single_precision_do_not_overflow_the_accurate_norm() -> None:
    assert accurate_norm([th.tensor([3e38, 0.0]), th.tensor([3e38])]) == pytest.approx(
        3e38 * math.sqrt(2.0), rel=1e-6
    )


def test_a_sparse_gradient_counts_repeated_indices_as_one_element() -> None:
    """As the optimizer does: an embedding's gradient may name a row twice."""
    sparse = th.sparse_coo_tensor(
        th.tensor([[0, 0, 2]]), th.tensor([1.0, 2.0, 4.0]), (3,), check_invariants=True
    )
    parameters = [th.zeros(3)]
    for norm in (accurate_norm([sparse]), Arithmetic(parameters).norm([sparse])):
        assert norm == pytest.approx(5.0)
    Arithmetic(parameters).scale([sparse], 0.5)
    assert sparse.to_dense().tolist() == [1.5, 0.0, 2.0]


@pytest.mark.parametrize("dtype", [th.float32, th.float64, th.bfloat16])
def test_scaling_is_multiplication(dtype: th.dtype) -> None:
    th.manual_seed(0)
    gradients = [th.randn(7, 5).to(dtype), th.randn(5).to(dtype)]
    expected = [gradient * 0.25 for gradient in gradients]
    Arithmetic(gradients).scale(gradients, 0.25)
    assert all(map(th.equal, gradients, expected))


def test_a_look_keeps_every_bit() -> None:
    th.manual_seed(0)
    gradients = [th.randn(7, 5), th.randn(5), th.tensor([1e-42, -0.0])]
    before = [gradient.clone() for gradient in gradients]
    judge = Arithmetic(gradients)
    judge.norm(gradients)
    assert judge.are_finite(gradients)
    for gradient, copy in zip(gradients, before, strict=True):
        assert th.equal(gradient.view(th.int32), copy.view(th.int32))
