"""What lies beside a checkpoint that dead values can be taken from: its own run, and its buffer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sacdoctor.algorithms import ALGORITHMS
from sacdoctor.checkpoint import checkpoints_below
from sacdoctor.diagnosis import scan
from sacdoctor.errors import SacdoctorError
from sacdoctor.history.lineage import Header, lineages, read_header
from sacdoctor.model import Report
from sacdoctor.options import ScanOptions
from sacdoctor.repair import Donor, Donors, Left
from sacdoctor.severity import Severity

MOST_EARLIER = 8
"""Earlier checkpoints that are looked at, the nearest first. A judgement: what eight in a row do
not have, none of the run has."""
ROLLOUT = "rollout.npz"
"""What a healthy policy did, under the name that everybody is told to record it by."""
RECORD = (
    f"it is not there. The run keeps no buffer; numpy.savez({ROLLOUT!r}, observations=..., "
    "actions=...) of 2,000 steps of a healthy predecessor, or of a log, gives a policy back"
)
_SICK = (Severity.WARNING, Severity.CRITICAL)


def find_donors(path: str | Path, options: ScanOptions | None = None) -> Donors:
    """Return where dead values of the checkpoint at `path` may come from, for `fix(donor=…)`.

    That is its target network, the earlier checkpoints of the same training in its folder and
    below, nearest first, without the tensors that something is wrong with, and the replay buffer
    that was saved with it or with the nearest of them, or else `rollout.npz` beside it. `options`
    say how to look for what is wrong.

    Raises `SacdoctorError` where the checkpoint cannot be read.
    """
    path = Path(path)
    runs = lineages([read_header(path), *_others(path)])
    run, own = next((run, header) for run in runs for header in run if header.path == path)
    at = run.index(own)
    # Of the same moment may be one whose name comes later.
    others = [h for number, h in enumerate(run) if number < at or h.steps == own.steps]
    earlier = [h for h in reversed(others) if h.path != path and not h.is_repaired][:MOST_EARLIER]
    checkpoints: list[Donor] = []
    unused: list[Left] = []
    for header in earlier:
        try:
            sick = _sick(scan(header.path, _looking(options)))
        except SacdoctorError as error:
            unused.append(Left(str(header.path), error.reason))
            continue
        checkpoints.append(Donor(header.path, _age(own, header), sick))
    buffer = _buffer([own, *earlier]) or _rollout(path)
    algorithm = ALGORITHMS.get(own.algorithm or "")
    if buffer is None and not checkpoints and algorithm is not None and not algorithm.replays:
        unused.append(Left(ROLLOUT, RECORD))
    return Donors(tuple(checkpoints), buffer, are_found=True, unused=tuple(unused))


def _others(path: Path) -> Iterator[Header]:
    for file in checkpoints_below(path.parent):
        try:
            if not file.samefile(path):
                yield read_header(file)
        except (OSError, SacdoctorError):
            continue  # whoever scans it is told


def _looking(options: ScanOptions | None) -> ScanOptions:
    """Return the same options for all tensors and rules: what is left out is no healthier."""
    given = options or ScanOptions()
    return ScanOptions(given.thresholds, components=given.components, trusted=given.trusted)


def _sick(report: Report) -> frozenset[str]:
    named = {name for f in report.findings if f.severity in _SICK for name in f.tensors}
    return frozenset(named | {layer.name for layer in report.layers if layer.severity in _SICK})


def _age(own: Header, header: Header) -> int | None:
    if own.timesteps is None or header.timesteps is None:
        return None
    return own.steps - header.steps


def _buffer(headers: Sequence[Header]) -> Path | None:
    """Return the replay buffer saved with the first of these that has one."""
    from sacdoctor.replay import buffer_of

    return next((buffer for header in headers if (buffer := buffer_of(header.path))), None)


def _rollout(path: Path) -> Path | None:
    beside = path.with_name(ROLLOUT)
    return beside if beside.is_file() else None
