"""Holds network updates back until a warm-up with forced actions is over."""

from __future__ import annotations

import logging
import types
from collections.abc import Iterator
from typing import Any, Literal, get_args

from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sacdoctor.diagnosis.rules import updates_during_warmup
from sacdoctor.settings import WARMUP_STEPS, judge_learning_starts
from sacdoctor.training.manners import TrainingCallback, say
from sacdoctor.training.warmup.executed_actions import ExecutedActionMixin
from sacdoctor.training.warmup.findings import WarmupFinding, finding_of, long_warmup
from sacdoctor.training.warmup.forced_actions import ForcedActionWarmup
from sacdoctor.training.warmup.infos import FORCED

Strategy = Literal["no-update", "random", "clear"]


class WarmupGuard(TrainingCallback):
    """Lets no network update happen before the warm-up is over, whatever `learning_starts` says.

    The warm-up lasts for `warmup_steps` of the model's timesteps, and longer where a
    `ForcedActionWarmup` around the environment forces more of them, or infos still say `forced`.
    The first update comes after the first timestep behind it, or behind `learning_starts` where
    that is later. `findings` holds what the check at the start of training said: updates that
    would have begun too early (SD501), a warm-up above 10,000 steps (SD502).

    A warm-up is not repeated. It counts as over where the model has timesteps beyond it (as with
    `reset_num_timesteps=False`), where it has been updated before (a loaded model), and where its
    replay buffer holds that many transitions (a loaded buffer). A fresh `ForcedActionWarmup` around
    a resumed run's environment is told how far the run has come.

    Nothing of the guard is saved with the model, whose settings and attributes stay as they are.

    :param warmup_steps: length of the warm-up in the model's timesteps, those of all environments
        together
    :param strategy: what happens besides holding the updates back. "no-update": nothing, the agent
        acts as it is set to, and the replay buffer keeps the forced transitions. "random": the
        agent's own actions are drawn from the action space. "clear": the replay buffer is emptied
        at the end of the warm-up, so the first updates see few transitions. On-policy algorithms
        throw every rollout away that a forced step is in; for them the three are the same
    :param verbose: 0 warnings only, 1 tells when updates begin as well

    Raises `ValueError` for a negative `warmup_steps` or an unknown strategy, and at the start of
    training for "clear" with a `HerReplayBuffer`; `TypeError` there for an algorithm that does not
    alternate between rollouts and updates (ARS).
    """

    def __init__(
        self,
        warmup_steps: int = WARMUP_STEPS,
        strategy: Strategy = "no-update",
        verbose: int = 1,
    ) -> None:
        super().__init__(verbose)
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps must be at least 0, got {warmup_steps}")
        if strategy not in get_args(Strategy):
            known = ", ".join(get_args(Strategy))
            raise ValueError(f"strategy must be one of {known}, got {strategy!r}")
        self.warmup_steps = warmup_steps
        self.strategy: Strategy = strategy
        self.findings: tuple[WarmupFinding, ...] = ()
        self.updates_began_at: int | None = None
        """The model's timesteps when the first update of this training was let through."""
        self._end = warmup_steps
        self._over = False
        self._rollout_is_warmup = False
        self._hold = _Hold()

    def _init_callback(self) -> None:
        if not isinstance(self.model, OffPolicyAlgorithm | OnPolicyAlgorithm):
            raise TypeError(f"WarmupGuard cannot hold back {type(self.model).__name__}'s updates")
        her = isinstance(getattr(self.model, "replay_buffer", None), HerReplayBuffer)
        if her and self.strategy == "clear":
            raise ValueError(
                'strategy "clear" would leave a HerReplayBuffer without a whole episode to sample; '
                'use "no-update"'
            )

    def _on_training_start(self) -> None:
        self.updates_began_at = None
        forced = self._forced_timesteps()
        self._end = max(self.warmup_steps, forced)
        self._over = self._is_behind_warmup()
        self._advance_environments()
        self.findings = ()
        if self._over:
            self._say(f"the warm-up of {self._end:,} steps is over: updates begin at once")
            return
        self.findings = self._check()
        for mistake in self._mistakes():
            say(mistake, logging.WARNING)
        for finding in self.findings:
            say(str(finding), logging.WARNING)
        if forced and forced != self.warmup_steps:
            steps, given, end = (f"{n:,}" for n in (forced, self.warmup_steps, self._end))
            say(
                f"ForcedActionWarmup forces {steps} steps (all environments together), WarmupGuard "
                f"was given warmup_steps={given}: updates wait for the later, step {end}",
                logging.WARNING,
            )
        self._hold_back()

    def _on_rollout_start(self) -> None:
        self._rollout_is_warmup = False

    def _on_step(self) -> bool:
        if self._over:
            return True
        forced = any(info.get(FORCED, False) for info in self.locals.get("infos", ()))
        if forced or self.num_timesteps <= self._end:
            self._rollout_is_warmup = True
            return True
        # The first step behind the warm-up; its transition is stored after this call.
        self._over = True
        if isinstance(self.model, OffPolicyAlgorithm):
            self._rollout_is_warmup = False
            if self.strategy == "clear" and self.model.replay_buffer is not None:
                self.model.replay_buffer.reset()
        return True

    def _on_rollout_end(self) -> None:
        self.logger.record("sacdoctor/in_warmup", int(self._rollout_is_warmup))
        if self._rollout_is_warmup:
            self._hold_back()
        elif self.updates_began_at is None and self._updates_follow():
            self.updates_began_at = self.num_timesteps
            self.logger.record("sacdoctor/updates_begin_at", self.num_timesteps)
            self._say(f"updates begin at step {self.num_timesteps:,}")

    def _on_training_end(self) -> None:
        self._hold.release()

    def _forced_timesteps(self) -> int:
        """How many of the model's timesteps are forced by `ForcedActionWarmup`, 0 without one."""
        env, wrapped = self.training_env, self._wrapped()
        longest: int = max(env.get_attr("forced_steps", wrapped)) if wrapped else 0
        return longest * env.num_envs

    def _wrapped(self) -> list[int]:
        """The indices of the environments that are wrapped in a `ForcedActionWarmup`."""
        answers = self.training_env.env_is_wrapped(ForcedActionWarmup)
        return [index for index, answer in enumerate(answers) if answer]

    def _is_behind_warmup(self) -> bool:
        buffer = getattr(self.model, "replay_buffer", None)
        stored = 0 if buffer is None else buffer.size() * buffer.n_envs
        updates: int = getattr(self.model, "_n_updates", 0)
        return self.model.num_timesteps >= self._end or updates > 0 or stored >= self._end

    def _advance_environments(self) -> None:
        env, wrapped = self.training_env, self._wrapped()
        taken = self._end if self._over else self.model.num_timesteps // env.num_envs
        if wrapped and taken:
            env.env_method("advance_forced_steps", taken, indices=wrapped)

    def _check(self) -> tuple[WarmupFinding, ...]:
        found: list[WarmupFinding] = []
        if isinstance(self.model, OffPolicyAlgorithm):
            early = judge_learning_starts(None, self.model.learning_starts, self._end)
            if early is not None:
                message = f"{early.message}; the guard holds them back"
                found.append(finding_of(updates_during_warmup.RULE, message))
        return (*found, *long_warmup(self._end))

    def _mistakes(self) -> Iterator[str]:
        """Yield what makes a forced warm-up store actions that were not carried out."""
        env, wrapped = self.training_env, self._wrapped()
        if not wrapped:
            return
        forced = env.get_attr("forced_action_space", wrapped)[0]
        if forced != self.model.action_space:
            yield (
                f"the agent's actions are of {self.model.action_space}, those that "
                f"ForcedActionWarmup forces and reports of {forced}: a wrapper outside of it "
                "changes them (RescaleAction), and they would be stored wrong; put "
                "ForcedActionWarmup outermost"
            )
        buffer = getattr(self.model, "replay_buffer", None)
        if buffer is not None and not isinstance(buffer, ExecutedActionMixin):
            yield (
                f"actions are forced, and {type(buffer).__name__} stores those that the agent "
                "chose: use replay_buffer_class=ExecutedActionReplayBuffer"
            )

    def _hold_back(self) -> None:
        self._hold.hold(self.model, self._end if self.strategy == "random" else 0)

    def _updates_follow(self) -> bool:
        if isinstance(self.model, OffPolicyAlgorithm):
            past = self.num_timesteps > self.model.learning_starts
            return past and self.model.gradient_steps != 0
        return True


