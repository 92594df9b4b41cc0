"""How bad a finding or a share of zeros is, and what that makes of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct


class Severity(StrEnum):
    """From harmless to run-stopping; compare with `rank`."""

    OK = "ok"
    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


class Thresholds(Struct, frozen=True):
    """Percentages of exact zeros in a bias above which a severity begins.

    The defaults are those of the training callback that users of the first reports ran with;
    healthy trained checkpoints stay below `notice` (docs/measurements/faults.md).
    """

    notice: float = 5.0
    warning: float = 10.0
    critical: float = 30.0
    stop: float = 50.0

    def __post_init__(self) -> None:
        for name in ("warning", "critical"):
            if not 0 <= getattr(self, name) <= 100:
                raise ValueError(f"the {name} threshold is {getattr(self, name):g}, not 0 to 100")
        if self.warning > self.critical:
            raise ValueError(
                f"the warning threshold ({self.warning:g}) is above the critical one "
                f"({self.critical:g})"
            )

    def severity(self, zero_percent: float) -> Severity:
        """Return the severity of a bias with this share of zeros, in percent."""
        if zero_percent > self.critical:
            return Severity.CRITICAL
        if zero_percent > self.warning:
            return Severity.WARNING
        return Severity.NOTICE if zero_percent > self.notice else Severity.OK


def worst(severities: Iterable[Severity]) -> Severity:
    """Return the worst of `severities`, ok where there are none."""
    return max(severities, key=lambda severity: severity.rank, default=Severity.OK)


class Status(StrEnum):
    """How a checkpoint is: its worst severity, or that this cannot be told. The worse come later.

    `unknown`: nothing was found, as there was nothing to judge.
    """

    HEALTHY = "healthy"
    UNKNOWN = "unknown"
    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"
    ERROR = "error"

    @classmethod
    def of(cls, severities: Iterable[Severity], *, judged: bool = True) -> Status:
        """Return what the worst of `severities` makes of a checkpoint.

        Without any it is healthy, if something was `judged`, and unknown if there was nothing.
        """
        level = worst(severities)
        if level is Severity.OK:
            return cls.HEALTHY if judged else cls.UNKNOWN
        return cls(level.value)

    @classmethod
    def worst(cls, statuses: Iterable[Status]) -> Status:
        """Return the worst of `statuses`, healthy where there are none."""
        return max(statuses, key=[*cls].index, default=cls.HEALTHY)
