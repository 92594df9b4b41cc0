"""Which checkpoints of a folder belong to one training, and in which order.

SB3 writes into each checkpoint when its call of `learn()` began (`start_time`), at which timestep
(`_num_timesteps_at_start`), and two counters: `num_timesteps`, which begins anew with a call unless
`reset_num_timesteps=False`, and `_n_updates`, which never does. Source:
stable_baselines3/common/base_class.py, `_setup_learn`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sacdoctor.checkpoint import Checkpoint
from sacdoctor.errors import SacdoctorError
from sacdoctor.files import WHOLE
from sacdoctor.history.kinship import Kinship

_DIGITS = re.compile(r"\d+")
_PACE = ("n_steps", "n_envs", "n_epochs", "gradient_steps", "train_freq")
"""Settings on which the number of updates in a step depends."""


@dataclass(frozen=True, slots=True)
class Header:
    """What tells a checkpoint's place: its kind (algorithm, tensors' names and shapes), its time.

    `checkpoint` is the file, open and at rest, or None where too many are open already. `started`
    is when `learn()` was called, in the file's own unit: SB3 writes it into every checkpoint, so
    checkpoints of one call have it in common. `began` is what the counter of timesteps was then.
    `steps_before` are the timesteps before a call that set that counter back to 0 and went on with
    the training all the same.
    """

    path: Path
    kind: tuple[object, ...]
    timesteps: int | None
    updates: int | None
    started: float | None
    began: int | None
    learning_starts: int
    pace: tuple[object, ...]
    is_repaired: bool
    checkpoint: Checkpoint | None = field(default=None, compare=False, repr=False)
    steps_before: int = 0

    @property
    def algorithm(self) -> str | None:
        name = self.kind[0]
        return name if isinstance(name, str) else None

    @property
    def steps(self) -> int:
        """The timesteps since the training began, whatever became of SB3's counter."""
        return self.steps_before + (self.timesteps or 0)

    @property
    def burst(self) -> int:
        """The most updates that are made at once."""
        return max(int(n) for n in (1, *self.pace[2:4]) if isinstance(n, int))

    @property
    def has_a_pace(self) -> bool:
        """Whether updates come after so many timesteps. ARS makes one after so many episodes."""
        n_steps, _, _, gradient_steps, _ = self.pace
        return n_steps is not None or gradient_steps is not None

    @property
    def pattern(self) -> str:
        """The name without its numbers: `rl_model_*_steps.zip`."""
        return _DIGITS.sub("*", self.path.name)

    @property
    def place(self) -> tuple[Path, str | None]:
        """The folder, and the pattern of the name where it has numbers."""
        return self.path.parent, self.pattern if "*" in self.pattern else None

    @property
    def order(self) -> tuple[bool, int, int, tuple[int, ...], str]:
        """A key to sort by: timesteps, updates, then the numbers in the name."""
        numbers = tuple(map(int, _DIGITS.findall(self.path.name)))
        return self.timesteps is None, self.steps, self.updates or 0, numbers, self.path.name


def read_header(path: Path, *, keep_open: bool = False, whole: int = WHOLE) -> Header:
    """Return a checkpoint's header; raises `CheckpointError` where it cannot be read.

    With `keep_open` its checkpoint stays open, at rest, for whoever looks at it next. A file of
    more than `whole` bytes is not read whole.
    """
    checkpoint = Checkpoint(path, whole if keep_open else WHOLE)
    try:
        header = _header(checkpoint)
    except SacdoctorError:
        checkpoint.close()
        raise
    if not keep_open:
        checkpoint.close()
        return header
    checkpoint.rest()
    return replace(header, checkpoint=checkpoint)


def _header(checkpoint: Checkpoint) -> Header:
    settings = checkpoint.hyperparameters
    shapes = tuple((name, tensor.shape) for name, tensor in checkpoint.tensors.items())
    return Header(
        checkpoint.path,
        (checkpoint.algorithm, shapes),
        settings.integer("num_timesteps"),
        settings.integer("_n_updates"),
        settings.number("start_time") or None,  # 0 before the first call
        settings.integer("_num_timesteps_at_start"),
        settings.integer("learning_starts") or 0,
        tuple(settings.get(key) for key in _PACE),
        checkpoint.is_repaired,
    )


def lineages(headers: Iterable[Header]) -> list[list[Header]]:
    """Return the trainings among the checkpoints, each in order.

    Another algorithm, other tensors or other shapes are another training. Checkpoints of one call
    of `learn()` are of one; without a record of the call, those of one folder and pattern of name
    are (names without a number count as one pattern). A later call goes on with a training if its
    counters begin where that stood and its weights come from there.
    """
    kinds: dict[tuple[object, ...], list[Header]] = {}
    for header in headers:
        kinds.setdefault(header.kind, []).append(header)
    return [run for members in kinds.values() for run in _runs(members)]


def name_of(run: Iterable[Header], folder: Path) -> str:
    """Return a name for a run: its most frequent pattern, with the way there from `folder`."""
    patterns = Counter(header.path.parent / header.pattern for header in run)
    return str(patterns.most_common(1)[0][0].relative_to(folder))


