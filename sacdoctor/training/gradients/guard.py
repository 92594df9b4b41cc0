"""The callback that watches gradients, and clips them if it is asked to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sacdoctor.training.gradients.hooks import GRADIENT_WARNING, GradientHooks
from sacdoctor.training.gradients.record import GradientRecord
from sacdoctor.training.live import LiveModel
from sacdoctor.training.manners import TrainingCallback, TrainingFinding


class GradientGuard(TrainingCallback):
    """Keeps an eye on gradients, clips them, and keeps those that are not finite from the weights.

    Works with every SB3 algorithm that steps through PyTorch optimizers, also where SB3 itself
    clips nothing (SAC, TD3, DDPG, TQC, CrossQ). Where SB3 clips (PPO, A2C, DQN), the norms seen
    here are those before its clipping. Watching alone changes nothing: weights are bit for bit
    those of a run without it.

    It logs `sacdoctor/gradient_norm/<optimizer>` (mean since the last record, before clipping),
    `sacdoctor/gradients_clipped` and `sacdoctor/gradients_skipped` to SB3's logger, and warns
    through `logging.getLogger("sacdoctor")`. Its hooks are on the optimizers while they step, and
    off between updates and after training.

    :param max_grad_norm: the norm to clip to, per optimizer, but for the entropy coefficient's;
        None: no clipping
    :param warning: the norm above which it warns, where it is also 100 times the usual one; once,
        and again at ten times that; None: never
    :param verbose: 1 prints a summary at the end

    Raises `ValueError` for a limit that is not above 0.
    """

    def __init__(
        self,
        max_grad_norm: float | None = None,
        warning: float | None = GRADIENT_WARNING,
        verbose: int = 1,
    ) -> None:
        super().__init__(verbose)
        self._hooks = GradientHooks(max_grad_norm, warning)

    @property
    def records(self) -> Mapping[str, GradientRecord]:
        """What passed through each optimizer, by its name."""
        return self._hooks.records

    @property
    def findings(self) -> Sequence[TrainingFinding]:
        """Norms that exploded and steps that were skipped."""
        return self._hooks.findings

    def _on_training_start(self) -> None:
        start = self.model.start_time
        self._hooks.attach(
            LiveModel.of(self.model).optimizers,
            timesteps=lambda: self.model.num_timesteps,
            is_over=lambda: self.model.start_time != start,
        )

    def _on_rollout_start(self) -> None:
        self._hooks.pause()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._hooks.resume()
        self._hooks.log(self.logger, now=False)

    def _on_training_end(self) -> None:
        self._hooks.log(self.logger)
        self._hooks.detach()
        if summary := self._hooks.summary():
            self._say(summary)
