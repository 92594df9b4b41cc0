"""What each tensor of a state dict is: its layer, kind, role, gates and component."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sacdoctor.layers.component import Components
from sacdoctor.layers.gates import gate_slices
from sacdoctor.layers.kind import Kind, Shape, kind_of

WEIGHT, BIAS, BUFFER, PARAMETER = "weight", "bias", "buffer", "parameter"

_BIAS = re.compile(r"bias|bias_.*|.*_bias")
_WEIGHT = re.compile(r"weight|weight_.*|.*_weight")
_BUFFER = re.compile(r"running_(mean|var)|num_batches_tracked|.*_epsilon|.*_buffer")
_PARAMETRIZED = re.compile(r"(.*)\.(parametrizations\.(\w+)\.original\d*)$")


@dataclass(frozen=True, slots=True)
class Role:
    """What a tensor is. `gates` maps a gate to its rows, empty for all but LSTM and GRU."""

    name: str
    layer: str
    kind: Kind
    role: str
    component: str
    gates: Mapping[str, slice] = field(default_factory=dict)


def roles(
    shapes: Mapping[str, Shape],
    integers: frozenset[str] = frozenset(),
    component_patterns: Mapping[str, str] | None = None,
) -> dict[str, Role]:
    """Return the role of every tensor, by name.

    `shapes`: the state dict's names and shapes. `integers`: the names whose elements are whole
    numbers or booleans; no optimizer trains those, so they are buffers. A state dict does not
    mark its buffers; others are known by the names that PyTorch's layers give them.
    """
    layers: dict[str, dict[str, Shape]] = {}
    for name, shape in shapes.items():
        layer, part = split_name(name)
        layers.setdefault(layer, {})[part] = shape
    kinds = {layer: kind_of(layer, parts) for layer, parts in layers.items()}
    components = Components(shapes, component_patterns)
    found: dict[str, Role] = {}
    for name, shape in shapes.items():
        layer, part = split_name(name)
        kind = kinds[layer]
        gated = shape and part.startswith(("bias", "weight_ih", "weight_hh"))
        found[name] = Role(
            name=name,
            layer=layer,
            kind=kind,
            role=BUFFER if name in integers else _role(part),
            component=components.of(name, kind),
            gates=gate_slices(kind, shape[0]) if gated else {},
        )
    return found


def split_name(name: str) -> tuple[str, str]:
    """Return the layer's name and the tensor's own part of the name.

    `fc.parametrizations.weight.original0` belongs to the layer `fc`.
    """
    parametrized = _PARAMETRIZED.match(name)
    if parametrized:
        return parametrized[1], parametrized[2]
    layer, _, part = name.rpartition(".")
    return layer, part


def _role(part: str) -> str:
    parametrized = re.match(r"parametrizations\.(\w+)\.", part)
    if parametrized:
        part = parametrized[1]
    if _BUFFER.fullmatch(part):
        return BUFFER
    if _BIAS.fullmatch(part):
        return BIAS
    return WEIGHT if _WEIGHT.fullmatch(part) else PARAMETER
