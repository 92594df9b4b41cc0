"""What a repair will do, as data: decided from a report, carried out elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from sacdoctor.checkpoint import Checkpoint, OptimizerState, Tensor
from sacdoctor.diagnosis import (
    Completion,
    Facts,
    Slot,
    as_floats,
    completions,
    needless_wrappers,
    zero_positions,
)
from sacdoctor.errors import SacdoctorError
from sacdoctor.layers import Kind, Role, unwrapped
from sacdoctor.model import Cause, LayerReport, Report
from sacdoctor.optimizers import STEP
from sacdoctor.repair.donors import Donor, Donors, Unused, in_words, refitted
from sacdoctor.repair.initialisers import describe, encoded, initial_values
from sacdoctor.repair.model import (
    Left,
    MomentReset,
    Refit,
    Rename,
    RepairError,
    RepairOptions,
    RepairPlan,
    SettingChange,
    TensorRepair,
)
from sacdoctor.severity import Severity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sacdoctor.repair.refit import Asked

REINIT, TARGET, DONOR, ONLINE, REFIT = "reinit", "target", "donor", "online", "refit"
NEAR = 2000
"""Timesteps. A checkpoint that is no older is nearer than the transitions that a refit looks at:
these are as many, and each is of the policy of its own time."""
NEVER_ACTIVE = "its zeros are units that were never active yet, and may still become so"
AS_MADE = "its target network may still be as it was made, before its first update"
NORM_LEFT = "a normalisation's bias starts at 0.0 and is left there"


def make_plan(
    facts: Facts,
    report: Report,
    options: RepairOptions,
    donors: Donors | None = None,
    opened: Mapping[Path, Checkpoint] | None = None,
) -> RepairPlan:
    """Return what to do about the findings of `report`, which was made from `facts`.

    `opened` are the checkpoints among the donors, by their paths.

    Raises `RepairError` where the donor does not fit, a target network has no online
    counterpart, or a setting is not this algorithm's.
    """
    return _Planner(facts, report, options, donors or Donors(), opened or {}).plan()


class _Source(NamedTuple):
    """Where values may come from: kind, words, all elements in C order; the file and its age."""

    by: str
    fill: str
    elements: NDArray[Any]
    path: str | None = None
    age: int | None = None


class _Planner:
    """Holds what all steps of planning look at."""

    def __init__(
        self,
        facts: Facts,
        report: Report,
        options: RepairOptions,
        donors: Donors,
        opened: Mapping[Path, Checkpoint],
    ) -> None:
        self.checkpoint = facts.checkpoint
        self.report = report
        self.options = options
        self.donors = donors
        self.opened = opened
        self.facts = facts
        self.anatomy = facts.anatomy
        self.tensors = facts.tensors
        roles = facts.anatomy.roles
        self.online = {name: role.online for name, role in roles.items() if role.online}
        self.targets = {online: name for name, online in self.online.items()}
        self.wrappers = needless_wrappers(self.checkpoint)
        self.wrapped = {unwrapped(name, self.wrappers): name for name in self.tensors}
        self.repaired: list[TensorRepair] = []
        self.left: list[Left] = []
        self.unused: list[Left] = [*donors.unused]
        self.refits: tuple[Refit, ...] = ()
        self.fitted: Mapping[str, NDArray[np.float64]] = {}

    def plan(self) -> RepairPlan:
        self._refuse_slips()
        redraws = self._has_donors or not self.options.is_for_loading_alone
        layers = self.report.layers if redraws else ()
        dead = [layer for layer in layers if self._is_to_be_repaired(layer)]
        if self.donors.buffer is not None and dead:
            self._refit(self.donors.buffer, dead)
        # Online first: a target network takes over what its counterpart was given.
        for layer in sorted(dead, key=lambda layer: layer.name in self.online):
            self._repair(layer)
        completed = self._completions() if self.options.complete_optimizer else ()
        moments = () if self.options.keep_optimizer else tuple(self._moments())
        settings, unstripped = [*self._settings()], list[Left]()
        if self.options.strip_code:
            from sacdoctor.repair.strip import strip

            stripped, unstripped = strip(self.checkpoint, self.options.learning_rate)
            settings += stripped
        settings += self._rebuilt(settings)
        renames, unported = self._ported(settings)
        return RepairPlan(
            tuple(self.repaired),
            tuple(self.left),
            moments,
            tuple(settings),
            tuple(unstripped),
            completed,
            self.wrappers if redraws else frozenset(),
            renames,
            unported,
            frozenset(self._commands(redraws)),
            self.refits,
            tuple(self.unused),
        )

    @property
    def _has_donors(self) -> bool:
        donors = self.donors
        return bool(donors.checkpoints) or donors.buffer is not None or donors.are_found

    def _refuse_slips(self) -> None:
        """Raise `RepairError` where an option names what this checkpoint does not have."""
        only = self.options.only
        if only is not None and not any(fnmatchcase(name, only) for name in self.tensors):
            raise RepairError(f"--only {only!r} fits none of its tensors", self.checkpoint.path)
        if self.options.from_target and not self.online:
            raise RepairError("--donor target: it has no target networks", self.checkpoint.path)

    def _commands(self, redraws: bool) -> Iterator[str]:
        options = self.options
        for command, is_asked_for in (
            ("fix", redraws),
            ("fix --donor", self._has_donors or options.from_target),
            ("fix --learning-rate", options.learning_rate is not None),
            ("fix --max-grad-norm", options.max_grad_norm is not None),
            ("fix --strip-code", options.strip_code),
            ("fix --complete-optimizer", options.complete_optimizer),
            ("fix --for-this-environment", options.for_this_environment),
        ):
            if is_asked_for:
                yield command

    def _is_to_be_repaired(self, layer: LayerReport) -> bool:
        if layer.severity is None or layer.severity is Severity.OK:
            return False
        reason = None
        if layer.kind == Kind.NORM.value and layer.severity is Severity.NOTICE:
            reason = NORM_LEFT
        elif layer.severity is Severity.NOTICE and layer.cause is not None:
            reason = AS_MADE if layer.cause is Cause.TARGET_OUT_OF_SYNC else NEVER_ACTIVE
        elif layer.severity is Severity.NOTICE:
            reason = f"only {layer.zero_percent:.3g} % of it is zero"
        elif self.options.only is not None and not fnmatchcase(layer.name, self.options.only):
            reason = f"its name does not match --only {self.options.only}"
        elif self.tensors[layer.name].dtype.name.startswith(("float8", "complex")):
            reason = f"{self.tensors[layer.name].dtype.name} values are not re-drawn"
        elif self.tensors[layer.name].is_expanded:
            reason = "it repeats the elements of a smaller storage"
        if reason is not None:
            self.left.append(Left(layer.name, reason))
        return reason is None

    # -- values --------------------------------------------------------------------------------

    def _repair(self, layer: LayerReport) -> None:
        tensor = self.tensors[layer.name]
        remaining = zero_positions(tensor)
        for source in self._sources(layer.name):
            values = source.elements[remaining]
            alive = _is_alive(values, tensor)
            if alive.any():
                self.repaired.append(
                    TensorRepair(
                        layer.name,
                        source.by,
                        source.fill,
                        remaining[alive],
                        values[alive],
                        source.path,
                        source.age,
                    )
                )
            remaining = remaining[~alive]
        if len(remaining):
            counterpart = self.online.get(layer.name)
            reason = NORM_LEFT if counterpart is None else f"{counterpart} is zero there too"
            self.left.append(Left(layer.name, reason))

    def _sources(self, name: str) -> Iterator[_Source]:
        """Yield where values may come from, best first."""
        tensor = self.tensors[name]
        online = self.online.get(name)
        if online is not None:
            online = self.wrapped.get(online, online)
            yield _Source(ONLINE, f"the value of {online}", self._repaired_values(name, online))
            return
        yield from self._target(name)
        near: list[_Source] = []
        far: list[_Source] = []
        for donor, source in self._donated(name):
            (near if self._is_near(donor) else far).append(source)
        yield from near
        yield from self._fitted(name)
        yield from far
        role: Role = self.anatomy.roles[name]
        if role.kind is Kind.NORM:
            return  # what was trained can be recovered; else 0.0 is where it starts
        values = encoded(initial_values(role, tensor.numel, self.options.seed), tensor.dtype)
        yield _Source(REINIT, describe(role), values)

    def _target(self, name: str) -> Iterator[_Source]:
        target = self.targets.get(name)
        if target is None or not (self.options.from_target or self._heeds_targets):
            return
        self._check_same_form(self.checkpoint.path, target, self.tensors[target], name)
        elements = self.tensors[target].values.reshape(-1)
        yield _Source(TARGET, f"the value of {target}", elements)

    @property
    def _heeds_targets(self) -> bool:
        """Whether a target network is asked without being named: it is nearer than any refit."""
        return self.donors.are_found or self.donors.buffer is not None

    def _donated(self, name: str) -> Iterator[tuple[Donor, _Source]]:
        """Yield what other checkpoints hold, the nearest first."""
        for donor in self.donors.checkpoints:
            checkpoint = self.opened[donor.path]
            tensors, fill = checkpoint.tensors, "the donor's value"
            path = None
            if self.donors.are_found:
                if name in donor.sick or not self._has_same_form(tensors.get(name), name):
                    continue
                fill = f"the value in {donor.path.name}, {_earlier(donor.age)}"
                path = str(donor.path)
            elif name not in tensors:
                raise RepairError(f"it has no tensor {name}", checkpoint.path)
            else:
                self._check_same_form(checkpoint.path, name, tensors[name], name)
                path = str(donor.path)
            elements = tensors[name].values.reshape(-1)
            yield donor, _Source(DONOR, fill, elements, path, donor.age)

    def _is_near(self, donor: Donor) -> bool:
        """Return whether a checkpoint is nearer than the transitions that a refit looks at."""
        return not self.donors.are_found or (donor.age is not None and donor.age <= NEAR)

    def _fitted(self, name: str) -> Iterator[_Source]:
        if name in self.fitted:
            account = next(a for a in self.refits if a.is_written and name in a.tensors)
            values = encoded(self.fitted[name], self.tensors[name].dtype)
            yield _Source(REFIT, in_words(account), values, account.source, account.age)

    def _refit(self, path: Path, dead: Iterable[LayerReport]) -> None:
        """Fit what neither a target network nor a near checkpoint has to recorded transitions.

        Where that cannot be done, it is told in `unused`, unless the buffer was named and is not
        this agent's.
        """
        try:
            asked, names = self._asked_for(dead)
            if not asked.dead:
                self.unused.append(Left(str(path), "all dead values are known exactly without it"))
                return
            found = refitted(self.facts, path, asked)
        except SacdoctorError as error:
            if not self.donors.are_found and not isinstance(error, Unused):
                raise error.at(path) from None
            self.unused.append(Left(str(path), error.reason))
            return
        self.refits = tuple(
            replace(account, tensors=tuple(names[name] for name in account.tensors))
            for account in found.accounts
        )
        fitted = {}
        for name, values in found.values.items():
            whole = np.full(self.tensors[names[name]].numel, np.nan)
            whole[asked.dead[name]] = values
            fitted[names[name]] = whole
        self.fitted = fitted

    def _asked_for(self, dead: Iterable[LayerReport]) -> tuple[Asked, dict[str, str]]:
        """Return what is to be refitted, and the names here of tensors by those of a live model."""
        try:
            from sacdoctor.repair.refit import Asked
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            raise SacdoctorError(
                f"a refit needs {package}: pip install 'sacdoctor[train]'"
            ) from None
        missing: dict[str, NDArray[np.int64]] = {}
        given: list[tuple[str, NDArray[np.int64], NDArray[np.float64]]] = []
        drawn: dict[str, NDArray[np.float64]] = {}
        known: dict[str, NDArray[np.float64]] = {}
        names: dict[str, str] = {}
        for name in (layer.name for layer in dead if layer.name not in self.online):
            tensor, live = self.tensors[name], unwrapped(name, self.wrappers)
            names[live] = name
            remaining = zero_positions(tensor)
            far: list[_Source] = []
            for source in (*self._target(name), *(s for d, s in self._donated(name))):
                is_far = source.by == DONOR and source.age is not None and source.age > NEAR
                if is_far:
                    far.append(source)
                    continue
                values = source.elements[remaining]
                alive = _is_alive(values, tensor)
                given.append((live, remaining[alive], _numbers(tensor, values[alive])))
                remaining = remaining[~alive]
            if not len(remaining):
                continue
            missing[live] = remaining
            role = self.anatomy.roles[name]
            if role.kind is not Kind.NORM:
                draws = initial_values(role, tensor.numel, self.options.seed)
                drawn[live] = draws[remaining]
            if far:
                values = far[0].elements[remaining]
                alive = _is_alive(values, tensor)
                known[live] = np.where(alive, _numbers(tensor, values), 0.0)
        asked = Asked(missing, given, drawn, known, self.options.seed, self.options.trust)
        return asked, names

    def _repaired_values(self, name: str, online: str) -> NDArray[Any]:
        if online not in self.tensors:
            raise RepairError(
                f"{name} is dead and has no online counterpart {online}", self.checkpoint.path
            )
        self._check_same_form(self.checkpoint.path, online, self.tensors[online], name)
        values = self.tensors[online].values.reshape(-1).copy()
        for repair in self.repaired:
            if repair.name == self.anatomy.owner(online):
                values[repair.positions] = repair.values
        return values

    def _has_same_form(self, other: Tensor | None, name: str) -> bool:
        own = self.tensors[name]
        return other is not None and (other.shape, other.dtype) == (own.shape, own.dtype)

    def _check_same_form(self, path: Path, source: str, other: Tensor, name: str) -> None:
        own = self.tensors[name]
        if not self._has_same_form(other, name):
            raise RepairError(
                f"{source} is {other.dtype.name} {list(other.shape)}, not "
                f"{own.dtype.name} {list(own.shape)} as {name} in {self.checkpoint.path.name}",
                path,
            )

    # -- optimizer -----------------------------------------------------------------------------

    def _completions(self) -> tuple[Completion, ...]:
        found = completions(self.facts, self.options.buffers, self.options.parameters)
        changed = {completion.optimizer for completion in found}
        for optimizer in self.facts.policy_optimizers:
            if optimizer not in changed:
                self.left.append(Left(optimizer, "every parameter has its entry already"))
        return found

    def _moments(self) -> Iterator[MomentReset]:
        optimizers = self.checkpoint.optimizers
        coverage = self.facts.coverage
        positions: dict[str, list[NDArray[np.int64]]] = {}
        for repair in self.repaired:
            positions.setdefault(repair.name, []).append(repair.positions)
        for name, parts in positions.items():
            merged = np.sort(np.concatenate(parts))
            for slot in coverage.slots.get(name, ()):
                kept = optimizers[slot.optimizer].moments.get(slot.number)
                if kept:
                    file = self.checkpoint.optimizer_file(slot.optimizer)
                    yield _reset(slot, file, name, merged, self.tensors[name], kept)
            uncertain = not coverage.slots.get(name) and name not in coverage.outside
            if uncertain and optimizers and name not in self.online:
                self.left.append(
                    Left(name, "its moments: which optimizer entry is its own is not certain")
                )

    # -- names -----------------------------------------------------------------------------------

    def _ported(
        self, settings: Iterable[SettingChange]
    ) -> tuple[tuple[Rename, ...], tuple[Left, ...]]:
        """Return how pickles are made ready for this environment, but for those that go."""
        if not self.options.for_this_environment:
            return (), ()
        from sacdoctor.repair.environment import ported

        gone = {f"data {change.name}" for change in settings if change.optimizer is None}
        found = ported(self.checkpoint)
        return (
            tuple(rename for rename in found.renames if rename.place not in gone),
            tuple(left for left in found.left if left.name not in gone),
        )

    # -- settings ------------------------------------------------------------------------------

    def _settings(self) -> Iterator[SettingChange]:
        rate, norm = self.options.learning_rate, self.options.max_grad_norm
        settings = self.checkpoint.hyperparameters
        if rate is not None:
            if "learning_rate" not in settings:
                raise RepairError("it holds no learning rate to correct", self.checkpoint.path)
            known = settings.number("learning_rate")
            changes = [
                SettingChange("learning_rate", "a schedule" if known is None else known, rate)
            ]
            for optimizer, state in self.checkpoint.optimizers.items():
                changes += _rates(optimizer, state, rate)
            if any(change.before != rate for change in changes):
                yield from changes
        if norm is not None:
            if "max_grad_norm" not in settings:
                raise RepairError(
                    f"{self.report.algorithm or 'its algorithm'} has no max_grad_norm: SB3 clips "
                    "no gradients there, so it cannot be set in the file",
                    self.checkpoint.path,
                )
            if settings.number("max_grad_norm") != norm:
                yield SettingChange("max_grad_norm", settings.number("max_grad_norm"), norm)

    def _rebuilt(self, settings: Iterable[SettingChange]) -> Iterator[SettingChange]:
        """Yield what goes because a rate that SB3 makes it from is corrected."""
        changed = {change.name for change in settings if change.optimizer is None}
        goes = "lr_schedule" in self.checkpoint.hyperparameters and "lr_schedule" not in changed
        if goes and "learning_rate" in changed:
            yield SettingChange("lr_schedule", "a schedule", None)


def _is_alive(values: NDArray[Any], tensor: Tensor) -> NDArray[np.bool_]:
    """Return which raw elements are worth taking over: neither zero nor NaN nor infinite."""
    if tensor.dtype.name == "bfloat16":
        exponent = values & np.uint16(0x7F80)
        return np.asarray(((values & np.uint16(0x7FFF)) != 0) & (exponent != 0x7F80))
    return np.asarray((values != 0) & np.isfinite(values))


def _numbers(tensor: Tensor, elements: NDArray[Any]) -> NDArray[np.float64]:
    """Return raw elements of a tensor's type as numbers."""
    return as_floats(tensor, elements).astype(np.float64)


