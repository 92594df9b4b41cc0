"""Which rows of a recurrent layer's tensors belong to which gate."""

from __future__ import annotations

from sacdoctor.layers.kind import Kind

LSTM_GATES = ("input", "forget", "cell", "output")
GRU_GATES = ("reset", "update", "new")
"""PyTorch's orders: docs of torch.nn.LSTM (W_ii|W_if|W_ig|W_io), torch.nn.GRU (W_ir|W_iz|W_in)."""


def gate_slices(kind: Kind, rows: int) -> dict[str, slice]:
    """Return the rows of each gate in a tensor of `rows` rows; empty for kinds without gates."""
    names = {Kind.LSTM: LSTM_GATES, Kind.GRU: GRU_GATES}.get(kind, ())
    if not names or rows % len(names):
        return {}
    hidden = rows // len(names)
    return {name: slice(i * hidden, (i + 1) * hidden) for i, name in enumerate(names)}
