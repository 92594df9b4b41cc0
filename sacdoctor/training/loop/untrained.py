"""Parameters that a loop of one's own was to train, that no optimizer holds, and that stand still.

That an optimizer lacks them alone says little here: copies that follow a network slowly, under
whatever name, are in none. They move; what was forgotten does not.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch as th
from torch import nn

from sacdoctor.training.live import LiveModel

_LOOKS = 2
"""Looks after the first update before anything is said: a copy may be made at intervals."""


class Untrained:
    """The parameters that were in no optimizer at the start, with their values of then."""

    def __init__(self, live: LiveModel) -> None:
        self._start = {name: p.detach().clone() for name, p in live.missing().items()}
        self._looks = 0

    def look(self, live: LiveModel) -> Mapping[str, nn.Parameter]:
        """Return what still stands still, at the last of a few looks; before and after, nothing.

        Called at intervals once updates have begun.
        """
        self._looks += 1
        if self._looks != _LOOKS:
            return {}
        missing = live.missing()
        return {
            name: missing[name]
            for name, value in self._start.items()
            if name in missing and th.equal(missing[name].detach(), value)
        }
