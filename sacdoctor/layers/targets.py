"""Target networks: which tensor of a state dict is the delayed copy of which.

SB3 calls them `critic_target` beside `critic`; others `target_critic`, `critic_target_1` beside
`critic_1`, `q1_targ`, or `target_net` beside `policy_net`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sacdoctor.layers.kind import Shape

_SUFFIX = "_target"
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_TARGET = frozenset(("target", "targets", "targ", "tgt"))
_ANY_NETWORK = frozenset(("net", "nets", "network", "networks", "model", "models", "q", "qnet"))
"""Words that do not say which network it is."""

_DEPTH = 8
"""How many modules deep a target network is looked for."""

_Structure = frozenset[tuple[str, Shape]]
"""What a module's tensors are called within it, and their shapes."""


def words(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case: `critic1Target` is critic, 1, target."""
    return tuple(word.lower() for word in _WORD.findall(name))


def says_target(name: str) -> bool:
    """Return whether a name has the word target in it, in any of its spellings."""
    return not _TARGET.isdisjoint(words(name))


def online_name(name: str) -> str | None:
    """Return the online counterpart of a target network's tensor as SB3 names both.

    They are `critic`/`critic_target`, `actor`/`actor_target`, `q_net`/`q_net_target`,
    `quantile_net`/`quantile_net_target`. None for any other tensor.
    """
    network, dot, rest = name.partition(".")
    if dot and network.endswith(_SUFFIX):
        return f"{network.removesuffix(_SUFFIX)}.{rest}"
    return None


def target_name(name: str) -> str:
    """Return what an online network's tensor is called in SB3's target network, if it has one."""
    network, _, rest = name.partition(".")
    return f"{network}{_SUFFIX}.{rest}"


def online_names(shapes: Mapping[str, Shape]) -> dict[str, str]:
    """Return the online counterpart of every target network's tensor, by its name.

    SB3's names say it alone, whether the counterpart is in the file or not. Of any other module
    with the word target in its name it takes another one beside it, with tensors of the same names
    and shapes: that of the same name but for the word, else the only one there is, if the name
    says no more than that it is a target network.
    """
    found = {name: online for name in shapes if (online := online_name(name)) is not None}
    parents = {parent for name in shapes if name not in found for parent in _with_target(name)}
    if not parents:
        return found
    members: dict[str, dict[str, Shape]] = {parent: {} for parent in sorted(parents)}
    for name, shape in shapes.items():
        for parent in parents.intersection(_outer(name)):
            members[parent][name] = shape
    for parent, inside in members.items():
        counterparts = _counterparts(inside, parent)
        for name in inside:
            module, _, rest = name[len(parent) :].partition(".")
            if module in counterparts:
                found.setdefault(name, f"{counterparts[module]}{rest}")
    return found


def _outer(name: str) -> list[str]:
    """Return the prefixes of a name that end with a module, the shortest first, from none on."""
    parts = name.split(".", _DEPTH)[:-1]
    return ["".join(f"{part}." for part in parts[:at]) for at in range(len(parts))]


def _with_target(name: str) -> Iterator[str]:
    """Yield the prefix before the outermost module of a name that is called a target."""
    parts = name.split(".", _DEPTH)[:-1]
    for at, part in enumerate(parts):
        if not _TARGET.isdisjoint(words(part)):
            yield "".join(f"{before}." for before in parts[:at])
            return


def _counterparts(inside: Mapping[str, Shape], parent: str) -> dict[str, str]:
    """Return the online network of each target network directly below `parent`, as a prefix."""
    modules: dict[str, set[tuple[str, Shape]]] = {}
    for name, shape in inside.items():
        module, dot, rest = name[len(parent) :].partition(".")
        if dot:
            modules.setdefault(module, set()).add((rest, shape))
    targets: dict[str, _Structure] = {}
    alike: dict[_Structure, list[str]] = {}
    called: dict[tuple[_Structure, tuple[str, ...]], list[str]] = {}
    for module, tensors in modules.items():
        structure, said = frozenset(tensors), words(module)
        if _TARGET.isdisjoint(said):
            alike.setdefault(structure, []).append(module)
            called.setdefault((structure, said), []).append(module)
        else:
            targets[module] = structure
    found: dict[str, str] = {}
    for module, structure in targets.items():
        said = tuple(word for word in words(module) if word not in _TARGET)
        others = called.get((structure, said), [])
        if not others and _ANY_NETWORK.issuperset(said):
            others = alike.get(structure, [])
        if len(others) == 1:
            found[module] = f"{parent}{others[0]}."
        elif not said and all(inside.get(parent + rest) == shape for rest, shape in structure):
            found[module] = parent  # `target.actor.…` beside `actor.…`
    return found
