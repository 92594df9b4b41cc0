"""The constants that older SB3 hides in pickled functions, read off without running them.

Before it had classes for schedules, SB3 kept a constant rate as the function that
`constant_fn(value)` returns, later wrapped by `get_schedule_fn` into
`lambda progress: float(schedule(progress))`. cloudpickle writes both as bytecode with the value in
a closure. Only these two, byte for byte, are recognised.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sacdoctor.errors import CheckpointError
from sacdoctor.pickles import Made, Name, Symbols, WalkBudget, read_pickle

_RETURNS_CELL = {
    bytes.fromhex("88005300"),  # Python 3.6 to 3.10
    bytes.fromhex("9501970089015300"),  # 3.11 and 3.12
    bytes.fromhex("3e01950054012400"),  # 3.13
}
"""Bytecode of `lambda _: value` with `value` in the function's only cell, as CPython writes it."""
_RETURNS_FLOAT_OF_CELL = {
    bytes.fromhex("740088007c00830183015300"),  # Python 3.6 to 3.10
    bytes.fromhex(
        "950197007401000000000000000000000200 8901 7c00 a6010000 ab010000000000000000"
        "a6010000 ab010000000000000000 5300"
    ),  # 3.11
    bytes.fromhex(
        "95019700740100000000000000000200 8901 7c00 ab01000000000000 ab01000000000000 5300"
    ),  # 3.12
    bytes.fromhex(
        "3e0195005b01000000000000000054012200 5500 3501000000000000 3501000000000000 2400"
    ),  # 3.13
}
"""The same for `lambda progress: float(schedule(progress))`, whose only name is `float`."""
_MAX_WRAPPED = 4
"""Functions around functions; SB3 wraps once each time that a model is loaded and saved."""


def constant_of(pickle: bytes, budget: WalkBudget | None = None) -> float | None:
    """Return the number that a pickled schedule always gives, None where that is not certain.

    `budget` is that of the file it stands in, as `read_pickle` takes it.
    """
    try:
        function = read_pickle(pickle, _WithClosures(), budget)
        for _ in range(_MAX_WRAPPED):
            code, cell = _code(function), _only_cell(function)
            if code in _RETURNS_FLOAT_OF_CELL and _names(function) == ("float",):
                function = cell
            elif code in _RETURNS_CELL and type(cell) in (int, float):
                return float(cell)
            else:
                return None
    except (CheckpointError, OverflowError):
        return None
    return None


class _WithClosures(Symbols):
    """Keeps the state that cloudpickle gives a function by a call whose result it drops."""

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(function, Name) and function.qualname == "_builtin_type":
            return Name("types", str(args[0]) if args else "")
        if (
            isinstance(function, Name)
            and function.qualname in ("_function_setstate", "_fill_function")
            and len(args) == 2
            and isinstance(args[0], Made)
        ):
            args[0].states.append(args[1])
            return args[0]
        return Made(function, args, kwargs)


def _code_arguments(function: Any) -> tuple[Any, ...]:
    """Return the arguments of the function's code from its bytecode on: code, constants, names."""
    if not isinstance(function, Made) or not function.args:
        return ()
    code = function.args[0]
    if not isinstance(code, Made) or code.function != Name("types", "CodeType"):
        return ()
    at = next((i for i, arg in enumerate(code.args) if isinstance(arg, bytes)), len(code.args))
    return code.args[at:]


def _code(function: Any) -> bytes | None:
    arguments = _code_arguments(function)
    return arguments[0] if arguments else None


def _names(function: Any) -> Any:
    return _code_arguments(function)[2:3][0]


def _only_cell(function: Any) -> Any:
    """Return what the function's closure holds, None unless it is one thing."""
    if not isinstance(function, Made):
        return None
    found = [value for state in function.states for value in _cells(state)]
    return found[0] if len(found) == 1 else None


def _cells(state: Any) -> Iterator[Any]:
    """Yield the closure's values: cloudpickle below 1.5 lists them, later ones make cells."""
    for part in state if isinstance(state, tuple) else (state,):
        if not isinstance(part, dict):
            continue
        if isinstance(part.get("closure_values"), list):
            yield from part["closure_values"]
        cells = part.get("__closure__")
        for cell in cells if isinstance(cells, tuple) else ():
            yield cell.args[0] if isinstance(cell, Made) and len(cell.args) == 1 else None
