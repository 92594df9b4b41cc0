"""A repair from start to end: scan, plan, write beside the name, scan again, rename."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct

from sacdoctor.checkpoint import Checkpoint, Edits, ElementEdit, Tensor
from sacdoctor.checkpoint.formats import RECORD
from sacdoctor.diagnosis import OUTLAST_REPAIR, Facts, loading_call, report_on
from sacdoctor.diagnosis.rules import unsafe_pickle
from sacdoctor.errors import ChangedFile, CheckpointError
from sacdoctor.files import fetched, replace_file
from sacdoctor.layers import online_name, unwrapped
from sacdoctor.model import Cause, Finding, Report
from sacdoctor.optimizers import STEP
from sacdoctor.options import ScanOptions
from sacdoctor.repair.completed import is_as_completed
from sacdoctor.repair.donors import Donors, donor_named
from sacdoctor.repair.model import RepairError, RepairOptions, RepairPlan
from sacdoctor.repair.plan import make_plan
from sacdoctor.repair.remaining import foreseen
from sacdoctor.severity import Severity
from sacdoctor.trust import LoadedCode, Suspicion, evidence
from sacdoctor.version import __version__

_WRITTEN_AT_ONCE = 1024**2
"""Bytes that are copied in one go."""


class FixResult(Struct, frozen=True):
    """What was done to one checkpoint. `output` and `after` are None where nothing was written.

    `unsafe` are the findings of rule SD601 that the plan leaves, whatever rules were selected.
    `remaining` are the findings that hold afterwards, the worst first: those of `after`, or where
    nothing was written those to be expected.
    `loads_with` is the line of Python that loads a copy whose optimizers were completed.
    """

    source: str
    output: str | None
    plan: RepairPlan
    before: Report
    after: Report | None
    unsafe: tuple[Finding, ...]
    remaining: tuple[Finding, ...]
    loads_with: str | None = None

    @property
    def not_lasting(self) -> dict[Cause, tuple[str, ...]]:
        """The repaired tensors whose cause is still there, by cause: they will die again."""
        trained = {name for completion in self.plan.completions for name in completion.added}
        owners = {layer.name: layer.alias_of or layer.name for layer in self.before.layers}
        repaired = {
            repair.name
            for repair in self.plan.repaired
            if owners.get(online_name(repair.name) or repair.name) not in trained
        }
        found: dict[Cause, tuple[str, ...]] = {}
        for layer in self.before.layers:
            if layer.name in repaired and layer.cause in OUTLAST_REPAIR:
                found[layer.cause] = (*found.get(layer.cause, ()), layer.name)
        return found


def fix(
    path: str | Path,
    *,
    output: str | Path | None = None,
    options: RepairOptions | None = None,
    scan_options: ScanOptions | None = None,
    donor: str | Path | Donors | None = None,
    dry_run: bool = False,
    force: bool = False,
    copy_if_healthy: bool = False,
    source: str | None = None,
) -> FixResult:
    """Write a repaired copy of the checkpoint at `path` and return what was done.

    The copy is `<stem>_FIXED<suffix>` beside the checkpoint, or `output`. `donor` is an earlier
    checkpoint of the same run whose values fill dead elements, or a replay buffer of it, to whose
    transitions they are fitted; or several of them (`Donors`). Where there is nothing to repair,
    nothing is written, unless `copy_if_healthy` asks for an identical copy. `source` is where the
    file at `path` was fetched from, for the note in the copy.

    Raises `SacdoctorError` where anything is in the way; then nothing was written.
    """
    place = Path(os.path.realpath(path))  # `resolve` raises where links lead in a circle
    target = Path(output) if output is not None else fixed_name(place)
    scan_options = scan_options or ScanOptions()
    with ExitStack() as stack:
        checkpoint = stack.enter_context(_opened(path, place))
        donors = donor_named(donor)
        opened = {one.path: stack.enter_context(Checkpoint(one.path)) for one in donors.checkpoints}
        facts = Facts(checkpoint, scan_options.components, scan_options.trusted)
        before = report_on(facts, scan_options)
        plan = make_plan(facts, before, options or RepairOptions(), donors, opened)
        unsafe = _unsafe(facts)
        call = loading_call(facts, str(target)) if plan.completions else None
        idle = plan.is_empty and not copy_if_healthy
        if idle or dry_run:
            stays = _staying(unsafe, plan)
            left = foreseen(facts, before, plan, _staying(facts.code, plan), scan_options)
            return FixResult(str(path), None, plan, before, None, _findings(stays), left, call)
        if _is_same(place, target):
            raise RepairError(
                "output and input are the same file; the input is never touched", path
            )
        pieces: Iterable[bytes | memoryview] = [checkpoint.buffer]
        edits = Edits()
        if not plan.is_empty:
            edits = _edits(checkpoint, plan, (options or RepairOptions()).seed, source)
            pieces = checkpoint.edited(edits)
        after: list[Report] = []
        stay: list[Suspicion] = []

        def write(file: BinaryIO) -> None:
            for piece in pieces:
                for at in range(0, len(piece), _WRITTEN_AT_ONCE):
                    file.write(fetched(memoryview(piece)[at : at + _WRITTEN_AT_ONCE]))

        def check(written: Path) -> None:
            with Checkpoint(written) as copy:
                copied = Facts(copy, scan_options.components, scan_options.trusted)
                after.append(report_on(copied, scan_options))
                _verify(plan, edits, checkpoint, copy)
                for read in (checkpoint, *opened.values()):
                    read.refuse_changed()
                stay.extend(_unsafe(copied))
                _refuse([suspicion for suspicion in stay if suspicion not in unsafe], path)

        replace_file(target, write, mode=place.stat().st_mode & 0o777, check=check, overwrite=force)
        unsafe_left, left = _findings(stay), after[0].findings
        return FixResult(str(path), str(target), plan, before, after[0], unsafe_left, left, call)


def fixed_name(path: Path) -> Path:
    """Return where the repaired copy of `path` goes: `model.zip` becomes `model_FIXED.zip`."""
    return path.with_name(f"{path.stem}_FIXED{path.suffix}")


def _unsafe(facts: Facts) -> list[Suspicion]:
    """Return what is critical in the checkpoint's pickles, whatever rules were selected."""
    return [found for found in facts.code if found.severity is Severity.CRITICAL]