def _runs(headers: Iterable[Header]) -> list[list[Header]]:
    calls: dict[object, list[Header]] = {}
    for header in headers:
        calls.setdefault(header.started or header.place, []).append(header)
    runs: list[list[Header]] = []
    kinship = Kinship()
    for call in sorted(calls.values(), key=lambda call: (call[0].started or 0.0, call[0].order)):
        _place(sorted(call, key=lambda header: header.order), runs, kinship)
    return runs


def _place(call: list[Header], runs: list[list[Header]], kinship: Kinship) -> None:
    """Add a call to the run that it goes on with, else to the runs.

    What the run has beyond the point from which the call went on is a run of its own: somebody
    went back to an earlier checkpoint. Where another call has gone on from there already, or the
    call writes elsewhere, it is the call that is one.
    """
    found = [
        (kinship.likeness(run[at], call[0]) or 0.0, number, at)
        for number, run in enumerate(runs)
        for at in [_joint(run, call, kinship)]
        if at is not None
    ]
    if not found:
        runs.append(call)
        return
    _, number, at = max(found)
    run, parent = runs[number], runs[number][at]
    restarted = call[0].began == 0 and bool(parent.timesteps)
    before = parent.steps if restarted else parent.steps_before
    call = [replace(header, steps_before=before) for header in call]
    rest = run[at + 1 :]
    if not rest:
        run += call
    elif _share_a_place(run, call) and all(header.started == parent.started for header in rest):
        run[at + 1 :] = call
        runs.append(rest)
    else:
        runs.append(call)


def _joint(run: Sequence[Header], call: Sequence[Header], kinship: Kinship) -> int | None:
    """Return after which checkpoint of a run a call went on; None where it did not.

    Where the weights do not tell, as they are too few, or all zero or NaN by now, the place must be
    the same, and the name too unless a checkpoint stands exactly where the call began.
    """
    first = call[0]
    if first.timesteps is None or any(header.timesteps is None for header in run):
        return None
    if first.began is None:
        at = len(run) - 1 if _share_a_place(run, call) and run[-1].steps < first.steps else None
    elif first.began > 0:
        at = _last([(header.timesteps or 0) <= first.began for header in run])
    else:
        at = _restart(run, call)
    if at is None or (run[at].updates or 0) > (first.updates or 0):
        return None
    related = kinship.are_related(run[at], first)
    if related is None:
        went_on = bool(first.began) and run[at].timesteps == first.began
        related = (went_on and run[at].place == first.place) or _share_a_place(run, call)
    return at if related else None


def _restart(run: Sequence[Header], call: Sequence[Header]) -> int | None:
    """Return after which checkpoint a call went on that set the counter of timesteps back to 0.

    A new training has made no updates when it begins. So it is told by those that the call had
    made before its first step: they are nearer to those of a checkpoint than to none.
    """
    if not any(header.steps or header.updates for header in run):
        return len(run) - 1  # the model as it was made, before any training
    before = _updates_before(run, call)
    if before is None:
        return None
    gaps = [abs((header.updates or 0) - before) for header in run]
    if min(gaps) >= before:
        return None
    if before > (run[-1].updates or 0):
        return len(run) - 1  # its end was not saved
    return _last([gap <= min(gaps) + 2 * call[0].burst for gap in gaps])


def _updates_before(run: Sequence[Header], call: Sequence[Header]) -> float | None:
    """Return how many updates had been made before a call's first step; None where untold.

    The call's own checkpoints tell the updates per step, else the run's last call does, if the
    settings that decide it are the same.
    """
    first = call[0]
    if not first.has_a_pace:
        return None
    pace = _pace_within(call)
    if pace is None and first.pace == run[-1].pace:
        pace = _pace_of_last_call(run)
    if pace is None or first.updates is None:
        return None
    return first.updates - pace * max((first.timesteps or 0) - first.learning_starts, 0)


def _pace_within(call: Sequence[Header]) -> float | None:
    """Return the most updates per timestep that two checkpoints of a call allow; None of one.

    Updates come in bursts, and the last may be just due.
    """
    first, last = call[0], call[-1]
    steps = (last.timesteps or 0) - max(first.timesteps or 0, first.learning_starts)
    if first.updates is None or last.updates is None or steps <= 0:
        return None
    return (last.updates - first.updates + last.burst) / steps


def _pace_of_last_call(run: Sequence[Header]) -> float | None:
    """Return the updates per timestep from the beginning of a run's last call to its end."""
    last = run[-1]
    earlier = [header for header in run if header.started != last.started]
    steps = (last.timesteps or 0) - max(last.began or 0, last.learning_starts)
    if last.updates is None or steps <= 0:
        return None
    return (last.updates - (earlier[-1].updates or 0 if earlier else 0)) / steps


def _share_a_place(run: Iterable[Header], call: Iterable[Header]) -> bool:
    places = [{(h.path.parent, h.pattern) for h in members} for members in (run, call)]
    return bool(places[0] & places[1])


def _last(mask: Sequence[bool]) -> int | None:
    return max((number for number, value in enumerate(mask) if value), default=None)
