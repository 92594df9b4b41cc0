"""A state dict's tensors put in order: what each one is, and which are one and the same."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from sacdoctor.checkpoint import Tensor
from sacdoctor.layers import Role, roles


class Anatomy(Struct, frozen=True):
    """The roles of all tensors by name, and the aliases among them.

    `aliases` maps a name to the earlier one that shares its elements.
    """

    roles: Mapping[str, Role]
    aliases: Mapping[str, str]

    @classmethod
    def of(
        cls, tensors: Mapping[str, Tensor], components: Mapping[str, str] | None = None
    ) -> Anatomy:
        """Return the anatomy of a state dict; `components` maps name patterns to components."""
        integers = frozenset(n for n, t in tensors.items() if not t.dtype.is_floating_point)
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        return cls(roles(shapes, integers, components), _aliases(tensors))

    def owner(self, name: str) -> str:
        """Return the first name of the tensor's storage: `name` itself unless it is an alias."""
        return self.aliases.get(name, name)


def _aliases(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    first: dict[tuple[str, tuple[int, int, int]], str] = {}
    aliases: dict[str, str] = {}
    for name, tensor in tensors.items():
        if not tensor.numel:
            continue
        owner = first.setdefault((tensor.storage.key, tensor.extent), name)
        if owner != name:
            aliases[name] = owner
    return aliases
