"""Norms of gradients that an algorithm takes itself, as it clips them.

SB3's PPO, A2C and DQN call `torch.nn.utils.clip_grad_norm_` before a step and drop what it returns,
the norm before clipping; a step's hook comes after that. While somebody listens, a function that
passes every call on stands in its place and tells the norm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch as th

Listener = Callable[[list[th.Tensor], th.Tensor], None]
"""Gets the parameters of a call, and the Euclidean norm of their gradients before clipping."""

_LISTENERS: list[Listener] = []
_UTILS: Any = th.nn.utils


class _Telling:
    """`clip_grad_norm_` as it was found, with listeners."""

    def __init__(self, own: Callable[..., th.Tensor]) -> None:
        self.own = own

    def __call__(self, parameters: Any, *args: Any, **kwargs: Any) -> th.Tensor:
        if isinstance(parameters, th.Tensor):
            parameters = [parameters]
        parameters = list(parameters)
        norm = self.own(parameters, *args, **kwargs)
        norm_type = args[1] if len(args) > 1 else kwargs.get("norm_type", 2.0)
        if float(norm_type) == 2.0:
            for listener in list(_LISTENERS):
                listener(parameters, norm)
        return norm


def listen(listener: Listener) -> None:
    """Have every call of `torch.nn.utils.clip_grad_norm_` told to `listener` from now on."""
    _LISTENERS.append(listener)
    if not isinstance(_UTILS.clip_grad_norm_, _Telling):
        _UTILS.clip_grad_norm_ = _Telling(_UTILS.clip_grad_norm_)


def stop_listening(listener: Listener) -> None:
    """Tell `listener` no more; the last one to go leaves PyTorch as it was found."""
    if listener in _LISTENERS:
        _LISTENERS.remove(listener)
    if not _LISTENERS and isinstance(_UTILS.clip_grad_norm_, _Telling):
        _UTILS.clip_grad_norm_ = _UTILS.clip_grad_norm_.own
