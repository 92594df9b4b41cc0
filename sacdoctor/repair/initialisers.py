"""What a dead bias is set to: a small draw, or the value its gate is known to start well from.

Sources: forget gate 1.0, Gers et al. 2000 and Jozefowicz et al. 2015 ("An Empirical Exploration
of Recurrent Network Architectures"). PyTorch adds `bias_ih` and `bias_hh`, so only the first gets
the 1.0 (docs of torch.nn.LSTM).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from sacdoctor.checkpoint import DType
from sacdoctor.layers import Kind, Role

if TYPE_CHECKING:
    from numpy.typing import NDArray

BOUND = 0.01
"""Draws are uniform in (−BOUND, BOUND): small beside any trained weight, and never exactly 0."""
FORGET_GATE = 1.0
_SMALLEST = 1e-6
"""Draws nearer to 0 than this are moved out to it, so that no type rounds one to 0."""


def initial_values(role: Role, numel: int, seed: int) -> NDArray[np.float64]:
    """Return new values for all `numel` elements of a bias, in C order.

    They depend on `seed` and the tensor's name alone.
    """
    values = uniform(role.name, numel, seed)
    if _has_forget_gate(role):
        values[role.gates["forget"]] = FORGET_GATE
    return values


def describe(role: Role) -> str:
    """Return in words what `initial_values` gives this tensor, per gate."""
    draw = f"uniform(-{BOUND:g}, {BOUND:g})"
    if _has_forget_gate(role):
        others = ", ".join(gate for gate in role.gates if gate != "forget")
        return f"forget gate {FORGET_GATE:.1f}; {others} gates {draw}"
    return draw


def uniform(name: str, numel: int, seed: int) -> NDArray[np.float64]:
    """Return `numel` draws from (−BOUND, BOUND), none of them 0.

    The bits come from SHAKE-256 over seed and name: unlike numpy's generators, whose streams may
    change between versions (NEP 19), they are the same everywhere and always.
    """
    said = f"sacdoctor {seed} {name}".encode("utf-8", "surrogatepass")
    digest = hashlib.shake_256(said).digest(8 * numel)
    bits = np.frombuffer(digest, dtype="<u8") >> np.uint64(11)
    draws: NDArray[np.float64] = BOUND * (2.0 * (bits / 2.0**53) - 1.0)
    return np.copysign(np.maximum(np.abs(draws), _SMALLEST), draws)


def encoded(values: NDArray[np.float64], dtype: DType) -> NDArray[Any]:
    """Return the values as raw elements of `dtype`, rounded towards 0 so that bounds hold.

    Raises `ValueError` for types that no layer keeps its bias in.
    """
    if dtype.name == "bfloat16":
        bits = values.astype(np.float32).view(np.uint32) >> np.uint32(16)
        return bits.astype(dtype.code)
    if not dtype.is_floating_point or dtype.zero_mask:
        raise ValueError(f"{dtype.name} values are not re-drawn")
    rounded = values.astype(dtype.code)
    inward = np.nextafter(rounded, rounded.dtype.type(0))
    return np.where(np.abs(rounded.astype(np.float64)) > np.abs(values), inward, rounded)


def _has_forget_gate(role: Role) -> bool:
    part = role.name.rpartition(".")[2]
    return role.kind is Kind.LSTM and part.startswith("bias_ih") and "forget" in role.gates
