"""The audit of a warm-up: forced actions in a replay buffer, and the updates that used them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from sacdoctor.checkpoint import Checkpoint
from sacdoctor.diagnosis.buffer_facts import StoredTransitions
from sacdoctor.diagnosis.rules import RULES, findings
from sacdoctor.diagnosis.update_counters import EPISODE, UpdateCounters
from sacdoctor.diagnosis.warmup_facts import ForcedTransitions, JudgedSetting, Warmup
from sacdoctor.errors import SacdoctorError
from sacdoctor.model import BufferSummary, Finding
from sacdoctor.replay import (
    Doubt,
    ForcedHead,
    ReplayBuffer,
    buffer_of,
    checkpoint_of,
    constant_head,
    ignored_head,
    newest_in,
    read_replay_buffer,
)
from sacdoctor.severity import Severity, Status
from sacdoctor.shown import Shown
from sacdoctor.trust import LoadedCode, is_pickle_file, parts_of_pickle, suspicions

SETTINGS = (".yaml", ".yml", ".json", ".toml")
NO_BUFFER = "no replay buffer is beside it, so forced actions cannot be told"
"""The note for a checkpoint without one."""


class WarmupReport(Shown, Struct, frozen=True):
    """What a warm-up left behind. None: not known; `notes` say why.

    `transitions` are those stored, rows times environments as `num_timesteps` counts, of
    `capacity`. `updates_during_forced` are the updates before the forced actions ended: up to then
    the buffer held nothing else. `doubts`: why forced actions cannot be told, which `notes` say,
    too. `held` tells of the buffer's arrays.
    """

    path: str
    buffer: str | None = None
    checkpoint: str | None = None
    transitions: int | None = None
    capacity: int | None = None
    n_envs: int | None = None
    forced_head: ForcedHead | None = None
    updates_during_forced: int | None = None
    n_updates: int | None = None
    doubts: tuple[Doubt, ...] = ()
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    held: BufferSummary | None = None

    @property
    def is_told(self) -> bool:
        """Whether a buffer's first actions are known to be forced, or not to be."""
        return self.transitions is not None and not self.doubts

    @property
    def share(self) -> float | None:
        """Forced transitions still in the buffer over transitions stored, 0 to 1; at most so many
        where their end is not exact. None where forced actions cannot be told."""
        if self.transitions is None or not self.is_told:
            return None
        if self.forced_head is None or not self.transitions:
            return 0.0
        return self.forced_head.transitions / self.transitions

    @property
    def status(self) -> Status:
        """The worst severity of the findings; `notice` where forced actions are suspected. Without
        either `unknown` where they cannot be told, else `healthy`."""
        found = [finding.severity for finding in self.findings]
        if self.is_suspected:
            found.append(Severity.NOTICE)
        return Status.of(found, judged=not self.doubts and NO_BUFFER not in self.notes)

    @property
    def is_suspected(self) -> bool:
        """Whether an end of forced actions is suspected, but not clear enough to say so."""
        return any(doubt.boundary is not None for doubt in self.doubts)


def audit_warmup(
    path: str | Path,
    *,
    checkpoint: str | Path | None = None,
    algorithm: str | None = None,
    code: bool = True,
) -> WarmupReport:
    """Return the audit of a replay buffer, a checkpoint, a settings file or a run folder.

    `checkpoint` is the one that belongs to a replay buffer, where its name does not tell;
    `algorithm` is for a settings file that names none. With `code`, dangerous code that loading
    the buffer would run is a finding, too. Nothing in the files is executed.
    Raises `SacdoctorError` with the path.
    """
    try:
        return _audit(path, checkpoint, algorithm, code)
    except SacdoctorError:
        raise
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise SacdoctorError(error.strerror or str(error), path) from None


def audit_buffer(path: str | Path) -> tuple[WarmupReport, StoredTransitions | None]:
    """Return the audit of a replay buffer, and what a pass over its transitions measured.

    There is nothing to measure where the file's name is that of a checkpoint. The code in it is the
    caller's to look at. Raises `SacdoctorError` with the path.
    """
    from sacdoctor.diagnosis.buffer_measures import measured

    opened: list[ReplayBuffer] = []
    report = _audit(path, None, None, False, opened.append)
    if not opened:
        return report, None
    head = report.forced_head
    rows = head.rows if head is not None and head.stored == "varied" else 0
    stored = measured(opened[0], Path(path), rows)
    opened[0].origin.refuse_changed()
    return report, stored


