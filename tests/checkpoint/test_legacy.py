"""Files before PyTorch 1.6 are read as `torch.load(weights_only=True)` reads them."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th

from sacdoctor import scan
from sacdoctor.checkpoint import Checkpoint, Tensor
from sacdoctor.checkpoint.legacy import read_legacy
from sacdoctor.errors import CorruptCheckpoint, SacdoctorError, UnlistedName
from tests.archives import saved
from tests.conftest import child_environment

DTYPES = (
    *(th.float16, th.float32, th.float64, th.bfloat16, th.complex64, th.complex128),
    *(th.int8, th.int16, th.int32, th.int64, th.uint8, th.bool),
)


def read(data: bytes) -> Any:
    return read_legacy(memoryview(data))


def by_torch(data: bytes) -> Any:
    return th.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def assert_same(ours: Any, torchs: Any) -> None:
    """Both are the same, tensors bit for bit, by the bytes of each element in C order."""
    if isinstance(torchs, th.Tensor):
        assert isinstance(ours, Tensor)
        assert ours.shape == tuple(torchs.shape)
        assert ours.stride == torchs.stride()
        assert ours.dtype.name == str(torchs.dtype).removeprefix("torch.")
        whole = torchs.detach().contiguous().reshape(-1).view(th.uint8).numpy()
        assert np.ascontiguousarray(ours.values).tobytes() == whole.tobytes()
    elif isinstance(torchs, dict):
        assert list(ours) == list(torchs)
        for key, value in torchs.items():
            assert_same(ours[key], value)
    elif isinstance(torchs, (list, tuple)):
        assert type(ours) is type(torchs)
        for one, other in zip(ours, torchs, strict=True):
            assert_same(one, other)
    else:
        assert (type(ours), ours) == (type(torchs), torchs)


def patterned(dtype: th.dtype) -> th.Tensor:
    """Every byte another, NaN, infinities and minus zero among them."""
    if dtype == th.bool:
        return th.tensor([True, False, True])
    return th.arange(1, 193, dtype=th.uint8).view(dtype)


def of_all_kinds() -> dict[str, Any]:
    flat = th.arange(24.0)
    moved = th.nn.Linear(3, 2)
    optimizer = th.optim.Adam(moved.parameters(), amsgrad=True)
    moved(th.ones(3)).sum().backward()
    optimizer.step()
    return {
        "a view": flat[5:11],
        "turned": flat.reshape(4, 6).T,
        "expanded": th.ones(1, 3).expand(4, 3),
        "empty": th.zeros(0, 3),
        "no dimension": th.tensor(0.5),
        "the same again": flat[5:11],
        "a parameter": moved.weight,
        "a state dict": moved.state_dict(),
        "an optimizer": optimizer.state_dict(),
        "plain": [1, 2.5, "text", None, True, 2**70, (1, (2,))],
        "ordered": OrderedDict(x=1),
        "strides": th.arange(10)[::3],
    }


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_element_type_is_torchs_bit_for_bit(dtype: th.dtype) -> None:
    data = saved({"w": patterned(dtype)}, legacy=True)
    assert_same(read(data), by_torch(data))


def test_everything_in_it_is_torchs() -> None:
    data = saved(of_all_kinds(), legacy=True)
    assert_same(read(data), by_torch(data))


def test_tensors_of_one_storage_share_it() -> None:
    kinds = read(saved(of_all_kinds(), legacy=True))
    assert kinds["a view"].storage is kinds["the same again"].storage is kinds["turned"].storage
    assert kinds["a parameter"].storage is kinds["a state dict"]["weight"].storage


def test_a_tensor_that_lay_on_a_gpu_is_read_on_none() -> None:
    data = saved({"w": th.arange(3.0)}, legacy=True)
    data = data.replace(b"ctorch\nFloatStorage\n", b"ctorch.cuda\nFloatStorage\n")
    assert_same(read(data), by_torch(data))


def parts_of(state: Any) -> tuple[list[Any], bytes]:
    """The first three pickles as objects, the bytes of the rest."""
    file = io.BytesIO(saved(state, legacy=True))
    return [pickle.load(file) for _ in range(3)], file.read()


def put_together(numbers: list[Any], rest: bytes) -> bytes:
    return b"".join(pickle.dumps(number, 2) for number in numbers) + rest


def test_what_the_writer_said_of_its_machine_changes_nothing() -> None:
    """It swaps bytes itself: what it writes is little-endian, and torch does not ask."""
    (magic, version, system), rest = parts_of({"w": th.arange(3.0)})
    assert system["little_endian"] is True
    data = put_together([magic, version, {**system, "little_endian": False}], rest)
    assert_same(read(data), by_torch(data))


def wrong() -> dict[str, bytes]:
    """Files that torch refuses, or completes with what lies about in memory."""
    numbers, rest = parts_of({"w": th.arange(3.0), "v": th.ones(2)})
    whole = put_together(numbers, rest)
    values = th.arange(3.0).numpy().tobytes()
    return {
        "cut-off-in-values": whole[:-3],
        "cut-off-before-values": whole[:-20],
        "cut-off-in-a-pickle": whole[: whole.index(b"FloatStorage")],
        "another-number-of-elements": whole.replace(
            b"\3" + bytes(7) + values, b"\4" + bytes(7) + values
        ),
        "another-version": put_together([numbers[0], 1002, numbers[2]], rest),
        "no-keys": whole[: whole.index(b"\x80\2]", 100)] + pickle.dumps([], 2),
        "keys-of-nothing": whole[: whole.index(b"\x80\2]", 100)] + pickle.dumps(["1"], 2),
        "keys-that-are-no-list": whole[: whole.index(b"\x80\2]", 100)] + pickle.dumps(7, 2),
        "the-rest-missing": whole[: whole.index(b"\x80\2]", 100)],
        "elements-less-than-none": whole.replace(b"K\3Nt", b"J\xff\xff\xff\xffNt"),
    }


@pytest.mark.parametrize("kind", wrong())
def test_what_torch_refuses_is_refused(kind: str) -> None:
    data = wrong()[kind]
    with pytest.raises(SacdoctorError):
        read(data)
    if kind != "no-keys":  # whose values torch leaves to chance
        with pytest.raises(Exception):  # noqa: B017 - torch raises whatever its parts raise
            by_torch(data)


def viewed(view: bytes) -> bytes:
    """A tensor over three of the numbers from 0 to 5, as PyTorch 0.3 wrote its storages' views."""
    numbers, rest = parts_of({"w": th.arange(6.0)})
    at = rest.index(b"K\6Nt")
    rest = rest[: at + 2] + view + rest[at + 3 :]
    return put_together(numbers, rest.replace(b"K\0K\6\x85", b"K\0K\3\x85"))


def test_a_view_of_a_storage_is_the_part_that_torch_reads() -> None:
    data = viewed(b"X\1\0\0\0vK\2K\3\x87")
    assert_same(read(data), by_torch(data))
    assert read(data)["w"].values.tolist() == [2.0, 3.0, 4.0]


def test_a_view_beyond_its_storage_is_refused() -> None:
    with pytest.raises(CorruptCheckpoint, match="part of a storage"):
        read(viewed(b"X\1\0\0\0vK\4K\3\x87"))


def test_an_object_of_no_state_dict_is_refused_in_a_member_and_data_in_a_file(
    tmp_path: Path,
) -> None:
    data = saved({"net": th.nn.Linear(2, 2)}, legacy=True)
    with pytest.raises(UnlistedName, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
        read(data)
    (tmp_path / "agent.pt").write_bytes(data)
    with Checkpoint(tmp_path / "agent.pt") as checkpoint:
        assert set(checkpoint.tensors) == {"net.weight", "net.bias"}


def test_it_is_scanned_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "policy.pth"
    path.write_bytes(saved({"a.bias": th.zeros(3), "a.weight": th.ones(3, 3)}, legacy=True))
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from sacdoctor import scan; print(scan(sys.argv[1]).status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (scan(path).status, "")
