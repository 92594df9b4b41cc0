"""Whether faults that only a network's outputs show are named, and healthy agents left alone.

Trains SAC, TD3, DQN, PPO and A2C on Pendulum and CartPole for a moment, healthy and with one fault
planted each, and lets `probe` look at every one: on the buffer that it left, or in its environment.
With `--healthy FOLDER` also at the trainings that `benchmarks/healthy.py --keep FOLDER` left.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from rich.console import Console
from rich.table import Table
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script: benchmarks are not installed

from benchmarks.healthy import trainings
from sacdoctor import ProbeReport, Severity, probe

SEEDS = (70, 71)
COUNT = 2000


# -- environments ------------------------------------------------------------------------------


class Times(gym.ObservationWrapper[Any, Any, Any]):
    """Observations a thousand times as large: a price in another unit."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        assert isinstance(env.observation_space, gym.spaces.Box)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, env.observation_space.shape)

    def observation(self, observation: Any) -> Any:
        return (1000.0 * observation).astype(np.float32)


class Turned(gym.RewardWrapper[Any, Any]):
    """Rewards of the other sign."""

    def reward(self, reward: Any) -> float:
        return -float(reward)


class Drawn(gym.ActionWrapper[Any, Any, Any]):
    """Whatever the agent chooses, an action is drawn."""

    def action(self, action: Any) -> Any:
        return self.env.action_space.sample()


def _register() -> None:
    tasks = {"Pendulum": "Pendulum-v1", "CartPole": "CartPole-v1"}
    for name, task in tasks.items():
        for wrapper in (Times, Turned, Drawn):
            gym.register(
                f"{wrapper.__name__}{name}-v0",
                lambda wrapper=wrapper, task=task: wrapper(gym.make(task)),
            )


# -- faults in code ----------------------------------------------------------------------------


class TurnedBuffer(ReplayBuffer):
    """A loss that takes the rewards with the other sign; what is stored is right."""

    def _get_samples(self, *args: Any, **kwargs: Any) -> Any:
        samples = super()._get_samples(*args, **kwargs)
        return samples._replace(rewards=-samples.rewards)


class Ascending(th.optim.Adam):
    """A loss of the wrong sign: its optimizer climbs."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.neg_()
        return super().step(closure)


class Each(BaseCallback):
    """Does something to the model at each step, or at one."""

    def __init__(self, do: Callable[[Any], None], at: int | None = None) -> None:
        super().__init__()
        self._do, self._at = do, at

    def _on_step(self) -> bool:
        if self._at is None or self.num_timesteps == self._at:
            self._do(self.model)
        return True


def _deafen(model: Any) -> None:
    """Take the action away from the critic: no weight is left for it."""
    for critic in (model.critic, model.critic_target):
        for net in critic.q_networks:
            net[0].weight.data[:, -model.action_space.shape[0] :] = 0.0


def _kill(*layers: str) -> Callable[[Any], None]:
    """Push the biases of ReLU layers far down, as one update at a huge rate does."""

    def kill(model: Any) -> None:
        parts = dict(model.policy.named_modules())
        for name in layers:
            parts[name].bias.data -= 1000.0

    return kill


def _climb(model: Any) -> None:
    """Let the critic's loss be maximised."""
    nets = model.critic if hasattr(model, "critic") else model.q_net
    nets.optimizer = Ascending(nets.parameters(), lr=1e-3)
    if not hasattr(model, "critic"):
        model.policy.optimizer = Ascending(nets.parameters(), lr=1e-3)


