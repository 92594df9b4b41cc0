"""PyTorch's element types as numpy's, and the raw bits where numpy has no such type."""

from __future__ import annotations

from msgspec import Struct


class DType(Struct, frozen=True):
    """An element type: `name` as PyTorch calls it, `code` as numpy reads its little-endian bytes.

    `zero_mask` is 0 where numpy knows the type. Elsewhere `code` is an unsigned integer over the
    raw bits, and an element is zero when none of the bits in `zero_mask` (all but the sign) is
    set.
    """

    name: str
    code: str
    itemsize: int
    zero_mask: int = 0
    is_floating_point: bool = False


_ALL = (
    DType("float64", "<f8", 8, is_floating_point=True),
    DType("float32", "<f4", 4, is_floating_point=True),
    DType("float16", "<f2", 2, is_floating_point=True),
    DType("bfloat16", "<u2", 2, zero_mask=0x7FFF, is_floating_point=True),
    DType("float8_e4m3fn", "|u1", 1, zero_mask=0x7F, is_floating_point=True),
    DType("float8_e5m2", "|u1", 1, zero_mask=0x7F, is_floating_point=True),
    DType("complex64", "<c8", 8),
    DType("complex128", "<c16", 16),
    DType("int64", "<i8", 8),
    DType("int32", "<i4", 4),
    DType("int16", "<i2", 2),
    DType("int8", "|i1", 1),
    DType("uint64", "<u8", 8),
    DType("uint32", "<u4", 4),
    DType("uint16", "<u2", 2),
    DType("uint8", "|u1", 1),
    DType("bool", "|u1", 1),
)
DTYPES = {dtype.name: dtype for dtype in _ALL}

STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}
"""Element type per storage class that `torch.save` writes (torch/storage.py)."""