def _staying(found: Iterable[Suspicion], plan: RepairPlan) -> list[Suspicion]:
    """Return what the plan leaves of the code in a checkpoint."""
    gone = {change.name for change in plan.settings if change.optimizer is None}
    return [
        suspicion for suspicion in found if suspicion.member != "data" or suspicion.key not in gone
    ]


def _findings(found: list[Suspicion]) -> tuple[Finding, ...]:
    return tuple(unsafe_pickle.RULE.findings_in(LoadedCode(found)))


def _refuse(new: list[Suspicion], path: str | Path) -> None:
    if new:
        what = evidence(new[:1])
        raise RepairError(
            f"the repaired copy would run what the checkpoint did not ({what}) and was thrown away",
            path,
        )


def _opened(path: str | Path, source: Path) -> Checkpoint:
    try:
        return Checkpoint(source)
    except (CheckpointError, ChangedFile) as error:
        error.path = path  # as it was given, not as it was resolved
        raise


def _is_same(source: Path, target: Path) -> bool:
    try:
        return target.samefile(source)
    except OSError:
        return os.path.realpath(target) == str(source)


def _edits(checkpoint: Checkpoint, plan: RepairPlan, seed: int, source: str | None) -> Edits:
    tensors = checkpoint.tensors
    elements = [
        ElementEdit(None, (r.name,), tensors[r.name], r.positions, r.values) for r in plan.repaired
    ]
    for reset in plan.optimizer:
        kept = checkpoint.optimizers[reset.slot.optimizer].moments[reset.slot.number]
        for key, moment in kept.items():
            if not isinstance(moment, Tensor):
                continue
            positions = reset.positions
            if key == STEP:
                if not reset.step_reset:
                    continue
                positions = positions[:1] * 0
            elif moment.shape != tensors[reset.name].shape:
                continue
            zeros = positions.astype(moment.dtype.code) * 0
            path = ("state", plan.number(reset.slot), key)
            optimizer = reset.slot.optimizer
            elements.append(ElementEdit(optimizer, path, moment, positions, zeros))
    changes = {change.name: change.after for change in plan.settings if change.optimizer is None}
    # A rate that is to be corrected stands in every optimizer too; a schedule's own does not.
    corrects_rates = any(change.optimizer is not None for change in plan.settings)
    return Edits(
        elements=elements,
        learning_rate=changes.pop("learning_rate") if corrects_rates else None,
        settings={key: after for key, after in changes.items() if after is not None},
        removed=[key for key, after in changes.items() if after is None],
        optimizers={completion.optimizer: completion.state for completion in plan.completions},
        wrappers=plan.wrappers,
        names={rename.before: rename.after for rename in plan.renames},
        record=_record(checkpoint, plan, seed, source) if checkpoint.container.has_record else None,
    )


