"""What a weight shows of its past: still orthogonal, or further out than any start puts it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch as th
from torch import nn

from sacdoctor import Checkpoint
from sacdoctor.diagnosis import initialisation
from sacdoctor.diagnosis.initialisation import is_orthogonal, was_trained
from tests.archives import write_sb3

SHAPES = [(4, 4), (64, 3), (3, 64), (2, 1), (256, 128), (16, 4, 3, 3), (4, 16, 8, 8), (5, 2, 7)]
GAINS = [0.01, 1.0, 2**0.5, 100.0]

each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def judged(folder: Path, tensor: th.Tensor) -> bool:
    with Checkpoint(write_sb3(folder / "m.zip", {"x": tensor})) as checkpoint:
        return is_orthogonal(checkpoint.tensors["x"])


@pytest.fixture(autouse=True)
def _seed() -> None:
    th.manual_seed(0)


@pytest.mark.parametrize("gain", GAINS)
@each_shape
def test_orthogonal_start_is_recognised(
    tmp_path: Path, shape: tuple[int, ...], gain: float
) -> None:
    weight = nn.init.orthogonal_(th.empty(shape), gain)
    # One column has nothing to be orthogonal to.
    assert judged(tmp_path, weight) == (min(len(weight), weight[0].numel()) > 1)


@each_shape
def test_orthogonal_start_is_recognised_in_double_precision(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    weight = nn.init.orthogonal_(th.empty(shape, dtype=th.float64))
    assert judged(tmp_path, weight) == (min(len(weight), weight[0].numel()) > 1)


@pytest.mark.parametrize("rate", [1e-2, 3e-4, 1e-4])
@pytest.mark.parametrize("gain", [0.01, 1.0, 2**0.5])
@each_shape
def test_one_step_of_adam_is_seen(
    tmp_path: Path, shape: tuple[int, ...], gain: float, rate: float
) -> None:
    weight = nn.Parameter(nn.init.orthogonal_(th.empty(shape), gain))
    weight.grad = th.randn(shape)
    th.optim.Adam([weight], lr=rate).step()
    assert not judged(tmp_path, weight.detach())


@pytest.mark.parametrize(
    "start",
    [
        nn.init.normal_,
        nn.init.uniform_,
        nn.init.xavier_uniform_,
        nn.init.xavier_normal_,
        nn.init.kaiming_uniform_,
        nn.init.ones_,
        nn.init.zeros_,
    ],
)
@each_shape
def test_other_starts_are_not_orthogonal(
    tmp_path: Path, shape: tuple[int, ...], start: Callable[[th.Tensor], Any]
) -> None:
    assert not judged(tmp_path, start(th.empty(shape)))


@pytest.mark.parametrize(
    "tensor",
    [
        th.zeros(4),
        th.ones(1, 8),
        th.ones(8, 1),
        th.zeros(0, 4),
        th.eye(4).half(),
        th.eye(4).bfloat16(),
        th.eye(4, dtype=th.int64),
        th.full((3, 3), float("nan")),
        th.tensor([[float("inf"), 0.0], [0.0, float("inf")]]),
        th.tensor([[0.0, 0.0], [0.0, 1.0]]),
        th.tensor([[1.0, 0.0], [0.0, 2.0]]),
        th.tensor([[1.0, 0.0], [1.0, 0.0]]),
    ],
    ids=lambda tensor: f"{tensor.dtype}{[*tensor.shape]}",
)
def test_what_cannot_be_judged_is_not_orthogonal(tmp_path: Path, tensor: th.Tensor) -> None:
    assert not judged(tmp_path, tensor)


def test_identity_is_orthogonal(tmp_path: Path) -> None:
    assert judged(tmp_path, th.eye(4))


def test_transposed_view_is_judged_by_its_values(tmp_path: Path) -> None:
    assert judged(tmp_path, nn.init.orthogonal_(th.empty(8, 3)).t())


def test_weights_too_large_to_multiply_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = nn.init.orthogonal_(th.empty(8, 8))
    monkeypatch.setattr(initialisation, "LARGEST", 63)
    assert not judged(tmp_path, weight)
    monkeypatch.setattr(initialisation, "LARGEST", 64)
    assert judged(tmp_path, weight)


# -- was trained -------------------------------------------------------------------------------


def shows_training(folder: Path, tensor: th.Tensor) -> bool:
    with Checkpoint(write_sb3(folder / "m.zip", {"x": tensor})) as checkpoint:
        return was_trained(checkpoint.tensors["x"])


LAYERS = [nn.Linear(3, 64), nn.Linear(64, 3), nn.Conv2d(3, 8, 4)]
SINGLE = [nn.Linear(64, 1), nn.Linear(1, 64), nn.Linear(1, 1)]
"""One row or column, as every value function ends: orthogonal whatever it holds."""


@pytest.mark.parametrize("module", LAYERS + SINGLE, ids=str)
def test_no_start_of_sb3_shows_training(tmp_path: Path, module: nn.Module) -> None:
    module.reset_parameters()
    assert not shows_training(tmp_path, module.weight.detach())
    nn.init.orthogonal_(module.weight, 2**0.5)
    assert not shows_training(tmp_path, module.weight.detach())


@pytest.mark.parametrize("module", LAYERS, ids=str)
def test_weight_beyond_its_start_shows_training(tmp_path: Path, module: nn.Module) -> None:
    module.reset_parameters()
    weight = module.weight.detach().clone()
    weight.view(-1)[-1] = -1.01 * weight[0].numel() ** -0.5
    assert shows_training(tmp_path, weight)


def test_biases_and_empty_weights_show_nothing(tmp_path: Path) -> None:
    assert not shows_training(tmp_path, th.full((4,), 100.0))
    assert not shows_training(tmp_path, th.empty(0, 4))
