"""Returns of episodes, added up from rewards where nobody else reports them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class EpisodeCounter:
    """Adds up the rewards of `n_envs` environments until each one's episode ends.

    `begun`, shape `(n_envs,)`, says which are in the middle of an episode already: its return is
    not known.
    """

    def __init__(self, n_envs: int, begun: Array | None = None) -> None:
        self._sums = np.zeros(n_envs)
        if begun is not None:
            self._sums[begun.astype(bool)] = math.nan

    def add(self, rewards: Array, dones: Array) -> Array:
        """Take one step of all; return the sums with it, NaN where the beginning was not seen."""
        self._sums += rewards
        sums = self._sums.copy()
        self._sums[dones.astype(bool)] = 0.0
        return sums
