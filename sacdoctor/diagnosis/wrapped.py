"""Names that a wrapped module left in a checkpoint, and whether SB3 can load them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sacdoctor.checkpoint import Checkpoint
from sacdoctor.diagnosis.policy_settings import policy_arguments
from sacdoctor.layers import COMPILED, unwrapped, wrapper_paths

_SB3 = ("stable_baselines3.", "sb3_contrib.")


def needless_wrappers(checkpoint: Checkpoint) -> frozenset[str]:
    """Return the wrappers in names that the policy which SB3 makes on loading does not have.

    A policy or features extractor of the user's may wrap parts of its own as it is made; then its
    names are right as they are. So a wrapper is one too many where it holds the whole policy,
    stands where SB3's own classes put none, or is `_orig_mod` around a whole features extractor.

    Empty where names without them would be those of other tensors, and for files that are not
    SB3's.
    """
    names = tuple(checkpoint.tensors)
    if not checkpoint.container.has_settings:
        return frozenset()
    found = frozenset(_needless(checkpoint, names))
    without = {unwrapped(name, found) for name in names} if found else names
    return found if len(without) == len(names) else frozenset()


def _needless(checkpoint: Checkpoint, names: Iterable[str]) -> Iterator[str]:
    paths = dict.fromkeys(path for name in names for path in wrapper_paths(name))
    if not paths:
        return
    is_sb3s = (checkpoint.policy_class or "").startswith(_SB3)
    extractor = policy_arguments(checkpoint).get("features_extractor_class")
    extractor_is_sb3s = extractor is None or str(extractor).startswith(_SB3)
    whole = ""
    for path in paths:
        outer, _, wrapper = path.rpartition(".")
        if outer == whole and all(name.startswith(f"{path}.") for name in names):
            whole = path  # a wrapper may hold another
            yield path
        elif is_sb3s:
            _, found, inner = outer.rpartition("features_extractor")
            if extractor_is_sb3s or not found or (not inner and wrapper == COMPILED):
                yield path
