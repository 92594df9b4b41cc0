"""CRC-32 of bytes that are not read again: joined from the checksums of their parts.

A CRC is the remainder of a polynomial over GF(2). Bytes that follow multiply it by a power of x,
so two checksums can be joined, and a change in the middle carried through to the end.
Source: zlib's `crc32_combine`.
"""

from __future__ import annotations

from functools import lru_cache

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31  # the lowest power of x is the highest bit


def joined(first: int, second: int, size: int) -> int:
    """Return the CRC-32 of two byte strings in a row; the second has `size` bytes."""
    return carried(first, size) ^ second


def carried(difference: int, size: int) -> int:
    """Return by what a CRC-32 changes where one differs by `difference` before `size` bytes.

    The checksums of two byte strings of one length differ, as bits, by what their change does.
    """
    return _product(difference, _power(size))


@lru_cache(maxsize=256)
def _power(size: int) -> int:
    """Return x to the power of 8 · `size`, modulo the polynomial."""
    result, square = _ONE, _ONE >> 8
    while size:
        if size & 1:
            result = _product(result, square)
        square = _product(square, square)
        size >>= 1
    return result


def _product(a: int, b: int) -> int:
    product, bit = 0, _ONE
    while bit:
        if a & bit:
            product ^= b
        b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
        bit >>= 1
    return product
