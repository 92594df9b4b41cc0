"""Tensors as records over the file's bytes: what a state dict says, checked and not copied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from sacdoctor.checkpoint.dtypes import DType
from sacdoctor.errors import CorruptCheckpoint
from sacdoctor.files import fetch_into, fetched, is_held

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_DIMENSIONS = 32
"""numpy 1's limit; PyTorch's layers need at most 5."""
_MAX_SIZE = 2**63 - 1
"""PyTorch counts elements, and numpy bytes, in 64 bits with a sign."""

MAX_VIEWS = 16
"""How often tensors that are no aliases may look at the same bytes, on average; each look takes
time. Real state dicts share whole tensors, and slices of one storage that do not overlap."""
VIEWED_ALWAYS = 1024**3
"""Bytes that all tensors may look at in any case: less than a second."""


class Storage(Struct, frozen=True, eq=False):
    """The bytes that one or several tensors look at; two tensors of one storage share them.

    `data` are to be `fetched`. `position` is where they start in the file on disk, None where they
    do not stand there as they are (deflated members) or nobody asks (the old `.pth` format).
    `record` is the archive's member.
    """

    key: str
    dtype: DType
    numel: int
    data: memoryview
    position: int | None = None
    record: str | None = None

    def elements(self, start: int, stop: int, room: memoryview | None = None) -> NDArray[Any]:
        """Return the elements from `start` to `stop`, read-only; those of a file that is held may
        be in `room`, until that is used again."""
        size = self.dtype.itemsize
        data = self.data[start * size : stop * size]
        if room is not None and is_held(data) and len(data):
            room = room[: len(data)]
            fetch_into(room, data)
            return np.frombuffer(room.toreadonly(), self.dtype.code)
        return np.frombuffer(fetched(data), self.dtype.code, count=stop - start)


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor of a state dict. `offset` and `stride` count elements of `storage`, `numel` its own.

    Raises `CorruptCheckpoint` on creation where the shape does not fit into the storage.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: DType
    numel: int = field(init=False)
    is_contiguous: bool = field(init=False)

    def __post_init__(self) -> None:
        _check_numbers(self.shape, self.stride, self.offset)
        numel = prod(self.shape)
        contiguous = numel <= 1 or self.stride == contiguous_stride(self.shape)
        object.__setattr__(self, "numel", numel)
        object.__setattr__(self, "is_contiguous", contiguous)
        _check_extent(self)

    @property
    def values(self) -> NDArray[Any]:
        """The elements, read-only; bfloat16 and float8 as their raw bits."""
        if self.is_contiguous:
            return self.part(0, self.numel).reshape(self.shape)
        if not self.numel:
            return np.empty(self.shape, self.dtype.code)
        first, last, _ = self.extent
        elements = self.storage.elements(first, last + 1)
        step = elements.itemsize
        return np.lib.stride_tricks.as_strided(
            elements,
            self.shape,
            # Along a dimension of one element the stride is never used, and may be anything.
            tuple(
                stride * step if size > 1 else 0
                for size, stride in zip(self.shape, self.stride, strict=True)
            ),
            writeable=False,
        )

    def part(self, start: int, stop: int, room: memoryview | None = None) -> NDArray[Any]:
        """Return some elements of a contiguous tensor, counted in C order."""
        return self.storage.elements(self.offset + start, self.offset + stop, room)

    @property
    def is_expanded(self) -> bool:
        """Whether it repeats elements (stride 0): it may claim more than anyone can wait for."""
        return self.numel > self.storage.numel

    @property
    def extent(self) -> tuple[int, int, int]:
        """First and last element within the storage, and how many: equal for two aliases."""
        return self.offset, self.offset + _reach(self.shape, self.stride), self.numel

    def item(self) -> float | int:
        """The single element's value; raises `CorruptCheckpoint` where there is not just one."""
        if self.numel != 1:
            raise CorruptCheckpoint(f"a tensor of shape {self.shape} stands in for a number")
        if self.dtype.zero_mask:
            raise CorruptCheckpoint(f"a {self.dtype.name} tensor stands in for a number")
        value: float | int = self.values.reshape(()).item()
        return value


def contiguous_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, in elements, of a C-contiguous tensor of this shape."""
    stride: list[int] = []
    step = 1
    for size in reversed(shape):
        stride.append(step)
        step *= max(size, 1)
    return tuple(reversed(stride))


def refuse_endless_views(tensors: Iterable[Tensor]) -> None:
    """Raise `CorruptCheckpoint` where tensors look at the same bytes again and again.

    A few kilobytes can name a storage ten thousand times, each time from another element on.
    """
    held: dict[str, int] = {}
    viewed: dict[tuple[str, tuple[int, int, int]], int] = {}
    for tensor in tensors:
        key = tensor.storage.key
        held[key] = len(tensor.storage.data)
        viewed[key, tensor.extent] = min(tensor.numel, tensor.storage.numel) * tensor.dtype.itemsize
    total = sum(viewed.values())
    if total > max(VIEWED_ALWAYS, MAX_VIEWS * sum(held.values())):
        raise CorruptCheckpoint(
            f"its tensors look at {total:,} bytes, but their storages have only "
            f"{sum(held.values()):,}"
        )


def _reach(shape: tuple[int, ...], stride: tuple[int, ...]) -> int:
    """Return how far past its first element the tensor's last one lies."""
    return sum((size - 1) * step for size, step in zip(shape, stride, strict=True) if size)


def _check_numbers(shape: tuple[Any, ...], stride: tuple[Any, ...], offset: Any) -> None:
    if len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS:
        raise CorruptCheckpoint(
            f"a tensor has a shape of {len(shape):,} dimensions and {len(stride):,} strides"
        )
    for number in (*shape, *stride, offset):
        if type(number) is not int:
            # Not quoted: a tuple that holds another twice, and so on, has no end as a text.
            raise CorruptCheckpoint("a tensor's shape, stride or offset holds no whole number")
        if not 0 <= number <= _MAX_SIZE:
            raise CorruptCheckpoint("a tensor's shape, stride or offset is no possible size")


def _check_extent(tensor: Tensor) -> None:
    """Refuse a tensor that is not within its storage; of a whole one the last element tells."""
    shape, stride, held = tensor.shape, tensor.stride, tensor.storage.numel
    is_whole = tensor.is_contiguous and tensor.numel > 0
    if not is_whole:
        if tensor.dtype.itemsize * prod(max(size, 1) for size in shape) > _MAX_SIZE:
            raise CorruptCheckpoint(f"a tensor claims an impossible shape, {shape}")
        if not tensor.numel:
            return
    reach = tensor.numel - 1 if is_whole else _reach(shape, stride)
    if tensor.offset + reach >= held:
        raise CorruptCheckpoint(
            f"a tensor of shape {shape} does not fit into its storage of {held:,} elements"
        )
    if not is_whole and prod(n for n, step in zip(shape, stride, strict=True) if step) > held:
        raise CorruptCheckpoint(
            f"a tensor of shape {shape} claims more elements than its storage has"
        )
