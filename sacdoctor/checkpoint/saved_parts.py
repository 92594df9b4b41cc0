"""The parts of what `torch.save` was given: mappings of names to tensors, at any depth.

Training loops save `{"actor": …, "critic1": …, "actor_optimizer": …, "total_steps": …}`,
`{"model": …, "optim": …}`, `{"agent": {"actor": …}}`, or an object that holds them. The path to a
mapping is the prefix of its tensors' names, without words that only say that it is a state dict:
`actor_state_dict` is `actor.`, and what PyTorch's modules keep in `_modules` and `_parameters` is
called as in their state dict.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from sacdoctor.checkpoint.optimizer_names import Words, looked_after, part_words
from sacdoctor.checkpoint.optimizer_state import OptimizerState, optimizer_state
from sacdoctor.checkpoint.tensors import Tensor, refuse_endless_views
from sacdoctor.errors import CorruptCheckpoint
from sacdoctor.layers import online_names, words
from sacdoctor.optimizers import STEP, TELLING_MOMENTS
from sacdoctor.pickles import Made, Path, class_of, contents, walk

_WHOLE = frozenset(("state_dict", "model_state_dict", "policy_state_dict", "policy"))
"""Keys that stand for the whole where there is no other part: its names are as they are."""
_STATE_DICT = "state_dict"
_OF_MODULES = frozenset(("_modules", "_parameters", "_buffers"))
"""Where `torch.nn.Module` keeps its own."""
_MOMENTS = frozenset((STEP, "exp_avg", "max_exp_avg_sq", *TELLING_MOMENTS))
_TRANSITIONS = frozenset(("actions", "action", "rewards", "reward"))
"""Words for what a replay buffer holds."""
_NO_COUNTERS = frozenset(
    [
        "config",
        "configs",
        "cfg",
        "args",
        "arguments",
        "settings",
        "hparams",
        "hyperparameters",
        "params",
        "kwargs",
    ]
)
"""Where planned numbers stand beside those that were counted."""
_STEPS = (
    *("num_timesteps", "total_steps", "total_env_steps", "env_steps", "env_step", "timesteps"),
    *("global_step", "global_steps", "step_count", "steps", "step", "total_timesteps"),
)
_UPDATES = (
    *("n_updates", "_n_updates", "num_updates", "total_updates", "update_count", "updates"),
    *("learn_step_counter", "total_it"),  # DQN tutorials'; TD3.py of its authors
)
UPDATES = "_n_updates"
COUNTERS = {"num_timesteps": _STEPS, UPDATES: _UPDATES}
"""What people call SB3's counters, the clearest first."""
_LARGEST = 2**63
MAX_NAME = 1000
"""Characters of a tensor's name with the path before it; the longest met has under 100."""
MAX_GIVEN = 200
"""Parts that all optimizers together are given; each is looked for among all tensors."""
MAX_PAIRS = 1_000_000
"""Optimizers times modules that names are compared of; real files have a few hundred."""


class SavedParts(Struct, frozen=True):
    """What is in a file of somebody's own.

    `tensors` are those of all parts by name. `optimizers` stand under their paths, dotted, each
    with the parts that its name gives it (`OptimizerState.parts`). `counters` are called as SB3
    calls them; updates are counted by the optimizers where nobody else does.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    optimizers: dict[str, OptimizerState] = field(default_factory=dict)
    optimizer_places: dict[str, Path] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)


class _Part(Struct):
    """The names of a part's tensors, and the words that say which part it is."""

    words: Words
    names: list[str] = field(default_factory=list)


def saved_parts(saved: Any) -> SavedParts:
    """Return the parts of what was saved.

    Raises `CorruptCheckpoint` where it neither is a mapping nor holds one of names to tensors, or
    where tensors claim to be without end.
    """
    found = SavedParts()
    mappings: list[tuple[Path, dict[str, Tensor]]] = []
    for path, thing in walk(saved, lambda thing: not _is_of_an_optimizer(thing)):
        if _is_optimizer(thing):
            name = _dotted(path) or "optimizer"
            found.optimizers.setdefault(name, optimizer_state(thing))
            found.optimizer_places.setdefault(name, path)
        elif isinstance(thing, (dict, Made)):
            tensors = {k: v for k, v in contents(thing) if isinstance(k, str) and type(v) is Tensor}
            if tensors and not _is_no_part(tensors):
                mappings.append((path, tensors))
            if isinstance(thing, dict) and len(path) <= 1:
                _count(path, thing, found.counters)
    if not mappings and not isinstance(saved, dict):
        raise CorruptCheckpoint("it holds no state dict (a mapping of names to tensors)")
    parts: dict[str, _Part] = {}
    outer = {path[:length] for path, _ in mappings for length in range(len(path))}
    for path, tensors in mappings:
        prefix = _prefix(path, is_only=len(mappings) == 1)
        if any(f"{prefix}{name}" in found.tensors for name in tensors):
            prefix = "".join(f"{key}." for key in path)
        for name, tensor in tensors.items():
            full = f"{prefix}{name}"
            if path and len(full) > MAX_NAME:
                raise CorruptCheckpoint("the way to one of its tensors is longer than any name")
            found.tensors.setdefault(full, tensor)
            part, led = _part_of(path, prefix, name, is_loose=path in outer)
            parts.setdefault(part, _Part(part_words(led))).names.append(full)
    refuse_endless_views(found.tensors.values())
    _give_parts(found, parts)
    updates = max(_steps(found.optimizers.values()), default=None)
    if updates is not None:
        found.counters.setdefault(UPDATES, updates)
    return found


