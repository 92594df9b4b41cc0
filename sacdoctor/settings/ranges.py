"""Safe ranges and recommended values of settings: every number that encodes judgement, once.

A range says where training usually goes well, not where it goes wrong: tuned settings lie outside
of it now and then, and a run inside of it can still go bad for another reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_FAR_ABOVE = 3.0
"""How many times the upper end is far above it: half an order of magnitude, a judgement."""


@dataclass(frozen=True, slots=True)
class LearningRates:
    """An algorithm's learning rates: the configured one, from which a schedule may decay.

    `tuned` is the largest rate among rl-zoo's settings for this algorithm
    (DLR-RM/rl-baselines3-zoo, hyperparams/*.yml, all environments, `lin_` schedules by their
    start), SB3's default where that is larger.
    """

    recommended: float
    low: float
    high: float
    tuned: float
    source: str

    @property
    def critical_above(self) -> float:
        """Above this no tuned setting lies, and the safe range is far away.

        For SAC it is rl-zoo's largest rate, because the safe range's upper end is far below that.
        """
        return max(self.tuned, _FAR_ABOVE * self.high)


_PPO = LearningRates(
    recommended=3e-4,
    low=1e-5,
    high=1e-3,
    tuned=1e-3,
    source="SB3's default 3e-4; rl-zoo's ppo.yml and ppo_lstm.yml: 2.06e-5 to 1e-3",
)

LEARNING_RATES: Mapping[str, LearningRates] = MappingProxyType(
    {
        "SAC": LearningRates(
            recommended=1e-4,
            low=1e-5,
            high=3e-4,
            tuned=1e-3,
            source=(
                "upper end: SB3's default and the paper's (arXiv:1812.05905, table 1), 3e-4; "
                "rl-zoo's sac.yml: 3e-4 to 1e-3"
            ),
        ),
        # SAC with quantile critics, but tuned with rates up to 1e-3 in most environments.
        "TQC": LearningRates(
            recommended=3e-4,
            low=1e-5,
            high=1e-3,
            tuned=1e-3,
            source="sb3-contrib's default 3e-4; rl-zoo's tqc.yml: 3e-4 to 1e-3",
        ),
        "CrossQ": LearningRates(
            recommended=1e-3,
            low=1e-5,
            high=1e-3,
            tuned=1e-3,
            source="sb3-contrib's default 1e-3; rl-zoo's crossq.yml: 7e-4 to 1e-3",
        ),
        "TD3": LearningRates(
            recommended=1e-3,
            low=1e-5,
            high=1e-3,
            tuned=1e-3,
            source="SB3's default 1e-3; rl-zoo's td3.yml: 7e-4 to 1e-3",
        ),
        "DDPG": LearningRates(
            recommended=1e-3,
            low=1e-5,
            high=1e-3,
            tuned=1e-3,
            source="SB3's default 1e-3; rl-zoo's ddpg.yml: 7e-4 to 1e-3",
        ),
        # MountainCar's 4e-3 stands alone in both files below; the others go up to 2.3e-3.
        "DQN": LearningRates(
            recommended=1e-4,
            low=1e-5,
            high=1e-3,
            tuned=4e-3,
            source="SB3's default 1e-4; rl-zoo's dqn.yml: 1e-4 to 4e-3",
        ),
        "QRDQN": LearningRates(
            recommended=5e-5,
            low=1e-5,
            high=1e-3,
            tuned=4e-3,
            source="sb3-contrib's default 5e-5; rl-zoo's qrdqn.yml: 6.3e-4 to 4e-3",
        ),
        "PPO": _PPO,
        "MaskablePPO": _PPO,
        "RecurrentPPO": _PPO,
        "A2C": LearningRates(
            recommended=7e-4,
            low=1e-4,
            high=1e-2,
            tuned=9.6e-4,
            source="SB3's default 7e-4; rl-zoo's a2c.yml: 7e-4 to 9.6e-4",
        ),
        # Of the critic alone: TRPO's policy is updated by its own line search.
        "TRPO": LearningRates(
            recommended=1e-3,
            low=1e-5,
            high=1e-3,
            tuned=1e-3,
            source="sb3-contrib's default 1e-3; rl-zoo's trpo.yml: 2.5e-4 to 1e-3",
        ),
        # No gradient: the rate scales a finite difference (arXiv:1803.07055).
        "ARS": LearningRates(
            recommended=2e-2,
            low=1e-3,
            high=3e-2,
            tuned=3e-2,
            source="sb3-contrib's default 0.02; rl-zoo's ars.yml: 0.01 to 0.03",
        ),
    }
)

RATE_STEP = 1.5
"""A learning rate that changes by this factor from one update, row of a log or checkpoint to the
next has made a step; linear and cosine schedules change by far less."""

MAX_GRAD_NORM = 1.0
"""The recommended largest norm of a gradient."""
MAX_GRAD_NORM_RANGE = (0.5, 5.0)
"""0.5 is SB3's default for PPO and A2C, 5 the largest in rl-zoo's ppo.yml."""
DQN_MAX_GRAD_NORM = 10.0
"""SB3's default for DQN (and for QRDQN it is None): what an SB3 constructor does by itself is no
fault."""

CLIP_GRAD_VALUE = None
"""Clipping each element by itself turns the gradient's direction; its norm is clipped instead."""

WARMUP_STEPS = 5_000
"""The recommended `no_trading_warmup_steps`, during which the environment forces a neutral
action."""
LONGEST_WARMUP = 10_000
"""From here on a warm-up is too long: the buffer is filled with actions that nobody chose."""
LEARNING_STARTS = 100
"""SB3's default for every algorithm that has it: far below a warm-up."""
