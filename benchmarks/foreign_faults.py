"""How many of the faults that other people's benchmarks define are named, and by what.

Each fault is planted as its source defines it, in a short training with real SB3, and leaves what a
user's run leaves: checkpoints, monitor, progress.csv, replay buffer. `scan` of the last checkpoint
and of the buffer and `history` of the folder then say what they find. Which findings name a fault
(`cause`) and which are true of what it did (`symptom`) was written down before any output was seen.

Sources: muPRL (testingautomated-usi/muPRL, `mutants/`), RLMutation (FlowSs/RLMutation,
`RLMT/mutated_algorithms.py` and `mutated_env.py`; Tambon et al., ICST 2023), RLExplorer
(arXiv:2410.04322; rached1997/RLDebugger, `messages.properties`), Amazon SageMaker Debugger's
built-in rules, the taxonomy of Nikanjam et al. (arXiv:2101.00135), and papers on plasticity
(arXiv:2205.07802, 2302.12902, 2303.01486, 2306.13812).

A fault in code that no file keeps is trained all the same, and counted apart.

Measured: of 109 faults with evidence in files 101 by cause (muPRL 16 of 17, RLMutation 10 of 13,
RLExplorer 29 of 31, SageMaker 16 of 17, taxonomy 20 of 21, plasticity 10 of 10), 7 by a notice,
1 missed; 19 lie in no file; 0 of 16 healthy trainings warned about. Before the rules were extended
for what was missed: 81 by cause, 1 by a symptom, 4 by a notice, 23 missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from rich.console import Console
from rich.table import Table
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script: benchmarks are not installed

from benchmarks.healthy import Catch
from fixtures.faulty_training import At
from sacdoctor import ScanOptions, Severity
from sacdoctor.fleet import Look, find_checkpoints, reports_on
from sacdoctor.history import read_history
from sacdoctor.model import Finding

SEED = 41
HEALTHY_SEEDS = (50, 51)

Change = Callable[[BaseAlgorithm], None]
Wrap = Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]

# -- trainings ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Base:
    """A training that goes well; `options` are the constructor's, by rl-zoo where it has some."""

    algorithm: type[BaseAlgorithm]
    env: Callable[[], gym.Env[Any, Any]]
    steps: int
    options: dict[str, Any] = field(default_factory=dict)
    n_envs: int = 1
    policy: str = "MlpPolicy"


def _cart() -> gym.Env[Any, Any]:
    return gym.make("CartPole-v1")


def _pendulum() -> gym.Env[Any, Any]:
    return gym.make("Pendulum-v1")


def _car() -> gym.Env[Any, Any]:
    return gym.make("MountainCarContinuous-v0")


def _noise(sigma: float) -> NormalActionNoise:
    return NormalActionNoise(np.zeros(1), sigma * np.ones(1))


_BUFFER = {"buffer_size": 50_000}
_SMALL = {"net_arch": [64, 64]}
BASES = {
    "sac": Base(SAC, _pendulum, 600, {"learning_rate": 1e-3, "policy_kwargs": _SMALL, **_BUFFER}),
    "sac_car": Base(
        SAC,
        _car,
        3200,
        # rl-zoo's sac.yml, MountainCarContinuous-v0
        {
            **{"learning_rate": 3e-4, "batch_size": 512, "ent_coef": 0.1, "gamma": 0.9999},
            **{"train_freq": 32, "gradient_steps": 32, "tau": 0.01, "learning_starts": 0},
            **{"use_sde": True, **_BUFFER},
            "policy_kwargs": {"log_std_init": -3.67, "net_arch": [64, 64]},
        },
    ),
    "td3": Base(
        TD3,
        _pendulum,
        600,
        {
            **{"gamma": 0.98, "learning_starts": 200, "learning_rate": 1e-3, **_BUFFER},
            **{"action_noise": _noise(0.1), "policy_kwargs": _SMALL},
        },
    ),
    "dqn": Base(
        DQN,
        _cart,
        4000,
        # rl-zoo's dqn.yml, CartPole-v1
        {
            **{"learning_rate": 2.3e-3, "batch_size": 64, "learning_starts": 1000, "gamma": 0.99},
            **{"target_update_interval": 10, "train_freq": 256, "gradient_steps": 128},
            **{"exploration_fraction": 0.16, "exploration_final_eps": 0.04, **_BUFFER},
            "policy_kwargs": {"net_arch": [256, 256]},
        },
    ),
    "dqn_image": Base(
        DQN,
        lambda: Catch(36),
        800,
        {"buffer_size": 3000, "learning_starts": 200, "target_update_interval": 50},
        policy="CnnPolicy",
    ),
    "ppo": Base(PPO, _cart, 4096, {"n_steps": 256}),
    "ppo_pendulum": Base(PPO, _pendulum, 4096, {"n_steps": 512, "learning_rate": 1e-3}),
    "a2c": Base(A2C, _cart, 8000, {"ent_coef": 0.0}, n_envs=4),
}


