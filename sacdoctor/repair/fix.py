"""A repair from start to end: scan, plan, write beside the name, scan again, rename."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sacdoctor import __version__
from sacdoctor.checkpoint import POLICY, Checkpoint, Tensor
from sacdoctor.checkpoint.edit import Edits, edited
from sacdoctor.checkpoint.element_edit import BARE, ElementEdit
from sacdoctor.diagnosis import ScanOptions
from sacdoctor.diagnosis.causes import OUTLAST_REPAIR
from sacdoctor.diagnosis.rules import unsafe_pickle
from sacdoctor.diagnosis.scan import diagnose
from sacdoctor.errors import CheckpointError
from sacdoctor.files.atomic import replace_file
from sacdoctor.model import Finding, Report
from sacdoctor.optimizers import STEP
from sacdoctor.repair.model import RepairError, RepairOptions, RepairPlan
from sacdoctor.repair.plan import make_plan
from sacdoctor.severity import Severity
from sacdoctor.trust.parts import parts_of
from sacdoctor.trust.suspicions import Suspicion, evidence, suspicions

RECORD = "sacdoctor.json"
"""The member that says what was done; SB3's loader takes only `*.pth` and its own names."""

_WRITTEN_AT_ONCE = 1024**2
"""Bytes. The system copies mapped pages in half the time if it is given them in small parts."""


@dataclass(frozen=True, slots=True)
class FixResult:
    """What was done to one checkpoint. `output` and `after` are None where nothing was written.

    `unsafe` are the findings of rule SD601 that the plan leaves, whatever rules were selected.
    """

    source: str
    output: str | None
    plan: RepairPlan
    before: Report
    after: Report | None
    unsafe: tuple[Finding, ...]

    @property
    def not_lasting(self) -> dict[str, tuple[str, ...]]:
        """The repaired tensors whose cause is still there, by cause: they will die again."""
        repaired = {repair.name for repair in self.plan.repaired}
        found: dict[str, tuple[str, ...]] = {}
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
    donor: str | Path | None = None,
    dry_run: bool = False,
    force: bool = False,
    copy_if_healthy: bool = False,
) -> FixResult:
    """Write a repaired copy of the checkpoint at `path` and return what was done.

    The copy is `<stem>_FIXED<suffix>` beside the checkpoint, or `output`. `donor` is an earlier
    checkpoint of the same run whose values fill dead elements. Where there is nothing to repair,
    nothing is written, unless `copy_if_healthy` asks for an identical copy.

    Raises `SacdoctorError` where anything is in the way; then nothing was written.
    """
    source = Path(os.path.realpath(path))  # `resolve` raises where links lead in a circle
    target = Path(output) if output is not None else fixed_name(source)
    scan_options = scan_options or ScanOptions()
    with ExitStack() as stack:
        checkpoint = stack.enter_context(_opened(path, source))
        other = stack.enter_context(Checkpoint(donor)) if donor is not None else None
        before = diagnose(checkpoint, scan_options)
        plan = make_plan(checkpoint, before, options or RepairOptions(), other)
        unsafe = _unsafe(checkpoint)
        idle = plan.is_empty and not copy_if_healthy
        if idle or dry_run:
            stays = _unsafe(checkpoint, {change.key for change in plan.settings})
            return FixResult(str(path), None, plan, before, None, _findings(stays))
        if _is_same(source, target):
            raise RepairError(
                "output and input are the same file; the input is never touched", path
            )
        pieces: Iterable[bytes | memoryview] = [checkpoint.buffer]
        if not plan.is_empty:
            pieces = edited(checkpoint, _edits(checkpoint, plan, (options or RepairOptions()).seed))
        after: list[Report] = []
        stay: list[Suspicion] = []

        def write(file: BinaryIO) -> None:
            for piece in pieces:
                for at in range(0, len(piece), _WRITTEN_AT_ONCE):
                    file.write(piece[at : at + _WRITTEN_AT_ONCE])

        def check(written: Path) -> None:
            with Checkpoint(written) as copy:
                after.append(diagnose(copy, scan_options))
                _verify(plan, checkpoint, copy)
                stay.extend(_unsafe(copy))
                _refuse([suspicion for suspicion in stay if suspicion not in unsafe], path)

        replace_file(
            target, write, mode=source.stat().st_mode & 0o777, check=check, overwrite=force
        )
        return FixResult(str(path), str(target), plan, before, after[0], _findings(stay))


def fixed_name(path: Path) -> Path:
    """Return where the repaired copy of `path` goes: `model.zip` becomes `model_FIXED.zip`."""
    return path.with_name(f"{path.stem}_FIXED{path.suffix}")