def _earlier(age: int | None) -> str:
    return "how old is not known" if age is None else f"{age:,} timesteps earlier"


def _rates(optimizer: str, state: OptimizerState, wanted: float) -> list[SettingChange]:
    """Return the change of an optimizer's rate; of each group's where several other ones go."""
    rates = [group.learning_rate for group in state.groups]
    # JSON has no NaN and no infinity: they are told in words.
    told = [rate if rate is None or isfinite(rate) else str(rate) for rate in rates]
    others = {rate for rate in told if rate != wanted}
    if len(others) < 2:
        return [SettingChange("lr", next(iter(others), wanted), wanted, optimizer)]
    return [
        SettingChange(f"param_groups[{number}].lr", rate, wanted, optimizer)
        for number, rate in enumerate(told)
    ]


def _reset(
    slot: Slot,
    file: str,
    name: str,
    positions: NDArray[np.int64],
    tensor: Tensor,
    kept: Mapping[str, Any],
) -> MomentReset:
    if len(positions) < tensor.numel:
        return MomentReset(slot, file, name, positions, step_reset=False)
    step = kept.get(STEP)
    if step is None or isinstance(step, Tensor):
        return MomentReset(slot, file, name, positions, step_reset=step is not None)
    note = "its step is a plain number in this file and stays"
    return MomentReset(slot, file, name, positions, step_reset=False, note=note)
