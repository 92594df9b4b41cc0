"""Norms of gradients: a quick one for every step, an accurate one for the few that need it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch as th


def quick_norm(gradients: Sequence[th.Tensor], by_numpy: bool) -> float:
    """Return the Euclidean norm of all elements together.

    It is not finite where any element is not, and where squares overflow. `by_numpy` is for dense
    tensors on the CPU of types that numpy has: its dot products over the gradients' own memory take
    half the time of PyTorch's norms, whose cost is in the calls.
    """
    if by_numpy:
        try:
            arrays = [gradient.numpy() for gradient in gradients]
        except (RuntimeError, TypeError):  # sparse, or part of a graph
            return accurate_norm(gradients)
        return math.sqrt(sum([float(np.vdot(array, array)) for array in arrays]))
    return _norm_of([th.linalg.vector_norm(g.detach()) for g in gradients])


def accurate_norm(gradients: Sequence[th.Tensor]) -> float:
    """Return the norm in double precision; not finite only where an element is not."""
    wide = [g.detach().coalesce().values() if g.is_sparse else g.detach() for g in gradients]
    wide = [g.cpu() if g.device.type == "mps" else g for g in wide]  # it has no doubles
    return _norm_of([th.linalg.vector_norm(g, dtype=th.float64) for g in wide])


def clip(gradients: Sequence[th.Tensor], limit: float) -> bool:
    """Scale gradients in place to a norm of `limit` where theirs is larger; return whether it was.

    As `torch.nn.utils.clip_grad_norm_` does, but by a norm that cannot overflow.
    """
    norm = accurate_norm(gradients)
    if norm <= limit:
        return False
    for gradient in gradients:
        gradient.detach().mul_(limit / (norm + 1e-6))
    return True


def _norm_of(norms: list[th.Tensor]) -> float:
    """Return the norm over tensors of which the norms are given, with one transfer."""
    return float(th.stack([norm.to(norms[0].device) for norm in norms]).norm())
