"""The callback that watches gradients, and clips them if it is asked to."""

from __future__ import annotations

from collections.abc import Mapping

from stable_baselines3.common.callbacks import BaseCallback

from sacdoctor.training.gradients.hooks import GRADIENT_WARNING, GradientHooks
from sacdoctor.training.gradients.record import GradientRecord
from sacdoctor.training.live import LiveModel


class GradientGuard(BaseCallback):
    """Keeps an eye on gradients, clips them, and keeps those that are not finite from the weights.

    Works with every SB3 algorithm that steps through PyTorch optimizers, also where SB3 itself
    clips nothing (SAC, TD3, DDPG, TQC, CrossQ). Where SB3 clips (PPO, A2C, DQN), the norms seen
    here are those after its clipping. Watching alone changes nothing: weights are bit for bit
    those of a run without it.

    It logs `sacdoctor/gradient_norm/<optimizer>` (mean since the last record, before clipping),
    `sacdoctor/gradients_clipped` and `sacdoctor/gradients_skipped` to SB3's logger, warns through
    `logging.getLogger("sacdoctor")`, and removes its hooks at the end of training.

    :param max_grad_norm: the norm to clip to, per optimizer; None: no clipping
    :param warning: the norm above which it warns, once and again at ten times that; None: never
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

    def _on_training_start(self) -> None:
        self._hooks.attach(self.model, LiveModel.of(self.model).optimizers)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._hooks.log(self.logger, now=False)

    def _on_training_end(self) -> None:
        self._hooks.log(self.logger)
        self._hooks.detach()
        if self.verbose >= 1:
            for line in self._hooks.summary():
                print(f"sacdoctor: {line}")
