"""What a name and a shape mean: kind of layer, role, gates and component."""

from sacdoctor.layers.component import online_name
from sacdoctor.layers.gates import gate_slices
from sacdoctor.layers.kind import Kind
from sacdoctor.layers.roles import Role, roles

__all__ = ["Kind", "Role", "gate_slices", "online_name", "roles"]
