"""What a name and a shape mean: kind of layer, role, gates and component."""

from sacdoctor.layers.component import online_name, target_name
from sacdoctor.layers.gates import gate_slices
from sacdoctor.layers.kind import NORM_WEIGHTS, Kind
from sacdoctor.layers.roles import Role, roles
from sacdoctor.layers.wrappers import COMPILED, unwrapped, wrapper_paths

__all__ = [
    "COMPILED",
    "NORM_WEIGHTS",
    "Kind",
    "Role",
    "gate_slices",
    "online_name",
    "roles",
    "target_name",
    "unwrapped",
    "wrapper_paths",
]
