"""Whether watching touches healthy trainings: warnings, repairs, and a bit that is another one.

Trains every algorithm of SB3 and sb3-contrib with Tanh and ReLU, images, dicts and LSTMs, three
seeds each, at their smallest, and the Atari-shaped ones of `benchmarks/healthy.py` with rl-zoo's
settings: once alone and once under both callbacks, with repairs on. Prints what was said of each,
and exits with 1 where anything was, or where the weights differ.

    python benchmarks/watched.py [--only PPO] [--seeds 3]
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks.healthy import trainings
from fixtures.environments import Tracking
from fixtures.faulty_training import SETUPS
from sacdoctor.training import TrainingHealthCallback, create_zero_prevention_system

SEEDS = (0, 1, 2)
_FEATURES = {"features_extractor_kwargs": {"features_dim": 32}}
_ATARI_STEPS = 2_048
_ON_IMAGES = {"TD3": 1e-4, "DDPG": 1e-4}
"""Learning rates under which these learn from images. At SB3's 1e-3 the actor's Tanh is at its end
within 200 steps, whatever it sees, and stays there: no gradient reaches it, and that is said."""


@dataclass(frozen=True)
class Watched:
    """One configuration: `build` returns a new model for a seed."""

    name: str
    steps: int
    build: Callable[[int], BaseAlgorithm] = field(repr=False)


def configurations() -> Iterator[Watched]:
    """Yield every configuration."""
    for name, setup in SETUPS.items():
        recurrent = name == "RecurrentPPO"
        kinds = {
            "Tanh": ("vector", setup.policy, {"activation_fn": th.nn.Tanh}),
            "ReLU": ("vector", setup.policy, {"activation_fn": th.nn.ReLU}),
        }
        if name not in ("ARS", "CrossQ"):  # they have no policies for images
            suffix = "LstmPolicy" if recurrent else "Policy"
            kinds["CNN"] = ("image", f"Cnn{suffix}", _FEATURES)
            kinds["Dict"] = ("dict", f"MultiInput{suffix}", {})
        for kind, (observations, policy, kwargs) in kinds.items():
            label = f"{name} {'LSTM ' if recurrent else ''}{kind}"
            yield Watched(label, setup.steps, _of(name, observations, policy, kwargs))
    for training in trainings():
        if "atari" in training.name:
            yield Watched(training.name, _ATARI_STEPS, _as_in_healthy(training))


def _of(name: str, observations: Any, policy: str, kwargs: Any) -> Callable[[int], BaseAlgorithm]:
    setup = SETUPS[name]
    arguments = {"net_arch": [16, 16], **setup.policy_kwargs, **kwargs}
    settings = {**setup.settings}
    if observations != "vector" and name in _ON_IMAGES:
        settings["learning_rate"] = _ON_IMAGES[name]
    return lambda seed: setup.algorithm(
        policy,
        Tracking(setup.actions, observations),
        policy_kwargs=arguments,
        seed=seed,
        device="cpu",
        **settings,
    )


def _as_in_healthy(training: Any) -> Callable[[int], BaseAlgorithm]:
    def build(seed: int) -> BaseAlgorithm:
        envs = training.wrap(DummyVecEnv([training.env] * training.n_envs))
        model: BaseAlgorithm = training.algorithm(
            training.policy, envs, seed=seed, device="cpu", **training.options
        )
        return model

    return build


class Warned(logging.Handler):
    """Keeps every warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def troubles(watched: Watched, seed: int) -> list[str]:
    """Return what watching said of a healthy training or changed in it; nothing if all is well."""
    alone = watched.build(seed).learn(watched.steps)
    model = watched.build(seed)
    callback = create_zero_prevention_system(max(1, watched.steps // 8), verbose=0)
    ear, logger = Warned(), logging.getLogger("sacdoctor")
    logger.addHandler(ear)
    try:
        model.learn(watched.steps, callback=[callback, TrainingHealthCallback()])
    finally:
        logger.removeHandler(ear)
    found = [*ear.lines]
    found += [f"repaired {of.name}" for check in callback.history for of in check.repaired]
    ours = model.policy.state_dict()
    for name, tensor in alone.policy.state_dict().items():
        if not th.equal(tensor, ours[name]):
            found.append(f"{name} is another one")
            break
    return found


def main() -> None:
    """Print a line per training; exits with 1 where one was not left in peace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="configurations whose names contain this")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    arguments = parser.parse_args()
    th.set_num_threads(1)
    runs = touched = 0
    for watched in configurations():
        if arguments.only not in watched.name:
            continue
        for seed in range(arguments.seeds):
            found = troubles(watched, seed)
            runs, touched = runs + 1, touched + bool(found)
            print(f"{watched.name}, seed {seed}: {'; '.join(found) or 'left in peace'}", flush=True)
    print(f"{touched} of {runs} healthy trainings were touched or warned about")
    sys.exit(bool(touched))


if __name__ == "__main__":
    main()
