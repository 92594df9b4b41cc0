"""The callback that finds biases which are going dead while training runs, and revives them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal, get_args

import torch as th

from sacdoctor.severity import Thresholds
from sacdoctor.training.gradients import GRADIENT_WARNING, SAMPLED, GradientHooks, GradientRecord
from sacdoctor.training.live import (
    LiveModel,
    MissingParameters,
    NonFinite,
    NonFiniteWatch,
    Settings,
    add_missing_parameters,
    listed,
)
from sacdoctor.training.manners import TrainingCallback, say
from sacdoctor.training.zeros import messages
from sacdoctor.training.zeros.bias_tensors import zero_percent_by_component
from sacdoctor.training.zeros.checks import Check
from sacdoctor.training.zeros.own_buffer import Fitted, fitted_to_own_buffer
from sacdoctor.training.zeros.telling import must_stop, record, tell
from sacdoctor.training.zeros.watch import ModelWatch

OnMissing = Literal["warn", "error", "add"]
OnNonFinite = Literal["warn", "raise"]
THRESHOLDS = Thresholds()


class ZeroWeightsPreventionCallback(TrainingCallback):
    """Checks all biases of the policy during training, and repairs those that are dead.

    Kinds, severities and new values are those of `sacdoctor scan` and `fix`. Works for SB3's and
    sb3-contrib's algorithms and for custom policies; in a list, in `CallbackList`, or from a
    `callback:` entry of rl-zoo. A healthy model trains to bit-identical weights with and without
    it, unless `max_grad_norm` is given.

    `history` has a `Check` per check; SB3's logger gets `sacdoctor/zero_percent`,
    `sacdoctor/worst_zero_percent`, `sacdoctor/dead_biases`, `sacdoctor/repaired` (elements so far)
    and `sacdoctor/gradient_norm/<optimizer>`; messages go to `logging.getLogger("sacdoctor")`.

    :param check_frequency: environment steps between checks, over all environments
    :param auto_fix: give new values to the exact zeros in biases at warning or worse, clear their
        moments in the optimizers, and bring dead target networks in step. They are fitted to the
        model's own replay buffer, where it holds 1,000 transitions of the policy's and the fit is
        proven on held-out ones (seconds, once per repair); else they are drawn. A tensor that
        nothing trains is repaired once, any other at most three times
    :param verbose: 0 warnings only, 1 repairs and a summary at the end, 2 every check
    :param warning: percentage of zeros above which a bias is at warning
    :param critical: percentage of zeros above which it is critical
    :param stop: percentage of zeros above which training should stop
    :param max_grad_norm: clip gradients to this norm per optimizer; None leaves them
    :param gradient_warning: the norm above which to warn, where it is also 100 times the usual one:
        healthy CrossQ, DDPG or TRPO pass 10 all the time (`GradientGuard` warns then). None,
        without `max_grad_norm`: gradients are not looked at, nor are steps with NaN gradients
        skipped
    :param on_missing_parameters: trainable parameters that are in no optimizer: "warn", "error"
        (refuse to train) or "add" (see `add_missing_parameters`)
    :param stop_training: end training where a bias is above `stop`, before any repair, a
        parameter is NaN or infinite, or an optimizer skips ten steps in a row
    :param on_non_finite: "raise": end training by `NonFinite` where a reward, an observation or a
        parameter is NaN or infinite, or an optimizer skips ten steps in a row; "warn": say so once,
        and count
    :param seed: of the draws, which depend on it and the tensor's name alone; no random number
        generator is touched

    Raises `ValueError` for settings that make no sense; at the start of training
    `MissingParameters`, where they are an error.
    """

    def __init__(
        self,
        check_frequency: int = 1000,
        auto_fix: bool = True,
        verbose: int = 1,
        *,
        warning: float = THRESHOLDS.warning,
        critical: float = THRESHOLDS.critical,
        stop: float = THRESHOLDS.stop,
        max_grad_norm: float | None = None,
        gradient_warning: float | None = GRADIENT_WARNING,
        on_missing_parameters: OnMissing = "warn",
        stop_training: bool = False,
        on_non_finite: OnNonFinite = "warn",
        seed: int = 0,
    ) -> None:
        super().__init__(verbose)
        if check_frequency < 1:
            raise ValueError(f"check_frequency is {check_frequency}, not 1 or more")
        if on_missing_parameters not in get_args(OnMissing):
            raise ValueError(
                f"on_missing_parameters is {on_missing_parameters!r}, not one of "
                f"{', '.join(map(repr, get_args(OnMissing)))}"
            )
        if on_non_finite not in get_args(OnNonFinite):
            raise ValueError(
                f"on_non_finite is {on_non_finite!r}, not one of "
                f"{', '.join(map(repr, get_args(OnNonFinite)))}"
            )
        self.check_frequency = check_frequency
        self.auto_fix = auto_fix
        self.thresholds = Thresholds(warning=warning, critical=critical, stop=stop)
        self.on_missing_parameters = on_missing_parameters
        self.stop_training = stop_training
        self.on_non_finite = on_non_finite
        self.seed = seed
        self.history: list[Check] = []
        watches = max_grad_norm is not None or gradient_warning is not None
        self._hooks = (
            GradientHooks(max_grad_norm, gradient_warning, sampled=SAMPLED) if watches else None
        )
        self._watch: ModelWatch | None = None
        self._finite = NonFiniteWatch()
        self._checked_at = (-1, -1)
        self._ends = False

    @property
    def _elements_repaired(self) -> int:
        return sum(repair.elements for check in self.history for repair in check.repaired)

    @property
    def gradients(self) -> Mapping[str, GradientRecord]:
        """What passed through each optimizer, by its name; empty where it is not watched."""
        return {} if self._hooks is None else self._hooks.records

    def _init_callback(self) -> None:
        self._watch = None  # that of another model

    def _on_training_start(self) -> None:
        self._complete(LiveModel.of(self.model))
        self._watch = watch = self._new_watch()
        self._finite = NonFiniteWatch()
        if frozen := watch.live.frozen():
            self._say(messages.frozen(watch.live, frozen))
        if self._hooks is not None:
            start = self.model.start_time
            self._hooks.attach(
                watch.live.optimizers,
                timesteps=lambda: self.model.num_timesteps,
                is_over=lambda: self.model.start_time != start,
                cause=lambda name: self._finite.cause(watch.live, name),
                is_told=lambda: self._finite.first is not None,
            )
        self._ends = self._must_stop(self.check())

    def _on_step(self) -> bool:
        self._look_at_the_environment()
        due = self.num_timesteps // self.check_frequency
        if not self._ends and due != self._checked_at[0] // self.check_frequency:
            self._ends = self._must_stop(self.check())
        return not self._ends and not self._is_stuck()

    def _look_at_the_environment(self) -> None:
        """Tell of the first reward or observation that is not finite."""
        first = self._finite.look(self.locals, self.num_timesteps)
        if first is not None:
            say(f"critical: {first}; what comes of it is counted", logging.ERROR)
            self._raise_if_asked(first)

    def _is_stuck(self) -> bool:
        """Return whether training stops because an optimizer takes no step any more."""
        if self._hooks is None or not self._hooks.stuck:
            return False
        name, cause = next(iter(self._hooks.stuck.items()))
        self._raise_if_asked(f"{name} takes no step any more: {cause}")
        if self.stop_training and not self._ends:
            self._ends = True
            say(f"training stops at {self.num_timesteps:,} steps: {name} is stuck", logging.ERROR)
        return self._ends

    def _raise_if_asked(self, what: str) -> None:
        if self.on_non_finite == "raise":
            raise NonFinite(what)

    def _on_rollout_start(self) -> None:
        if self._hooks is not None:
            self._hooks.pause()

    def _on_rollout_end(self) -> None:
        if self._hooks is not None:
            self._hooks.resume()
            self._hooks.log(self.logger, now=False)

    def _on_training_end(self) -> None:
        if self._checked_at != (self.model.num_timesteps, getattr(self.model, "_n_updates", 0)):
            self.check()
        if self._hooks is not None:
            self._hooks.log(self.logger)
            self._hooks.detach()
        summary = messages.summary(self.history, self._elements_repaired)
        if self._hooks is not None and (gradients := self._hooks.summary()):
            summary += f"; {gradients}"
        self._say(summary)
        self._is_stuck()

    def check(self) -> Check:
        """Look at all biases now, repair what is to be repaired, and return what was found.

        Called by SB3's events; of use on its own only during training.
        """
        if self._watch is None:
            self._watch = self._new_watch()
        self._log_components(self._watch.live)  # before anything is repaired
        check = self._watch.check(self.model.num_timesteps)
        self.history.append(check)
        self._checked_at = (check.num_timesteps, check.n_updates)
        tell(check, self.verbose)
        record(check, self._elements_repaired, self.logger)
        if check.non_finite:
            self._raise_if_asked(f"{listed(check.non_finite)} hold NaN or infinite values")
        return check

    def _new_watch(self) -> ModelWatch:
        return ModelWatch(
            lambda: LiveModel.of(self.model),
            auto_fix=self.auto_fix,
            thresholds=self.thresholds,
            seed=self.seed,
            settings=Settings(self.model),
            refit=self._fitted,
        )

    def _fitted(self, dead: Mapping[str, th.Tensor]) -> Mapping[str, Fitted]:
        return fitted_to_own_buffer(self.model, LiveModel.of(self.model), dead, self.seed)

    def _complete(self, live: LiveModel) -> None:
        """Warn of parameters that no optimizer holds, refuse them, or add them to one.

        Raises `MissingParameters` where they are an error.
        """
        missing = live.missing()
        if not missing:
            return
        found = messages.missing(live, missing)
        if self.on_missing_parameters == "error":
            raise MissingParameters(f"{found}: create the optimizer after all layers")
        adds = self.on_missing_parameters == "add"
        if adds:
            homes = add_missing_parameters(self.model)
            live = LiveModel.of(self.model)
            missing = live.missing()
            if homes:
                say(messages.added(found, homes), logging.WARNING)
        if missing:
            line = messages.never_trained(live, missing, can_be_added=not adds)
            say(line, logging.WARNING)

    def _log_components(self, live: LiveModel) -> None:
        for component, percent in zero_percent_by_component(live).items():
            key = f"sacdoctor/zero_percent_of/{component.replace(' ', '_')}"
            self.logger.record(key, percent, exclude="stdout")  # whose table cuts long names

    def _must_stop(self, check: Check) -> bool:
        return self.stop_training and must_stop(check, self.thresholds.stop)
