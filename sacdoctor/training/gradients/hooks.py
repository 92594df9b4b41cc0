"""Hooks between the backward pass and an optimizer's step, which watch, clip, refuse gradients.

SB3 clips gradients in PPO, A2C, DQN and their like, not in SAC, TD3, DDPG and TQC. A step pre-hook
on the optimizer works for all of them, and in a training loop of one's own; nothing here needs SB3.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch as th
from torch.utils.hooks import RemovableHandle

from sacdoctor.training.gradients.clipping import listen, stop_listening
from sacdoctor.training.gradients.norms import Arithmetic, accurate_norm
from sacdoctor.training.gradients.record import GradientRecord
from sacdoctor.training.manners import TrainingFinding, note

GRADIENT_WARNING = 10.0
"""Norm from which on a gradient may be called large: the limit of the original training callback,
and the `max_grad_norm` that SB3's DQN clips to."""
EXPLOSION = 100.0
"""Times its usual norm at which a gradient explodes. In healthy training single batches come near
(A2C on Pendulum: 75 times), the middle of twenty does not (12 at most, over 20 configurations of
ten algorithms), while norms above 10 alone are the rule for PPO's and DDPG's values."""
LASTING = 5
"""Norms in succession that make an explosion: one batch alone changes little, as Adam divides by
what it remembers of earlier ones."""
SAMPLED = 20
"""Where nothing is clipped, the callback takes the norm of one step in so many: taking it costs
twice as much as finding out whether all gradients are finite, which is done at every step."""
_LOGGED_EVERY = 64
"""Environment steps, at least, between two records: SAC's rollouts are of one step."""
_SAID_AGAIN = 10.0
"""A norm is reported again only when it is this many times the one reported last."""
_ROUNDING = 1e-4
"""A norm this little above a limit, relatively, is one that was clipped to it."""
SKIPPED_IN_A_ROW = 10
"""Steps that an optimizer does not take one after the other, after which it is stuck: a NaN that
comes now and then, as one in a replay buffer does, leaves steps between."""
_LABEL_LENGTH = 15
"""SB3's table cuts keys at 36 characters, and raises where two cut keys are the same."""


class Log(Protocol):
    """Where figures go: SB3's logger, or anything with these two methods."""

    def record(self, key: str, value: Any) -> None:
        """Keep the latest value."""

    def record_mean(self, key: str, value: float | None) -> None:
        """Keep the mean of the values since the last record was written."""


