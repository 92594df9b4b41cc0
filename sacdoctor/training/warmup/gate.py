"""Says when a training loop of one's own may update its networks."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sacdoctor.settings import WARMUP_STEPS
from sacdoctor.training.warmup.findings import WarmupFinding, long_warmup
from sacdoctor.training.warmup.infos import Info, was_forced

LOG = logging.getLogger(__name__)


class WarmupGate:
    """Holds updates back until a warm-up with forced actions is over: `WarmupGuard` without SB3.

    ::

        gate = WarmupGate(5_000)
        for step in range(1, total + 1):
            action = agent.act(state)
            after, reward, done, info = env.step(action)
            agent.store(state, executed_action(info, action), reward, after, done)
            if gate.may_update(step, info):
                agent.update()

    Steps are those that the environments have taken, all together, as SB3's `num_timesteps` counts
    them. A resumed loop that goes on with its own count does not repeat the warm-up. `findings`
    holds a warm-up that is too long (SD502), `updates_began_at` the step of the first update, where
    a replay buffer may be emptied.

    :param warmup_steps: how many steps are forced; 0 for none

    Raises `ValueError` where that is below 0.
    """

    def __init__(self, warmup_steps: int = WARMUP_STEPS) -> None:
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps must be at least 0, got {warmup_steps}")
        self.warmup_steps = warmup_steps
        self.findings: tuple[WarmupFinding, ...] = long_warmup(warmup_steps)
        self.updates_began_at: int | None = None
        self._forced_until = warmup_steps
        self._said = False
        for finding in self.findings:
            LOG.warning("%s", finding)

    def may_update(
        self, step: int, info: Info | Sequence[Info] | None = None, *, rollout_steps: int = 1
    ) -> bool:
        """Return whether an update after environment step `step` (the first is 1) is allowed.

        :param info: what that step returned, of one environment or of several (`executed_action`).
            Where it says `forced`, the warm-up still goes on, whatever its length was said to be
        :param rollout_steps: for on-policy algorithms, the steps that the update learns from, of
            all environments together: a rollout that a forced step is in is not learned from
        """
        if info is not None and step > self._forced_until and was_forced(info):
            if not self._said:
                LOG.warning(
                    "the environment forces actions at step %s, WarmupGate was given "
                    "warmup_steps=%s: updates wait until it stops",
                    *(f"{steps:,}" for steps in (step, self.warmup_steps)),
                )
            self._said = True
            self._forced_until = step
        if step - rollout_steps < self._forced_until:
            return False
        if self.updates_began_at is None:
            self.updates_began_at = step
            LOG.info("updates begin at step %s", f"{step:,}")
        return True
