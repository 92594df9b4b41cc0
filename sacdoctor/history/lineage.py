"""Which checkpoints of a folder belong to one training, and in which order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from sacdoctor.checkpoint import Checkpoint
from sacdoctor.errors import SacdoctorError

_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Header:
    """What tells a checkpoint's place: its kind (algorithm, tensors' names and shapes), its time.

    `checkpoint` is the file, open and at rest, or None where too many are open already. `started`
    is when `learn()` was called, in the file's own unit: SB3 writes it into every
    checkpoint, so checkpoints of one call have it in common.
    """

    path: Path
    kind: tuple[object, ...]
    timesteps: int | None
    updates: int | None
    started: float | None
    is_repaired: bool
    checkpoint: Checkpoint | None = field(default=None, compare=False, repr=False)

    @property
    def algorithm(self) -> str | None:
        name = self.kind[0]
        return name if isinstance(name, str) else None

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
        steps, updates = self.timesteps, self.updates
        return steps is None, steps or 0, updates or 0, numbers, self.path.name


def read_header(path: Path, *, keep_open: bool = False) -> Header:
    """Return a checkpoint's header; raises `CheckpointError` where it cannot be read.

    With `keep_open` its checkpoint stays open, at rest, for whoever looks at it next.
    """
    checkpoint = Checkpoint(path)
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
        settings.number("start_time"),
        checkpoint.is_repaired,
    )


def lineages(headers: Iterable[Header]) -> list[list[Header]]:
    """Return the runs among the checkpoints, each in order.

    Another algorithm, other tensors or other shapes are another run. Checkpoints of one call of
    `learn()` are one run. A later call goes on with a run if its checkpoints have the same folder
    and pattern of name and begin where the run's end. Without a record of the call, the same
    folder and pattern make a run; there, names without a number count as one pattern.
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
    for call in sorted(calls.values(), key=lambda call: (call[0].started or 0.0, call[0].order)):
        home = next((run for run in runs if _goes_on(run, call)), None)
        if home is None:
            runs.append(list(call))
        else:
            home += call
    return [sorted(run, key=lambda header: header.order) for run in runs]


def _goes_on(run: list[Header], call: list[Header]) -> bool:
    places = [{(h.path.parent, h.pattern) for h in members} for members in (run, call)]
    end = max((header.timesteps or 0 for header in run), default=0)
    return bool(places[0] & places[1]) and end < min(header.timesteps or 0 for header in call)