# -- trainings ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planted:
    """One kind of training; `rules` are those that name its fault, none of a healthy one.

    `probed` is the environment in which `probe` looks, None for the buffer.
    """

    name: str
    algorithm: type[BaseAlgorithm]
    env: str
    steps: int
    rules: frozenset[str] = frozenset()
    options: dict[str, Any] = field(default_factory=dict)
    each: Each | None = None
    before: Callable[[Any], None] | None = None
    after: Callable[[Any], None] | None = None
    probed: str | None = None

    def run(self, folder: Path, seed: int) -> Path:
        """Train it, and return its checkpoint."""
        folder.mkdir(parents=True, exist_ok=True)
        options = deepcopy({**_SETTINGS[self.algorithm], **self.options})  # SB3 adds to them
        model = self.algorithm(env=self.env, seed=seed, device="cpu", **options)  # type: ignore[arg-type]
        if self.before is not None:
            self.before(model)
        model.learn(self.steps, callback=self.each)
        if self.after is not None:
            self.after(model)
        model.replay_buffer_class = None  # type: ignore[attr-defined]
        model.save(folder / "model.zip")
        if hasattr(model, "save_replay_buffer"):
            model.replay_buffer.__class__ = ReplayBuffer
            model.save_replay_buffer(folder / "model_replay_buffer.pkl")
        return folder / "model.zip"

    def looked_at(self, path: Path) -> ProbeReport:
        """Return what `probe` says."""
        if self.probed is None and path.with_name("model_replay_buffer.pkl").exists():
            return probe(path, count=COUNT)
        return probe(path, env=self.probed or self.env, count=COUNT)


_SMALL = {"net_arch": [64, 64]}
_SETTINGS: dict[type[BaseAlgorithm], dict[str, Any]] = {
    SAC: {
        **{"policy": "MlpPolicy", "learning_rate": 1e-3, "gamma": 0.95},
        **{"batch_size": 64, "policy_kwargs": _SMALL},
    },
    TD3: {
        **{"policy": "MlpPolicy", "learning_rate": 1e-3, "gamma": 0.95, "batch_size": 64},
        "policy_kwargs": _SMALL,
        "action_noise": NormalActionNoise(np.zeros(1), 0.1 * np.ones(1)),
    },
    DQN: {
        **{"policy": "MlpPolicy", "learning_rate": 2.3e-3, "learning_starts": 500},
        **{"target_update_interval": 10, "train_freq": 64, "gradient_steps": 32},
        **{"exploration_fraction": 0.16, "exploration_final_eps": 0.04, "batch_size": 64},
    },
    PPO: {"policy": "MlpPolicy", "n_steps": 512},
    A2C: {"policy": "MlpPolicy"},
}
_DEEP = {"policy_kwargs": {**_SMALL, "activation_fn": nn.ReLU}}


def planted() -> Iterator[Planted]:
    """Yield every kind of training."""
    pendulum = {SAC: 1000, TD3: 1000}
    cart = {DQN: 6000, PPO: 4096, A2C: 4000}
    for algorithm, steps in pendulum.items():
        word = algorithm.__name__.lower()
        yield Planted(f"{word}_healthy", algorithm, "Pendulum-v1", steps)
        saturated = frozenset(("SD106", "SD508", "SD105"))
        yield Planted(f"{word}_inputs", algorithm, "TimesPendulum-v0", steps, saturated)
        turned = frozenset(("SD306",))
        yield Planted(
            f"{word}_reward_sign_in_loss",
            algorithm,
            "Pendulum-v1",
            steps,
            turned,
            {"replay_buffer_class": TurnedBuffer},
        )
        yield Planted(
            f"{word}_reward_sign_in_wrapper",
            algorithm,
            "TurnedPendulum-v0",
            steps,
            turned,
            probed="Pendulum-v1",
        )
        wrong = frozenset(("SD305", "SD306"))
        yield Planted(
            f"{word}_incorrect_loss", algorithm, "Pendulum-v1", steps, wrong, before=_climb
        )
        equal = frozenset(("SD306",))
        yield Planted(
            f"{word}_target_is_online", algorithm, "Pendulum-v1", steps, equal, {"tau": 1.0}
        )
        yield Planted(
            f"{word}_critic_without_action",
            algorithm,
            "Pendulum-v1",
            steps,
            frozenset(("SD904",)),
            after=_deafen,
        )
        yield Planted(
            f"{word}_ignored_action", algorithm, "DrawnPendulum-v0", steps, frozenset(("SD904",))
        )
        dead = frozenset(("SD105",))
        layers = ("actor.latent_pi.2",) if algorithm is SAC else ("actor.mu.2",)
        kill = Each(_kill(*layers), 500)
        yield Planted(f"{word}_dead_actor", algorithm, "Pendulum-v1", steps, dead, each=kill)
        kill = Each(_kill("critic.qf0.0", "critic.qf1.0"), 500)
        yield Planted(f"{word}_dead_critic", algorithm, "Pendulum-v1", steps, dead, each=kill)
    yield Planted(
        "sac_no_exploration",
        SAC,
        "Pendulum-v1",
        1000,
        frozenset(("SD508", "SD504", "SD505")),
        {"ent_coef": 0.0, "learning_starts": 0},
    )
    for algorithm, steps in cart.items():
        word = algorithm.__name__.lower()
        yield Planted(f"{word}_healthy", algorithm, "CartPole-v1", steps)
        rules = frozenset(("SD106", "SD508", "SD105", "SD305"))  # a DQN's values grow with them
        yield Planted(f"{word}_inputs", algorithm, "TimesCartPole-v0", steps, rules)
    yield Planted(
        "dqn_reward_sign_in_loss",
        DQN,
        "CartPole-v1",
        6000,
        frozenset(("SD306",)),
        {"replay_buffer_class": TurnedBuffer},
    )
    yield Planted(
        "dqn_no_exploration",
        DQN,
        "CartPole-v1",
        6000,
        frozenset(("SD508",)),
        {"exploration_initial_eps": 0.0, "exploration_final_eps": 0.0},
    )
    wrong = frozenset(("SD305", "SD306"))
    yield Planted("dqn_incorrect_loss", DQN, "CartPole-v1", 6000, wrong, before=_climb)
    kill = Each(_kill("q_net.q_net.2"), 3000)
    yield Planted("dqn_dead", DQN, "CartPole-v1", 6000, frozenset(("SD105",)), each=kill)
    for algorithm in (PPO, A2C):
        word = algorithm.__name__.lower()
        kill = Each(_kill("mlp_extractor.policy_net.2"), 2000)
        yield Planted(
            f"{word}_dead_policy",
            algorithm,
            "CartPole-v1",
            4096,
            frozenset(("SD105",)),
            _DEEP,
            each=kill,
        )


