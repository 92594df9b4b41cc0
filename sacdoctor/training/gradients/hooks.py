"""Hooks between the backward pass and an optimizer's step, which watch, clip, refuse gradients.

SB3 clips gradients in PPO, A2C, DQN and their like, not in SAC, TD3, DDPG and TQC. A step pre-hook
on the optimizer works for all of them.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from torch.utils.hooks import RemovableHandle

from sacdoctor.algorithms import TRAINED_VARIABLES
from sacdoctor.training.gradients.norms import accurate_norm, clip, quick_norm
from sacdoctor.training.gradients.record import GradientRecord
from sacdoctor.training.live import parameters_of

LOGGER = logging.getLogger("sacdoctor")
_CHECK = getattr(th, "_amp_foreach_non_finite_check_and_unscale_", None)
"""PyTorch's own check within `torch.amp.GradScaler`; norms take its place where it is missing."""
GRADIENT_WARNING = 10.0
"""Norm above which a gradient is called large: the limit of the original training callback, and
the `max_grad_norm` that SB3's DQN clips to."""
EXPLOSION = 100.0
"""Times its usual norm at which a gradient explodes. Healthy training stays below it everywhere:
the largest norm of 1,500 steps on a small task was 2 to 30 times the usual one, over all
algorithms, while norms above 10 alone are the rule for CrossQ, DDPG and TRPO's value network."""
SAMPLED = 20
"""Where nothing is clipped, the callback takes the norm of one step in so many: taking it costs
twice as much as finding out whether all gradients are finite, which is done at every step."""
_LOGGED_EVERY = 64
"""Environment steps, at least, between two records: SAC's rollouts are of one step."""
_SAID_AGAIN = 10.0
"""A norm is reported again only when it is this many times the one reported last."""
_ROUNDING = 1e-4
"""A norm this little above a limit, relatively, is one that was clipped to it."""
_LABEL_LENGTH = 15
"""SB3's table cuts keys at 36 characters, and raises where two cut keys are the same."""


