"""What each tensor of a state dict is: its layer, kind, role, gates and component."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct, field

from sacdoctor.layers.component import Components
from sacdoctor.layers.gates import gate_slices
from sacdoctor.layers.kind import Kind, Shape, kind_of
from sacdoctor.layers.targets import online_names
from sacdoctor.model import TensorRole

WEIGHT, BIAS, BUFFER, PARAMETER = TensorRole

_BIAS = re.compile(r"bias|bias_(ih|hh).*|bias_(k|v|mu|sigma)|.*_bias")
_WEIGHT = re.compile(r"weight|weight_.*|.*_weight|scale|gamma")
_BUFFER = re.compile(
    r"(running|ra)_(mean|var)|num_batches_tracked|.*_epsilon|.*_buffer"
    r"|action_(scale|bias)"  # CleanRL's actors (cleanrl/sac_continuous_action.py, td3, ddpg)
    r"|parametrizations\.\w+\.\d+\._[uv]"  # torch.nn.utils.parametrizations.spectral_norm
)
_HOOK_BUFFER = re.compile(r"(.+)_(u|v|mask)")
"""Beside `weight_orig`: what torch.nn.utils' spectral_norm and prune keep, no parameters."""
_PARAMETRIZED = re.compile(r"(?:(.*)\.)?(parametrizations\.\w+\.(?:original\d*|\d+\.\w+))$")


class Role(Struct, frozen=True):
    """What a tensor is. `gates` maps a gate to its rows, empty for all but LSTM and GRU.

    `online` is the name of the online network's tensor that a target network's one follows, None
    for any other; SB3's names say it even where that is not in the file.
    """

    name: str
    layer: str
    kind: Kind
    role: TensorRole
    component: str
    gates: Mapping[str, slice] = field(default_factory=dict)
    online: str | None = None


def roles(
    shapes: Mapping[str, Shape],
    integers: frozenset[str] = frozenset(),
    component_patterns: Mapping[str, str] | None = None,
) -> dict[str, Role]:
    """Return the role of every tensor, by name.

    `shapes`: the state dict's names and shapes. `integers`: the names whose elements are whole
    numbers or booleans; no optimizer trains those, so they are buffers. A state dict does not
    mark its buffers; others are known by the names that PyTorch's layers give them, or from a
    profile.
    """
    layers: dict[str, dict[str, Shape]] = {}
    for name, shape in shapes.items():
        layer, part = split_name(name)
        layers.setdefault(layer, {})[part] = shape
    kinds = {layer: kind_of(layer, parts) for layer, parts in layers.items()}
    online = online_names(shapes)
    components = Components(shapes, component_patterns, online)
    buffers = integers | components.known_buffers
    found: dict[str, Role] = {}
    for name, shape in shapes.items():
        layer, part = split_name(name)
        kind = kinds[layer]
        gated = shape and part.startswith(("bias", "weight_ih", "weight_hh"))
        found[name] = Role(
            name=name,
            layer=layer,
            kind=kind,
            role=(
                BUFFER
                if name in buffers or _is_hook_buffer(part, layers[layer])
                else _role(part, kind)
            ),
            component=components.of(name, kind),
            gates=gate_slices(kind, shape[0]) if gated else {},
            online=online.get(name),
        )
    return found


def split_name(name: str) -> tuple[str, str]:
    """Return the layer's name and the tensor's own part of the name.

    `fc.parametrizations.weight.original0` belongs to the layer `fc`.
    """
    parametrized = _PARAMETRIZED.match(name)
    if parametrized:
        return parametrized[1] or "", parametrized[2]
    layer, _, part = name.rpartition(".")
    return layer, part


def _is_hook_buffer(part: str, parts: Mapping[str, Shape]) -> bool:
    hook = _HOOK_BUFFER.fullmatch(part)
    return hook is not None and f"{hook[1]}_orig" in parts


def _role(part: str, kind: Kind) -> TensorRole:
    if _BUFFER.fullmatch(part):
        return BUFFER
    parametrized = re.match(r"parametrizations\.(\w+)\.original", part)
    if parametrized:
        part = parametrized[1]
    if _BIAS.fullmatch(part) or (kind is Kind.NORM and part == "beta"):
        return BIAS
    return WEIGHT if _WEIGHT.fullmatch(part) else PARAMETER
