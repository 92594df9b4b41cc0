"""What a repair will do, as data: decided from a report, carried out elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sacdoctor.checkpoint import Checkpoint, OptimizerState, Tensor
from sacdoctor.diagnosis import (
    Completion,
    Facts,
    Slot,
    completions,
    needless_wrappers,
    zero_positions,
)
from sacdoctor.layers import Kind, Role, unwrapped
from sacdoctor.model import Cause, LayerReport, Report
from sacdoctor.optimizers import STEP
from sacdoctor.repair.initialisers import describe, encoded, initial_values
from sacdoctor.repair.model import (
    Left,
    MomentReset,
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

REINIT, TARGET, DONOR, ONLINE = "reinit", "target", "donor", "online"
NEVER_ACTIVE = "its zeros are units that were never active yet, and may still become so"
AS_MADE = "its target network may still be as it was made, before its first update"
NORM_LEFT = "a normalisation's bias starts at 0.0 and is left there"


def make_plan(
    facts: Facts,
    report: Report,
    options: RepairOptions,
    donor: Checkpoint | None = None,
) -> RepairPlan:
    """Return what to do about the findings of `report`, which was made from `facts`.

    Raises `RepairError` where the donor does not fit, a target network has no online
    counterpart, or a setting is not this algorithm's.
    """
    return _Planner(facts, report, options, donor).plan()


class _Planner:
    """Holds what all steps of planning look at."""

    def __init__(
        self,
        facts: Facts,
        report: Report,
        options: RepairOptions,
        donor: Checkpoint | None,
    ) -> None:
        self.checkpoint = facts.checkpoint
        self.report = report
        self.options = options
        self.donor = donor
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

    def plan(self) -> RepairPlan:
        self._refuse_slips()
        redraws = self.donor is not None or not self.options.is_for_loading_alone
        layers = self.report.layers if redraws else ()
        dead = [layer for layer in layers if self._is_to_be_repaired(layer)]
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
        )

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
            ("fix --donor", self.donor is not None or options.from_target),
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
        for by, fill, source in self._sources(layer.name):
            values = source[remaining]
            alive = _is_alive(values, tensor)
            if alive.any():
                self.repaired.append(
                    TensorRepair(layer.name, by, fill, remaining[alive], values[alive])
                )
            remaining = remaining[~alive]
        if len(remaining):
            counterpart = self.online.get(layer.name)
            reason = NORM_LEFT if counterpart is None else f"{counterpart} is zero there too"
            self.left.append(Left(layer.name, reason))

    def _sources(self, name: str) -> Iterator[tuple[str, str, NDArray[Any]]]:
        """Yield where values may come from, best first: kind, words, all elements in C order."""
        tensor = self.tensors[name]
        online = self.online.get(name)
        if online is not None:
            online = self.wrapped.get(online, online)
            yield ONLINE, f"the value of {online}", self._repaired_values(name, online)
            return
        if self.options.from_target:
            target = self.targets.get(name)
            if target is not None:
                self._check_same_form(self.checkpoint.path, target, self.tensors[target], name)
                yield TARGET, f"the value of {target}", self.tensors[target].values.reshape(-1)
        if self.donor is not None:
            if name not in self.donor.tensors:
                raise RepairError(f"it has no tensor {name}", self.donor.path)
            self._check_same_form(self.donor.path, name, self.donor.tensors[name], name)
            yield DONOR, "the donor's value", self.donor.tensors[name].values.reshape(-1)
        role: Role = self.anatomy.roles[name]
        if role.kind is Kind.NORM:
            return  # what was trained can be recovered; else 0.0 is where it starts
        values = encoded(initial_values(role, tensor.numel, self.options.seed), tensor.dtype)
        yield REINIT, describe(role), values

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

    def _check_same_form(self, path: Path, source: str, other: Tensor, name: str) -> None:
        own = self.tensors[name]
        if other.shape != own.shape or other.dtype != own.dtype:
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
