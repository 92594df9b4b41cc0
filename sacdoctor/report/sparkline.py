"""Small curves within a line of text."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-:=+*#"


def sparkline(values: Sequence[float | None], width: int, *, ascii_only: bool) -> str:
    """Return one character per value, as high as it is within their range; gaps stay empty.

    More values than `width` are thinned out evenly. What is not finite is shown as `!`.
    """
    if len(values) > width:
        values = [values[number * len(values) // width] for number in range(width)]
    levels = _ASCII if ascii_only else _BLOCKS
    finite = [value for value in values if value is not None and isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)

    def level(value: float | None) -> str:
        if value is None:
            return " "
        if not isfinite(value):
            return "!"
        if high == low:
            return levels[0]
        share = (value / 2 - low / 2) / (high / 2 - low / 2)  # halved: it might overflow
        return levels[min(int(len(levels) * share), len(levels) - 1)]

    return "".join(map(level, values))
