"""Which faults the callbacks name, planted into trainings while they run, and in how many checks.

Every fault is planted once into each algorithm that it can happen to, halfway between two checks;
both callbacks watch, with repairs off, so that nothing is cured before it is counted. A fault is
named where a line says what is expected of it; the table has the number of checks after the fault
until then, `start` where it is said before the first step, `none` where it never was.

    python benchmarks/injected_faults.py [--only bias]
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from rich.console import Console
from rich.table import Table
from stable_baselines3.common.base_class import BaseAlgorithm

from fixtures.environments import Tracking
from fixtures.faulty_policies import (
    GRUExtractor,
    LateActorCriticPolicy,
    LateDQNPolicy,
    LateSACPolicy,
    LateTD3Policy,
)
from fixtures.faulty_training import At, Change, fill, freeze, made, zero
from sacdoctor.training import TrainingHealthCallback, create_zero_prevention_system

ALGORITHMS = ("SAC", "TD3", "DQN", "PPO", "A2C")
FREQUENCY = {"SAC": 60, "TD3": 60, "DQN": 60, "PPO": 128, "A2C": 120, "RecurrentPPO": 128}
"""Environment steps between checks: more than a rollout, so that updates lie between two."""
MOST_CHECKS = 2
SPOILT_AT = 90
"""The step whose reward or observation has the NaN."""
_ACTOR = {
    "SAC": "actor.latent_pi.2",
    "TD3": "actor.mu.2",
    "DQN": "q_net.q_net.2",
    "PPO": "mlp_extractor.policy_net.2",
    "A2C": "mlp_extractor.policy_net.2",
}
_FIRST = {
    "SAC": "actor.latent_pi.0",
    "TD3": "actor.mu.0",
    "DQN": "q_net.q_net.0",
    "PPO": "mlp_extractor.policy_net.0",
    "A2C": "mlp_extractor.policy_net.0",
}
_CRITIC = {
    "SAC": "critic.qf0.2",
    "TD3": "critic.qf0.2",
    "PPO": "mlp_extractor.value_net.2",
    "A2C": "mlp_extractor.value_net.2",
}
_TARGET = {
    "SAC": "critic_target.qf0.2",
    "TD3": "critic_target.qf0.2",
    "DQN": "q_net_target.q_net.2",
}
_RELU = {name: {"activation_fn": th.nn.ReLU} for name in ("PPO", "A2C")}
_LATE = {
    "SAC": LateSACPolicy,
    "TD3": LateTD3Policy,
    "DQN": LateDQNPolicy,
    "PPO": LateActorCriticPolicy,
    "A2C": LateActorCriticPolicy,
}


@dataclass(frozen=True)
class Fault:
    """A fault: what happens to an algorithm's model, and words of the line that names it.

    `making` are arguments of `fixtures.faulty_training.made`; `words` must all be in one line.
    """

    name: str
    algorithm: str
    words: tuple[str, ...]
    plant: Change | None = None
    making: dict[str, Any] = field(default_factory=dict)
    wrap: Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]] | None = None
    checks: int = 6

    @property
    def at_start(self) -> bool:
        """Whether it is there from the start."""
        return self.plant is None and self.wrap is None


class Spoilt(gym.Wrapper[Any, Any, Any, Any]):
    """One NaN from step `at` on: in a reward, or in feature 1 of an observation."""

    def __init__(self, env: gym.Env[Any, Any], what: str, at: int) -> None:
        super().__init__(env)
        self._what, self._left = what, at

    def step(self, action: Any) -> Any:
        seen, reward, ended, cut, info = self.env.step(action)
        self._left -= 1
        if self._left == 0 and self._what == "reward":
            reward = float("nan")
        if self._left == 0 and self._what == "observation":
            seen = np.array(seen)
            seen[1] = np.nan
        return seen, reward, ended, cut, info


def spoil_gradients(model: BaseAlgorithm) -> None:
    """From now on every gradient of the first layer is NaN."""
    parameter = next(model.policy.parameters())
    parameter.register_hook(lambda gradient: gradient * float("nan"))


def detach_features(model: BaseAlgorithm) -> None:
    """From now on nothing is passed back through the features extractor."""
    for module in model.policy.modules():
        extractor = getattr(module, "features_extractor", None)
        if extractor is not None:
            extractor.register_forward_hook(lambda _module, _inputs, output: output.detach())


def add_layer(model: BaseAlgorithm) -> None:
    """A layer that is made while training goes on, and that no optimizer gets."""
    model.policy.late = th.nn.Linear(3, 3)


def sink_entropy(model: BaseAlgorithm) -> None:
    """Set the learned entropy coefficient to 1e-8."""
    model.log_ent_coef.data.fill_(float(np.log(1e-8)))


def faults() -> Iterator[Fault]:
    """Yield every fault with every algorithm that it can happen to."""
    for algorithm in ALGORITHMS:
        relu = {"policy_kwargs": _RELU[algorithm]} if algorithm in _RELU else {}
        actor, first = _ACTOR[algorithm], _FIRST[algorithm]
        yield Fault("zero bias, actor", algorithm, (f"{actor}.bias",), zero(f"{actor}.bias"))
        if algorithm in _CRITIC:
            name = f"{_CRITIC[algorithm]}.bias"
            yield Fault("zero bias, critic", algorithm, (name,), zero(name))
        if algorithm in _TARGET:
            name = f"{_TARGET[algorithm]}.bias"
            seldom = {"target_update_interval": 10_000} if algorithm == "DQN" else {}
            yield Fault("zero bias, target", algorithm, (name,), zero(name), seldom)
        yield Fault("zero weight", algorithm, (f"{actor}.weight",), zero(f"{actor}.weight"))
        dead = fill(f"{first}.bias", -100.0)
        yield Fault("ReLU bias -100", algorithm, (first, "never fires"), dead, relu)
        branched = {"extractor": {}}
        words = ("no gradient reaches", "features_extractor")
        yield Fault("detached layers", algorithm, words, detach_features, branched)
        words = ("frozen and will not be trained", f"{first}.weight")
        yield Fault("frozen layer", algorithm, words, making={"before": [freeze(f"{first}.*")]})
        late = {"policy": _LATE[algorithm], "extractor": {"branch": "late"}}
        yield Fault("late layers", algorithm, ("are in no optimizer", "branch"), making=late)
        words = ("are in no optimizer", "late.weight")
        yield Fault("layer made in training", algorithm, words, add_layer)
        if algorithm in _TARGET or algorithm in ("PPO", "A2C"):
            name = f"{_CRITIC.get(algorithm, _ACTOR[algorithm])}.weight"
            spoil = fill(name, float("nan"), (0, 0))
            yield Fault("NaN weight", algorithm, ("critical", name), spoil)
        words = ("takes no step any more", "the loss of")
        yield Fault("NaN gradient", algorithm, words, spoil_gradients)
        yield Fault(
            "NaN reward",
            algorithm,
            ("the reward of environment 0 is nan",),
            wrap=lambda env: Spoilt(env, "reward", SPOILT_AT),
        )
        yield Fault(
            "NaN observation",
            algorithm,
            ("the observation of environment 0 is nan in feature 1",),
            wrap=lambda env: Spoilt(env, "observation", SPOILT_AT),
        )
        yield Fault("rate 1.0", algorithm, ("learning rate 1",), making={"learning_rate": 1.0})
        if algorithm in ("SAC", "TD3", "DQN"):
            yield Fault("tau 0", algorithm, ("tau is 0",), making={"tau": 0.0})
    yield Fault("entropy coefficient 1e-8", "SAC", ("entropy coefficient",), sink_entropy)
    lstm, gru = "lstm_actor.bias_hh_l0", "features_extractor.gru.bias_hh_l0"
    yield Fault("zero bias, LSTM", "RecurrentPPO", (lstm,), zero(lstm))
    kwargs = {"policy_kwargs": {"features_extractor_class": GRUExtractor}}
    yield Fault("zero bias, GRU", "PPO", (gru,), zero(gru), kwargs)
    yield Fault("zero bias, GRU", "A2C", (gru,), zero(gru), kwargs)


class Ear(logging.Handler):
    """Keeps every line, with the environment steps at which it was said."""

    def __init__(self, model: BaseAlgorithm) -> None:
        super().__init__(logging.INFO)
        self._model = model
        self.lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((self._model.num_timesteps, record.getMessage()))


def named_after(fault: Fault) -> tuple[int | None, list[str]]:
    """Return the number of checks until the fault was named, None for never, and all lines."""
    frequency = FREQUENCY[fault.algorithm]
    actions = "discrete" if fault.algorithm == "DQN" else "continuous"
    model = made(fault.algorithm, **fault.making)
    if fault.wrap is not None:
        model.set_env(model._wrap_env(fault.wrap(Tracking(actions))))
    at = 2 * frequency + frequency // 2 if fault.plant is not None else 0
    at = SPOILT_AT if fault.wrap is not None else at
    ear, logger = Ear(model), logging.getLogger("sacdoctor")
    logger.addHandler(ear)
    level = logger.level
    logger.setLevel(logging.INFO)
    callbacks: list[Any] = [
        create_zero_prevention_system(frequency, auto_fix=False, verbose=0),
        TrainingHealthCallback(),
    ]
    if fault.plant is not None:
        callbacks.insert(0, At(at, fault.plant))
    try:
        model.learn(fault.checks * frequency, callback=callbacks)
    except (ValueError, RuntimeError) as error:  # SB3's own: a distribution of NaN
        ear.lines.append((model.num_timesteps, f"SB3: {str(error).splitlines()[0]}"))
    finally:
        logger.removeHandler(ear)
        logger.setLevel(level)
    for steps, line in ear.lines:
        if steps >= at and all(word in line for word in fault.words):
            return -(-(steps - at) // frequency), [line for _, line in ear.lines]
    return None, [line for _, line in ear.lines]


def main() -> None:
    """Print the table; exits with 1 where a fault was not named within two checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="faults whose names contain this")
    parser.add_argument("--algorithm", default="", help="this algorithm alone")
    parser.add_argument("--lines", action="store_true", help="print what was said, too")
    arguments = parser.parse_args()
    th.set_num_threads(1)
    console = Console()
    rows: dict[str, dict[str, str]] = {}
    missed = total = 0
    for fault in faults():
        if arguments.only not in fault.name or arguments.algorithm not in ("", fault.algorithm):
            continue
        checks, lines = named_after(fault)
        total, missed = total + 1, missed + (checks is None or checks > MOST_CHECKS)
        told = "none" if checks is None else "start" if fault.at_start else f"{max(1, checks)}"
        rows.setdefault(fault.name, {})[fault.algorithm] = told
        if arguments.lines:
            console.print(f"{fault.name}, {fault.algorithm}: {told}", *lines, sep="\n  ")
    columns = (*ALGORITHMS, "RecurrentPPO")
    table = Table("fault", *columns)
    for name, row in rows.items():
        table.add_row(name, *(row.get(column, "") for column in columns))
    console.print(table)
    console.print(f"{total - missed} of {total} faults are named within {MOST_CHECKS} checks")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
