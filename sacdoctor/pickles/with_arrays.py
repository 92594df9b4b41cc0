"""The vocabulary of settings: names are symbols, but numpy's arrays and numbers what they hold."""

from __future__ import annotations

from typing import Any

from sacdoctor.pickles.arrays import NUMPY_ARRAYS, PickledArray, PickledDType
from sacdoctor.pickles.values import Name
from sacdoctor.pickles.vocabulary import Symbols


class WithArrays(Symbols):
    """Every name a symbol, but numpy's arrays what they hold."""

    def call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = (function.module, function.qualname) if isinstance(function, Name) else None
        make = None if key is None or kwargs else NUMPY_ARRAYS.get(key)
        if make is not None:
            try:
                return make(*args)
            except (TypeError, ValueError):
                pass  # what has no array's form is none
        return super().call(function, args, kwargs)

    def build(self, thing: Any, state: Any) -> None:
        if isinstance(thing, (PickledArray, PickledDType)):
            thing.set_state(state)
        else:
            super().build(thing, state)
