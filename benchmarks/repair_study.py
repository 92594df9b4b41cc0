"""What a repair gives back: agents whose biases are zeroed, repaired in every way, and resumed.

One agent per task and seed is trained, saved at 80 % and at the end, with its replay buffer. In the
last file biases are set to zero, as a fault would; `fix` repairs it. Each result is evaluated at
once, over the same starting states in every arm, and again after `--resume` more steps with the
buffer of the run and the same random seed. What is printed depends on seeds and library versions,
not on the machine's speed. With `--keep` trainings and results stay in a folder, and are not made
again.

    python benchmarks/repair_study.py [--tasks sac-pendulum,dqn-cartpole] [--seeds 5] [--keep DIR]
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import stable_baselines3
import torch as th
from sb3_contrib import TQC
from stable_baselines3 import DQN, SAC, TD3
from stable_baselines3.common.noise import NormalActionNoise

from fixtures.policies import TwoHeadSACPolicy, two_head_sac_kwargs
from fixtures.trading import TradingEnv
from sacdoctor.history import find_donors
from sacdoctor.repair import RepairOptions, fix

EPISODES = 20
EARLIER = 0.8
"""Share of the training after which the earlier checkpoint is saved."""


class Task(NamedTuple):
    """An algorithm on an environment, with settings of rl-zoo's, in part made smaller."""

    algorithm: Any
    policy: Any
    environment: Callable[[], gym.Env[Any, Any]]
    steps: int
    settings: dict[str, Any]


PENDULUM: dict[str, Any] = {
    "learning_rate": 1e-3,
    "learning_starts": 500,
    "batch_size": 128,
    "buffer_size": 10_000,
    "policy_kwargs": {"net_arch": [64, 64]},
}
NOISE = NormalActionNoise(np.zeros(1), np.full(1, 0.1))
TASKS = {
    "sac-pendulum": Task(SAC, "MlpPolicy", lambda: gym.make("Pendulum-v1"), 7_500, PENDULUM),
    "tqc-pendulum": Task(TQC, "MlpPolicy", lambda: gym.make("Pendulum-v1"), 7_500, PENDULUM),
    "td3-pendulum": Task(
        TD3,
        "MlpPolicy",
        lambda: gym.make("Pendulum-v1"),
        7_500,
        {**PENDULUM, "gamma": 0.98, "action_noise": NOISE},
    ),
    "dqn-cartpole": Task(
        DQN,
        "MlpPolicy",
        lambda: gym.make("CartPole-v1"),
        40_000,
        {
            "learning_rate": 2.3e-3,
            "batch_size": 64,
            "buffer_size": 100_000,
            "learning_starts": 1_000,
            "target_update_interval": 10,
            "train_freq": 256,
            "gradient_steps": 128,
            "exploration_fraction": 0.16,
            "exploration_final_eps": 0.04,
            "policy_kwargs": {"net_arch": [256, 256]},
        },
    ),
    "sac-mountaincar": Task(
        SAC,
        "MlpPolicy",
        lambda: gym.make("MountainCarContinuous-v0"),
        12_000,
        {
            "learning_rate": 3e-4,
            "buffer_size": 50_000,
            "batch_size": 256,
            "ent_coef": 0.1,
            "train_freq": 32,
            "gradient_steps": 32,
            "gamma": 0.9999,
            "tau": 0.01,
            "learning_starts": 0,
            "use_sde": True,
            "policy_kwargs": {"log_std_init": -3.67, "net_arch": [64, 64]},
        },
    ),
    "sac-trading": Task(
        SAC,
        TwoHeadSACPolicy,
        lambda: TradingEnv(bars=4, features=6, reversion=0.5),  # else 20,000 steps teach nothing
        6_000,
        {
            "learning_rate": 1e-3,
            "learning_starts": 500,
            "batch_size": 64,
            "buffer_size": 10_000,
            "gamma": 0.9,
            "policy_kwargs": two_head_sac_kwargs("small"),
        },
    ),
}

DAMAGES: dict[str, Callable[[str], bool]] = {
    "all biases": lambda name: True,
    "actor": lambda name: name.startswith("actor"),
    "critics": lambda name: not name.startswith("actor"),
    "one layer": lambda name: name.endswith(".0.bias") and "_target" not in name,
    "half of each": lambda name: True,
    "LSTM + GRU": lambda name: "lstm" in name or "gru" in name,
}
"""Which biases are zeroed; of `half of each`, every other element."""
REPAIRS = ("none", "re-drawn", "target", "checkpoint", "refit", "auto")


def train(task: Task, seed: int, folder: Path) -> None:
    """Save a run at 80 % and at its end, each with the buffer that the last has."""
    settings = copy.deepcopy(task.settings)  # SB3 takes entries out of policy_kwargs
    model = task.algorithm(task.policy, task.environment(), seed=seed, device="cpu", **settings)
    first = int(EARLIER * task.steps)
    model.learn(first)
    model.save(folder / "earlier.zip")
    model.learn(task.steps - first, reset_num_timesteps=False)
    model.save_replay_buffer(folder / "buffer.pkl")
    model.save(folder / "last.zip")


def damage(task: Task, source: Path, output: Path, kind: str) -> bool:
    """Save the model with biases at zero, all else as it was; return whether there were any."""
    model = task.algorithm.load(source, device="cpu")
    step = 2 if kind == "half of each" else 1
    hit = False
    with th.no_grad():
        for name, parameter in model.policy.named_parameters():
            if "bias" in name and DAMAGES[kind](name):
                parameter.view(-1)[::step] = 0.0
                hit = True
    model.save(output)
    return hit