def _audit(
    path: str | Path,
    checkpoint: str | Path | None,
    algorithm: str | None,
    code: bool,
    opened: Callable[[ReplayBuffer], object] = lambda _: None,
) -> WarmupReport:
    """Return the audit; `opened` is called with the buffer, if there is one."""
    given = Path(path)
    place = newest_in(given) if given.is_dir() else given
    if place.suffix.lower() in SETTINGS:
        return _audit_settings(place, algorithm)
    buffer: Path | None
    saved: Path | None
    if place.suffix.lower() == ".zip":
        buffer, saved = buffer_of(place), place
    else:
        buffer, saved = place, Path(checkpoint) if checkpoint else checkpoint_of(place)
    report = WarmupReport(
        path=str(path),
        buffer=None if buffer is None else str(buffer),
        checkpoint=None if saved is None else str(saved),
    )
    counters, note = _counters(saved)
    if counters is not None:
        report = replace(report, n_updates=counters.n_updates)
    if buffer is None:
        return replace(report, notes=tuple(filter(None, (NO_BUFFER, note))))
    try:
        read = read_replay_buffer(buffer)
        opened(read)
        dangerous = _dangerous_code(buffer) if code else LoadedCode()
        report = _audit_buffer(report, read, counters, note, dangerous)
        read.origin.refuse_changed()
        return report
    except SacdoctorError as error:
        raise error.at(buffer) from None


def write_clean(report: WarmupReport, path: Path, *, overwrite: bool = False) -> bool:
    """Write the audited buffer without its forced head; return False where it has none.

    Rows go in which any environment's action was forced, up to the latest place where the head may
    end. Raises `SacdoctorError` where nothing would be left, for an existing file that is not to be
    overwritten, and as `write_without_oldest` does.
    """
    from sacdoctor.replay import write_without_oldest

    if report.buffer is None:
        raise SacdoctorError("there is no replay buffer to clean", report.path)
    if report.forced_head is None:
        return False
    buffer = read_replay_buffer(report.buffer)
    if report.forced_head.rows >= buffer.size:
        raise SacdoctorError("every transition is forced: nothing would be left", report.buffer)
    try:
        exists = path.exists()
        is_itself = exists and path.samefile(report.buffer)
    except OSError as error:
        raise SacdoctorError(error.strerror or str(error), path) from None
    if is_itself:
        raise SacdoctorError("it is the buffer itself: give --clean another name", path)
    if exists and not overwrite:
        raise SacdoctorError("it exists already; --force overwrites it", path)
    try:
        write_without_oldest(buffer, report.forced_head.rows, path, overwrite=overwrite)
    except SacdoctorError as error:
        raise error.at(report.buffer) from None
    return True


def _counters(saved: Path | None) -> tuple[UpdateCounters | None, str | None]:
    """Return the counters of a checkpoint, or why there are none."""
    if saved is None:
        return None, "no checkpoint is known that was saved with it, so updates are not counted"
    with Checkpoint(saved) as checkpoint:
        checkpoint.refuse_foreign()
        counters = UpdateCounters.of(checkpoint)
    if counters is None:
        return None, "the checkpoint lacks counters or settings that updates are counted from"
    return counters, None


def _audit_buffer(
    report: WarmupReport,
    buffer: ReplayBuffer,
    counters: UpdateCounters | None,
    note: str | None,
    code: LoadedCode,
) -> WarmupReport:
    doubts: list[Doubt | None] = []
    head, doubt = constant_head(buffer)
    if head is None:
        doubts.append(doubt)
        head, doubt = ignored_head(buffer)
        doubts.append(doubt)
    doubted = () if head is not None else tuple(filter(None, doubts))
    notes: list[str | None] = [doubt.reason for doubt in doubts if doubt is not None]
    updates = end = None
    if head is not None:
        end, updates, note = _updates(buffer, head, counters, note)
        notes.append(note)
    elif counters is not None and not doubted:
        updates = 0
    report = replace(
        report,
        transitions=buffer.transitions,
        capacity=buffer.capacity * buffer.n_envs,
        n_envs=buffer.n_envs,
        forced_head=head,
        updates_during_forced=updates,
        doubts=doubted,
        notes=tuple(filter(None, notes)),
        held=_held(buffer),
    )
    if head is None:
        return replace(report, findings=findings((code,), RULES))
    assert report.share is not None
    ending = Path(report.buffer or "").suffix
    forced = ForcedTransitions(
        head,
        report.share,
        updated=bool(report.n_updates),
        ending=ending,
        is_sb3s=buffer.is_sb3s,
    )
    warmup = Warmup(head.transitions if end is None else end, updates, counters, ending)
    return replace(report, findings=findings((code, forced, warmup), RULES))


