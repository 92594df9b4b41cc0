"""Watches a training for signs that it goes bad: rewards, exploration, values and losses."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from msgspec.structs import replace
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from sacdoctor.diagnosis import LEVEL, STANDARD_ERRORS
from sacdoctor.diagnosis.rules import entropy_collapse
from sacdoctor.settings import RATE_STEP
from sacdoctor.training.health.crash import (
    CrashDetector,
    Episode,
    RewardCrash,
    TrainingEvent,
)
from sacdoctor.training.health.episodes import EpisodeCounter
from sacdoctor.training.health.signs import (
    ACTION_WINDOW,
    GROWTH_FACTOR,
    GROWTH_LEAST,
    GROWTH_RECENT,
    GROWTH_WINDOW,
    LEAST_ACTION_STD,
    SHARPE_WINDOW,
    Array,
    action_std,
    growth,
    sharpe_ratio,
)
from sacdoctor.training.live import NonFiniteWatch
from sacdoctor.training.manners import TrainingCallback, TrainingFinding, say
from sacdoctor.training.warmup import FORCED


class TrainingHealthCallback(TrainingCallback):
    """Warns when a training goes bad, and can stop it and save the model when rewards crash.

    It watches: the return of episodes (`CrashDetector`; where no Monitor reports them, it adds up
    the rewards itself, and says so); the standard deviation of continuous actions
    (`LEAST_ACTION_STD`); a learned entropy coefficient (that of rule SD504); Q-values (through
    `train/actor_loss`, which is the negative Q-value, in SAC less the entropy's part) and losses
    that grow beyond `GROWTH_FACTOR` times their running median; and losses that are not finite.
    Episodes with a forced action in them (info `forced`) are not judged: their returns are not the
    agent's own.

    Each trouble is warned about once, and again only after it has been over. `findings` and
    `crashes` keep what was found, `history` the events that may explain it; SB3's logger has it as
    `sacdoctor/…`, Python's `logging` too. Nothing of the training is changed. What it has learned
    of a model and its environment it keeps from one `learn` to the next, and for no others.

    :param crash_window: episodes in a mean of returns, and so many low ones make a crash
    :param crash_standard_errors: size of a fall that is a crash, in standard errors of the
        difference of two means
    :param least_action_std: warn below this, in half ranges of the action space
    :param growth_factor: warn above this many times the running median
    :param sharpe: log the Sharpe ratio of the last `SHARPE_WINDOW` episodes' returns
    :param stop_on_crash: end the training when a crash is found
    :param save_path: where the model is saved when a crash is found: a name that ends in .zip, or
        a folder, in which it is crash_<timesteps>_steps.zip
    :param verbose: 0 warnings only, 1 a summary at the end as well

    Raises `ValueError` for a `crash_window` below 2.
    """

    def __init__(
        self,
        crash_window: int = LEVEL,
        crash_standard_errors: float = STANDARD_ERRORS,
        least_action_std: float = LEAST_ACTION_STD,
        growth_factor: float = GROWTH_FACTOR,
        sharpe: bool = False,
        stop_on_crash: bool = False,
        save_path: str | Path | None = None,
        verbose: int = 1,
    ) -> None:
        super().__init__(verbose)
        self.crash_window = crash_window
        self.crash_standard_errors = crash_standard_errors
        self.least_action_std = least_action_std
        self.growth_factor = growth_factor
        self.sharpe = sharpe
        self.stop_on_crash = stop_on_crash
        self.save_path = None if save_path is None else Path(save_path)
        self.findings: list[TrainingFinding] = []
        self.crashes: list[RewardCrash] = []
        self.history: list[TrainingEvent] = []
        self._watched_env: VecEnv | None = None
        self._counter = EpisodeCounter(0)
        self._said_uncounted = False
        self._found_before = 0
        self._updates_seen: int | None = None
        self._forget()

    def _forget(self) -> None:
        """Start anew: another model, or another environment, has other levels."""
        self._detector = CrashDetector(self.crash_window, self.crash_standard_errors)
        self._returns: deque[float] = deque(maxlen=SHARPE_WINDOW)
        self._episodes = 0
        self._episodes_before = 0
        self._forced_in_episode: list[bool] = []
        self._forcing = False
        self._actions: list[Array] = []
        self._series: dict[str, deque[float]] = {}
        self._looks = 0
        self._learning_rate: float | None = None
        self._largest_reward = 0.0
        self._choice: int | None = None
        self._times_chosen = 0
        self._in_trouble: set[str] = set()
        self._finite = NonFiniteWatch()

    @property
    def warnings(self) -> list[TrainingFinding]:
        """What `findings` was called before the other callbacks had any."""
        return self.findings

    @property
    def events(self) -> list[TrainingEvent]:
        """What `history` was called."""
        return self.history

    def init_callback(self, model: BaseAlgorithm) -> None:
        if (self._watched_env is not None) and (
            model is not self.model or model.get_env() is not self._watched_env
        ):
            self._forget()
        super().init_callback(model)

    def _on_training_start(self) -> None:
        env = self._watched_env = self.training_env
        self._forced_in_episode = [False] * env.num_envs
        starts = getattr(self.model, "_last_episode_starts", None)
        self._counter = EpisodeCounter(env.num_envs, begun=None if starts is None else ~starts)
        self._actions = []
        self._finite = NonFiniteWatch()
        self._updates_seen = getattr(self.model, "_n_updates", 0)
        self._found_before, self._episodes_before = len(self.findings), self._episodes

    def _on_step(self) -> bool:
        if "rewards" not in self.locals:  # ARS steps its environments elsewhere
            return True
        infos = self.locals["infos"]
        self._watch_environment()
        sizes = [abs(reward) for reward in self.locals["rewards"].tolist() if math.isfinite(reward)]
        self._largest_reward = max(self._largest_reward, *sizes, 0.0)
        self._watch_updates()
        self._watch_forcing(infos)
        self._watch_actions()
        crashed = self._watch_episodes(infos)
        return not (crashed and self.stop_on_crash)

    def _watch_environment(self) -> None:
        """Name the first reward or observation that is not finite; what follows is its fault."""
        first = self._finite.look(self.locals, self.num_timesteps)
        if first is not None:
            quantity = "reward" if first.startswith("the reward") else "observation"
            self._find("non-finite", quantity, math.nan, math.inf, first)

    def _on_training_end(self) -> None:
        found = [finding.kind for finding in self.findings[self._found_before :]]
        told = ", ".join(dict.fromkeys(found)) or "nothing"
        episodes = self._episodes - self._episodes_before
        self._say(f"health: {episodes:,} episodes watched, {told} found")

    def _watch_updates(self) -> None:
        """Look at what the last update left in SB3's logger, once per update."""
        updates: int = getattr(self.model, "_n_updates", 0)
        if updates == self._updates_seen:
            return
        if not self._updates_seen:
            self._event("start of updates")
        self._updates_seen = updates
        logged = self.logger.name_to_value
        self._watch_learning_rate(logged.get("train/learning_rate"))
        self._watch_entropy(logged.get("train/ent_coef"))
        self._looks += 1
        for name, power in self._watched():
            value = logged.get(name)
            if value is not None:
                self._watch_growth(name, float(value), self._largest_reward**power)

    def _watched(self) -> tuple[tuple[str, int], ...]:
        """The logged values to watch, each with the power of a reward that it has as its unit."""
        if isinstance(self.model, OffPolicyAlgorithm):
            # DQN's Huber loss is linear in large errors, the critics' is their mean square.
            return ("train/actor_loss", 1), ("train/critic_loss", 2), ("train/loss", 1)
        return (("train/value_loss", 2),)

    def _watch_learning_rate(self, rate: float | None) -> None:
        if rate is None or rate <= 0.0:
            return
        before, self._learning_rate = self._learning_rate, rate
        if before is not None and not 1.0 / RATE_STEP < rate / before < RATE_STEP:
            self._event(f"learning-rate step from {before:.3g} to {rate:.3g}")

    def _watch_entropy(self, coefficient: float | None) -> None:
        if coefficient is None or getattr(self.model, "ent_coef_optimizer", None) is None:
            return
        self._judge(
            coefficient < entropy_collapse.WARNING,
            "entropy",
            "train/ent_coef",
            float(coefficient),
            entropy_collapse.WARNING,
            f"the entropy coefficient has sunk to {coefficient:.1e}: the agent no longer explores",
        )

    def _watch_growth(self, name: str, value: float, floor: float) -> None:
        if not math.isfinite(value):
            # One NaN reward makes many losses NaN, now and then, for as long as it is stored.
            if self._finite.first is None and "non-finite" not in self._in_trouble:
                self._in_trouble.add("non-finite")
                self._find("non-finite", name, value, math.inf, f"{name} is {value}")
            return
        series = self._series.setdefault(name, deque(maxlen=GROWTH_WINDOW))
        series.append(value)
        if len(series) < GROWTH_LEAST + GROWTH_RECENT or self._looks % GROWTH_RECENT:
            return
        factor = growth(series, floor)
        what = "Q-values" if name == "train/actor_loss" else name
        self._judge(
            factor > self.growth_factor,
            "growth",
            name,
            factor,
            self.growth_factor,
            f"{what} grew to {factor:.3g} times their running median (now {value:.3g})",
        )

    def _watch_forcing(self, infos: Sequence[dict[str, Any]]) -> None:
        forcing = False
        for env, info in enumerate(infos):
            if info.get(FORCED, False):
                forcing = self._forced_in_episode[env] = True
        if self._forcing and not forcing:
            self._event("end of warm-up")
        self._forcing = forcing

    def _watch_actions(self) -> None:
        """Judge the agent's own actions, whatever was carried out, since updates have begun."""
        space = self.model.action_space
        if not self._updates_seen or self._forcing:
            return
        if isinstance(space, spaces.Discrete):
            self._watch_choices()
        if not isinstance(space, spaces.Box):
            return
        actions = self.locals.get("clipped_actions", self.locals.get("actions"))
        if actions is None:
            return
        self._actions.append(np.array(actions).reshape(-1, *space.shape))
        if len(self._actions) * len(self._actions[0]) < ACTION_WINDOW:
            return
        spread = action_std(np.concatenate(self._actions), space)
        self._actions = []
        if math.isnan(spread):
            return
        self.logger.record("sacdoctor/action_std", spread)
        self._judge(
            spread < self.least_action_std,
            "action-std",
            "sacdoctor/action_std",
            spread,
            self.least_action_std,
            f"the actions' standard deviation is {spread:.3g} of half their range "
            f"(below {self.least_action_std:g}): the agent does nearly the same everywhere",
        )

    def _watch_choices(self) -> None:
        """Judge discrete actions: an agent that explores does not do one thing all the time."""
        actions = self.locals.get("actions")
        if actions is None:
            return
        chosen = np.asarray(actions).reshape(-1)
        if self._choice is None or (chosen != self._choice).any():
            self._choice, self._times_chosen = int(chosen[-1]), 0
        self._times_chosen += len(chosen)
        self._judge(
            self._times_chosen >= ACTION_WINDOW,
            "same-action",
            "actions",
            float(self._choice),
            float(ACTION_WINDOW),
            f"the last {self._times_chosen:,} actions were all {self._choice}: the agent does the "
            "same everywhere and no longer explores",
        )

    def _watch_episodes(self, infos: Sequence[dict[str, Any]]) -> bool:
        """Judge the episodes that ended with this step; return whether rewards have crashed."""
        crashed = False
        own = self._counter.add(self._rewards(), self.locals["dones"])
        for env, info in enumerate(infos):
            if not self.locals["dones"][env]:
                continue
            number, self._episodes = self._episodes, self._episodes + 1
            was_forced, self._forced_in_episode[env] = self._forced_in_episode[env], False
            if was_forced:
                continue
            value = float(info["episode"]["r"]) if "episode" in info else self._counted(own[env])
            if not math.isfinite(value):
                continue
            self._returns.append(value)
            if self.sharpe:
                self._record_sharpe()
            crash = self._detector.add(Episode(number, self.num_timesteps, value))
            if crash is not None:
                self._report(crash)
                crashed = True
        return crashed

    def _rewards(self) -> Array:
        """Return the step's rewards as the environment gave them, shape `(n_envs,)`."""
        normalised = self.model.get_vec_normalize_env()
        if normalised is not None:
            return normalised.get_original_reward()
        rewards: Array = self.locals["rewards"]
        return rewards

    def _counted(self, value: float) -> float:
        """Return an episode's return as it was added up here, and say once that it was."""
        if not self._said_uncounted:
            self._said_uncounted = True
            self._say(
                "no Monitor reports the episodes' returns: they are added up from the rewards that "
                "the agent gets (VecMonitor(env) or Monitor(env) also puts them into the logs)"
            )
        return value

    def _record_sharpe(self) -> None:
        ratio = sharpe_ratio(self._returns)
        if not math.isnan(ratio):
            self.logger.record("sacdoctor/sharpe", ratio)

    def _report(self, crash: RewardCrash) -> None:
        before = [event for event in self.history if event.timesteps <= crash.timesteps]
        if before:
            crash = replace(crash, preceded_by=before[-1])
        self.crashes.append(crash)
        self.logger.record("sacdoctor/crashes", len(self.crashes))
        self.logger.record("sacdoctor/crash_at", crash.timesteps)
        self._warn(
            TrainingFinding(
                "reward-crash",
                "rollout/ep_rew",
                self.num_timesteps,
                crash.standard_errors,
                self.crash_standard_errors,
                str(crash),
            )
        )
        if self.save_path is not None:
            self._save(self.save_path)

    def _save(self, path: Path) -> None:
        if path.suffix != ".zip":
            path = path / f"crash_{self.num_timesteps}_steps.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.model.save(path)
        self._say(f"the model was saved as {path}", least=0)

    def _event(self, name: str) -> None:
        self.history.append(TrainingEvent(name, self.num_timesteps))
        self._log_event("training", f"at {self.num_timesteps:,} steps: {name}")

    def _judge(
        self, bad: bool, kind: str, quantity: str, value: float, limit: float, message: str
    ) -> None:
        """Warn where it is bad now and was not at the last look."""
        trouble = f"{kind} {quantity}"
        if not bad:
            self._in_trouble.discard(trouble)
        elif trouble not in self._in_trouble:
            self._in_trouble.add(trouble)
            self._find(kind, quantity, value, limit, message)

    def _find(self, kind: str, quantity: str, value: float, limit: float, message: str) -> None:
        self._warn(TrainingFinding(kind, quantity, self.num_timesteps, value, limit, message))

    def _warn(self, finding: TrainingFinding) -> None:
        self.findings.append(finding)
        self.logger.record("sacdoctor/health_warnings", len(self.findings))
        self._log_event(finding.kind, str(finding))
        say(str(finding), logging.WARNING)
