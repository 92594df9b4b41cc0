"""Real modules, asked through `roles` what they are."""

from __future__ import annotations

from torch import nn

from sacdoctor.layers import Role, roles


def roles_of(module: nn.Module, name: str = "layer") -> dict[str, Role]:
    """The roles of a module's own tensors, standing in a policy under `name`."""
    tensors = {f"{name}.{key}": value for key, value in module.state_dict().items()}
    integers = frozenset(n for n, t in tensors.items() if not t.dtype.is_floating_point)
    return roles({key: tuple(value.shape) for key, value in tensors.items()}, integers)


def kinds_of(module: nn.Module, name: str = "layer") -> set[str]:
    return {role.kind.value for role in roles_of(module, name).values()}
