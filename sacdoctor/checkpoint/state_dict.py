"""State dicts in what was saved: names with a tensor each, at the top or under a known key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sacdoctor.checkpoint.tensors import Tensor, refuse_endless_views
from sacdoctor.errors import CorruptCheckpoint

_KEYS = ("state_dict", "model_state_dict", "policy_state_dict", "policy")
"""Where training loops put a state dict that they save together with other things."""


def nesting(saved: Any) -> tuple[str, ...]:
    """Return the key under which a bare file keeps its state dict, empty for the top level."""
    if not isinstance(saved, dict) or any(isinstance(v, Tensor) for v in saved.values()):
        return ()
    return tuple(key for key in _KEYS if isinstance(saved.get(key), dict))[:1]


def nested_state_dict(saved: Any) -> Mapping[str, Tensor]:
    """Return the state dict of a bare file, wherever `nesting` finds it."""
    for key in nesting(saved):
        saved = saved[key]
    return state_dict(saved)


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
