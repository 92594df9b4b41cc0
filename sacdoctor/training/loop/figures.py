"""Where a training loop's figures go: TensorBoard, Python's `logging`, or any callable."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol


class Writer(Protocol):
    """TensorBoard's `SummaryWriter`, or what has its method."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object:
        """Write one figure."""


Sink = Writer | logging.Logger | Callable[[str, float, int], object]
"""What takes figures: a writer, a logger (one line for all of a step), or a function of tag, value
and environment steps."""


class Figures:
    """Figures by their tags, kept until they are written.

    Raises `TypeError` for a `sink` that takes none.
    """

    def __init__(self, sink: Sink | None) -> None:
        if sink is not None and not (
            isinstance(sink, logging.Logger) or hasattr(sink, "add_scalar") or callable(sink)
        ):
            raise TypeError(
                "figures go to a SummaryWriter, a logging.Logger or a function of tag, value and "
                f"step, not to {type(sink).__name__}"
            )
        self._sink = sink
        self._values: dict[str, float] = {}
        self._means: dict[str, list[float]] = {}

    def record(self, key: str, value: Any) -> None:
        """Keep the latest value."""
        self._values[key] = float(value)

    def record_mean(self, key: str, value: float | None) -> None:
        """Keep the mean of the values since figures were last written."""
        if value is not None:
            self._means.setdefault(key, []).append(float(value))

    def write(self, step: int) -> None:
        """Write what was kept, as that of environment step `step`."""
        means = {key: sum(values) / len(values) for key, values in self._means.items()}
        figures = {**self._values, **means}
        self._values, self._means = {}, {}
        if not figures or self._sink is None:
            return
        if isinstance(self._sink, logging.Logger):
            told = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
            self._sink.info("at %s steps: %s", f"{step:,}", told)
            return
        write: Any = getattr(self._sink, "add_scalar", self._sink)
        for key, value in figures.items():
            write(key, value, step)