@dataclass(frozen=True)
class Plant:
    """What is changed about a training.

    `options` are merged into the base's, `policy` into its `policy_kwargs`. `wrap` is put around
    each environment, beneath its Monitor. `start` and `midway` change the live model before the
    first step and after half of them.
    """

    options: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    wrap: Wrap | None = None
    algorithm: type[BaseAlgorithm] | None = None
    env: Callable[[], gym.Env[Any, Any]] | None = None
    start: Change | None = None
    midway: Change | None = None
    steps: int | None = None
    n_envs: int | None = None


def train(base: Base, plant: Plant, folder: Path, seed: int) -> None:
    """Train, and leave checkpoints, logs, monitors and the replay buffer in `folder`.

    A training that breaks off leaves what it has written until then, as a user's does.
    """
    folder.mkdir(parents=True)
    n_envs, steps = plant.n_envs or base.n_envs, plant.steps or base.steps

    def env(number: int) -> gym.Env[Any, Any]:
        made = (plant.env or base.env)()
        return Monitor(made if plant.wrap is None else plant.wrap(made), str(folder / str(number)))

    envs = DummyVecEnv([lambda n=n: env(n) for n in range(n_envs)])
    options = {**base.options, **plant.options}
    # SB3 writes into the dict that it is given.
    options["policy_kwargs"] = {**options.get("policy_kwargs", {}), **plant.policy}
    algorithm = plant.algorithm or base.algorithm
    model = algorithm(base.policy, envs, seed=seed, device="cpu", **options)
    model.set_logger(configure(str(folder), ["csv"]))
    if plant.start is not None:
        plant.start(model)
    callbacks: list[BaseCallback] = [CheckpointCallback(max(1, steps // 4 // n_envs), str(folder))]
    if plant.midway is not None:
        callbacks.append(At(steps // 2, plant.midway))
    with suppress(ValueError, RuntimeError):  # a distribution refuses NaN
        model.learn(steps, callback=CallbackList(callbacks))
    model.save(folder / "model.zip")
    if isinstance(model, OffPolicyAlgorithm):
        model.save_replay_buffer(folder / "model_replay_buffer.pkl")
    model.logger.close()
    envs.close()


# -- what is planted: weights and updates ------------------------------------------------------


def parameters(model: BaseAlgorithm, pattern: str) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters whose names begin so, their targets' not."""
    found = [(n, p) for n, p in model.policy.named_parameters() if n.startswith(pattern)]
    if not found:
        raise LookupError(f"no parameter is called {pattern}...")
    return found


def fill(pattern: str, value: float, share: float = 1.0) -> Change:
    """Set these parameters, or the first `share` of their rows, to `value`; targets follow."""

    def change(model: BaseAlgorithm) -> None:
        with th.no_grad():
            for _, parameter in parameters(model, pattern):
                parameter[: int(share * len(parameter))] = value
        _sync(model)

    return change


def scale(pattern: str, factor: float) -> Change:
    """Multiply these layers' weights."""

    def change(model: BaseAlgorithm) -> None:
        with th.no_grad():
            for name, parameter in parameters(model, pattern):
                parameter.mul_(factor if name.endswith("weight") else 1.0)
        _sync(model)

    return change


def repeat_rows(pattern: str) -> Change:
    """Make all units of these layers copies of their first one."""

    def change(model: BaseAlgorithm) -> None:
        with th.no_grad():
            for _, parameter in parameters(model, pattern):
                parameter.copy_(parameter[:1].expand_as(parameter))
        _sync(model)

    return change


def freeze(pattern: str) -> Change:
    """Let no gradient reach these parameters."""

    def change(model: BaseAlgorithm) -> None:
        for _, parameter in parameters(model, pattern):
            parameter.requires_grad_(False)

    return change


def _sync(model: BaseAlgorithm) -> None:
    for name in ("q_net", "critic", "actor"):
        online = getattr(model.policy, name, None)
        target = getattr(model.policy, f"{name}_target", None)
        if target is not None and online is not None:
            target.load_state_dict(online.state_dict())


def both(*changes: Change) -> Change:
    """Make several changes."""

    def change(model: BaseAlgorithm) -> None:
        for one in changes:
            one(model)

    return change


class StaleTargetSAC(SAC):
    """Its targets are never updated."""

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        kept = {n: v.clone() for n, v in self.critic_target.state_dict().items()}
        super().train(gradient_steps, batch_size)
        self.critic_target.load_state_dict(kept)


class StaleTargetTD3(TD3):
    """Polyak averaging with its arguments swapped: the critic follows its target."""

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        kept = {n: v.clone() for n, v in self.critic_target.state_dict().items()}
        super().train(gradient_steps, batch_size)
        with th.no_grad():
            for name, value in self.critic.state_dict().items():
                value.lerp_(kept[name], self.tau)
        self.critic_target.load_state_dict(kept)


class LossDQN(DQN):
    """RLMutation's ILF: the discounted next value is subtracted."""

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        self.gamma = -self.gamma
        super().train(gradient_steps, batch_size)
        self.gamma = -self.gamma


class UndiscountedDQN(DQN):
    """RLMutation's NDF: the target is the reward, and the next value where an episode ends."""

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        sample, gamma = self.replay_buffer.sample, self.gamma

        def inverted(*args: Any, **kwargs: Any) -> Any:
            batch = sample(*args, **kwargs)
            return batch._replace(dones=1 - batch.dones)

        self.gamma, self.replay_buffer.sample = 1.0, inverted  # type: ignore[method-assign]
        super().train(gradient_steps, batch_size)
        self.gamma = gamma
        del self.replay_buffer.sample


class _Stuck:
    """RLMutation's MSU: the state that the agent sees is never replaced by the next one."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "_last_obs" or self.__dict__.get(name) is None:
            super().__setattr__(name, value)


class StuckPPO(_Stuck, PPO):
    """PPO, never told of a next state."""


class StuckA2C(_Stuck, A2C):
    """A2C, never told of a next state."""


class NoTimeoutPPO(PPO):
    """RLMutation's MTS: no value is added where an episode was cut."""

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        values, self.gamma = self.gamma, 0.0
        done = super().collect_rollouts(*args, **kwargs)
        self.gamma = values
        return done


class ForwardBuffer(RolloutBuffer):
    """RLMutation's NR: advantages are summed up from the first step to the last."""

    def compute_returns_and_advantage(self, last_values: th.Tensor, dones: Any) -> None:
        last, following = 0.0, last_values.clone().cpu().numpy().flatten()
        for step in range(self.buffer_size):
            is_last = step == self.buffer_size - 1
            goes_on = 1.0 - (dones if is_last else self.episode_starts[step + 1])
            after = following if is_last else self.values[step + 1]
            delta = self.rewards[step] + self.gamma * after * goes_on - self.values[step]
            last = delta + self.gamma * self.gae_lambda * goes_on * last
            self.advantages[step] = last
        self.returns = self.advantages + self.values


class UndiscountedBuffer(RolloutBuffer):
    """RLMutation's NDF."""

    def compute_returns_and_advantage(self, last_values: th.Tensor, dones: Any) -> None:
        self.gamma = 1.0
        super().compute_returns_and_advantage(last_values, dones)


class WrongSignBuffer(RolloutBuffer):
    """RLMutation's ILF for A2C: the policy's loss has the other sign."""

    def compute_returns_and_advantage(self, last_values: th.Tensor, dones: Any) -> None:
        super().compute_returns_and_advantage(last_values, dones)
        self.advantages = -self.advantages


class NoTerminalBuffer(ReplayBuffer):
    """RLMutation's MTS: nothing is stored as done."""

    def add(self, obs: Any, next_obs: Any, action: Any, reward: Any, done: Any, infos: Any) -> None:
        super().add(obs, next_obs, action, reward, np.zeros_like(done), infos)


class StuckBuffer(ReplayBuffer):
    """RLMutation's MSU: the next observation is the observation."""

    def add(self, obs: Any, next_obs: Any, action: Any, reward: Any, done: Any, infos: Any) -> None:
        super().add(obs, obs, action, reward, done, infos)


# -- what is planted: environments -------------------------------------------------------------


class Mutated(gym.Wrapper[Any, Any, Any, Any]):
    """RLMutation's environments: at every step, what the agent gets is another step's.

    `kind`: repeat, the one before; random, any of the last 1,000; mangled, observation and reward
    of different ones; noise, the reward varies by a tenth.
    """

    def __init__(self, env: gym.Env[Any, Any], kind: str) -> None:
        super().__init__(env)
        self._kind, self._past = kind, list[tuple[Any, float]]()

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, done, cut, info = self.env.step(action)
        reward = float(reward)
        self._past = [*self._past[-999:], (observation, reward)]
        draw = self.np_random
        pick = int(draw.integers(len(self._past)))
        if self._kind == "repeat" and len(self._past) > 1:
            observation, reward = self._past[-2]
        if self._kind == "random":
            observation, reward = self._past[pick]
        if self._kind == "mangled":
            observation, reward = self._past[pick][0], self._past[draw.integers(len(self._past))][1]
        if self._kind == "noise":
            reward += float(draw.normal(0, 0.1 * abs(reward)))
        return observation, reward, done, cut, info


class Changed(gym.Wrapper[Any, Any, Any, Any]):
    """Observations and rewards pass through functions of their value and the step's number."""

    def __init__(
        self,
        env: gym.Env[Any, Any],
        observe: Callable[[Any, int], Any] = lambda value, _: value,
        reward: Callable[[float, int], float] = lambda value, _: value,
    ) -> None:
        super().__init__(env)
        self._observe, self._reward, self._steps = observe, reward, 0
        box = env.observation_space
        assert isinstance(box, gym.spaces.Box)
        if box.dtype != np.uint8:
            self.observation_space = gym.spaces.Box(-np.inf, np.inf, box.shape)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        return self._observe(observation, self._steps), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, done, cut, info = self.env.step(action)
        self._steps += 1
        seen = np.asarray(self._observe(observation, self._steps), np.float32)
        return seen, self._reward(float(reward), self._steps), done, cut, info


class Standing(gym.Wrapper[Any, Any, Any, Any]):
    """Whatever is done, `step` returns what it returned the first time."""

    _first: tuple[Any, ...] | None = None

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        self._first = (observation, 1.0, False) if self._first is None else self._first
        return self._first[0], info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        *_, done, cut, info = self.env.step(action)
        assert self._first is not None
        return self._first[0], self._first[1], done, cut, info


class NeverReset(gym.Wrapper[Any, Any, Any, Any]):
    """After the first episode nothing resets the environment: each further step is an end."""

    _last: Any = None

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        if self._last is None:
            self._last, _ = self.env.unwrapped.reset(**kwargs)
        return self._last, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self._last, reward, done, _, info = self.env.unwrapped.step(action)
        return self._last, reward, done, False, info


class Endless(gym.Wrapper[Any, Any, Any, Any]):
    """The pole falls and the episode goes on, until 200 steps are over."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, _, _, cut, info = self.env.step(action)
        return observation, 1.0, False, cut, info


class CutAsDone(gym.Wrapper[Any, Any, Any, Any]):
    """Episodes end after `limit` steps, and the environment calls that done."""

    def __init__(self, env: gym.Env[Any, Any], limit: int) -> None:
        super().__init__(env)
        self._limit, self._steps = limit, 0

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self._steps = 0
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, done, _, info = self.env.step(action)
        self._steps += 1
        return observation, reward, done or self._steps >= self._limit, False, info


def mutated(kind: str) -> Wrap:
    """Return RLMutation's wrapper of this kind."""
    return lambda env: Mutated(env, kind)


def observed(change: Callable[[Any, int], Any]) -> Wrap:
    """Return a wrapper that changes observations."""
    return lambda env: Changed(env, observe=change)


def rewarded(change: Callable[[float, int], float]) -> Wrap:
    """Return a wrapper that changes rewards."""
    return lambda env: Changed(env, reward=change)


# -- faults ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """A fault and its labels, each a rule's code and words of its message or evidence.

    `hidden` says why no file can show it; such a fault has no labels.
    """

    name: str
    source: str
    operator: str
    base: str
    plant: Plant
    cause: tuple[str, ...] = ()
    symptom: tuple[str, ...] = ()
    hidden: str = ""


_SHORT = {"sac": 400, "td3": 400, "dqn": 2400}


def _options(**options: Any) -> Plant:
    return Plant(options=options)


class _Source(NamedTuple):
    """Where faults come from, and how their names begin."""

    name: str
    prefix: str

    def __call__(
        self, kind: str, base: str, plant: Plant, *cause: str, symptom: str = "", hidden: str = ""
    ) -> Fault:
        """Return one of its faults; `symptom` holds several labels separated by commas."""
        name = f"{self.prefix}_{base}_{kind.replace(' ', '_')}"
        signs = tuple(symptom.split(", ")) if symptom else ()
        return Fault(name, self.name, kind, base, plant, cause, signs, hidden)


def _muprl() -> Iterator[Fault]:
    """Values are those that `mutants/*.py` draw from."""
    source = _Source("muPRL", "muprl")

    def fault(
        base: str, key: str, value: Any, cause: str, symptom: str = "", **plant: Any
    ) -> Fault:
        planted = replace(Plant(**plant), options={key: value})
        return source(f"{key} {value}", base, planted, cause, symptom=symptom)

    for base, value in (("dqn", 0.45), ("ppo", 0.45), ("sac", 0.6), ("a2c", 0.5)):
        yield fault(base, "gamma", value, "SD405 gamma")
    yield fault("sac", "tau", 0.0005, "SD405 tau", "SD209")
    yield fault("sac", "tau", 0.12, "SD405 tau")
    yield fault("td3", "tau", 0.12, "SD405 tau")
    yield fault("dqn", "exploration_final_eps", 0.9, "SD405 exploration_final_eps")
    yield fault("dqn", "exploration_final_eps", 0.6, "SD405 exploration_final_eps")
    yield fault("dqn", "learning_starts", 2000, "SD405 learning_starts")
    yield fault("sac", "learning_starts", 300, "SD405 learning_starts")
    yield fault("dqn", "target_update_interval", 1200, "* target_update_interval", "SD209")
    yield fault("dqn", "target_update_interval", 4000, "* target_update_interval", "SD209")
    yield fault("ppo", "n_steps", 2, "SD405 n_steps", steps=1000)
    yield fault("a2c", "n_steps", 2, "SD405 n_steps", steps=2000, n_envs=1)
    yield fault("ppo", "ent_coef", 0.2, "SD405 ent_coef")
    yield fault("a2c", "ent_coef", 20.0, "SD405 ent_coef")
    yield Fault(
        "muprl_dqn_n_timesteps",
        "muPRL",
        "n_timesteps, a quarter",
        "dqn",
        Plant(steps=1400),
        hidden="a run of any length looks like one that was meant so",
    )


_IN_ENVIRONMENT = "the environment's code: what the agent saw is consistent in itself"
_IN_ROLLOUT = "on-policy algorithms save no transitions"
_IN_UPDATE = "the update's code: the file keeps settings and weights alone"


def _rlmutation() -> Iterator[Fault]:
    fault = _Source("RLMutation", "rlmutation")
    for kind, operator in (("mangled", "M"), ("random", "Ra"), ("repeat", "R")):
        wrap = Plant(wrap=mutated(kind))
        yield fault(operator, "dqn", wrap, "SD904", symptom="SD902, SD905")
        yield fault(operator, "ppo", wrap, hidden=_IN_ROLLOUT)
    for base in ("dqn", "ppo"):
        yield fault("RN", base, Plant(wrap=mutated("noise")), hidden=_IN_ENVIRONMENT)
    yield fault(
        "MTS",
        "dqn",
        _options(replay_buffer_class=NoTerminalBuffer),
        *("SD905", "SD902 done"),
        symptom="SD902",
    )
    yield fault("MTS", "ppo", Plant(algorithm=NoTimeoutPPO), hidden=_IN_UPDATE)
    yield fault(
        "MSU", "dqn", _options(replay_buffer_class=StuckBuffer), "SD903", symptom="SD902, SD904"
    )
    yield fault("MSU", "ppo", Plant(algorithm=StuckPPO), "SD903", symptom="SD505")
    yield fault("MSU", "a2c", Plant(algorithm=StuckA2C), "SD903", symptom="SD505")
    yield fault("NDF", "dqn", Plant(algorithm=UndiscountedDQN), hidden=_IN_UPDATE)
    for base in ("ppo", "a2c"):
        undiscounted = _options(rollout_buffer_class=UndiscountedBuffer)
        yield fault("NDF", base, undiscounted, hidden=_IN_UPDATE)
        yield fault("NR", base, _options(rollout_buffer_class=ForwardBuffer), hidden=_IN_UPDATE)
    yield fault("ILF", "dqn", Plant(algorithm=LossDQN), hidden=_IN_UPDATE)
    yield fault("ILF", "a2c", _options(rollout_buffer_class=WrongSignBuffer), hidden=_IN_UPDATE)
    yield fault(
        "PAC_ReLU",
        "a2c",
        Plant(policy={"activation_fn": nn.ReLU}),
        hidden="no fault that can be told: rl-zoo tunes 22 settings with it",
    )
    for base in ("ppo", "a2c", "dqn"):
        sigmoid = Plant(policy={"activation_fn": nn.Sigmoid})
        yield fault("PAC_Sigmoid", base, sigmoid, "* Sigmoid", symptom="SD204, SD208, SD105")
        sgd = Plant(policy={"optimizer_class": th.optim.SGD, "optimizer_kwargs": {}})
        yield fault("POC_SGD", base, sgd, "* SGD", symptom="SD210, SD303, SD302")


def _nan_once(value: float, step: int) -> float:
    return float("nan") if step == 300 else value


def _rlexplorer() -> Iterator[Fault]:
    fault = _Source("RLExplorer", "rlexplorer")
    nan_reward = Plant(wrap=rewarded(_nan_once))
    yield fault("nan_loss", "sac", nan_reward, "SD901 reward", symptom="SD301")
    nan_seen = Plant(wrap=observed(lambda seen, n: seen * (np.nan if n == 2500 else 1.0)))
    yield fault("out_nan", "dqn", nan_seen, "SD901 observation", symptom="SD301, SD304")
    yield fault("div_loss", "dqn", _options(learning_rate=0.5), "SD401", symptom="SD302, SD303")
    yield fault("stagnated_loss", "ppo", _options(learning_rate=1e-9), "SD401")
    yield fault(
        "act_dead",
        "dqn",
        Plant(start=fill("q_net.q_net.0.bias", -100)),
        *("SD105", "SD104", "SD204"),
        symptom="SD208",
    )
    yield fault(
        "act_dead",
        "td3",
        Plant(start=fill("actor.mu.0.bias", -100)),
        *("SD105", "SD104", "SD204", "SD208"),
    )
    thousandfold = observed(lambda seen, _: seen * 1e3)
    yield fault(
        "act_sat",
        "ppo_pendulum",
        Plant(wrap=thousandfold),
        "SD304",
        symptom="SD105, SD204, SD303",
    )
    yield fault("w_nan", "ppo", Plant(midway=fill("mlp_extractor", np.nan)), "SD301")
    yield fault("w_div", "a2c", Plant(midway=scale("mlp_extractor", 1e4)), "SD302")
    yield fault("b_div", "dqn", Plant(midway=fill("q_net.q_net.2.bias", 1e5)), "SD302")
    for base, pattern in (("dqn", "q_net.q_net"), ("a2c", "mlp_extractor"), ("td3", "critic.")):
        constant = Plant(start=fill(pattern, 0.01))
        yield fault("poor_init", base, constant, "SD107")
    first = observed(lambda seen, _: np.full_like(seen, 0.3))
    yield fault("observations_constant", "sac", Plant(wrap=first), "SD903", symptom="SD904")
    yield fault("observations_constant", "ppo", Plant(wrap=first), "SD903", symptom="SD505")
    yield fault("observations_unnormalized", "sac", Plant(wrap=thousandfold), "SD304", "SD906")
    yield fault(
        "observations_unnormalized",
        "dqn",
        Plant(wrap=observed(lambda seen, _: seen * 1e4)),
        *("SD304", "SD906"),
    )
    yield fault(
        "entropy_start", "ppo_pendulum", Plant(policy={"log_std_init": -6.0}), "SD505", "* log_std"
    )
    yield fault(
        "entropy_incr",
        "sac",
        _options(target_entropy=3.0),
        "SD405 target_entropy",
        symptom="SD506",
    )
    yield fault("entropy_strong_dec", "ppo", _options(ent_coef=-0.5), "SD405 ent_coef")
    yield fault("entropy_stag", "ppo", _options(ent_coef=1.0), "SD405 ent_coef")
    yield fault("invalid_step_func", "dqn", Plant(wrap=Standing), "SD903", symptom="SD904, SD905")
    yield fault(
        "missing_terminal_state",
        "dqn",
        Plant(wrap=Endless, env=lambda: gym.make("CartPole-v1", max_episode_steps=200)),
        hidden="episodes that are never lost look like a task that is solved",
    )
    yield fault("reset_was_not_called", "dqn", Plant(wrap=NeverReset), "SD905")
    short = Plant(wrap=lambda env: CutAsDone(env, 12))
    yield fault("poor_max_step_per_ep", "sac", short, "SD908", "SD905")
    yield fault("target_network_not_updated", "sac", Plant(algorithm=StaleTargetSAC), "SD209")
    yield fault("using_the_wrong_network", "td3", Plant(algorithm=StaleTargetTD3), "SD209")
    yield fault("similar_target_and_main_network", "sac", _options(tau=1.0), "SD405 tau")
    exploration: dict[str, dict[str, float]] = {
        "bad_exploration_param_initialization": {"exploration_initial_eps": 0.1},
        "increasing_exploration_factor": {
            "exploration_initial_eps": 0.05,
            "exploration_final_eps": 1.0,
        },
        "quick_changing_exploration_factor": {"exploration_fraction": 1e-3},
        "stagnating_exploration_factor": {"exploration_final_eps": 1.0},
    }
    for checker, options in exploration.items():
        yield fault(checker, "dqn", _options(**options), "SD405 exploration", "SD405 epsilon")
    yield fault(
        "actions_are_similar",
        "a2c",
        Plant(start=lambda model: _prefer(model)),
        hidden="which action is likeliest on which observation: at work",
    )
    yield fault("val_func_err", "sac", _options(gamma=0.99), hidden="a formula in the agent's code")


def _prefer(model: BaseAlgorithm) -> None:
    with th.no_grad():
        model.policy.action_net.bias[0] = 50.0


def _sagemaker() -> Iterator[Fault]:
    fault = _Source("SageMaker", "sagemaker")
    deep = {"activation_fn": nn.Sigmoid, "net_arch": [64] * 8}
    yield fault(
        "VanishingGradient",
        "ppo",
        Plant(policy=deep),
        "* Sigmoid",
        symptom="SD204, SD208, SD105, SD210",
    )
    yield fault(
        "VanishingGradient", "td3", Plant(start=fill("actor.mu.4.bias", 100.0)), "SD208", "SD204"
    )
    yield fault("ExplodingTensor", "sac", Plant(midway=fill("critic.qf0", np.inf)), "SD301")
    yield fault("WeightUpdateRatio", "sac", _options(learning_rate=1.0), "SD401", symptom="SD302")
    yield fault("WeightUpdateRatio", "dqn", _options(learning_rate=1e-9), "SD401")
    for base, pattern in (("td3", "actor.mu"), ("sac", "critic.qf"), ("ppo", "mlp_extractor")):
        signs = ("SD103", "SD101", "SD107", "SD204", "SD208")
        yield fault("AllZero", base, Plant(start=fill(pattern, 0.0)), *signs)
    for base, pattern in (
        ("sac", "actor."),
        ("a2c", "mlp_extractor.value_net"),
        ("ppo", "mlp_extractor.policy_net"),
        ("dqn", "q_net.q_net.0"),
    ):
        frozen = Plant(start=freeze(pattern))
        yield fault("UnchangedTensor", base, frozen, "SD210", "SD203", "SD207")
    yield fault("LossNotDecreasing", "dqn", _options(learning_rate=0.0), "SD401")
    yield fault(
        "PoorWeightInitialization", "ppo", Plant(start=scale("mlp_extractor", 1e3)), "SD302"
    )
    yield fault(
        "SaturatedActivation",
        "a2c",
        Plant(start=fill("mlp_extractor.policy_net.0.bias", 50.0)),
        *("SD105", "SD104", "SD204", "SD208"),
    )
    yield fault(
        "DeadRelu",
        "sac",
        Plant(start=fill("actor.latent_pi.0.bias", -100.0)),
        *("SD105", "SD104", "SD204", "SD208"),
    )
    yield fault(
        "CheckInputImages",
        "dqn_image",
        Plant(policy={"normalize_images": False}),
        *("SD304", "* normalize_images"),
    )


def _nikanjam() -> Iterator[Fault]:
    fault = _Source("Nikanjam", "nikanjam")
    epsilon = _options(exploration_initial_eps=0.0, exploration_final_eps=0.0)
    yield fault("missing exploration", "dqn", epsilon, "SD405 exploration")
    silent = Plant(options={"action_noise": None}, env=_car)
    yield fault("missing exploration", "td3", silent, "* noise")
    yield fault("suboptimal noise", "td3", _options(action_noise=_noise(10.0)), "SD405 noise")
    yield fault(
        "suboptimal target noise",
        "td3",
        _options(target_policy_noise=2.0, target_noise_clip=4.0),
        "SD405 target_policy_noise",
    )
    seldom = _options(train_freq=500, gradient_steps=1, learning_starts=100)
    yield fault("suboptimal update frequency", "dqn", seldom, "SD408")
    many = Plant(options={"gradient_steps": 1}, n_envs=16, steps=3200)
    yield fault("too few updates", "sac", many, "SD408")
    yield fault("late policy updates", "td3", _options(policy_delay=401), "* policy_delay")
    yield fault("missing network update", "dqn", _options(gradient_steps=0), "* gradient_steps")
    yield fault("suboptimal memory", "sac", _options(buffer_size=300), "SD405 buffer_size")
    yield fault("suboptimal memory", "dqn", _options(buffer_size=100), "SD405 buffer_size")
    yield fault("suboptimal batch", "sac", _options(batch_size=1), "SD405 batch_size")
    for base in ("ppo", "a2c"):
        yield fault("missing loss term", base, _options(vf_coef=0.0), "SD405 vf_coef")
    yield fault("wrong clipping", "ppo", _options(clip_range=10.0), "SD405 clip_range")
    for value in (0.0, -0.5, 1.0):
        yield fault(f"wrong entropy {value}", "sac", _options(ent_coef=value), "SD405 ent_coef")
    for base in ("sac", "dqn"):
        yield fault("wrong discount", base, _options(gamma=1.05), "SD405 gamma")
    yield fault(
        "terminal at time limit",
        "sac",
        Plant({"replay_buffer_kwargs": {"handle_timeout_termination": False}}, steps=1000),
        *("SD908", "* handle_timeout_termination"),
    )
    yield fault(
        "inappropriate reward",
        "sac",
        Plant(wrap=rewarded(lambda value, _: value * 1e5)),
        "SD907",
        symptom="SD506, SD303, SD302",
    )
    yield fault(
        "wrong output activation",
        "td3",
        Plant(start=lambda model: _without_tanh(model)),
        hidden="a layer without parameters leaves nothing in a state dict",
    )


def _without_tanh(model: BaseAlgorithm) -> None:
    for network in (model.policy.actor, model.policy.actor_target):
        network.mu[-1] = nn.Identity()


def _plasticity() -> Iterator[Fault]:
    fault = _Source("plasticity", "plasticity")
    dormant = Plant(start=fill("q_net.q_net.0.bias", -100.0, share=0.75))
    yield fault("dormant units", "dqn", dormant, "SD105", "SD104")
    for_critic = both(
        fill("critic.qf0.0.bias", -100.0, share=0.75), fill("critic.qf1.0.bias", -100.0, share=0.75)
    )
    wide = {"net_arch": [256, 256]}  # SB3's
    yield fault(
        "dormant units", "sac", Plant(policy=wide, start=for_critic, steps=400), "SD105", "SD104"
    )
    heavy = Plant(
        options={"gradient_steps": 32, "learning_starts": 100},
        steps=220,
    )
    yield fault("primacy bias", "sac", heavy, "SD408", "* gradient_steps")
    yield fault(
        "saturated units",
        "a2c",
        Plant(start=scale("mlp_extractor", 1e3)),
        *("SD302", "SD105", "SD204"),
    )
    decay = Plant(policy={"optimizer_kwargs": {"weight_decay": 0.1}})
    for base in ("sac", "ppo"):
        yield fault("weight decay", base, decay, "SD405 weight decay")
    for base, after in (("dqn", 2000), ("sac", 1000)):
        jump = Plant(
            wrap=rewarded(lambda value, n, after=after: value * (100 if n > after else 1)),
            steps=2 * after,
        )
        yield fault("non-stationary reward", base, jump, "SD907", symptom="SD506, SD303")
    yield fault("rank collapse", "dqn", Plant(start=repeat_rows("q_net.q_net.0")), "SD107")
    yield fault("learning rate", "sac", _options(learning_rate=3e-2), "SD401", symptom="SD302")


def faults() -> list[Fault]:
    """Return every fault, in the order of the sources."""
    others = (*_rlexplorer(), *_sagemaker(), *_nikanjam(), *_plasticity())
    return [*_muprl(), *_rlmutation(), *(_short(fault) for fault in others)]


def _short(fault: Fault) -> Fault:
    """Return a fault of the settings alone with a shorter run, which says the same."""
    steps = _SHORT.get(fault.base)
    if fault.plant != Plant(options=fault.plant.options) or steps is None:
        return fault
    return replace(fault, plant=replace(fault.plant, steps=steps))


# -- what is said of them ----------------------------------------------------------------------


def said(folder: Path, *, every_checkpoint: bool = False) -> list[Finding]:
    """Return what `scan` of model and buffer and `history` of the run say, but in passing."""
    models = [str(folder)] if every_checkpoint else [str(folder / "model.zip")]
    buffers = [str(path) for path in folder.glob("*replay_buffer*.pkl")]
    found: list[Finding] = []
    for report in reports_on(find_checkpoints([*models, *buffers]), Look(ScanOptions())):
        found += report.findings
    history = read_history(folder)
    for run in history.runs:
        found += run.findings
        # What came up on the way and went again is in the history's table, too.
        found += [Finding(o.rule, o.name, o.severity, (), o.message, "", "") for o in run.onsets]
    return [finding for finding in found if not finding.in_passing]


def fits(sign: str, finding: Finding) -> bool:
    """Return whether a finding is what a label asks for: its code, `*` for any, and all words."""
    code, *words = sign.split(" ")
    text = f"{finding.message} {finding.evidence}".replace("_", "").lower()
    return code in ("*", finding.rule) and all(
        word.replace("_", "").lower() in text for word in words
    )


def verdict(fault: Fault, found: Iterable[Finding]) -> str:
    """Return `cause`, `symptom`, `notice` (named, but no louder) or `missed`."""
    found = list(found)
    loud = [finding for finding in found if finding.severity.rank >= Severity.WARNING.rank]
    for name, signs in (("cause", fault.cause), ("symptom", fault.symptom)):
        if any(fits(sign, finding) for sign in signs for finding in loud):
            return name
    signs = (*fault.cause, *fault.symptom)
    if any(fits(sign, finding) for sign in signs for finding in found):
        return "notice"
    return "missed"


def _of_healthy(folder: Path, console: Console) -> tuple[int, int]:
    """Return how many healthy trainings there are, and how many are warned about."""
    runs = warned = 0
    for name, base in BASES.items():
        for seed in HEALTHY_SEEDS:
            run = folder / f"healthy_{name}_{seed}"
            if not (run / "model.zip").exists():
                train(base, Plant(), run, seed)
            found = said(run, every_checkpoint=True)
            loud = [f for f in found if f.severity.rank >= Severity.WARNING.rank]
            runs, warned = runs + 1, warned + bool(loud)
            for finding in loud:
                console.print(f"{run.name}: {finding.rule} {finding.evidence}", style="red")
    return runs, warned


def main() -> None:
    """Print what is said of each fault, and the counts by source."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="train into this folder, and keep it")
    parser.add_argument("--only", default="", help="faults whose names contain this")
    parser.add_argument("--train", action="store_true", help="train what is not there, and no more")
    arguments = parser.parse_args()
    th.set_num_threads(1)
    console = Console()
    counts: dict[str, Counter[str]] = {}
    table = Table("fault", "verdict", "what is said of it")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        for fault in faults():
            if arguments.only not in fault.name:
                continue
            run = folder / fault.name
            if not (run / "model.zip").exists():
                train(BASES[fault.base], fault.plant, run, SEED)
            if arguments.train:
                console.print(fault.name, style="dim")
                continue
            found = said(run)
            result = f"hidden: {fault.hidden}" if fault.hidden else verdict(fault, found)
            counts.setdefault(fault.source, Counter())[result.partition(":")[0]] += 1
            words = [f"{f.rule} {f.severity.value}: {f.message}" for f in found]
            table.add_row(fault.name, result, "\n".join(dict.fromkeys(words)))
        if not arguments.only:
            runs, warned = _of_healthy(folder, console)
    if arguments.train:
        return
    console.print(table)
    total = sum(counts.values(), Counter())
    summary = Table("source", "in files", "cause", "symptom", "notice", "missed", "hidden")
    for source, count in (*counts.items(), ("all", total)):
        kinds = ("cause", "symptom", "notice", "missed")
        shown = sum(count[kind] for kind in kinds)
        summary.add_row(source, str(shown), *(str(count[kind]) for kind in (*kinds, "hidden")))
    console.print(summary)
    if not arguments.only:
        console.print(f"{warned} of {runs} healthy trainings are warned about")


if __name__ == "__main__":
    main()