def _unsafe(checkpoint: Checkpoint, gone: Collection[str] = ()) -> list[Suspicion]:
    """Return what is critical in the checkpoint's pickles, less those of settings that are gone."""
    parts = [p for p in parts_of(checkpoint) if p.member != "data" or p.key not in gone]
    return [found for found in suspicions(parts) if found.severity is Severity.CRITICAL]


def _findings(found: list[Suspicion]) -> tuple[Finding, ...]:
    return tuple(unsafe_pickle.check_code(found))


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
    except CheckpointError as error:
        error.path = path  # as it was given, not as it was resolved
        raise


def _is_same(source: Path, target: Path) -> bool:
    try:
        return target.samefile(source)
    except OSError:
        return os.path.realpath(target) == str(source)


def _edits(checkpoint: Checkpoint, plan: RepairPlan, seed: int) -> Edits:
    bare = checkpoint.is_bare
    tensors = checkpoint.tensors
    elements = [
        ElementEdit(
            BARE if bare else POLICY,
            (*checkpoint.nesting, repair.name),
            tensors[repair.name],
            repair.positions,
            repair.values,
        )
        for repair in plan.repaired
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
            path = ("state", reset.slot.number, key)
            elements.append(ElementEdit(reset.file, path, moment, positions, zeros))
    # A rate that is to be corrected stands in every optimizer too; a schedule's own does not.
    rates = {f"{name}.lr" for name in checkpoint.optimizers}
    changes = {change.key: change.after for change in plan.settings if change.key not in rates}
    corrects_rates = not rates.isdisjoint(change.key for change in plan.settings)
    return Edits(
        elements=elements,
        learning_rate=changes.pop("learning_rate") if corrects_rates else None,
        settings={key: after for key, after in changes.items() if after is not None},
        removed=[key for key, after in changes.items() if after is None],
        added={} if bare else {RECORD: _record(checkpoint, plan, seed)},
    )


def _record(checkpoint: Checkpoint, plan: RepairPlan, seed: int) -> bytes:
    """Return the note about this repair, after those about earlier ones."""
    earlier: Any = []
    if RECORD in checkpoint.archive:
        try:
            earlier = json.loads(bytes(checkpoint.archive.read(RECORD)))["repairs"]
        except (ValueError, KeyError, TypeError, RecursionError):
            earlier = None
    if not isinstance(earlier, list):
        raise RepairError(f"its {RECORD} is not what sacdoctor writes", checkpoint.path)
    note = {
        "sacdoctor": __version__,
        "seed": seed,
        "repaired": [
            {"name": r.name, "elements": r.elements, "by": r.by, "fill": r.fill}
            for r in plan.repaired
        ],
        "optimizer": [
            {"file": r.file, "name": r.name, "elements": r.elements, "step_reset": r.step_reset}
            for r in plan.optimizer
        ],
        "settings": [{"key": c.key, "before": c.before, "after": c.after} for c in plan.settings],
    }
    try:
        return (json.dumps({"repairs": [*earlier, note]}, indent=1) + "\n").encode()
    except RecursionError:
        raise RepairError(f"its {RECORD} is not what sacdoctor writes", checkpoint.path) from None


def _verify(plan: RepairPlan, original: Checkpoint, copy: Checkpoint) -> None:
    """Raise `RepairError` unless the written file reads back as what was planned."""
    wrong: list[str] = []
    if [*original.tensors] != [*copy.tensors]:
        wrong.append("the names of the tensors")
    for name in dict.fromkeys(repair.name for repair in plan.repaired):
        expected = original.tensors[name].values.reshape(-1).copy()
        for repair in plan.repaired:
            if repair.name == name:
                expected[repair.positions] = repair.values
        if expected.tobytes() != copy.tensors[name].values.tobytes():
            wrong.append(name)
    for change in plan.settings:
        optimizer = copy.optimizers.get(change.key.removesuffix(".lr"))
        rates: set[float | None] = set()
        if optimizer is not None:
            rates = {group.learning_rate for group in optimizer.groups}
        elif change.after is not None or change.key not in copy.hyperparameters:
            rates = {copy.hyperparameters.number(change.key)}
        if rates != {change.after}:
            wrong.append(change.key)
    for reset in plan.optimizer:
        for moment in copy.optimizers[reset.slot.optimizer].moments[reset.slot.number].values():
            same_shape = (
                isinstance(moment, Tensor) and moment.shape == copy.tensors[reset.name].shape
            )
            if same_shape and moment.values.reshape(-1)[reset.positions].any():
                wrong.append(f"the moments of {reset.name}")
    if wrong:
        raise RepairError(
            f"the repaired copy did not read back as planned ({wrong[0]}) and was thrown away",
            original.path,
        )
