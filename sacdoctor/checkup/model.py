"""What a checkup says: plain values that know nothing of files, terminals or formats."""

from __future__ import annotations

from msgspec import Struct

from sacdoctor.history import Crash, History, Onset
from sacdoctor.model import Finding, Report
from sacdoctor.severity import Severity, Status
from sacdoctor.shown import Shown


class Concern(Struct, frozen=True):
    """Something that is wrong with a run, said once.

    `where` are the files, logs or runs that show it. `onset` is when it came up, None where only
    one checkpoint could tell. `explains` are those that follow from it, by its rule.
    """

    finding: Finding
    where: tuple[str, ...]
    onset: Onset | None = None
    explains: tuple[Concern, ...] = ()


class Happening(Struct, frozen=True):
    """Something that came up in a run, at the latest after so many timesteps.

    `after_timesteps` is the last time without it, None where there is none. `run` is empty where
    the folder holds one run alone.
    """

    run: str
    by_timesteps: int
    after_timesteps: int | None
    severity: Severity
    what: str


class Checkup(Shown, Struct, frozen=True):
    """What all that lies in a run's folder, or with a checkpoint, comes to.

    `concerns` have the worst first, causes before what follows from them. `looked_at` and
    `not_there` tell in words what there was to look at and what was missing. `commands` are what
    to type next, in this order. `unreadable` are reports with status `error`. `crashes` are those
    of the return; they stand in the `timeline`, too. `history` is that of the folder, `report` that
    of the checkpoint, whichever was asked for.
    """

    path: str
    status: Status
    concerns: tuple[Concern, ...]
    timeline: tuple[Happening, ...]
    looked_at: tuple[str, ...]
    not_there: tuple[str, ...]
    commands: tuple[str, ...]
    unreadable: tuple[Report, ...] = ()
    crashes: tuple[Crash, ...] = ()
    history: History | None = None
    report: Report | None = None

    @property
    def statuses(self) -> set[Status]:
        """Its own, and that something could not be read."""
        return {self.status, *(report.status for report in self.unreadable)}
