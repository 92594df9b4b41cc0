"""What optimizers lack of a policy that makes them last: which entries, and in which order.

Whoever corrects a policy that made its optimizer too early cannot load his checkpoint any more:
PyTorch refuses a state with fewer entries (torch/optim/optimizer.py, `load_state_dict`). Those that
are missing need no moments, only a place: PyTorch makes moments at a parameter's first step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

from msgspec import Struct

from sacdoctor.checkpoint import OptimizerState, ParameterGroup, Pickled, Tensor
from sacdoctor.diagnosis.coverage import Coverage, cover
from sacdoctor.diagnosis.facts import Facts
from sacdoctor.errors import SacdoctorError

_NAMED = 3
"""How many names a refusal lists."""
_NAMES = "param_names"
"""What an optimizer that was given names keeps of them in each group, since PyTorch 2.6."""
_MADE_BY_SB3 = re.compile(
    r"(mlp_extractor|action_net|value_net|log_std|lstm_actor|lstm_critic)(\.|$)"
    r"|actor\.(latent_pi|mu|log_std)(\.|$)|critic\.(weight|bias|qf\d+\.)"
    r"|(q_net\.q_net|quantile_net\.quantile_net)\."
)
"""What the policies of SB3 and sb3-contrib make before their optimizer, whatever the extractor.
Source: the `_build`s and constructors in their policies.py."""


class CannotComplete(SacdoctorError):
    """The file does not prove what an optimizer lacks, or which of its entries is whose.

    `unsure` are tensors of which it would have to be known whether they are buffers.
    """

    def __init__(
        self, reason: str, path: str | Path | None = None, unsure: Sequence[str] = ()
    ) -> None:
        super().__init__(reason, path)
        self.unsure = tuple(unsure)


class Completion(Struct, frozen=True):
    """An optimizer as a policy that makes it last would have it.

    `state` is the whole of it; `names` has the parameter of each of its entries, whose numbers are
    0, 1, 2, …. `moved` maps the number of each entry in the file to its new one, and `added` are
    the parameters that had none: none where entries only change their places.
    """

    optimizer: str
    entries_before: int
    state: OptimizerState
    names: tuple[str, ...]
    moved: Mapping[int, int]
    added: tuple[str, ...]

    def __repr__(self) -> str:
        """Show it without what is as large as the optimizer."""
        shown = (
            f"{name}={getattr(self, name)!r}" for name in ("optimizer", "entries_before", "added")
        )
        return f"Completion({', '.join(shown)})"

    @property
    def file(self) -> str:
        """The member of the checkpoint that the optimizer stands in."""
        return f"{self.optimizer}.pth"


def completions(
    facts: Facts, buffers: Sequence[str] = (), parameters: Sequence[str] = ()
) -> tuple[Completion, ...]:
    """Return how the optimizers are completed that lack entries, or have them out of place.

    A state dict does not mark its buffers, and a tensor that is neither a weight nor a bias may be
    one: `buffers` and `parameters` are shell-style patterns of names that say what they are.

    Raises `CannotComplete` where the file proves too little.
    """
    path = facts.checkpoint.path
    if facts.updates_by_other_means:
        raise CannotComplete(
            f"{facts.checkpoint.algorithm} updates its policy without an optimizer's entries", path
        )
    if not facts.policy_optimizers:
        raise CannotComplete("it holds no optimizer state that could be completed", path)
    homes = {name: home_of(name, facts) for name in facts.tensors}
    coverage = _coverage(facts, buffers)
    found = []
    for optimizer in facts.policy_optimizers:
        scope = [name for name, home in homes.items() if home == optimizer]
        try:
            completion = _Completing(
                facts, coverage, optimizer, scope, buffers, parameters
            ).completion()
        except CannotComplete as error:
            raise error.within(f"{optimizer}.pth").at(path) from None
        if completion is not None:
            found.append(completion)
    lost = [
        name
        for name, home in homes.items()
        if home is None and name in coverage.outside and not _matches(name, buffers)
    ]
    if lost:
        raise CannotComplete(f"which optimizer is to train {_listed(lost)} does not follow", path)
    return tuple(found)


def home_of(name: str, facts: Facts) -> str | None:
    """Return the optimizer that SB3 gives the part of the policy that a tensor is in.

    None for a target network, and where that optimizer is not in the file. With target networks
    under one `policy.optimizer`, as in DQN, that looks after their online counterparts alone.
    """
    targets = facts.algorithm.targets if facts.algorithm is not None else None
    online = facts.anatomy.roles[name].online
    if online is not None and (targets is None or online.partition(".")[0] in targets):
        return None
    for module in _modules(name):
        if f"{module}optimizer" in facts.policy_optimizers:
            return f"{module}optimizer"
    if targets and name.partition(".")[0] not in targets:
        return None
    return "policy.optimizer" if "policy.optimizer" in facts.policy_optimizers else None


def left_to_others(optimizer: str, facts: Facts) -> frozenset[str]:
    """Return the parameters that an optimizer's network shares with one whose optimizer has them.

    So it is with SB3's `share_features_extractor`: the actor's optimizer has the extractor.
    """
    aliases = facts.anatomy.aliases.items()
    shared = {
        owner
        for name, owner in aliases
        if home_of(name, facts) == optimizer != home_of(owner, facts)
    }
    slots = (slot for name in shared for slot in facts.coverage.slots.get(name, ()))
    has_them = any(slot.optimizer == optimizer for slot in slots)
    return frozenset() if has_them else frozenset(shared)


def open_questions(facts: Facts) -> tuple[str, ...] | None:
    """Return which tensors a person has to tell from buffers before optimizers can be completed.

    None where they cannot be completed in any case.
    """
    asked: tuple[str, ...] = ()
    while True:
        try:
            completions(facts, asked)
        except CannotComplete as error:
            if not error.unsure or set(error.unsure) <= set(asked):
                return None
            asked += error.unsure
        else:
            return asked


def loading_call(facts: Facts, file: str) -> str | None:
    """Return the line of Python that loads `file` into the corrected policy.

    A class that SB3 finds by its name is the corrected one then. One that was pickled whole is the
    old one for ever, and has to be named. None where the algorithm is not known.
    """
    if facts.algorithm is None:
        return None
    settings = facts.checkpoint.hyperparameters
    value, name = settings.get("policy_class"), settings.class_name("policy_class")
    given = ""
    if isinstance(value, Pickled) and value.holds_code():
        policy = (name or "").rpartition(".")[2] or "CorrectedPolicy"
        given = f', custom_objects={{"policy_class": {policy}}}'
    quoted = json.dumps(file, ensure_ascii=False)
    return f"{facts.algorithm.name}.load({quoted}, env=env{given})"


def _coverage(facts: Facts, buffers: Sequence[str]) -> Coverage:
    """Return what the optimizers cover, now that `buffers` are known to be some."""
    if not buffers:
        return facts.coverage
    owner = facts.anatomy.owner
    trained = {n: t for n, t in facts.tensors.items() if not _matches(owner(n), buffers)}
    return cover(facts.anatomy, trained, facts.optimizers)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest:,} more" if rest > 0 else "")


def _modules(name: str) -> Iterator[str]:
    """Yield the modules that a tensor is in, from its own layer out to the policy (empty)."""
    while name:
        name = name.rpartition(".")[0]
        yield f"{name}." if name else ""


class _Completing:
    """What all steps of completing one optimizer look at.

    `parameters` are those that a policy which makes the optimizer last gives it, in order.
    """

    def __init__(
        self,
        facts: Facts,
        coverage: Coverage,
        optimizer: str,
        scope: Sequence[str],
        buffers: Sequence[str],
        known: Sequence[str],
    ) -> None:
        self.optimizer = optimizer
        self.state = facts.optimizers[optimizer]
        self.roles = facts.anatomy.roles
        self.tensors = facts.tensors
        self.known = known
        self.numbers = {
            name: slot.number
            for name, slots in coverage.slots.items()
            for slot in slots
            if slot.optimizer == optimizer
        }
        owners = dict.fromkeys(map(facts.anatomy.owner, scope))
        left_out = left_to_others(optimizer, facts)
        self.parameters = [
            name
            for name in owners
            if name in self.numbers
            or (
                name not in left_out
                and self.roles[name].role != "buffer"
                and self.tensors[name].dtype.is_floating_point
                and not _matches(name, buffers)
            )
        ]
        self.place = {name: place for place, name in enumerate(self.parameters)}

    def completion(self) -> Completion | None:
        """Return the completed optimizer, None where it is complete already."""
        missing = [name for name in self.parameters if name not in self.numbers]
        unclaimed = set(self.state.entries) - set(self.numbers.values())
        if missing or (unclaimed and len(self.state.entries) > len(self.parameters)):
            groups = self._groups()
            self._refuse_possible_buffers(missing)
            homes = [self._group_of(name, groups) for name in missing]
            for name, home in zip(missing, homes, strict=True):
                groups[home].append(name)
            return self._completed(groups, missing)
        if len(self.state.groups) == 2:
            try:
                groups = self._groups()
            except CannotComplete:
                return None  # nothing is missing, and nothing proves that it is out of place
            if self._was_extended(groups):
                return self._completed([groups[0] + groups[1]], [])
        return None

    def _unsure(self, names: Sequence[str]) -> list[str]:
        """Return those without an entry that may be buffers.

        That is what is neither a weight nor a bias, and what stands beside trained tensors of its
        own layer: an optimizer is given all parameters of a layer.
        """
        trained = {self.roles[name].layer for name in self.numbers}
        return [
            name
            for name in names
            if name not in self.numbers
            and not _matches(name, self.known)
            and (self.roles[name].role == "parameter" or self.roles[name].layer in trained)
        ]

    def _refuse_possible_buffers(self, missing: Sequence[str]) -> None:
        unsure = self._unsure(missing)
        if unsure:
            raise CannotComplete(
                f"whether {_listed(unsure)} is a parameter or a buffer cannot be told from the "
                f"file; say so with --parameter '{unsure[0]}' or --buffer '{unsure[0]}'",
                unsure=unsure,
            )

    # -- which entry is whose ------------------------------------------------------------------

    def _groups(self) -> list[list[str]]:
        """Return the parameters of each group, which has them in the policy's order.

        Raises `CannotComplete` where that is not so, or does not follow.
        """
        owners: dict[int, list[str]] = {}
        for name, number in self.numbers.items():
            owners.setdefault(number, []).append(name)
        entries = self.state.entries
        if len(set(entries)) < len(entries) or not self.state.moments.keys() <= set(entries):
            raise CannotComplete("its groups and its moments contradict each other")
        for number in entries:
            names = owners.get(number, [])
            if len(names) != 1:
                unsure = self._unsure(self.parameters)
                hint = f"; if {unsure[0]} is a buffer: --buffer '{unsure[0]}'" if unsure else ""
                raise CannotComplete(
                    f"which parameter its entry {number:,} belongs to does not follow from "
                    f"shapes{hint}",
                    unsure=unsure,
                )
            if names[0] not in self.place:
                raise CannotComplete(f"it has an entry for {names[0]}, which is not its to train")
        groups = [[owners[number][0] for number in group.params] for group in self.state.groups]
        if any(self.place[a] > self.place[b] for group in groups for a, b in pairwise(group)):
            raise CannotComplete("its entries are in another order than the policy's parameters")
        return groups

    def _group_of(self, name: str, groups: Sequence[Sequence[str]]) -> int:
        """Return the group that a parameter joins: the one that every explanation leads to.

        Groups divide the parameters by module, or by whether they have one dimension or are a
        bias: no weight decay on those is the usual reason for groups.
        """
        if len(groups) == 1:
            return 0
        home = {member: at for at, group in enumerate(groups) for member in group}
        near = _nearest(name, home)
        found = near if len(near) == 1 else set()
        for is_such in (self._has_one_dimension, self._is_bias):
            by_kind: dict[bool, set[int]] = {}
            for member, at in home.items():
                by_kind.setdefault(is_such(member), set()).add(at)
            if sorted(map(sorted, by_kind.values())) == [[0], [1]] and len(groups) == 2:
                found = found | by_kind[is_such(name)]
        if len(found) != 1:
            raise CannotComplete(
                f"which of its {len(groups)} groups is to have {name} does not follow"
            )
        return min(found)

    def _has_one_dimension(self, name: str) -> bool:
        return len(self.tensors[name].shape) < 2

    def _is_bias(self, name: str) -> bool:
        return self.roles[name].role == "bias"

    def _was_extended(self, groups: Sequence[Sequence[str]]) -> bool:
        """Return whether the second of two groups holds what joined a finished optimizer.

        Then it has the options of the first, as `add_missing_parameters` gives it; its parameters
        stand behind those of the first in their module; and none is of SB3's own making.
        """
        first, second = ({**group.options, _NAMES: None} for group in self.state.groups)
        last: dict[str, int] = {}
        for name in groups[0]:
            last |= dict.fromkeys(_modules(name), self.place[name])
        return bool(groups[0] and first == second) and all(
            self.place[name] > next(last[module] for module in _modules(name) if module in last)
            and not _MADE_BY_SB3.match(name)
            for name in groups[1]
        )

    # -- the new state -------------------------------------------------------------------------

    def _completed(self, groups: Sequence[Sequence[str]], added: Sequence[str]) -> Completion:
        self._refuse_what_is_not_read()
        names = [sorted(group, key=self.place.__getitem__) for group in groups]
        order = tuple(name for group in names for name in group)
        new = {name: number for number, name in enumerate(order)}
        moved = {number: new[name] for name, number in self.numbers.items()}
        moments = {moved[number]: kept for number, kept in self.state.moments.items()}
        state = OptimizerState(
            tuple(
                ParameterGroup(self._options(old, group), tuple(new[name] for name in group))
                for old, group in zip(self.state.groups, names, strict=False)  # two may be one now
            ),
            {number: moments[number] for number in sorted(moments)},
        )
        before = len(self.state.entries)
        return Completion(self.optimizer, before, state, order, moved, tuple(added))

    def _refuse_what_is_not_read(self) -> None:
        if not self.state.is_whole:
            raise CannotComplete("it holds more than groups, moments and plain options")
        for kept in self.state.moments.values():
            if any(isinstance(value, Tensor) and value.is_expanded for value in kept.values()):
                raise CannotComplete("its moments repeat the elements of a smaller storage")

    def _options(self, group: ParameterGroup, names: Sequence[str]) -> dict[str, object]:
        """Return the options of a group that has the parameters `names` now."""
        if _NAMES not in group.options:
            return dict(group.options)
        owners = {number: name for name, number in self.numbers.items()}
        given = group.options[_NAMES]
        prefixes = set[str]()
        if isinstance(given, list) and len(given) == len(group.params):
            own = [owners[number] for number in group.params]
            prefixes = {n.removesuffix(str(g)) for n, g in zip(own, given, strict=True)}
        if len(prefixes) != 1:
            raise CannotComplete(f"its {_NAMES} are not the names of the policy's parameters")
        prefix = prefixes.pop()
        return {**group.options, _NAMES: [name.removeprefix(prefix) for name in names]}


def _nearest(name: str, home: Mapping[str, int]) -> set[int]:
    """Return the groups that have parameters in the innermost module around `name` that has any."""
    for module in _modules(name):
        found = {at for member, at in home.items() if member.startswith(module)}
        if found:
            return found
    return set()
