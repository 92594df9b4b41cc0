"""The profile of `TwoHeadV11Sigmoid`, a trading policy for sb3-contrib's RecurrentPPO.

It joins an LSTM and a GRU by a fusion layer, adds a market context, and decides through an entry
head and a management head; its own critic stands beside the one of the parent policy.
"""

from __future__ import annotations

from collections.abc import Iterable

_SIGNATURE = ("v8_shared_lstm", "v11_shared_gru", "hybrid_fusion", "entry_head", "management_head")
_COMPONENTS = {
    "v8_shared_lstm": "LSTM",
    "lstm_actor": "LSTM",
    "v11_shared_gru": "GRU",
    "hybrid_fusion": "fusion",
    "market_context": "market context",
    "entry_head": "entry head",
    "management_head": "management head",
    "memory_bank": "memory bank",
    "v8_critic": "critic",
}
BUFFERS = frozenset({"memory_bank.trade_memory"})
"""Tensors that nothing in their names tells from parameters."""


def recognises(names: Iterable[str]) -> bool:
    """Return whether tensors of these names are those of this policy."""
    modules = {name.partition(".")[0] for name in names}
    return modules.issuperset(_SIGNATURE)


def component(name: str) -> str | None:
    """Return the component as the policy's author names it, None for what SB3 built."""
    return _COMPONENTS.get(name.partition(".")[0])