class GradientHooks:
    """The hooks on some optimizers during one training.

    Every step of every optimizer is looked at, at the price of one pass over gradients that were
    just written, and one synchronisation per step where they are not on the CPU. A step with a
    gradient that is not finite is not taken: its gradients are set to None, so that neither weights
    nor moments change. Norms are those before any clipping, also where the training loop clips by
    `torch.nn.utils.clip_grad_norm_`. They are taken of every step where they are clipped, else of
    one step in `sampled`.

    `max_grad_norm` (None: no clipping) is applied per optimizer; one that holds a single number, as
    that of SAC's entropy coefficient, is not clipped and its size not warned about: a single number
    has no direction to be kept, and its gradient grows with the size of the action space alone.
    Above `warning` (None: never) norms are found that are also `EXPLOSION` times the usual one,
    `LASTING` of them in succession: large rewards alone make large gradients.

    `records` has what passed through each optimizer, `findings` what was found wrong, `stuck` the
    optimizers that did not take `skipped_in_a_row` steps one after the other, with the cause.
    """

    def __init__(
        self,
        max_grad_norm: float | None,
        warning: float | None,
        sampled: int = 1,
        skipped_in_a_row: int = SKIPPED_IN_A_ROW,
    ) -> None:
        if skipped_in_a_row < 1:
            raise ValueError(f"skipped_in_a_row is {skipped_in_a_row}, not 1 or more")
        for name, value in (("max_grad_norm", max_grad_norm), ("warning", warning)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value:g}, not a number above 0")
        self.max_grad_norm = max_grad_norm
        self.warning = warning
        self.sampled = sampled if max_grad_norm is None else 1
        self.records: dict[str, GradientRecord] = {}
        self.skipped_in_a_row = skipped_in_a_row
        self.findings: list[TrainingFinding] = []
        self.stuck: dict[str, str] = {}
        self._hooks: list[_Hook] = []
        self._handles: list[RemovableHandle] = []
        self._said: dict[str, float] = {}
        self._exploded: Counter[str] = Counter()
        self._labels: dict[str, str] = {}
        self._timesteps: Callable[[], int] = int
        self._cause: Callable[[str], str] = str
        self._is_told: Callable[[], bool] = bool
        self._logged_at = 0

    def attach(
        self,
        optimizers: Mapping[str, th.optim.Optimizer],
        timesteps: Callable[[], int] = int,
        is_over: Callable[[], bool] = bool,
        cause: Callable[[str], str] = str,
        is_told: Callable[[], bool] = bool,
    ) -> None:
        """Hook every optimizer, with new records.

        `timesteps` returns those that the training has taken, for messages. `is_over` returns
        whether it has ended without `detach`, by an error: the hooks then remove themselves.
        `cause` returns in words why gradients in an optimizer are not finite, `is_told` whether
        that was told already.
        """
        self.detach()
        self._timesteps = timesteps
        self.records = {name: GradientRecord() for name in optimizers}
        self._labels = _labels(optimizers)
        self._said = {}
        self.stuck = {}
        self._cause, self._is_told = cause, is_told
        self._exploded = Counter()
        self._hooks = [
            _Hook(self, name, optimizer, is_over) for name, optimizer in optimizers.items()
        ]
        self.resume()

    def pause(self) -> None:
        """Take the hooks off; what was recorded stays, and `resume` puts them back."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        stop_listening(self._clipped_by_others)

    def resume(self) -> None:
        """Put the hooks on that were attached and then paused."""
        if self._hooks and not self._handles:
            self._handles = [hook.optimizer.register_step_pre_hook(hook) for hook in self._hooks]
            listen(self._clipped_by_others)

    def detach(self) -> None:
        """Remove the hooks for good; what was recorded stays."""
        self.pause()
        self._hooks = []

    def log(self, logger: Log, now: bool = True) -> None:
        """Record mean norms since the last record, and counts, under `sacdoctor/`.

        Unless it is wanted `now`, it may be put off for some steps.
        """
        steps = self._timesteps()
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

    def summary(self) -> str:
        """Return in one line what passed through the optimizers that made steps; else nothing."""
        told = [
            f"{self._labels[name]} {record.steps:,} steps, largest norm {record.largest:.3g}"
            + (f", {record.clipped:,} clipped" if record.clipped else "")
            + (f", {record.skipped:,} skipped" if record.skipped else "")
            for name, record in self.records.items()
            if record.steps or record.skipped
        ]
        return f"gradients: {'; '.join(told)}" if told else ""

    def judge_size(self, name: str, norm: float) -> None:
        """Warn of norms that stay large, unless one of about this size was reported already."""
        usual = self.records[name].usual
        if usual is None or norm < EXPLOSION * usual:
            self._exploded[name] = 0
            return
        self._exploded[name] += 1
        if self._exploded[name] < LASTING or norm < _SAID_AGAIN * self._said.get(name, 0.0):
            return
        self._said[name] = norm
        remedy = "max_grad_norm=… clips it"
        if self.max_grad_norm is not None and norm > self.max_grad_norm:
            remedy = f"clipped to {self.max_grad_norm:g}"
        message = (
            f"the gradient norm in {name} is {norm:.4g}, {norm / usual:,.0f} times the usual one; "
            f"{remedy}"
        )
        limit = EXPLOSION * usual
        note(
            self.findings,
            TrainingFinding("gradient-norm", name, self._timesteps(), norm, limit, message),
        )

    def judge_skip(self, name: str, in_a_row: int) -> None:
        """Tell of a step that is not taken: of the first, and once it is one of many in a row.

        The first is not told of where its cause was. All are counted in the records.
        """
        if in_a_row >= self.skipped_in_a_row and name not in self.stuck:
            self.stuck[name] = self._cause(name)
            message = (
                f"{name} takes no step any more: {in_a_row} in a row had a gradient that is not "
                f"finite; the first thing that was not finite: {self.stuck[name]}; go back to an "
                "earlier checkpoint"
            )
            note(self.findings, self._not_finite(name, message), logging.ERROR)
        elif self.records[name].skipped == 1 and not self._is_told():
            message = (
                f"a gradient in {name} is not finite: the step is skipped; the first thing that "
                f"was not finite: {self._cause(name)}"
            )
            note(self.findings, self._not_finite(name, message))

    def _not_finite(self, name: str, message: str) -> TrainingFinding:
        steps = self._timesteps()
        return TrainingFinding("non-finite", name, steps, math.nan, math.inf, message)

    def _clipped_by_others(self, parameters: list[th.Tensor], norm: th.Tensor) -> None:
        """Hand a norm on that the training loop has taken, to the hooks that it is for."""
        for hook in self._hooks:
            if hook.is_over():
                self.detach()
                return
            hook.learn_norm(parameters, norm)


class _Hook:
    """Looks at the gradients of one optimizer; called before each of its steps."""

    def __init__(
        self,
        hooks: GradientHooks,
        name: str,
        optimizer: th.optim.Optimizer,
        is_over: Callable[[], bool],
    ) -> None:
        self.optimizer = optimizer
        self.is_over = is_over
        self._hooks = hooks
        self._record = hooks.records[name]
        self._name = name
        self._limit = math.inf if hooks.max_grad_norm is None else hooks.max_grad_norm
        self._seen = 0
        self._skipped_at = self._in_a_row = 0
        self._was_large = False
        self._before_clipping: float | None = None
        self._learn_parameters()

    def __call__(self, optimizer: th.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if self.is_over():
            self._hooks.detach()
            return
        groups = optimizer.param_groups
        if len(groups) != self._groups or len(groups[0]["params"]) != self._first:
            self._learn_parameters()
        before, self._before_clipping = self._before_clipping, None
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if not gradients:
            return
        self._seen += 1
        if before is not None and math.isfinite(before) and self._clips_from == math.inf:
            self._add(before)  # finite, so all elements were, and still are
        elif (
            before is None
            and (self._seen - 1) % self._hooks.sampled
            and self._arithmetic.are_finite(gradients)
        ):
            self._record.steps += 1
        else:
            self._look_closely(gradients, before)

    def learn_norm(self, parameters: list[th.Tensor], norm: th.Tensor) -> None:
        """Take a norm as that of the next step, where it is of all gradients of this optimizer."""
        if len(parameters) < len(self._parameters):
            return
        if self._ids <= {id(parameter) for parameter in parameters}:
            self._before_clipping = float(norm)

    def _look_closely(self, gradients: list[th.Tensor], before: float | None) -> None:
        """Take the norm; refuse what is not finite, and clip what is too large."""
        norm = self._arithmetic.norm(gradients)
        if not math.isfinite(norm):
            norm = accurate_norm(gradients)
            if not math.isfinite(norm):
                for parameter in self._parameters:
                    parameter.grad = None
                self._record.skipped += 1
                is_next = self._seen == self._skipped_at + 1
                self._in_a_row = self._in_a_row + 1 if is_next else 1
                self._skipped_at = self._seen
                self._hooks.judge_skip(self._name, self._in_a_row)
                return
        if norm > self._clips_from:
            # As `torch.nn.utils.clip_grad_norm_` does.
            self._arithmetic.scale(gradients, self._limit / (norm + 1e-6))
            self._record.clipped += 1
        self._add(norm if before is None or not math.isfinite(before) else before)

    def _add(self, norm: float) -> None:
        if norm > self._warns_from:
            self._hooks.judge_size(self._name, norm)
            self._was_large = True
        elif self._was_large:
            self._hooks.judge_size(self._name, 0.0)
            self._was_large = False
        self._record.add(norm)

    def _learn_parameters(self) -> None:
        groups = self.optimizer.param_groups
        self._parameters = [parameter for group in groups for parameter in group["params"]]
        self._groups, self._first = len(groups), len(groups[0]["params"])
        self._ids = {id(parameter) for parameter in self._parameters}
        self._arithmetic = Arithmetic(self._parameters)
        single = sum(parameter.numel() for parameter in self._parameters) == 1
        warning = self._hooks.warning
        self._clips_from = math.inf if single else self._limit
        self._warns_from = math.inf if single or warning is None else warning * (1 + _ROUNDING)


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