# -- what is what ------------------------------------------------------------------------------


def _is_optimizer(thing: Any) -> bool:
    """Return whether it is what an optimizer's `state_dict` returns."""
    return (
        isinstance(thing, dict)
        and isinstance(thing.get("state"), dict)
        and isinstance(thing.get("param_groups"), list)
        and all(
            isinstance(group, dict)
            and isinstance(group.get("params"), list)
            and all(type(number) is int for number in group["params"])
            for group in thing["param_groups"]
        )
    )


def _is_of_an_optimizer(thing: Any) -> bool:
    """Return whether tensors in it are moments: it is one, or an object of one, pickled whole."""
    if isinstance(thing, Made):
        return (class_of(thing) or "").startswith("torch.optim.")
    return isinstance(thing, dict) and "param_groups" in thing


def _is_no_part(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors are moments, or the transitions of a replay buffer."""
    return tensors.keys() <= _MOMENTS or len(_TRANSITIONS.intersection(tensors)) > 1


def _count(path: Path, thing: Mapping[Any, Any], counters: dict[str, int]) -> None:
    """Take in the counters of a mapping; those of an outer one stand."""
    if not _NO_COUNTERS.isdisjoint(words(_dotted(path))):
        return
    for counter, names in COUNTERS.items():
        values = (_whole(thing.get(name)) for name in names)
        value = next((value for value in values if value is not None), None)
        if value is not None:
            counters.setdefault(counter, value)


def _steps(optimizers: Iterable[OptimizerState]) -> Iterator[int]:
    """Yield how many updates each entry had: who counts none has an optimizer that does."""
    for state in optimizers:
        for number in state.moments:
            step = state.step(number)
            if step is not None and 0 <= step < _LARGEST:
                yield int(step)


def _whole(value: Any) -> int | None:
    if isinstance(value, Tensor) and value.numel == 1 and not value.dtype.zero_mask:
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < _LARGEST else None


# -- names -------------------------------------------------------------------------------------


def _dotted(path: Path) -> str:
    """Return a path as a name; raises `CorruptCheckpoint` where it is longer than any."""
    if sum(len(key) for key in path if isinstance(key, str)) > MAX_NAME:
        raise CorruptCheckpoint("the way to one of its tensors is longer than any name")
    return ".".join(map(str, path))


def _prefix(path: Path, *, is_only: bool) -> str:
    """Return what stands before the names of the tensors at a path."""
    if is_only and len(path) == 1 and path[0] in _WHOLE:
        return ""
    keys = _dotted(tuple(key for key in path if key not in _OF_MODULES)).split(".")
    bare = [key.removesuffix(_STATE_DICT).rstrip("_") for key in keys]
    return "".join(f"{key}." for key in bare if key)


def _part_of(path: Path, prefix: str, name: str, *, is_loose: bool) -> tuple[str, Path]:
    """Return the part that a tensor belongs to, as an optimizer may look after it.

    It is the prefix of the part's names and the path that leads to it. A tensor beside other parts
    (`is_loose`) is one by itself; one within a pickled module belongs to the outermost module.
    """
    inner = next((at for at, key in enumerate(path) if key in _OF_MODULES), None)
    if inner is not None:
        return _prefix(path[:inner], is_only=False), path[:inner]
    return (f"{prefix}{name}", (*path, name)) if is_loose else (prefix, path)


def _give_parts(found: SavedParts, parts: Mapping[str, _Part]) -> None:
    """Give each optimizer the parts that its name names: no targets, as nobody trains them.

    Where it names no part, its name may be that of a module within one.
    """
    targets = online_names({name: tensor.shape for name, tensor in found.tensors.items()})
    called: dict[str, Words] = {}
    modules: dict[str, Words] = {}
    for prefix, part in parts.items():
        for name in part.names:
            if name in targets:
                continue
            called[prefix] = part.words
            module, dot, _ = name[len(prefix) :].partition(".")
            if dot:
                modules[f"{prefix}{module}."] = (*part.words, *part_words((module,)))
    if len(found.optimizers) * len(modules) > MAX_PAIRS:
        called, modules = {}, {}
    given = {
        name: looked_after(path, called) or looked_after(path, modules)
        for name, path in found.optimizer_places.items()
    }
    if sum(map(len, given.values())) > MAX_GIVEN:
        given = {}
    for name, state in found.optimizers.items():
        found.optimizers[name] = replace(state, parts=given.get(name, ()))
