"""How a checkpoint is to be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from msgspec import Struct, field

from sacdoctor.severity import Thresholds


class ScanOptions(Struct, frozen=True):
    """How to look: thresholds, which tensors (shell-style name patterns), and which rules.

    `include` empty means all; `exclude` wins over `include`. `components` maps name patterns to
    component names. `select` and `ignore` are rules' codes, prefixes of codes, or names;
    `select` empty means all. `trusted` are modules whose names, and those of modules below them,
    are the user's own wherever they stand in a file.
    """

    thresholds: Thresholds = field(default_factory=Thresholds)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    components: Mapping[str, str] = field(default_factory=dict)
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()

    def selects(self, name: str) -> bool:
        """Return whether the tensor `name` is to be looked at."""
        if any(fnmatchcase(name, pattern) for pattern in self.exclude):
            return False
        return not self.include or any(fnmatchcase(name, pattern) for pattern in self.include)
