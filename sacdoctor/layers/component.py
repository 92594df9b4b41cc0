"""Which part of the agent a tensor belongs to, in the words a person would use for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from sacdoctor.layers.kind import Kind
from sacdoctor.layers.profiles import two_head_v11_sigmoid

_WRAPPERS = frozenset(
    (
        *("agent", "model", "models", "net", "nets", "network", "networks", "policy"),
        *("module", "_orig_mod"),  # DataParallel's and torch.compile's
    )
)
_NETWORKS = {"q_net": "Q-network", "quantile_net": "quantile network"}
"""Networks that people call otherwise than their attribute is called."""
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(^|\.)((pi|vf)_)?features_extractor\."), "features extractor"),
    (re.compile(r"^(mlp_extractor\.policy_net\.|action_net\.|log_std$|action_dist)"), "actor"),
    (re.compile(r"^(mlp_extractor\.value_net\.|value_net\.)"), "critic"),
    (re.compile(r"^mlp_extractor\.shared_net\."), "shared network"),
)
"""Names that SB3's policies give (stable_baselines3/common/policies.py, torch_layers.py)."""


class Components:
    """Names the component of a tensor: the user's patterns first, then a profile, then SB3's.

    `patterns` maps shell-style patterns of tensor names (`entry_head.*`) to component names,
    `online` the tensors of target networks to those of the online ones.
    """

    def __init__(
        self,
        names: Iterable[str],
        patterns: Mapping[str, str] | None = None,
        online: Mapping[str, str] | None = None,
    ) -> None:
        self._patterns = patterns or {}
        self._online = online or {}
        self._profile = two_head_v11_sigmoid.recognises(names)

    @property
    def known_buffers(self) -> frozenset[str]:
        """Tensors that the profile says are buffers."""
        return two_head_v11_sigmoid.BUFFERS if self._profile else frozenset()

    def of(self, name: str, kind: Kind) -> str:
        """Return the component of the tensor `name`, part of a layer of this kind."""
        for pattern, component in self._patterns.items():
            if fnmatchcase(name, pattern):
                return component
        if self._profile:
            named = two_head_v11_sigmoid.component(name)
            if named is not None:
                return named
        if name in self._online:
            network = _inside(self._online[name]).partition(".")[0]
            return f"{_NETWORKS.get(network) or _spaced(network)} target"
        return _sb3_component(name, kind)


def _inside(name: str) -> str:
    """Return a name without outer modules that say nothing of the part: `agent.`, `model.`."""
    outer, _, rest = name.partition(".")
    inner, dot, _ = rest.partition(".")
    return _inside(rest) if dot and outer in _WRAPPERS and not inner.isdigit() else name


def _sb3_component(name: str, kind: Kind) -> str:
    name = _inside(name)
    network = name.partition(".")[0]
    if kind in (Kind.LSTM, Kind.GRU, Kind.RNN):
        return str(kind.value)
    if "fusion" in name.lower():
        return "fusion"
    for pattern, component in _RULES:
        if pattern.search(name):
            return component
    return _NETWORKS.get(network) or _spaced(network)


def _spaced(part: str) -> str:
    return part.replace("_", " ").strip() or "policy"