class GradientHooks:
    """The hooks on the optimizers of one model during one call of `learn`.

    Every step of every optimizer is looked at, at the price of one pass over gradients that were
    just written, and one synchronisation per step where they are not on the CPU. A step with a
    gradient that is not finite is not taken: its gradients are set to None, so that neither weights
    nor moments change. Norms are taken of every step where they are clipped, else of one step in
    `sampled`.

    `max_grad_norm` (None: no clipping) is applied per optimizer. `warning` is the norm above which
    it warns, None for never; the entropy coefficient's is logged, never warned about, as it grows
    with the size of the action space alone. With `explosions_only` a norm above `warning` must
    also be `EXPLOSION` times the usual one: large rewards alone make large gradients.
    """

    def __init__(
        self,
        max_grad_norm: float | None,
        warning: float | None,
        explosions_only: bool = False,
        sampled: int = 1,
    ) -> None:
        for name, value in (("max_grad_norm", max_grad_norm), ("warning", warning)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value:g}, not a number above 0")
        self.max_grad_norm = max_grad_norm
        self.warning = warning
        self.explosions_only = explosions_only
        self.sampled = sampled if max_grad_norm is None else 1
        self.records: dict[str, GradientRecord] = {}
        self._handles: list[RemovableHandle] = []
        self._said: dict[str, float] = {}
        self._labels: dict[str, str] = {}
        self._model: BaseAlgorithm | None = None
        self._logged_at = 0

    def attach(self, model: BaseAlgorithm, optimizers: Mapping[str, th.optim.Optimizer]) -> None:
        """Hook every optimizer; hooks of an earlier run that ended in an error go first."""
        self.detach()
        self._model = model
        self.records = {name: GradientRecord() for name in optimizers}
        self._labels = _labels(optimizers)
        self._said = {}
        for name, optimizer in optimizers.items():
            hook = _Hook(self, name, model, optimizer)
            self._handles.append(optimizer.register_step_pre_hook(hook))

    def detach(self) -> None:
        """Remove the hooks; what was recorded stays."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._model = None

    def log(self, logger: Logger, now: bool = True) -> None:
        """Record mean norms since the last record, and counts, under `sacdoctor/`.

        Unless it is wanted `now`, it may be put off for some steps.
        """
        steps = self._steps()
        if not now and 0 <= steps - self._logged_at < _LOGGED_EVERY:
            return
        self._logged_at = steps
        for name, record in self.records.items():
            mean = record.take_mean()
            if mean is not None:
                logger.record_mean(f"sacdoctor/gradient_norm/{self._labels[name]}", mean)
        if self.max_grad_norm is not None:
            clipped = sum(record.clipped for record in self.records.values())
            logger.record("sacdoctor/gradients_clipped", clipped)
        if skipped := sum(record.skipped for record in self.records.values()):
            logger.record("sacdoctor/gradients_skipped", skipped)

    def summary(self) -> Iterator[str]:
        """Yield one line per optimizer that made steps."""
        for name, record in self.records.items():
            if record.steps or record.skipped:
                yield (
                    f"{name}: {record.steps:,} steps, largest gradient norm {record.largest:.3g} "
                    f"of {record.measured:,} taken, {record.clipped:,} clipped, "
                    f"{record.skipped:,} skipped"
                )

    def warn_of_size(self, name: str, norm: float) -> None:
        """Warn of a large norm, unless one of about this size was reported already."""
        if name in TRAINED_VARIABLES or norm < _SAID_AGAIN * self._said.get(name, 0.0):
            return
        usual = self.records[name].usual
        if self.explosions_only and (usual is None or norm < EXPLOSION * usual):
            return
        self._said[name] = norm
        clipped = self.max_grad_norm is not None and norm > self.max_grad_norm
        LOGGER.warning(
            "gradient norm %.4g in %s at %s steps, above %g%s",
            norm,
            name,
            f"{self._steps():,}",
            self.warning,
            f": clipped to {self.max_grad_norm:g}" if clipped else "; max_grad_norm=… clips it",
        )

    def warn_of_skip(self, name: str) -> None:
        """Warn of a step that is not taken: the first, the 10th, the 100th, … of an optimizer."""
        count = self.records[name].skipped
        if 10 ** round(math.log10(count)) == count:
            LOGGER.warning(
                "a gradient in %s is not finite at %s steps: the step is skipped (%s so far)",
                name,
                f"{self._steps():,}",
                f"{count:,}",
            )

    def _steps(self) -> int:
        return 0 if self._model is None else self._model.num_timesteps


class _Hook:
    """Looks at the gradients of one optimizer; called before each of its steps."""

    def __init__(
        self, hooks: GradientHooks, name: str, model: BaseAlgorithm, optimizer: th.optim.Optimizer
    ) -> None:
        self._hooks = hooks
        self._record = hooks.records[name]
        self._name = name
        self._model, self._run = model, model.start_time
        self._warning = math.inf if hooks.warning is None else hooks.warning * (1 + _ROUNDING)
        self._limit = math.inf if hooks.max_grad_norm is None else hooks.max_grad_norm
        # Below this the accurate norm cannot be above the limit, whatever the quick one lost.
        self._clipped_from = self._limit * (1 - _ROUNDING)
        self._seen = 0
        self._learn_parameters(optimizer)

    def __call__(self, optimizer: th.optim.Optimizer, args: Any, kwargs: Any) -> None:
        hooks, groups = self._hooks, optimizer.param_groups
        if self._model.start_time != self._run:  # an earlier run, which ended in an error
            hooks.detach()
            return
        if len(groups) != self._groups or len(groups[0]["params"]) != self._first:
            self._learn_parameters(optimizer)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if not gradients:
            return
        record = self._record
        self._seen += 1
        if (self._seen - 1) % hooks.sampled and self._are_finite(gradients):
            record.steps += 1
            return
        norm = quick_norm(gradients, self._for_numpy)
        if not math.isfinite(norm):
            norm = accurate_norm(gradients)
            if not math.isfinite(norm):
                for parameter in self._parameters:
                    parameter.grad = None
                record.skipped += 1
                hooks.warn_of_skip(self._name)
                return
        record.add(norm)
        if norm > self._clipped_from and clip(gradients, self._limit):
            record.clipped += 1
        if norm > self._warning:
            hooks.warn_of_size(self._name, norm)

    def _learn_parameters(self, optimizer: th.optim.Optimizer) -> None:
        self._parameters = list(parameters_of(optimizer))
        self._groups = len(optimizer.param_groups)
        self._first = len(optimizer.param_groups[0]["params"])
        self._for_numpy = all(
            p.device.type == "cpu" and p.dtype in (th.float32, th.float64) for p in self._parameters
        )

        kinds = {(p.device, p.dtype) for p in self._parameters}
        self._flag: tuple[th.Tensor, th.Tensor] | None = None
        if _CHECK is not None and len(kinds) == 1:
            device = next(iter(kinds))[0]
            self._flag = (th.zeros(1, device=device), th.ones(1, device=device))

    def _are_finite(self, gradients: list[th.Tensor]) -> bool:
        """Return whether all elements are finite; False also where that cannot be told so fast.

        The check is that of PyTorch's `GradScaler`, one call for all tensors. It multiplies them by
        its second number, 1, which leaves every bit as it is.
        """
        if self._flag is None or _CHECK is None:
            return False
        found, one = self._flag
        try:
            _CHECK(gradients, found, one)
        except (RuntimeError, NotImplementedError):  # a layout or a device that it does not know
            self._flag = None
            return False
        if found.item():
            found.zero_()
            return False
        return True


def _labels(names: Mapping[str, object]) -> dict[str, str]:
    """Return short, distinct names for the logger's keys: `actor`, `critic`, `policy`, `ent_coef`.

    A key that SB3's table has to cut may meet another one cut to the same.
    """
    labels: dict[str, str] = {}
    for name in names:
        label = re.sub(r"[._]?optimizer$", "", name) or name
        if len(label) > _LABEL_LENGTH or label in labels.values():
            label = f"{label[: _LABEL_LENGTH - 3]}_{len(labels)}"
        labels[name] = label
    return labels
