"""How many updates an off-policy run had made by a given step, from its checkpoint's counters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from msgspec import Struct

from sacdoctor.checkpoint import Checkpoint, Pickled
from sacdoctor.errors import CheckpointError
from sacdoctor.pickles import Made, Symbols

STEP, EPISODE = "step", "episode"


class UpdateCounters(Struct, frozen=True):
    """What SB3's off-policy loop goes by, and its counters.

    A rollout takes `frequency` steps or episodes, each step in all environments. Behind it, where
    `num_timesteps > learning_starts`, come `gradient_steps` updates, or as many as the rollout
    had transitions where that is below 0. Source: stable_baselines3/common/
    off_policy_algorithm.py, `learn` and `collect_rollouts`.
    """

    num_timesteps: int
    n_updates: int
    learning_starts: int
    frequency: int
    unit: str
    gradient_steps: int
    n_envs: int

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> UpdateCounters | None:
        """Return the counters of a checkpoint, None where one is missing (or it is on-policy)."""
        settings = checkpoint.hyperparameters
        names = ("num_timesteps", "_n_updates", "learning_starts", "gradient_steps", "n_envs")
        values = [settings.integer(name) for name in names]
        frequency = _train_freq(settings.get("train_freq"))
        if frequency is None or frequency[0] < 1 or any(value is None for value in values):
            return None
        steps, updates, starts, gradient, n_envs = (value or 0 for value in values)
        return cls(steps, updates, starts, *frequency, gradient, max(n_envs, 1))

    def collected(self) -> tuple[int, int]:
        """Return how many transitions may have been stored when the checkpoint was saved.

        A callback saves between the step and its storing: then it is one step less.
        """
        return self.num_timesteps, self.num_timesteps - self.n_envs

    def updates_by(self, timesteps: int, ends: Sequence[int] = ()) -> int:
        """Return how many updates came behind rollouts that ended at `timesteps` or before.

        `ends` are the timesteps at which episodes ended, for rollouts of episodes.
        """
        if self.unit == EPISODE:
            ends = [0, *ends[self.frequency - 1 :: self.frequency]]
            spans = [(end, end - start) for start, end in pairwise(ends)]
            return sum(
                self._updates(span)
                for end, span in spans
                if self.learning_starts < end <= timesteps
            )
        span = self.frequency * self.n_envs
        rollouts = timesteps // span - max(self.learning_starts, 0) // span
        return max(0, rollouts) * self._updates(span)

    def agree(self, ends: Sequence[int] = ()) -> bool:
        """Return whether the loop gives the number of updates that the checkpoint has."""
        return self.n_updates in {self.updates_by(steps, ends) for steps in self.collected()}

    def _updates(self, span: int) -> int:
        return self.gradient_steps if self.gradient_steps >= 0 else span


def _train_freq(value: Any) -> tuple[int, str] | None:
    """Return SB3's `TrainFreq`; before SB3 1.0 it was a number of steps."""
    if type(value) is int:
        return value, STEP
    if not isinstance(value, Pickled):
        return None
    try:
        made = value.read(Symbols())
    except CheckpointError:
        return None
    if not isinstance(made, Made) or len(made.args) != 2:
        return None
    frequency, unit = made.args
    # The unit is an enumeration's member: pickled by its value, or by its name.
    words = unit.args if isinstance(unit, Made) else ()
    said = next((word.lower() for word in words if isinstance(word, str)), None)
    if type(frequency) is not int or said not in (STEP, EPISODE):
        return None
    return frequency, said
