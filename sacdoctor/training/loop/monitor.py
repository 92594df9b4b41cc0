"""Watches modules, optimizers and returns of a training loop that is not SB3's."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import torch as th
from msgspec.structs import replace
from torch import nn

from sacdoctor.diagnosis import STANDARD_ERRORS
from sacdoctor.model import Finding
from sacdoctor.severity import Thresholds
from sacdoctor.training.gradients import GRADIENT_WARNING, SAMPLED, GradientHooks, GradientRecord
from sacdoctor.training.health import CrashDetector, Episode, RewardCrash, TrainingEvent
from sacdoctor.training.live import LiveModel, NonFinite, listed, parameters_of
from sacdoctor.training.loop.figures import Figures, Sink
from sacdoctor.training.loop.untrained import Untrained
from sacdoctor.training.manners import TrainingFinding, note, say
from sacdoctor.training.zeros import (
    Check,
    ModelWatch,
    frozen,
    must_stop,
    never_trained,
    record,
    summary,
    tell,
)

THRESHOLDS = Thresholds()
OnNonFinite = Literal["warn", "raise"]
Value = float | npt.NDArray[Any] | th.Tensor


class TrainingMonitor:
    """Looks after a training loop of one's own: what SB3's callbacks here do, without SB3.

    ::

        monitor = TrainingMonitor(
            modules={"actor": actor, "critic": critic, "critic_target": critic_target},
            optimizers={"actor": actor_optimizer, "critic": critic_optimizer},
        )
        with monitor:
            for step in range(1, total + 1):
                ...
                if not monitor.step(step):
                    break
                if done:
                    monitor.episode(episode_return)

    Every `check_frequency` environment steps it looks at all parameters: biases that went dead,
    with their cause, and NaN. Hooks on the optimizers take the norms of gradients, clip them, and
    leave a step out whose gradients are not finite. Healthy training ends in bit-identical weights
    with and without it, unless `max_grad_norm` is given.

    `findings` has all that was found, `history` a `Check` per check, `gradients` what passed
    through each optimizer, `returns` the agent's own and `crashes` where they fell for good.
    Messages go to `logging.getLogger("sacdoctor")`, or are printed where nobody listens to that.

    :param modules: the networks by their names, which findings use: `actor.0.bias`. One with the
        word target in its name is a target network: `critic_target` that of `critic`
    :param optimizers: the optimizers by their names
    :param log: what takes figures (`sacdoctor/zero_percent`, `sacdoctor/gradient_norm/actor`, …):
        TensorBoard's `SummaryWriter`, a `logging.Logger`, or a function of tag, value and step
    :param check_frequency: environment steps between checks
    :param auto_fix: re-draw the exact zeros in dead biases, clear their moments in the optimizers,
        and bring dead target networks in step
    :param verbose: 0 warnings only, 1 repairs and a summary at the end, 2 every check
    :param warning: percentage of zeros above which a bias is at warning
    :param critical: percentage of zeros above which it is critical
    :param stop: percentage of zeros above which training should stop
    :param max_grad_norm: clip gradients to this norm per optimizer; None leaves them
    :param gradient_warning: the norm above which to warn, where it is also 100 times the usual one;
        None, without `max_grad_norm`: gradients are not looked at
    :param stop_training: `step` returns False where a bias is above `stop`, a parameter is NaN or
        infinite, or an optimizer skipped ten steps in a row
    :param on_non_finite: "raise": raise `NonFinite` where a parameter, or a value that `step` was
        told, is NaN or infinite, or an optimizer skipped ten steps in a row; "warn": say so once,
        and count
    :param seed: of the draws; no random number generator is touched

    Raises `ValueError` for settings that make no sense, `TypeError` for a `log` that takes nothing.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, th.optim.Optimizer],
        log: Sink | None = None,
        *,
        check_frequency: int = 1000,
        auto_fix: bool = True,
        verbose: int = 1,
        warning: float = THRESHOLDS.warning,
        critical: float = THRESHOLDS.critical,
        stop: float = THRESHOLDS.stop,
        max_grad_norm: float | None = None,
        gradient_warning: float | None = GRADIENT_WARNING,
        stop_training: bool = False,
        on_non_finite: OnNonFinite = "warn",
        seed: int = 0,
    ) -> None:
        if check_frequency < 1:
            raise ValueError(f"check_frequency is {check_frequency}, not 1 or more")
        self.check_frequency = check_frequency
        self.verbose = verbose
        if on_non_finite not in get_args(OnNonFinite):
            raise ValueError(f"on_non_finite is {on_non_finite!r}, not one of 'warn', 'raise'")
        self.stop_training = stop_training
        self.on_non_finite = on_non_finite
        self.num_timesteps = 0
        """The environment steps that `step` was told last."""
        self._found: list[Finding | TrainingFinding] = []
        self.returns: list[float] = []
        """Those of episodes that were the agent's own: no forced action in them, and finite."""
        self.crashes: list[RewardCrash] = []
        self.events: list[TrainingEvent] = []
        self._optimizers = dict(optimizers)
        self._watch = ModelWatch(
            lambda: LiveModel.of_modules(modules, optimizers),
            auto_fix=auto_fix,
            thresholds=Thresholds(warning=warning, critical=critical, stop=stop),
            seed=seed,
        )
        watches = max_grad_norm is not None or gradient_warning is not None
        self._hooks = GradientHooks(max_grad_norm, gradient_warning, sampled=SAMPLED)
        self._watches_gradients = watches
        self._figures = Figures(log)
        self._detector = CrashDetector()
        self._episodes = 0
        self._was_forced = self._has_updated = False
        self._not_finite: set[str] = set()
        self._first_non_finite: str | None = None
        self._untrained = Untrained(self._watch.live)
        self._updates_before = 0
        self._runs = self._ends = False

    # -- a training's beginning and end --------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:  # nothing more is said of a training that failed
            self._hooks.detach()
            self._runs = False

    def start(self) -> None:
        """Begin to watch; `with` and the first `step` do so by themselves."""
        if self._runs:
            return
        self._runs, self._ends = True, False
        live = self._watch.live
        self._untrained = Untrained(live)
        self._updates_before = self._updates
        if left_alone := live.frozen():
            say(frozen(live, left_alone), shown=self.verbose >= 1)
        if self._watches_gradients:
            self._hooks.attach(
                self._optimizers,
                timesteps=lambda: self.num_timesteps,
                cause=self._cause_of_skips,
                is_told=lambda: self._first_non_finite is not None,
            )
        self.check()

    def close(self) -> None:
        """Look a last time, remove the hooks, and say in a line what there was."""
        if not self._runs:
            return
        self._runs = False
        if self._watch.history[-1].num_timesteps != self.num_timesteps:
            self.check()
        self._hooks.detach()
        told = summary(self.history, self._watch.elements_repaired)
        line = "; ".join(part for part in (told, self._hooks.summary()) if part)
        say(line, shown=self.verbose >= 1)

    # -- what the loop tells -------------------------------------------------------------------

    def step(self, num_timesteps: int, **values: Value) -> bool:
        """Tell that so many environment steps were taken; return whether training may go on.

        Called after the update, once per environment step or more rarely, with a count that grows.

        :param values: what ought to be finite, under names of one's own: `reward=reward,
            state=after, loss=loss.item()`. The first of each name that is not is found, and its
            place where it is an array: NaN in an optimizer's gradients mostly began there
        """
        self.start()
        if not self._has_updated and any(record.steps for record in self.gradients.values()):
            self._has_updated = True
            self.events.append(TrainingEvent("start of updates", num_timesteps))
        before, self.num_timesteps = self.num_timesteps, num_timesteps
        if (
            not self._ends
            and num_timesteps // self.check_frequency != before // self.check_frequency
        ):
            self.check()
        for name, value in values.items():
            self._judge_finite(name, value)
        if self._hooks.stuck and not self._ends:
            self._end_if_stuck()
        self._hooks.log(self._figures, now=False)
        self._figures.write(num_timesteps)
        return not self._ends

    def episode(self, value: float, *, forced: bool = False) -> RewardCrash | None:
        """Tell the return of an episode that has ended; return the crash of returns it completes.

        :param forced: whether an action in it was forced on the agent: its return is not judged
        """
        number, self._episodes = self._episodes, self._episodes + 1
        if self._was_forced and not forced:
            self.events.append(TrainingEvent("end of warm-up", self.num_timesteps))
        self._was_forced = forced
        if forced:
            return None
        if not math.isfinite(value):
            self._judge_finite("return", value)
            return None
        self.returns.append(float(value))
        crash = self._detector.add(Episode(number, self.num_timesteps, float(value)))
        if crash is None:
            return None
        before = [event for event in self.events if event.timesteps <= crash.timesteps]
        if before:
            crash = replace(crash, preceded_by=before[-1])
        self.crashes.append(crash)
        errors, steps = crash.standard_errors, self.num_timesteps
        note(
            self._found,
            TrainingFinding("reward-crash", "return", steps, errors, STANDARD_ERRORS, str(crash)),
        )
        return crash

    # -- what is found -------------------------------------------------------------------------

    @property
    def findings(self) -> list[Finding | TrainingFinding]:
        """All that was found so far, that about gradients last."""
        return [*self._found, *self._hooks.findings]

    @property
    def history(self) -> list[Check]:
        """All checks so far."""
        return self._watch.history

    @property
    def gradients(self) -> Mapping[str, GradientRecord]:
        """What passed through each optimizer, by its name."""
        return self._hooks.records

    def check(self) -> Check:
        """Look at all parameters now, repair what is to be repaired, and return what was found."""
        check = self._watch.check(self.num_timesteps)
        if self._updates > self._updates_before:
            self._tell_untrained()
        for name, tensor in self._loose_tensors():
            self._judge_finite(name, tensor)
        self._found.extend(check.findings)
        tell(check, self.verbose)
        record(check, self._watch.elements_repaired, self._figures)
        self._hooks.log(self._figures)
        self._figures.write(check.num_timesteps)
        if check.non_finite:
            self._raise_if_asked(f"{listed(check.non_finite)} hold NaN or infinite values")
        if self.stop_training and must_stop(check, self._watch.thresholds.stop):
            self._ends = True
        return check

    @property
    def _updates(self) -> int:
        """How many updates there were: of an optimizer without state only the hooks know."""
        seen = max((record.steps for record in self._hooks.records.values()), default=0)
        return max(seen, self._watch.live.n_updates)

    def _tell_untrained(self) -> None:
        live = self._watch.live
        if names := self._untrained.look(live):
            line = never_trained(live, names, can_be_added=False)
            quantity, steps = "not-in-optimizer", self.num_timesteps
            note(self._found, TrainingFinding("setup", quantity, steps, len(names), 0, line))

    def _loose_tensors(self) -> Iterator[tuple[str, th.Tensor]]:
        """Yield what optimizers hold beside the modules' parameters: a temperature's logarithm."""
        known = {id(parameter) for parameter in self._watch.live.names.values()}
        for name, optimizer in self._optimizers.items():
            loose = [p for p in parameters_of(optimizer) if id(p) not in known]
            for number, parameter in enumerate(loose):
                yield name if len(loose) == 1 else f"{name} {number}", parameter

    def _judge_finite(self, name: str, value: Value) -> None:
        """Tell the first value of this name that is not finite; later ones follow from it."""
        array = value.detach().cpu().numpy() if isinstance(value, th.Tensor) else np.asarray(value)
        finite = np.isfinite(array)
        if finite.all() or name in self._not_finite:
            return
        self._not_finite.add(name)
        place = np.argwhere(~finite)[0].tolist()
        found = float(array[tuple(place)])
        at = f"[{', '.join(map(str, place))}]" if place else ""
        message = f"{name}{at} is {found}"
        if self._first_non_finite is None:
            self._first_non_finite = f"{message}, at {self.num_timesteps:,} steps"
        steps = self.num_timesteps
        finding = TrainingFinding("non-finite", name, steps, found, math.inf, message)
        note(self._found, finding, logging.ERROR)
        self._raise_if_asked(message)

    def _cause_of_skips(self, optimizer: str) -> str:
        """Return in words the first thing known that was not finite, where a gradient is not."""
        if self._first_non_finite is not None:
            return self._first_non_finite
        for name, parameter in self._watch.live.parameters.items():
            if not bool(parameter.detach().isfinite().all()):
                return f"the parameter {name}"
        return f"the loss of {optimizer}, while all parameters are finite"

    def _end_if_stuck(self) -> None:
        """End training, where that is asked for, as an optimizer takes no step any more."""
        name, cause = next(iter(self._hooks.stuck.items()))
        self._raise_if_asked(f"{name} takes no step any more: {cause}")
        if self.stop_training:
            self._ends = True
            say(f"training stops at {self.num_timesteps:,} steps: {name} is stuck", logging.ERROR)

    def _raise_if_asked(self, what: str) -> None:
        if self.on_non_finite == "raise":
            raise NonFinite(what)
