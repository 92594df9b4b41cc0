"""Safe training settings: their ranges with sources, and correcting files that leave them.

What a scan needs is exported here; correcting files stands in `fix_config.py`, which imports more.
"""

from sacdoctor.settings.judged_ranges import RANGED_WITH, judge_ranged
from sacdoctor.settings.numbers import spelled
from sacdoctor.settings.ranges import (
    FARTHEST_SEEN,
    LEARNING_STARTS,
    MANY_UPDATES,
    MAX_GRAD_NORM,
    MOST_UPDATES,
    RATE_STEP,
    REPLAY,
    WARMUP_STEPS,
    WEAKEST_SIGNAL,
)
from sacdoctor.settings.verdicts import (
    Verdict,
    judge_clip_grad_value,
    judge_learning_rate,
    judge_learning_starts,
    judge_max_grad_norm,
    judge_warmup_steps,
)

__all__ = [
    "FARTHEST_SEEN",
    "LEARNING_STARTS",
    "MANY_UPDATES",
    "MAX_GRAD_NORM",
    "MOST_UPDATES",
    "RANGED_WITH",
    "RATE_STEP",
    "REPLAY",
    "WARMUP_STEPS",
    "WEAKEST_SIGNAL",
    "Verdict",
    "judge_clip_grad_value",
    "judge_learning_rate",
    "judge_learning_starts",
    "judge_max_grad_norm",
    "judge_ranged",
    "judge_warmup_steps",
    "spelled",
]
