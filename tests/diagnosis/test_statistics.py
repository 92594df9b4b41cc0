"""Zeros are counted exactly, in arrays of any size and form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st

from sacdoctor import Checkpoint, scan
from sacdoctor.diagnosis import statistics
from sacdoctor.diagnosis.statistics import all_equal, gate_zero_percent, measure
from tests import torch_truth
from tests.archives import write_sb3


def read(path: Path, tensor: th.Tensor) -> Any:
    """`tensor` as a checkpoint gives it; the memory map lives as long as it does."""
    with Checkpoint(write_sb3(path, {"x": tensor})) as checkpoint:
        return checkpoint.tensors["x"]


BIG = {
    "a-row": (3_000_001,),
    "rows": (3000, 1001),
    "few-long-rows": (2, 1_200_000),
    "columns": (1_500_001, 2),
    "nested": (2, 2, 700_001),
    "one": (1, 1, 2_500_000, 1),
}


@pytest.mark.parametrize("dtype", [th.float32, th.bfloat16], ids=str)
@pytest.mark.parametrize("shape", BIG.values(), ids=BIG)
def test_big_arrays_are_counted_whole(
    tmp_path: Path, shape: tuple[int, ...], dtype: th.dtype
) -> None:
    th.manual_seed(0)
    tensor = (th.rand(shape) > 0.3).to(dtype)
    tensor.view(-1)[-1] = 0
    assert measure(read(tmp_path / "m.zip", tensor)).zeros == torch_truth.zeros(tensor)


@pytest.mark.parametrize("dtype", [th.float32, th.bfloat16], ids=str)
def test_big_views_are_counted_as_they_are_seen(tmp_path: Path, dtype: th.dtype) -> None:
    th.manual_seed(0)
    base = (th.rand(2001, 1503) > 0.5).to(dtype)
    for view in (base.t(), base[::2], base[:, 1::3], base[:, 7]):
        assert measure(read(tmp_path / "m.zip", view)).zeros == torch_truth.zeros(view)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.lists(st.integers(0, 7), max_size=4),
    chunk=st.integers(1, 9),
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([th.float32, th.bfloat16, th.int64, th.bool]),
    turn=st.booleans(),
)
def test_pieces_add_up_whatever_their_size(
    tmp_path_factory: pytest.TempPathFactory,
    shape: list[int],
    chunk: int,
    seed: int,
    dtype: th.dtype,
    turn: bool,
) -> None:
    th.manual_seed(seed)
    tensor = (th.rand(shape) > 0.5).to(dtype)
    if turn and tensor.ndim:
        tensor = tensor.transpose(0, -1)
    ours = read(tmp_path_factory.mktemp("m") / "m.zip", tensor)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_CHUNK", chunk)
        assert measure(ours).zeros == torch_truth.zeros(tensor)
        assert all_equal(ours, 1.0) == bool((tensor == 1).all())


def test_gates_are_counted_by_their_rows(tmp_path: Path) -> None:
    bias = th.tensor([0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    slices = {"a": slice(0, 2), "b": slice(2, 4), "c": slice(4, 8), "none": slice(8, 8)}
    shares = gate_zero_percent(read(tmp_path / "m.zip", bias), slices)
    assert shares == {"a": 100.0, "b": 0.0, "c": 50.0, "none": 0.0}


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gates_of_a_layer_are_those_of_its_chunks(tmp_path: Path, kind: str) -> None:
    """PyTorch's own `chunk` cuts the bias; each piece is given another share of zeros."""
    module = getattr(th.nn, kind)(3, 10)
    state = {f"memory.{name}": value.clone() for name, value in module.state_dict().items()}
    pieces = state["memory.bias_ih_l0"].chunk(4 if kind == "LSTM" else 3)
    for number, piece in enumerate(pieces):
        piece[: 3 * number] = 0
    report = scan(write_sb3(tmp_path / "m.zip", state))
    (bias,) = [layer for layer in report.biases if layer.name == "memory.bias_ih_l0"]
    assert bias.gates is not None
    assert list(bias.gates.values()) == [30.0 * number for number in range(len(pieces))]


def test_float8_is_never_taken_for_ones(tmp_path: Path) -> None:
    assert not all_equal(read(tmp_path / "m.zip", th.ones(3).to(th.float8_e5m2)), 1.0)


def test_bfloat16_is_widened_exactly(tmp_path: Path) -> None:
    tensor = th.tensor([1.0, -2.5, 0.0, 3e38, float("inf")], dtype=th.bfloat16)
    widened = statistics.raw_as_float32(read(tmp_path / "m.zip", tensor))
    np.testing.assert_array_equal(widened, tensor.float().numpy())
