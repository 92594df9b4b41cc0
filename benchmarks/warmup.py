"""What a warm-up with a forced action does to training: four ways through it, and none at all.

A small trading environment with costs, in which doing nothing earns 0, trading at random loses,
and a profitable policy exists. For the first `WARMUP` steps the environment carries out the neutral
action 0. The ways differ in what happens meanwhile: updates as SB3 does them, or none (WarmupGuard,
with its three strategies), and in whether the replay buffer stores the sampled action (SB3's) or
the executed one. Policies are evaluated without exploration on the same episodes at equal
environment steps. What is printed depends on seeds and library versions, not on the machine's
speed.

    python benchmarks/warmup.py [--seeds 5] [--processes 2] [--algorithm SAC]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev
from typing import Any

import gymnasium as gym
import numpy as np
import stable_baselines3
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv

from sacdoctor.training import ExecutedActionReplayBuffer, ForcedActionWarmup, WarmupGuard

WARMUP, STEPS = 1_500, 3_500
EVALUATED_AT = (1_500, 1_750, 2_000, 2_500, 3_500)
EPISODES, EPISODE_STEPS = 100, 64
REVERSION, VOLATILITY, COST = 0.2, 0.01, 2e-3
DEAD_ZONE = 0.25  # actions closer to zero than this are no position

T_975 = {4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 11: 2.201}
"""Student's t at 97.5 %, by degrees of freedom: for an interval of 95 % over the seeds."""


class SmallTrading(gym.Env[Any, Any]):
    """One mean-reverting asset; the action is the position wanted; rewards are in percent."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        stationary = VOLATILITY / sqrt(1.0 - (1.0 - REVERSION) ** 2)
        self._price = float(self.np_random.normal(0.0, stationary))
        self._earned_last = self._position = 0.0
        self._step = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        wanted = float(np.clip(action[0], -1.0, 1.0))
        position = wanted if abs(wanted) > DEAD_ZONE else 0.0
        traded, self._position = abs(position - self._position), position
        change = -REVERSION * self._price + float(self.np_random.normal(0.0, VOLATILITY))
        self._price, self._earned_last = self._price + change, change
        self._step += 1
        reward = 100.0 * (position * change - COST * traded)
        return self._observation(), reward, False, self._step == EPISODE_STEPS, {}

    def _observation(self) -> Any:
        market = (self._price / VOLATILITY, self._earned_last / VOLATILITY, self._position)
        return np.array(market, np.float32)


@dataclass(frozen=True)
class Way:
    """One way through the warm-up; `strategy` None trains without a guard."""

    name: str
    warmup: int
    strategy: Any
    buffer: type[ReplayBuffer]


SAMPLED, EXECUTED = ReplayBuffer, ExecutedActionReplayBuffer
WAYS = (
    Way("updates during the warm-up, sampled stored", WARMUP, None, SAMPLED),
    Way("updates during the warm-up, executed stored", WARMUP, None, EXECUTED),
    Way("guard, no-update, sampled stored", WARMUP, "no-update", SAMPLED),
    Way("guard, no-update, executed stored", WARMUP, "no-update", EXECUTED),
    Way("guard, random, sampled stored", WARMUP, "random", SAMPLED),
    Way("guard, clear", WARMUP, "clear", EXECUTED),
    Way("no warm-up at all", 0, None, SAMPLED),
)
"""Random draws leave no trace where executed actions are stored, stored actions none where the
buffer is cleared: so these two stand once."""


class Evaluation(BaseCallback):
    """Evaluates the policy after `EVALUATED_AT` steps; leaves the training's randomness alone."""

    def __init__(self) -> None:
        super().__init__()
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        if self.num_timesteps in EVALUATED_AT:
            self.returns.append(
                evaluated(lambda seen: self.model.predict(seen, deterministic=True)[0])
            )
        return True


def evaluated(act: Callable[[Any], Any]) -> float:
    """Return the mean return of `EPISODES` episodes, the same ones whatever acts."""
    venv = DummyVecEnv([SmallTrading] * EPISODES)
    venv.seed(1_000_000)
    seen, total = venv.reset(), np.zeros(EPISODES)
    for _ in range(EPISODE_STEPS):
        seen, rewards, _, _ = venv.step(act(seen))
        total += rewards
    return float(total.mean())


def trained(job: tuple[str, Way, int]) -> list[float]:
    """Train one way with one seed; return the evaluations."""
    algorithm, way, seed = job
    th.set_num_threads(1)
    settings: dict[str, Any] = {
        "learning_rate": 1e-3,
        "learning_starts": 100,
        "batch_size": 64,
        "buffer_size": STEPS,
        "gamma": 0.9,
        "policy_kwargs": {"net_arch": [64, 64]},
        "replay_buffer_class": way.buffer,
        "seed": seed,
        "device": "cpu",
    }
    if algorithm == "TD3":
        settings["action_noise"] = NormalActionNoise(np.zeros(1), np.full(1, 0.1))
    env = ForcedActionWarmup(SmallTrading(), steps=way.warmup, action=0.0)
    model = {"SAC": SAC, "TD3": TD3}[algorithm]("MlpPolicy", env, **settings)
    evaluation = Evaluation()
    guard = [] if way.strategy is None else [WarmupGuard(WARMUP, way.strategy, verbose=0)]
    model.learn(STEPS, callback=[*guard, evaluation])
    return evaluation.returns


def interval(values: list[float]) -> str:
    """Return the mean and the half width of its 95 % interval over the seeds."""
    if len(values) < 2:
        return f"{values[0]:6.2f}"
    t = T_975.get(len(values) - 1, 1.96)
    return f"{mean(values):6.2f} ± {t * stdev(values) / sqrt(len(values)):4.2f}"


def main() -> None:
    """Train every way with every seed and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--algorithm", choices=("SAC", "TD3"), default="SAC")
    options = parser.parse_args()
    started = time.perf_counter()
    jobs = [(options.algorithm, way, seed) for way in WAYS for seed in range(options.seeds)]
    with ProcessPoolExecutor(options.processes) as pool:
        results = list(pool.map(trained, jobs))
    rng = np.random.default_rng(0)
    print(f"SB3 {stable_baselines3.__version__}, torch {th.__version__}, {options.algorithm}")
    print(f"return per episode (percent), mean over {options.seeds} seeds ± 95 % interval;")
    print(f"the first {WARMUP:,} of {STEPS:,} steps are forced to do nothing")
    rule = evaluated(lambda seen: np.where(np.abs(seen[:, :1]) > 0.5, -np.sign(seen[:, :1]), 0.0))
    chance = evaluated(lambda seen: rng.uniform(-1.0, 1.0, (len(seen), 1)))
    print(
        f"nothing 0.00, at random {chance:.2f}, against the price's side of its mean {rule:.2f}\n"
    )
    print(f"{'':46}" + "".join(f"{f'after {steps:,}':>16}" for steps in EVALUATED_AT))
    for number, way in enumerate(WAYS):
        runs = results[number * options.seeds : (number + 1) * options.seeds]
        cells = [interval([run[at] for run in runs]) for at in range(len(EVALUATED_AT))]
        print(f"{way.name:46}" + "".join(f"{cell:>16}" for cell in cells))
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
