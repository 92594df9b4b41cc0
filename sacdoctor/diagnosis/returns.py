"""What a fall of the return is measured by: one window, one limit, one least spread.

Two detectors use them, as there are two questions. `training.health` asks with every episode
whether rewards have crashed *now*: it knows the past alone, so it compares the latest mean with the
best one ever, and a fall that is made up for later, or that took the whole run, is a crash to it.
It goes by the means' standard errors, and waits for so many episodes (`LEVEL`) to agree.
`history.crash` asks of a whole run *where* rewards fell for good: it looks on both sides of every
point, wants the fall not to be made up for, and to stand out from those elsewhere in the run
(`FALLS`) or to end where the run began (`TOTAL`), and takes medians and percentiles, as it may meet
single outliers and running means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

WINDOW = 10
"""So many episodes make a level, before and after."""
SPREADS = 3.0
"""A fall is a crash from so many standard deviations of an episode's return on.

A judgement. With windows of 10 it is 6.7 standard errors of the difference of two means; healthy
PPO, DQN, SAC and TD3 on CartPole-v1, Pendulum-v1 and the trading environment reached 2.2.
"""
LEVEL = 2 * WINDOW
"""So many episodes make a level while a training runs, and so many must all be low: two updates of
an agent that falls to 10 steps of CartPole and is up again are less."""
STANDARD_ERRORS = 6.7
"""A fall between two means is a crash from so many standard errors of their difference on.

It is what `SPREADS` are to two means over `WINDOW` episodes: 3 √(10 / 2). Where returns vary as
much as they are high (CartPole: 309 ± 135), three of their spreads lie below the least there is.
"""
LEAST_SPREAD = 0.05
"""Of the level's size: returns are taken to vary so much, as those of a solved CartPole do not."""


def least_spread(before: ArrayLike, after: ArrayLike) -> Any:
    """Return the least spread that returns are taken to have around two levels, element by element.

    It is `LEAST_SPREAD` of the larger level's size.
    """
    return LEAST_SPREAD * np.maximum(np.abs(before), np.abs(after))