# -- what is said of them ----------------------------------------------------------------------


def _named(report: ProbeReport, least: Severity) -> set[str]:
    return {one.rule for one in report.findings if one.severity.rank >= least.rank}


def _healthy(folder: Path) -> Iterator[tuple[str, ProbeReport]]:
    """Yield what `probe` says of healthy trainings, each in an environment of its own."""
    for training in trainings():
        if training.wrap is not None and not training.name.startswith("ppo_normalised"):
            continue  # frames that are stacked: no single environment gives them
        name = f"Healthy-{training.name.replace('_', '-')}-v0"
        gym.register(name, training.env)
        for path in sorted(folder.glob(f"{training.name}_[0-9]/model.zip")):
            yield path.parent.name, probe(path, env=name, count=500)


def main() -> None:
    """Print a row per training; exits with 1 where under 90 % are named, or a healthy one is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="train into this folder, and keep it")
    parser.add_argument("--only", default="", help="trainings whose names contain this")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--healthy", type=Path, help="look at these healthy trainings, too")
    arguments = parser.parse_args()
    th.set_num_threads(1)
    warnings.simplefilter("ignore")
    _register()
    faults = named = healthy = false = 0
    table = Table("training", "fault", "said")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        for kind in (one for one in planted() if arguments.only in one.name):
            for seed in arguments.seeds:
                path = folder / f"{kind.name}_{seed}" / "model.zip"
                report = kind.looked_at(path if path.exists() else kind.run(path.parent, seed))
                if kind.rules:
                    found = kind.rules & _named(report, Severity.NOTICE)
                    faults, named = faults + 1, named + bool(found)
                    result = "named" if found else "missed"
                else:
                    found = _named(report, Severity.WARNING)
                    healthy, false = healthy + 1, false + bool(found)
                    result = "false alarm" if found else "healthy"
                said = ", ".join(f"{one.rule} {one.severity}" for one in report.findings)
                table.add_row(path.parent.name, result, said)
    for name, report in _healthy(arguments.healthy) if arguments.healthy else ():
        found = _named(report, Severity.WARNING)
        healthy, false = healthy + 1, false + bool(found)
        table.add_row(name, "false alarm" if found else "healthy", ", ".join(sorted(found)))
    console = Console()
    console.print(table)
    console.print(
        f"{named} of {faults} faults named; {false} of {healthy} healthy ones warned about"
    )
    sys.exit(bool(false or named < 0.9 * faults))


if __name__ == "__main__":
    main()