def _record(checkpoint: Checkpoint, plan: RepairPlan, seed: int, source: str | None) -> bytes:
    """Return the note about this repair, after those about earlier ones."""
    earlier: Any = []
    if checkpoint.record is not None:
        try:
            earlier = json.loads(bytes(checkpoint.record))["repairs"]
        except (ValueError, KeyError, TypeError, RecursionError):
            earlier = None
    if not isinstance(earlier, list):
        raise RepairError(f"its {RECORD} is not what sacdoctor writes", checkpoint.path)
    note: dict[str, Any] = {
        "sacdoctor": __version__,
        "seed": seed,
        **({} if source is None else {"source": source}),
        "repaired": [
            {"name": r.name, "elements": r.elements, "by": r.by, "fill": r.fill}
            | ({} if r.age is None else {"age": r.age})
            for r in plan.repaired
        ],
        "optimizer": [
            {"file": r.file, "name": r.name, "elements": r.elements, "step_reset": r.step_reset}
            for r in plan.optimizer
        ],
        "settings": [{"key": c.key, "before": c.before, "after": c.after} for c in plan.settings],
    }
    if plan.refits:
        note["refits"] = [account.figures() for account in plan.refits]
    if plan.wrappers:
        note["unwrapped"] = sorted(plan.wrappers)
    if plan.renames:
        note["renamed"] = {".".join(r.before): ".".join(r.after) for r in plan.renames}
    if plan.completions:
        note["completed"] = [
            {"file": c.file, "entries_before": c.entries_before, "added": list(c.added)}
            for c in plan.completions
        ]
    try:
        return (json.dumps({"repairs": [*earlier, note]}, indent=1) + "\n").encode()
    except RecursionError:
        raise RepairError(f"its {RECORD} is not what sacdoctor writes", checkpoint.path) from None


def _verify(plan: RepairPlan, edits: Edits, original: Checkpoint, copy: Checkpoint) -> None:
    """Raise `RepairError` unless the written file reads back as what was planned."""
    wrong: list[str] = []
    names = {name: unwrapped(name, plan.wrappers) for name in original.tensors}
    if [*names.values()] != [*copy.tensors]:
        wrong.append("the names of the tensors")
    for name in dict.fromkeys(repair.name for repair in plan.repaired):
        expected = original.tensors[name].values.reshape(-1).copy()
        for repair in plan.repaired:
            if repair.name == name:
                expected[repair.positions] = repair.values
        if expected.tobytes() != copy.tensors[names[name]].values.tobytes():
            wrong.append(name)
    if plan.renames:
        from sacdoctor.repair.environment import ported

        stay = {(rename.place, rename.before) for rename in ported(copy).renames}
        wrong += [r.before[0] for r in plan.renames if (r.place, r.before) in stay]
    for change in plan.settings:
        found: set[float | None] = set()
        if change.optimizer is not None:
            state = copy.optimizers.get(change.optimizer)
            found = {group.learning_rate for group in state.groups} if state else set()
        elif change.after is not None or change.name not in copy.hyperparameters:
            found = {copy.hyperparameters.number(change.name)}
        if found != {change.after}:
            wrong.append(change.key)
    for reset in plan.optimizer:
        for moment in (
            copy.optimizers[reset.slot.optimizer].moments[plan.number(reset.slot)].values()
        ):
            same_shape = (
                isinstance(moment, Tensor) and moment.shape == copy.tensors[names[reset.name]].shape
            )
            if same_shape and moment.values.reshape(-1)[reset.positions].any():
                wrong.append(f"the moments of {reset.name}")
    for completion in plan.completions:
        state = copy.optimizers.get(completion.optimizer)
        before = original.optimizers[completion.optimizer]
        if state is None or not is_as_completed(completion, before, state, edits):
            wrong.append(completion.file)
    if wrong:
        raise RepairError(
            f"the repaired copy did not read back as planned ({wrong[0]}) and was thrown away",
            original.path,
        )