def _held(buffer: ReplayBuffer) -> BufferSummary:
    arrays = {name: (array.shape, str(array.dtype)) for name, array in buffer.arrays.items()}
    capacity = buffer.capacity * buffer.n_envs
    return BufferSummary(buffer.class_name, buffer.transitions, capacity, buffer.n_envs, arrays)


def _dangerous_code(buffer: Path) -> LoadedCode:
    """Return what is dangerous of the code that loading a buffer runs, as `fix` names it, too.

    That loading makes objects of the user's own classes, who works with them knows.
    """
    if not is_pickle_file(buffer):
        return LoadedCode()
    found = suspicions(parts_of_pickle(buffer))
    return LoadedCode(one for one in found if one.severity is Severity.CRITICAL)


def _updates(
    buffer: ReplayBuffer, head: ForcedHead, counters: UpdateCounters | None, note: str | None
) -> tuple[int | None, int | None, str | None]:
    """Return at which timestep the forced actions ended, how many updates came before, and why
    one of them is not known."""
    if counters is None:
        return None if buffer.full else head.transitions, None, note
    collected = [
        steps
        for steps in counters.collected()
        if steps // buffer.n_envs % buffer.capacity == buffer.pos
        and (steps >= buffer.transitions if buffer.full else steps == buffer.transitions)
    ]
    if counters.n_envs != buffer.n_envs or not collected:
        return (
            None,
            None,
            (
                f"the checkpoint's counters ({counters.num_timesteps:,} steps) do not fit the "
                f"buffer's {buffer.transitions:,} transitions: it is from another moment, or was "
                "filled in several runs"
            ),
        )
    gone = collected[0] - buffer.transitions
    end = gone + head.transitions
    if counters.unit == EPISODE and gone:
        return end, None, "the episodes whose ends set off updates are no longer in the buffer"
    ends = _episode_ends(buffer) if counters.unit == EPISODE else []
    if not counters.agree(ends):
        return (
            end,
            None,
            (
                f"SB3's loop would have made {counters.updates_by(collected[0], ends):,} updates, "
                f"the checkpoint says {counters.n_updates:,}: a resumed run, or they were held back"
            ),
        )
    least, most = (
        counters.updates_by(gone + steps, ends) for steps in (head.earliest, head.latest)
    )
    note = None
    if least != most:
        note = f"the end is not exact: {least:,} to {most:,} updates came before it"
    return end, counters.updates_by(end, ends), note


def _episode_ends(buffer: ReplayBuffer) -> list[int]:
    """Return after how many steps episodes ended; rollouts of episodes have one environment."""
    if "dones" not in buffer.arrays:
        return []
    dones = buffer.take("dones", np.arange(buffer.size)).reshape(buffer.size, -1).any(axis=1)
    return [int(step) + 1 for step in np.flatnonzero(dones)]


def _audit_settings(path: Path, algorithm: str | None) -> WarmupReport:
    """Return the audit of a settings file: what it says of warm-up and `learning_starts`."""
    # Reading settings takes ruamel.yaml and tomlkit, which the other audits do not need.
    from sacdoctor.settings.fix_config import fix_config

    fixed = fix_config(path, algorithm=algorithm)
    judged = [JudgedSetting(change.key, change.verdict) for change in fixed.changes]
    settings = () if fixed.corrected is None else fixed.corrected.settings
    names = {setting.name for setting in settings}
    notes = () if "no_trading_warmup_steps" in names else ("it sets no no_trading_warmup_steps",)
    return WarmupReport(path=str(path), notes=notes, findings=findings(judged, RULES))
