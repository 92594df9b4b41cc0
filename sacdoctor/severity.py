"""How bad a share of zeros is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """From harmless to run-stopping; compare with `rank`."""

    OK = "ok"
    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Percentages of exact zeros in a bias above which a severity begins.

    The defaults are those of the training callback that users of the first reports ran with;
    healthy trained checkpoints stay below `notice` (see the README's corpus).
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


def worst(severities: list[Severity]) -> Severity:
    """Return the worst of `severities`, ok where there are none."""
    return max(severities, key=lambda severity: severity.rank, default=Severity.OK)
