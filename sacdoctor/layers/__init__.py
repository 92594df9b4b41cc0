"""What a name and a shape mean: kind of layer, role, gates and component."""

from sacdoctor.layers.gates import gate_slices
from sacdoctor.layers.kind import NORM_WEIGHTS, Kind
from sacdoctor.layers.roles import Role, roles, split_name
from sacdoctor.layers.targets import online_name, online_names, says_target, target_name, words
from sacdoctor.layers.wrappers import COMPILED, unwrapped, wrapper_paths

__all__ = [
    "COMPILED",
    "NORM_WEIGHTS",
    "Kind",
    "Role",
    "gate_slices",
    "online_name",
    "online_names",
    "roles",
    "says_target",
    "split_name",
    "target_name",
    "unwrapped",
    "words",
    "wrapper_paths",
]