class _Hold:
    """Turns a model's calls of `train` into nothing until its next rollout begins.

    For that while the model is an instance of a subclass of its class. An attribute set on the
    model, or a setting changed, could end up in what `model.save` writes.
    """

    def __init__(self) -> None:
        self._model: BaseAlgorithm | None = None
        self._own_class: type[BaseAlgorithm] | None = None
        self._own_train: Any = None
        self._random_until = 0
        self._subclasses: dict[type[BaseAlgorithm], type[BaseAlgorithm]] = {}

    def hold(self, model: BaseAlgorithm, random_until: int) -> None:
        """Hold back until the next rollout, whose actions are random up to step `random_until`."""
        self.release()
        own_class = type(model)
        if own_class not in self._subclasses:
            self._subclasses[own_class] = self._holding(own_class)
        self._model, self._own_class, self._random_until = model, own_class, random_until
        self._own_train = vars(model).pop("train", None)  # what somebody else wrapped around it
        model.__class__ = self._subclasses[own_class]

    def release(self) -> None:
        if self._model is None or self._own_class is None:
            return
        self._model.__class__ = self._own_class
        if self._own_train is not None:
            vars(self._model)["train"] = self._own_train
        self._model = None

    def _holding(self, own_class: type[BaseAlgorithm]) -> type[BaseAlgorithm]:
        def train(model: BaseAlgorithm, *args: Any, **kwargs: Any) -> None:
            return

        def collect_rollouts(model: Any, *args: Any, **kwargs: Any) -> Any:
            self.release()
            if self._random_until and "learning_starts" in kwargs:
                kwargs["learning_starts"] = max(kwargs["learning_starts"], self._random_until)
            return model.collect_rollouts(*args, **kwargs)

        def body(namespace: dict[str, Any]) -> None:
            namespace.update(
                train=train,
                collect_rollouts=collect_rollouts,
                __module__=own_class.__module__,
                __qualname__=own_class.__qualname__,
                __doc__=own_class.__doc__,
            )

        return types.new_class(own_class.__name__, (own_class,), {}, body)
