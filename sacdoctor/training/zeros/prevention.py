"""The callback that finds biases which are going dead while training runs, and revives them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from stable_baselines3.common.callbacks import BaseCallback

from sacdoctor.diagnosis.causes import OUTLAST_REPAIR, Attribution
from sacdoctor.diagnosis.wording import biases as biases_are
from sacdoctor.layers import Kind, online_name
from sacdoctor.model import Cause
from sacdoctor.repair.initialisers import describe
from sacdoctor.severity import Severity, Thresholds, worst
from sacdoctor.training.gradients.guard import (
    GRADIENT_WARNING,
    LOGGER,
    SAMPLED,
    GradientHooks,
    GradientRecord,
)
from sacdoctor.training.live.causes import cause_of
from sacdoctor.training.live.missing_parameters import (
    MissingParameters,
    add_missing_parameters,
    listed,
)
from sacdoctor.training.live.model import LiveModel
from sacdoctor.training.zeros.bias_tensors import (
    Counts,
    can_be_drawn,
    clear_moments,
    count,
    drawn,
    revive,
)

OnMissing = Literal["warn", "error", "add"]
_DEFAULTS = Thresholds()
MOST_REPAIRS = 3
"""Times that one tensor is re-drawn: what sets it to zero again and again needs another remedy."""
_SINGLY = 5
"""Repairs of one check that are told line by line."""


@dataclass(frozen=True, slots=True)
class DeadBias:
    """A bias at warning or worse, as it was before any repair."""

    name: str
    component: str
    kind: str
    zeros: int
    elements: int
    zero_percent: float
    severity: Severity
    cause: Cause
    evidence: str


@dataclass(frozen=True, slots=True)
class Repair:
    """Elements of one tensor that were set anew.

    `by`: `reinit` (drawn) or `online` (a target network's, from the online one). `lasts` is False
    where nothing trains what was drawn. `cleared`: the optimizers whose moments were cleared.
    """

    name: str
    elements: int
    by: str
    fill: str
    lasts: bool
    cleared: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """What one check saw and did.

    `zero_percent` is the share of zeros among all elements of all biases. `updated` is False while
    nothing has been trained: zeros are initial values then, and nobody's fault. `left` maps dead
    biases that were not repaired to the reason.
    """

    num_timesteps: int
    n_updates: int
    updated: bool
    zero_percent: float
    biases: int
    dead: tuple[DeadBias, ...]
    repaired: tuple[Repair, ...]
    left: Mapping[str, str]
    non_finite: tuple[str, ...]

    @property
    def severity(self) -> Severity:
        """The worst severity among the dead biases; critical where a value is not finite."""
        return (
            Severity.CRITICAL if self.non_finite else worst([bias.severity for bias in self.dead])
        )


class ZeroWeightsPreventionCallback(BaseCallback):
    """Checks all biases of the policy during training, and repairs those that are dead.

    Kinds, severities and new values are those of `sacdoctor scan` and `fix`. Works for SB3's and
    sb3-contrib's algorithms and for custom policies; in a list, in `CallbackList`, or from a
    `callback:` entry of rl-zoo. A healthy model trains to bit-identical weights with and without
    it, unless `max_grad_norm` is given.

    - `check_frequency`: environment steps between checks, over all environments.
    - `auto_fix`: re-draw the exact zeros in biases at warning or worse, clear their moments in the
      optimizers, and bring dead target networks in step. A tensor that nothing trains is repaired
      once, any other at most three times.
    - `verbose`: 0 warnings only, 1 repairs and a summary at the end, 2 every check.
    - `warning`, `critical`, `stop`: percentages of zeros above which a severity begins.
    - `max_grad_norm`: clip gradients to this norm per optimizer; None leaves them.
    - `gradient_warning`: the norm above which to warn, where it is also 100 times the usual one:
      healthy CrossQ, DDPG or TRPO pass 10 all the time (`GradientGuard` warns then). None, without
      `max_grad_norm`: gradients are not looked at, nor are steps with NaN gradients skipped.
    - `on_missing_parameters`: trainable parameters that are in no optimizer: "warn", "error"
      (refuse to train) or "add" (see `add_missing_parameters`).
    - `stop_training`: end training where a bias is above `stop`, before any repair, or a parameter
      is NaN or infinite.
    - `seed`: of the draws, which depend on it and the tensor's name alone; no random number
      generator is touched.

    `history` has a `Check` per check; SB3's logger gets `sacdoctor/zero_percent`,
    `sacdoctor/worst_zero_percent`, `sacdoctor/dead_biases`, `sacdoctor/repaired` (elements so far)
    and `sacdoctor/gradient_norm/<optimizer>`; messages go to `logging.getLogger("sacdoctor")`.

    Raises `ValueError` for settings that make no sense; at the start of training
    `MissingParameters`, where they are an error.
    """

    def __init__(
        self,
        check_frequency: int = 1000,
        auto_fix: bool = True,
        verbose: int = 1,
        *,
        warning: float = _DEFAULTS.warning,
        critical: float = _DEFAULTS.critical,
        stop: float = _DEFAULTS.stop,
        max_grad_norm: float | None = None,
        gradient_warning: float | None = GRADIENT_WARNING,
        on_missing_parameters: OnMissing = "warn",
        stop_training: bool = False,
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
        self.check_frequency = check_frequency
        self.auto_fix = auto_fix
        self.thresholds = Thresholds(warning=warning, critical=critical, stop=stop)
        self.on_missing_parameters = on_missing_parameters
        self.stop_training = stop_training
        self.seed = seed
        self.history: list[Check] = []
        watches = max_grad_norm is not None or gradient_warning is not None
        self._hooks = (
            GradientHooks(max_grad_norm, gradient_warning, explosions_only=True, sampled=SAMPLED)
            if watches
            else None
        )
        self._live: LiveModel | None = None
        self._repairs: Counter[str] = Counter()
        self._elements_repaired = 0
        self._said: dict[str, str] = {}
        self._checked_at = (-1, -1)
        self._ends = False

    @property
    def gradients(self) -> Mapping[str, GradientRecord]:
        """What passed through each optimizer, by its name; empty where it is not watched."""
        return {} if self._hooks is None else self._hooks.records

    # -- SB3's events --------------------------------------------------------------------------

    def _init_callback(self) -> None:
        self._live = None  # that of another model

    def _on_training_start(self) -> None:
        self._live = LiveModel.of(self.model)
        self._repairs.clear()
        self._said.clear()
        self._see_to_missing(self._live)
        self._tell_of_frozen(self._live)
        if self._hooks is not None:
            self._hooks.attach(self.model, self._live.optimizers)
        self._ends = self._is_hopeless(self.check())

    def _on_step(self) -> bool:
        due = self.num_timesteps // self.check_frequency
        if not self._ends and due != self._checked_at[0] // self.check_frequency:
            self._ends = self._is_hopeless(self.check())
        return not self._ends

    def _on_rollout_end(self) -> None:
        if self._hooks is not None:
            self._hooks.log(self.logger, now=False)

    def _on_training_end(self) -> None:
        if self._checked_at != (self.model.num_timesteps, self._model_updates()):
            self.check()
        if self._hooks is not None:
            self._hooks.log(self.logger)
            self._hooks.detach()
        if self.verbose >= 1:
            for line in self._summary():
                self._say(line)

    # -- the check -----------------------------------------------------------------------------

    def check(self) -> Check:
        """Look at all biases now, repair what is to be repaired, and return what was found.

        Called by SB3's events; of use on its own only during training.
        """
        live = self._live or LiveModel.of(self.model)
        counts = count(live.parameters, list(live.biases), live.roles)
        judged = dict(self._judge(live, counts)) if live.was_updated else {}
        repaired, left = self._repair(live, judged) if self.auto_fix else ([], {})
        elements = sum(bias.numel() for bias in live.biases.values())
        check = Check(
            num_timesteps=self.model.num_timesteps,
            n_updates=live.n_updates,
            updated=live.was_updated,
            zero_percent=100.0 * sum(counts.zeros.values()) / max(1, elements),
            biases=len(counts.zeros),
            dead=tuple(judged.values()),
            repaired=tuple(repaired),
            left=left,
            non_finite=counts.non_finite,
        )
        self.history.append(check)
        self._checked_at = (check.num_timesteps, check.n_updates)
        self._report(check)
        return check

    def _judge(self, live: LiveModel, counts: Counts) -> Iterator[tuple[str, DeadBias]]:
        """Yield the biases at warning or worse that are not just untrained or a fresh norm's."""
        for name, zeros in counts.zeros.items():
            parameter, role = live.parameters[name], live.roles[name]
            percent = 100.0 * zeros / parameter.numel()
            severity = self.thresholds.severity(percent)
            if severity.rank < Severity.WARNING.rank or name in counts.fresh_norms:
                continue
            attribution: Attribution = cause_of(live, name)
            if attribution.cause is not Cause.UNTRAINED:
                yield (
                    name,
                    DeadBias(
                        name,
                        role.component,
                        role.kind.value,
                        zeros,
                        parameter.numel(),
                        percent,
                        severity,
                        attribution.cause,
                        attribution.evidence,
                    ),
                )

    # -- the repair ----------------------------------------------------------------------------

    def _repair(
        self, live: LiveModel, dead: Mapping[str, DeadBias]
    ) -> tuple[list[Repair], dict[str, str]]:
        repaired: list[Repair] = []
        left: dict[str, str] = {}
        # Online first: a target network takes over what its counterpart was given.
        for name in sorted(dead, key=lambda name: online_name(name) is not None):
            reason = self._why_left(live, dead[name])
            if reason is None:
                repair = self._revive(live, dead[name])
                if repair.elements:
                    self._repairs[name] += 1
                    self._elements_repaired += repair.elements
                    repaired.append(repair)
                else:
                    reason = f"{live.counterpart(name)} is zero there too"
            if reason is not None:
                left[name] = reason
        return repaired, left

    def _why_left(self, live: LiveModel, bias: DeadBias) -> str | None:
        if live.keeps_its_own_weights:
            return f"{type(live.model).__name__} overwrites the policy with weights of its own"
        if bias.kind == Kind.NORM.value:
            return "a normalisation's bias starts at 0.0 and is left there"
        if not can_be_drawn(live.parameters[bias.name]):
            return f"{live.parameters[bias.name].dtype} values are not re-drawn"
        times = self._repairs[bias.name]
        if times and not _lasts(bias):
            return "it was repaired once, and nothing trains it"
        if times >= MOST_REPAIRS:
            return f"it was repaired {times} times, and something sets it to zero again"
        return None

    def _revive(self, live: LiveModel, bias: DeadBias) -> Repair:
        name, parameter = bias.name, live.parameters[bias.name]
        online = live.counterpart(name)
        if online is not None:
            mask = revive(parameter, live.parameters[online])
            by, fill = "online", f"the value of {online}"
        else:
            mask = revive(parameter, drawn(live.roles[name], parameter, self.seed))
            by, fill = "reinit", describe(live.roles[name])
        elements = int(mask.sum())
        cleared = tuple(
            label
            for label, optimizer in live.optimizers.items()
            if elements and clear_moments(optimizer, parameter, mask, elements == parameter.numel())
        )
        return Repair(name, elements, by, fill, _lasts(bias), cleared)

    # -- the start of training -----------------------------------------------------------------

    def _see_to_missing(self, live: LiveModel) -> None:
        missing = live.missing()
        if not missing:
            return
        found = (
            f"{len(missing):,} of {len(live.parameters):,} parameters are in no optimizer "
            f"({listed(list(missing))})"
        )
        if self.on_missing_parameters == "error":
            raise MissingParameters(f"{found}: create the optimizer after all layers")
        if self.on_missing_parameters == "add":
            added = add_missing_parameters(self.model)
            self._live = live = LiveModel.of(self.model)
            if added:
                homes = ", ".join(f"{n:,} to {home}" for home, n in Counter(added.values()).items())
                LOGGER.warning(
                    "%s: added %s; a model saved from now on loads only into a policy that creates "
                    "its optimizer after all layers, or with add_missing_parameters and "
                    "set_parameters",
                    found,
                    homes,
                )
            missing = live.missing()
            found = (
                f"{len(missing):,} of {len(live.parameters):,} parameters are in no optimizer "
                f"({listed(list(missing))})"
            )
        if missing:
            LOGGER.warning(
                "%s and will never be trained: create the optimizer after all layers%s",
                found,
                "" if self.on_missing_parameters == "add" else ", or on_missing_parameters='add'",
            )

    def _tell_of_frozen(self, live: LiveModel) -> None:
        frozen = live.frozen()
        if frozen:
            self._say(
                f"{len(frozen):,} of {len(live.parameters):,} parameters are frozen and will not "
                f"be trained ({listed(list(frozen))})"
            )

    # -- what is said --------------------------------------------------------------------------

    def _report(self, check: Check) -> None:
        at = f"at {check.num_timesteps:,} steps"
        self._warn_of_dead(check, at)
        if check.non_finite and self._said.get("non-finite") != str(check.non_finite):
            self._said["non-finite"] = str(check.non_finite)
            LOGGER.error(
                "%s: %s hold NaN or infinite values; go back to an earlier checkpoint",
                at,
                listed(check.non_finite),
            )
        self._tell_of_repairs(check, at)
        if self.verbose >= 2:
            self._say(f"{at}: {check.zero_percent:.2f} % zeros, {len(check.dead)} dead biases")
        log = self.logger
        log.record("sacdoctor/zero_percent", check.zero_percent)
        log.record("sacdoctor/dead_biases", len(check.dead))
        worst_percent = max((bias.zero_percent for bias in check.dead), default=0.0)
        log.record("sacdoctor/worst_zero_percent", worst_percent)
        log.record("sacdoctor/repaired", self._elements_repaired)

    def _tell_of_repairs(self, check: Check, at: str) -> None:
        """Say what was set to what, in one line where it is much."""
        if len(check.repaired) <= _SINGLY or self.verbose >= 2:
            for repair in check.repaired:
                self._say(f"{at}: {repair.name}: {repair.elements:,} elements set to {repair.fill}")
            return
        elements = sum(repair.elements for repair in check.repaired)
        names = listed([repair.name for repair in check.repaired])
        self._say(
            f"{at}: {elements:,} elements of {len(check.repaired):,} biases revived ({names})"
        )

    def _warn_of_dead(self, check: Check, at: str) -> None:
        """Warn per cause and outcome of what is new since the last check."""
        outcomes = {bias.name: self._outcome(bias, check) for bias in check.dead}
        news: dict[tuple[Cause, str], list[DeadBias]] = {}
        for bias in check.dead:
            if self._said.get(bias.name) != bias.cause + outcomes[bias.name]:
                news.setdefault((bias.cause, outcomes[bias.name]), []).append(bias)
        for (cause, outcome), biases in news.items():
            severity = worst([bias.severity for bias in biases])
            share = max(bias.zero_percent for bias in biases)
            LOGGER.log(
                logging.ERROR if share > self.thresholds.stop else logging.WARNING,
                "%s: %s: %s dead, up to %.0f %% zero, %s (%s); %s: %s; %s%s",
                at,
                severity.value,
                biases_are(len(biases)),
                share,
                cause,
                listed([bias.name for bias in biases]),
                biases[0].name,
                biases[0].evidence,
                outcome,
                "; stop training" if share > self.thresholds.stop else "",
            )
        kept = {bias.name: bias.cause + outcomes[bias.name] for bias in check.dead}
        self._said = {k: v for k, v in self._said.items() if k == "non-finite"} | kept

    def _outcome(self, bias: DeadBias, check: Check) -> str:
        if bias.name in check.left:
            return f"not repaired: {check.left[bias.name]}"
        if not self.auto_fix:
            return "not repaired: auto_fix is off"
        return (
            "repaired"
            if _lasts(bias)
            else ("repaired once, which will not last: nothing trains the new values")
        )

    def _summary(self) -> Iterator[str]:
        repaired = {repair.name for check in self.history for repair in check.repaired}
        dead = {bias.name for check in self.history for bias in check.dead}
        last = self.history[-1]
        yield (
            f"{len(self.history):,} checks of {last.biases:,} biases: {len(dead):,} were dead, "
            f"{len(repaired):,} repaired ({self._elements_repaired:,} elements); "
            f"{last.zero_percent:.2f} % zeros at the end"
        )
        if self._hooks is not None:
            yield from self._hooks.summary()

    def _is_hopeless(self, check: Check) -> bool:
        if not self.stop_training:
            return False
        above = [bias for bias in check.dead if bias.zero_percent > self.thresholds.stop]
        if above or check.non_finite:
            LOGGER.error(
                "training stops at %s steps: %s",
                f"{check.num_timesteps:,}",
                f"{listed(check.non_finite)} not finite"
                if check.non_finite
                else f"{listed([bias.name for bias in above])} above {self.thresholds.stop:g} %",
            )
        return bool(above or check.non_finite)

    def _model_updates(self) -> int:
        return int(getattr(self.model, "_n_updates", 0))

    def _say(self, line: str) -> None:
        """Print as SB3's callbacks do, or log where somebody listens to that."""
        if LOGGER.isEnabledFor(logging.INFO):
            LOGGER.info(line)
        elif self.verbose >= 1:
            print(f"sacdoctor: {line}")


def create_zero_prevention_system(
    check_frequency: int = 1000,
    auto_fix: bool = True,
    verbose: int = 1,
    *,
    warning: float = _DEFAULTS.warning,
    critical: float = _DEFAULTS.critical,
    stop: float = _DEFAULTS.stop,
    max_grad_norm: float | None = None,
    gradient_warning: float | None = GRADIENT_WARNING,
    on_missing_parameters: OnMissing = "warn",
    stop_training: bool = False,
    seed: int = 0,
) -> ZeroWeightsPreventionCallback:
    """Return the callback to hand to `model.learn(callback=…)`.

    The parameters, and what it raises, are those of `ZeroWeightsPreventionCallback`.
    """
    return ZeroWeightsPreventionCallback(
        check_frequency,
        auto_fix,
        verbose,
        warning=warning,
        critical=critical,
        stop=stop,
        max_grad_norm=max_grad_norm,
        gradient_warning=gradient_warning,
        on_missing_parameters=on_missing_parameters,
        stop_training=stop_training,
        seed=seed,
    )


def _lasts(bias: DeadBias) -> bool:
    return bias.cause not in OUTLAST_REPAIR
