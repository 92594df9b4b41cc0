"""Safe ranges and recommended values of settings: every number that encodes judgement, once.

What differs from algorithm to algorithm stands in `sacdoctor/algorithms.py`. A range says where
training usually goes well, not where it goes wrong: tuned settings lie outside of it now and then,
and a run inside of it can still go bad for another reason.
"""

from __future__ import annotations

RATE_STEP = 1.5
"""A learning rate that changes by this factor from one update, row of a log or checkpoint to the
next has made a step; linear and cosine schedules change by far less."""

MAX_GRAD_NORM = 1.0
"""The recommended largest norm of a gradient."""
MAX_GRAD_NORM_RANGE = (0.5, 5.0)
"""0.5 is SB3's default for PPO and A2C, 5 the largest in rl-zoo's ppo.yml. What an SB3 constructor
does by itself is no fault, whatever it is."""
TIGHTEST_TUNED_NORM = 0.3
"""The smallest in rl-zoo's ppo.yml and ppo_lstm.yml, for InvertedPendulum."""

CLIP_GRAD_VALUE = None
"""Clipping each element by itself turns the gradient's direction; its norm is clipped instead."""

WARMUP_STEPS = 5_000
"""The recommended `no_trading_warmup_steps`, during which the environment forces a neutral
action."""
LONGEST_WARMUP = 10_000
"""From here on a warm-up is too long: the buffer is filled with actions that nobody chose."""
LEARNING_STARTS = 100
"""SB3's default for every algorithm that has it: far below a warm-up."""