def repaired(repair: str, run: Path, hurt: Path, output: Path) -> Path:
    """Return the file that comes of a repair of `hurt`."""
    if repair == "none":
        return hurt
    options = RepairOptions(from_target=repair == "target", trust=("fixtures",))
    donors: Any = {"checkpoint": run / "earlier.zip", "refit": run / "buffer.pkl"}.get(repair)
    if repair == "auto":
        for name in ("earlier.zip", "buffer.pkl"):
            beside = "hurt_replay_buffer.pkl" if name == "buffer.pkl" else name
            shutil.copy(run / name, hurt.with_name(beside))
        donors = find_donors(hurt)
    fix(hurt, output=output, options=options, donor=donors, copy_if_healthy=True)
    return output


def evaluate(task: Task, model: Any) -> float:
    """Mean return over the same starting states for every model."""
    envs = [task.environment() for _ in range(EPISODES)]
    seen = [env.reset(seed=10_000 + number)[0] for number, env in enumerate(envs)]
    total, going = 0.0, list(range(EPISODES))
    while going:
        actions, _ = model.predict(np.stack([seen[one] for one in going]), deterministic=True)
        still = []
        for one, action in zip(going, actions, strict=True):
            seen[one], reward, terminated, truncated, _ = envs[one].step(action)
            total += float(reward)
            if not (terminated or truncated):
                still.append(one)
        going = still
    return total / EPISODES


def outcome(task: Task, path: Path, buffer: Path, seed: int, resume: list[int]) -> list[float]:
    """Return at once and, where it is resumed, after training on for so many steps in all."""
    model = task.algorithm.load(path, env=task.environment(), device="cpu")
    returns = [evaluate(task, model)]
    if resume:
        model.load_replay_buffer(buffer)
        model.set_random_seed(1_000 + seed)
    for before, after in pairwise([0, *resume]):
        model.learn(after - before, reset_num_timesteps=False)
        returns.append(evaluate(task, model))
    return returns


def arms(chosen: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yield each damage with each repair that is asked for, the undamaged agent first."""
    yield "none", "none"
    for kind in chosen.damages.split(","):
        for repair in chosen.repairs.split(","):
            yield kind, repair


def one_run(name: str, seed: int, run: Path, chosen: argparse.Namespace) -> None:
    """Fill in what is not there yet of a run's results."""
    task, kept = TASKS[name], run / "results.json"
    run.mkdir(parents=True, exist_ok=True)
    if not (run / "last.zip").exists():
        train(task, seed, run)
    results = json.loads(kept.read_text()) if kept.exists() else {}
    for kind, repair in arms(chosen):
        key = f"{kind}|{repair}"
        if len(results.get(key, ())) > len(chosen.resume):
            continue
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "hurt.zip"
            if kind == "none":
                path = run / "last.zip"
            elif not damage(task, run / "last.zip", path, kind):
                continue
            path = repaired(repair, run, path, Path(place) / "repaired.zip")
            results[key] = outcome(task, path, run / "buffer.pkl", seed, chosen.resume)
        kept.write_text(json.dumps(results))
        print(name, seed, key, *(f"{r:.1f}" for r in results[key]), flush=True)


def table(name: str, runs: list[dict[str, list[float]]], chosen: argparse.Namespace) -> None:
    """Print the medians over the seeds, with the smallest and the largest."""
    after = "".join(f" after {steps:,} |" for steps in chosen.resume)
    print(f"\n{name}, {len(runs)} seeds\n\n| damage | repair | at once |{after}")
    print(f"| --- | --- | ---: |{' ---: |' * len(chosen.resume)}")
    for kind, repair in arms(chosen):
        found = [run[f"{kind}|{repair}"] for run in runs if f"{kind}|{repair}" in run]
        if found:
            moments = range(1 + len(chosen.resume))
            columns = [spread([one[at] for one in found if at < len(one)]) for at in moments]
            print(f"| {kind} | {repair} | {' | '.join(columns)} |")


def spread(values: list[float]) -> str:
    """Return the median, the smallest and the largest value, and how many there are."""
    if not values:
        return ""
    return f"{median(values):,.1f} ({min(values):,.1f} to {max(values):,.1f}; {len(values)})"


def main() -> None:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--damages", default=",".join(DAMAGES))
    parser.add_argument("--repairs", default=",".join(REPAIRS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", help="These seeds of them alone.")
    parser.add_argument("--resume", default="", help="Further steps, rising: 1000,5000.")
    parser.add_argument("--keep", type=Path, help="Where trainings and results stay.")
    parser.add_argument("--tell", action="store_true", help="Print what is kept; make nothing.")
    chosen = parser.parse_args()
    chosen.resume = [int(steps) for steps in chosen.resume.split(",") if steps]
    seeds = [int(one) for one in chosen.only.split(",")] if chosen.only else range(chosen.seeds)
    th.set_num_threads(1)  # sums in one order on every machine
    with tempfile.TemporaryDirectory() as temporary:
        home = chosen.keep or Path(temporary)
        versions = f"SB3 {stable_baselines3.__version__}, PyTorch {th.__version__}"
        print(f"Mean return over {EPISODES} episodes: median (least to most; seeds). {versions}")
        for name in chosen.tasks.split(","):
            runs = []
            for seed in seeds:
                run = home / name / str(seed)
                if not chosen.tell:
                    one_run(name, seed, run, chosen)
                if (run / "results.json").exists():
                    runs.append(json.loads((run / "results.json").read_text()))
            table(name, runs, chosen)


if __name__ == "__main__":
    main()
