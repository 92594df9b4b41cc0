"""A state dict in what was saved: names with a tensor each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sacdoctor.checkpoint.tensors import Tensor, refuse_endless_views
from sacdoctor.errors import CorruptCheckpoint


def state_dict(saved: Any) -> Mapping[str, Tensor]:
    """Return the tensors by name, in their order; what else stands among them is left out.

    Raises `CorruptCheckpoint` where it is no mapping, or its tensors claim to be without end.
    """
    if not isinstance(saved, dict):
        raise CorruptCheckpoint("it holds no state dict (a mapping of names to tensors)")
    found = {
        name: value
        for name, value in saved.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    refuse_endless_views(found.values())
    return found
